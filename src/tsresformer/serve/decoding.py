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
        # None is the place of a child that could not be started.
        self._idle: queue.LifoQueue[Child | None] = queue.LifoQueue()
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
        children = [self._take(None, Deadline(60)) for _ in range(self.n_children)]
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

    def _take(self, item: Item | None, deadline: Deadline) -> Child:
        """Wait for a child that lives."""
        while deadline.left_s:
            try:
                child = self._idle.get(timeout=min(POLL_S, deadline.left_s))
            except queue.Empty:
                continue
            if child is None or child.is_dead():  # it was ended from outside
                self._replace(child)
                continue
            return child
        raise StalledError(str(item), "no decoder became free in time", "come again later")

    def _replace(self, child: Child | None) -> None:
        """Start another child in the place of one."""
        if child:
            child.close()
            self._on_loss()
        new = None
        try:
            new = self._start()
        finally:
            self._idle.put(new)

    def _give_back(self, child: Child, intact: bool) -> None:
        if intact and not self._closed:
            self._idle.put(child)
            return
        if self._closed:
            child.close()
        else:
            with contextlib.suppress(OSError):  # the next who takes its place tries again
                self._replace(child)

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
                if child := self._idle.get_nowait():
                    child.close()
