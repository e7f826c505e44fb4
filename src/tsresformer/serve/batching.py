"""A classifier whose slices share runs of the network with those of other requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tsresformer.bundle import Bundle
from tsresformer.classifier import BATCH_SLICES, Classifier

Slices = Sequence[NDArray[np.float32]]
Outputs = dict[str, NDArray[np.float32]]


class _Ticket:
    """Slices of one caller, and what became of them."""

    def __init__(self, slices: Slices) -> None:
        self.slices = slices
        self.outputs: Outputs | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class BatchingClassifier(Classifier):
    """A `Classifier` for many threads: who waits for the network joins the next run of it.

    No run is held back to gather more: while one is under way, those that arrive wait, and the
    first of them takes all of them along. So a lone request loses nothing, and a busy service
    fills its batches.

    Attributes
    ----------
    on_run : called with the number of slices of each run
    """

    def __init__(self, bundle: Bundle, session: ort.InferenceSession) -> None:
        super().__init__(bundle, session)
        self.on_run: Callable[[int], object] = lambda n_slices: None
        self._waiting: list[_Ticket] = []
        self._guard, self._turn = threading.Lock(), threading.Lock()

    def run(self, slices: Slices) -> Outputs:
        """Run the network on slices (n_mels, n_frames) of one length, absolute decibels."""
        ticket = _Ticket(slices)
        with self._guard:
            self._waiting.append(ticket)
        with self._turn:
            while not ticket.done:
                self._run_together(self._next_batch())
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outputs is not None
        return ticket.outputs

    def _next_batch(self) -> list[_Ticket]:
        """Take those that wait longest: at most `BATCH_SLICES` slices, but at least one caller."""
        with self._guard:
            n_callers, n_slices = 0, 0
            for ticket in self._waiting:
                n_slices += len(ticket.slices)
                if n_callers and n_slices > BATCH_SLICES:
                    break
                n_callers += 1
            batch, self._waiting = self._waiting[:n_callers], self._waiting[n_callers:]
        return batch

    def _run_together(self, batch: list[_Ticket]) -> None:
        slices = [piece for ticket in batch for piece in ticket.slices]
        try:
            outputs = super().run(slices)
            self.on_run(len(slices))
        except Exception as error:  # it belongs to every caller, and the next run may go well
            for ticket in batch:
                ticket.error = error
            return
        end = 0
        for ticket in batch:
            start, end = end, end + len(ticket.slices)
            ticket.outputs = {name: values[start:end] for name, values in outputs.items()}
