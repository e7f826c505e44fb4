"""Decoding processes that are kept warm, for files that arrive one by one."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

from tsresformer.errors import StalledError, TsResformerError
from tsresformer.workers import Child, Limits, cause_of_death, lost

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_S = 0.25
_TOO_LONG = ("it took longer than a request may", "send a shorter piece, or come again later")


class Deadline:
    """The time that a request has left, which may be taken from it."""

    def __init__(self, seconds: float) -> None:
        self._end, self._cancelled = time.monotonic() + seconds, threading.Event()

    def cancel(self) -> None:
        """Leave no time: nobody waits for the answer."""
        self._cancelled.set()

    @property
    def left_s(self) -> float:
        """Seconds left, not below 0."""
        return 0.0 if self._cancelled.is_set() else max(0.0, self._end - time.monotonic())


class Decoders(Generic[Item, Result]):
    """Child processes that run one function, each over one item at a time; for many threads.

    Parameters
    ----------
    function : importable from a module; `function(item)` gives the results
    n_children : processes
    on_loss : called when a child had to be replaced
    """

    def __init__(
        self,
        function: Callable[[Item], Iterable[Result]],
        n_children: int,
        limits: Limits,
        on_loss: Callable[[], object] = lambda: None,
    ) -> None:
        self._job, self._limits, self._on_loss = pickle.dumps(function), limits, on_loss
        self._closed = False
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        self.n_children = n_children
        for _ in range(n_children):
            self._idle.put(self._start())

    def _start(self) -> Child:
        return Child(self._job, self._limits)

    def warm(self) -> None:
        """Wait until every child can work.

        Raises
        ------
        TsResformerError : one cannot start
        """
        children = [self._idle.get() for _ in range(self.n_children)]
        try:
            for child in children:
                self._until_ready(child, Deadline(60))
        finally:
            for child in children:
                self._idle.put(child)

    def run(self, item: Item, deadline: Deadline) -> Generator[Result, None, None]:
        """Run the function over one item in a child, once one is free.

        Raises
        ------
        AudioError : what the function raised, or the child ended over it
        StalledError : there was no progress, or the deadline passed
        TsResformerError : the child could not start
        """
        child = self._take(item, deadline)
        intact = False
        try:
            self._until_ready(child, deadline)
            child.send(item)
            while True:
                kind, value = self._message(child, item, deadline)
                if kind == "chunk":
                    yield value
                    continue
                intact = kind in ("end", "error")
                if kind == "dead":
                    raise lost(str(item), child.close(), self._limits)
                if value is not None:
                    raise value
                return
        finally:
            self._give_back(child, intact)

    def _take(self, item: Item, deadline: Deadline) -> Child:
        while deadline.left_s:
            with contextlib.suppress(queue.Empty):
                return self._idle.get(timeout=min(POLL_S, deadline.left_s))
        raise StalledError(str(item), "no decoder became free in time", "come again later")

    def _give_back(self, child: Child, intact: bool) -> None:
        if intact and not self._closed:
            self._idle.put(child)
            return
        child.close()
        if not self._closed:
            self._on_loss()
            self._idle.put(self._start())

    def _until_ready(self, child: Child, deadline: Deadline) -> None:
        if child.ready:
            return
        kind, value = self._message(child, None, deadline)
        if kind == "broken":
            raise value
        if kind == "dead":
            cause = cause_of_death(child.close(), self._limits)
            raise TsResformerError(f"a decoding process cannot start: {cause}")
        child.ready = True

    def _message(self, child: Child, item: Item | None, deadline: Deadline) -> tuple[str, Any]:
        while deadline.left_s:
            if child.has_message(int(1000 * min(POLL_S, deadline.left_s)) + 1):
                return child.receive()
        raise StalledError(str(item), *_TOO_LONG)

    def close(self) -> None:
        """End all children; those at work end with their item."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
