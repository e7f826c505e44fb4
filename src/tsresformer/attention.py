"""What a bundle's attention looked at while tracks were scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tsresformer.bundle import Bundle
from tsresformer.classifier import TrackScores
from tsresformer.errors import AudioError
from tsresformer.extract import log_mel_chunks
from tsresformer.features import mel_filter_bank, reference_to
from tsresformer.metrics import ratio
from tsresformer.report.result import Attention, AttentionExample, TrackResult
from tsresformer.slicing import cut, n_slice_frames

N_EXAMPLES = 3
FLAT = 1e-6
"""Weights that differ by less are no attention."""


class Looked:
    """Gathers the attention of scored tracks, in their order."""

    def __init__(self) -> None:
        self._frequency: list[NDArray[np.float64]] = []
        self._slices: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = []

    def add(self, scores: TrackScores) -> None:
        """Keep the mean over slices, and all of the first slice that is audible."""
        self._frequency.append(scores.attention_frequency.mean(axis=0, dtype=np.float64))
        k = int(scores.audible.argmax())
        time, frequency = scores.attention_time[k], scores.attention_frequency[k]
        self._slices.append((int(scores.starts[k]), time, frequency))

    def attention(self, bundle: Bundle, scored: Sequence[TrackResult]) -> Attention | None:
        """Weights of all tracks, and a few tracks in full; None if the weights are all alike."""
        if all(np.ptp(time) < FLAT and np.ptp(bands) < FLAT for _, time, bands in self._slices):
            return None
        return Attention(
            frequency=np.stack(self._frequency),
            centres_hz=_centres_hz(bundle),
            bright="loud" if bundle.features.scale == "log" else "louder than a moment ago (PCEN)",
            examples=tuple(self._examples(bundle, scored)),
        )

    def _examples(
        self, bundle: Bundle, scored: Sequence[TrackResult]
    ) -> Iterator[AttentionExample]:
        """The most confident right predictions, each of another genre, the most probable one."""
        best = [
            (float(row.probabilities.max()), i, bundle.labels[int(row.probabilities.argmax())])
            for i, row in enumerate(scored)
            if row.probabilities is not None
        ]
        shown: set[str] = set()
        for _, i, genre in sorted(best, key=lambda item: (-item[0], item[1])):
            if len(shown) == N_EXAMPLES:
                return
            if genre in scored[i].track.labels and genre not in shown:
                shown.add(genre)
                yield from self._example(bundle, scored[i], i)

    def _example(self, bundle: Bundle, row: TrackResult, i: int) -> Iterator[AttentionExample]:
        start, time, frequency = self._slices[i]
        length = n_slice_frames(bundle.slicing, bundle.features)
        frames: list[NDArray[np.float32]] = []
        try:
            for chunk in log_mel_chunks(row.track.path, bundle.features):
                frames.append(chunk.log_mel)
                if sum(part.shape[1] for part in frames) >= start + length:
                    break
        except AudioError:  # it was there a moment ago; the picture is not worth the report
            return
        log_mel = cut(np.concatenate(frames, axis=1), start, length)
        second = bundle.features.frames_per_second
        yield AttentionExample(
            row=row,
            log_mel=reference_to(log_mel, bundle.features),
            start_s=start / second,
            seconds=length / second,
            time=time,
            frequency=frequency,
        )


def _centres_hz(bundle: Bundle) -> NDArray[np.float64]:
    bank = mel_filter_bank(bundle.features).astype(np.float64)
    hz = np.linspace(0, bundle.features.sample_rate / 2, bank.shape[1])
    return np.asarray(ratio(bank @ hz, bank.sum(axis=1)))
