"""Functions run over many files in child processes, where a file that kills a decoder is one error.

The kernel does the killing: each child arms a timer whose signal ends it, re-arms it whenever it
makes progress, and disarms it while the parent keeps it waiting, so that even a loop in C that
never returns to Python is stopped. Children are fresh interpreters in sessions of their own: they
inherit neither the parent's modules nor its Ctrl-C, and the kernel ends them when the parent's end
of a pipe closes, however the parent ended.

This module imports little: a command that classifies one file pays for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tsresformer._child import REMEDY, alive, pack, receive, write
from tsresformer.errors import AudioError, ChildDiedError, StalledError, TsResformerError

__all__ = [
    "Child",
    "Children",
    "Event",
    "Limits",
    "alive",
    "cause_of_death",
    "lost",
    "n_cores",
    "stream",
]

MAX_ITEM_CHARACTERS = 4096
MAX_FAILED_STARTS = 3
POLL_MS = 1000
PIPE_BYTES = 2**20

_KILL_S = 5.0
_SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
_CHILD = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from tsresformer._child import serve; serve(*map(int, sys.argv[1:4]))"
)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def n_threads() -> int:
    """Threads for one computation: the first number of OMP_NUM_THREADS, or `n_cores`."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return (int(first) if first.isdecimal() else 0) or n_cores()


@dataclass(frozen=True)
class Limits:
    """What one child process, or one file, may take.

    Parameters
    ----------
    memory_bytes : address space of a child; 0 for no limit
    stall_s : seconds that a function may take between two signs of progress; 0 for no limit
    decoded_s : seconds of audio in one file; carried for the functions, which obey it
    """

    memory_bytes: int = 4 * 2**30
    stall_s: float = 20.0
    decoded_s: float = 86_400.0


@dataclass(frozen=True)
class Event:
    """One result of one item.

    Parameters
    ----------
    index : place of the item in the input
    item : as it was given
    kind : "chunk" any number of times, then "end" or "error" once
    value : the chunk, None, or the AudioError
    """

    index: int
    item: str
    kind: Literal["chunk", "end", "error"]
    value: Any


def stream(
    function: Callable[[str], Iterable[Any]],
    items: Iterable[str],
    *,
    n_workers: int,
    limits: Limits | None = None,
    in_flight: int = 2,
) -> Generator[Event, None, None]:
    """Run `function` over `items` in child processes.

    The children start at once, so that the caller can prepare itself while they import.

    Parameters
    ----------
    function : importable from a module, or a partial of such; `function(item)` gives the chunks
    items : taken lazily, little ahead of the work
    n_workers : child processes
    in_flight : items that a child holds, the one in work included, while many are left

    Yields
    ------
    event : those of one item in order, those of several items interleaved

    Raises
    ------
    TsResformerError : the children cannot start; or what importing the function raised
    """
    pool = _Pool(function, n_workers, limits or Limits(), in_flight)
    pool.feed(items)
    return _events(pool)


class Children:
    """Child processes that stay for many calls of `stream`, one after another.

    Parameters
    ----------
    function, n_workers, limits : as for the function `stream`
    """

    def __init__(
        self,
        function: Callable[[str], Iterable[Any]],
        *,
        n_workers: int,
        limits: Limits | None = None,
    ) -> None:
        self._pool = _Pool(function, n_workers, limits or Limits(), in_flight=2)

    def stream(self, items: Iterable[str]) -> Iterator[Event]:
        """Run over `items`, as the function `stream` does; exhaust it before the next call."""
        self._pool.feed(items)
        return self._pool.events()

    def close(self) -> None:
        """End the children."""
        self._pool.close()


class Child:
    """The parent's side of one child process.

    Parameters
    ----------
    job : the pickled function

    Attributes
    ----------
    pending : items that were given and have neither end nor error yet
    ready : whether it has said that it imported the function
    n_chunks : how many have come of the item in work
    replies : the descriptor that its messages arrive on
    """

    def __init__(self, job: bytes, limits: Limits) -> None:
        self.pending: deque[tuple[int, str]] = deque()
        self.ready = False
        self.n_chunks = 0
        self._status: int | None = None
        requests, self._requests = os.pipe()
        self.replies, replies = os.pipe()
        lifeline, self._lifeline = os.pipe()
        with contextlib.suppress(OSError, AttributeError):  # a chunk ahead, where Linux lets us
            fcntl.fcntl(self.replies, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        theirs = (requests, replies, lifeline)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, *map(str, theirs), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | _SINGLE_THREADED,
                pass_fds=theirs,
                start_new_session=True,
            )
        except BaseException:
            self._close_pipes()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.send((job, limits.memory_bytes, limits.stall_s))

    def give(self, index: int, item: str) -> None:
        """Queue an item in the child."""
        self.pending.append((index, item))
        self.send(item[:MAX_ITEM_CHARACTERS])  # no path is longer, and no pipe must fill up

    def send(self, value: Any) -> None:
        """Write a message to the child."""
        with contextlib.suppress(BrokenPipeError):  # a dead child is noticed when it is read
            write(self._requests, pack(value))

    def has_message(self, timeout_ms: int) -> bool:
        """Wait for a message, or for the child's death."""
        return bool(_readable([self.replies], timeout_ms)) or self.is_dead()

    def receive(self) -> tuple[str, Any]:
        """Read the child's next message; ("dead", None) once there is none."""
        if self.is_dead() and not _readable([self.replies], 0):
            return "dead", None
        try:
            kind, value = receive(self.replies)
        except EOFError:
            return "dead", None
        return kind, value

    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Let the kernel end the process; `close` waits for it."""
        self._process.kill()

    def close(self) -> int:
        """End the child, if it is not, and return its exit status."""
        if self._status is None:
            self._process.kill()
            self._close_pipes()
            try:
                self._status = self._process.wait(_KILL_S)
            except subprocess.TimeoutExpired:  # stuck in the kernel, which ends it when it can
                self._status = -signal.SIGKILL
        return self._status

    def _close_pipes(self) -> None:
        for descriptor in (self._requests, self.replies, self._lifeline):
            os.close(descriptor)


class _Pool:
    """The children and the items that wait for them."""

    def __init__(
        self,
        function: Callable[[str], Iterable[Any]],
        n_workers: int,
        limits: Limits,
        in_flight: int,
    ) -> None:
        self._job, self._limits = pickle.dumps(function), limits
        self._items: Iterator[tuple[int, str]] = iter(())
        self._n_workers, self._in_flight = max(1, n_workers), max(1, in_flight)
        self._workers: dict[int, Child] = {}
        self._waiting: deque[tuple[int, str]] = deque()
        self._begun: dict[int, int] = {}  # item that a killed child had -> chunks handed on
        self._n_failed_starts = 0

    def feed(self, items: Iterable[str]) -> None:
        """Begin with new items; none of earlier ones may be pending."""
        for worker in [worker for worker in self._workers.values() if worker.is_dead()]:
            self._remove(worker)
        self._items = enumerate(items)
        self._begun.clear()
        self.fill()

    def fill(self) -> None:
        """Give every child an item, and more ahead as long as many are left."""
        while self._look_ahead():
            worker = min(self._workers.values(), key=lambda w: len(w.pending), default=None)
            if not worker or (worker.pending and len(self._workers) < self._n_workers):
                worker = Child(self._job, self._limits)
                self._workers[worker.replies] = worker
            many_left = len(self._waiting) > self._n_workers
            if len(worker.pending) >= (self._in_flight if many_left else 1):
                return
            worker.give(*self._waiting.popleft())

    def _look_ahead(self) -> bool:
        """Take items until more wait than there are children; False when none waits."""
        while len(self._waiting) <= self._n_workers:
            entry = next(self._items, None)
            if entry is None:
                break
            self._waiting.append(entry)
        return bool(self._waiting)

    def events(self) -> Iterator[Event]:
        """Results, until every item has its end or its error."""
        while any(worker.pending for worker in self._workers.values()):
            found = _readable(list(self._workers), POLL_MS)
            # Whatever was forked from this process may keep a dead child's pipe open.
            found = found or [key for key, worker in self._workers.items() if worker.is_dead()]
            for descriptor in found:
                event = self._handle(self._workers[descriptor])
                if event:
                    yield event

    def _handle(self, worker: Child) -> Event | None:
        """Take one message of a child, and keep all children busy."""
        kind, value = worker.receive()
        if kind == "ready":
            worker.ready, self._n_failed_starts = True, 0
            return None
        if kind == "broken":
            raise value
        if kind == "chunk":
            worker.n_chunks += 1
            if worker.n_chunks <= self._begun.get(worker.pending[0][0], 0):
                return None
            return Event(*worker.pending[0], "chunk", value)
        if kind == "dead":
            event = self._bury(worker)
        else:
            worker.n_chunks = 0
            event = Event(*worker.pending.popleft(), "error" if value else "end", value)
            if kind == "fatal":
                self._remove(worker)
        self.fill()
        return event

    def _bury(self, worker: Child) -> Event | None:
        """Replace a child that died; the item that it was working on is lost.

        Where the kernel killed it, the item may be innocent: memory was short. It has a second try.
        """
        victim = worker.pending.popleft() if worker.ready and worker.pending else None
        status = self._remove(worker)
        if victim and status == -signal.SIGKILL and victim[0] not in self._begun:
            self._begun[victim[0]] = worker.n_chunks
            self._waiting.appendleft(victim)
        elif victim:
            return Event(*victim, "error", lost(victim[1], status, self._limits))
        self._n_failed_starts += not worker.ready
        if self._n_failed_starts >= MAX_FAILED_STARTS:
            cause = cause_of_death(status, self._limits)
            raise TsResformerError(f"a decoding process cannot start: {cause}")
        return None

    def _remove(self, worker: Child) -> int:
        del self._workers[worker.replies]
        self._waiting.extendleft(reversed(worker.pending))
        return worker.close()

    def close(self) -> None:
        """End all children."""
        for worker in self._workers.values():
            worker.kill()
        while self._workers:
            self._workers.popitem()[1].close()

    def __del__(self) -> None:
        self.close()


def _events(pool: _Pool) -> Generator[Event, None, None]:
    try:
        yield from pool.events()
    finally:
        pool.close()


def lost(item: str, status: int, limits: Limits) -> AudioError:
    """Say that the child that worked on an item ended, with that exit status."""
    kind = StalledError if status == -signal.SIGALRM else ChildDiedError
    return kind(item, cause_of_death(status, limits), REMEDY)


def cause_of_death(status: int, limits: Limits) -> str:
    """Say in words why a child ended."""
    if status == -signal.SIGALRM:
        return f"the decoder made no progress for {limits.stall_s:g} s"
    if status == -signal.SIGKILL:
        return "the decoder was killed (signal 9), most likely because memory ran out"
    if status < 0:
        return f"the decoder crashed (signal {-status})"
    return f"the decoder ended (exit status {status})"


def _readable(descriptors: list[int], timeout_ms: int) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(timeout_ms)]
