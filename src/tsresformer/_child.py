"""The inside of a child process of `tsresformer.workers`: it imports next to nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
from collections.abc import Callable, Iterable
from typing import Any

from tsresformer.errors import AudioError, TsResformerError

REMEDY = "copy the file again, or convert it to WAV or FLAC"

_LENGTH_BYTES = 8

_stall_s = 0.0  # of this process; 0 in the parent


def alive() -> None:
    """Report progress, from a function that works for long between two chunks."""
    if _stall_s:
        signal.setitimer(signal.ITIMER_REAL, _stall_s)


def serve(requests: int, replies: int, lifeline: int) -> None:
    """Be a child process: run the function that arrives first over the items that follow.

    Parameters
    ----------
    requests, replies : descriptors of the pipes from and to the parent
    lifeline : read end of a pipe that closes when the parent ends
    """
    global _stall_s
    for number in (signal.SIGALRM, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGIO})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(lifeline)
    job, memory_bytes, stall_s = receive(requests)
    _limit_memory(memory_bytes)
    try:
        function = pickle.loads(job)
    except BaseException as error:
        if not isinstance(error, TsResformerError):
            what = f"{type(error).__name__}: {error}"
            error = TsResformerError(f"a decoding process cannot import its function ({what})")
        _reply(replies, "broken", error)
        os._exit(1)
    _reply(replies, "ready", None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write their complaints there
    _stall_s = stall_s
    while True:
        try:
            item = receive(requests)
        except EOFError:
            os._exit(0)
        try:
            _run(function, item, replies)
        except MemoryError:
            _disarm()
            most = f"{memory_bytes / 2**30:.3g} GiB"
            _reply(
                replies, "fatal", AudioError(item, f"decoding it needs more than {most}", REMEDY)
            )
            os._exit(1)


def _run(function: Callable[[str], Iterable[Any]], item: str, replies: int) -> None:
    """Run one item; whatever it raises, but for MemoryError, becomes its error."""
    error = None
    try:
        alive()
        for chunk in function(item):
            _reply(replies, "chunk", chunk)
            alive()
    except MemoryError:
        raise
    except AudioError as raised:
        error = raised
    except BaseException as raised:
        what = f"{type(raised).__name__}: {raised}".removesuffix(": ")
        error = AudioError(item, f"decoding it failed ({what})", REMEDY)
    _reply(replies, "error" if error else "end", error)


def _reply(replies: int, kind: str, value: Any) -> None:
    """Send to the parent; the time that it lets this process wait does not count as a stall."""
    message = pack((kind, value))
    _disarm()
    try:
        write(replies, message)
    except BrokenPipeError:
        os._exit(0)


def _disarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.0)


def _die_with(lifeline: int) -> None:
    """Have the kernel end this process, by SIGIO, as soon as nobody holds the pipe's other end."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        os.read(lifeline, 1)
        os._exit(0)  # at its end already


def _limit_memory(n_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if n_bytes and (hard == resource.RLIM_INFINITY or n_bytes < hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (n_bytes, hard))


def pack(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def write(descriptor: int, message: bytes) -> None:
    """Write a message behind its length."""
    for part in (len(message).to_bytes(_LENGTH_BYTES, "little"), message):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Any:
    """Read one message; EOFError if the other end is closed."""
    return pickle.loads(
        _read(descriptor, int.from_bytes(_read(descriptor, _LENGTH_BYTES), "little"))
    )


def _read(descriptor: int, n_bytes: int) -> bytearray:
    data = bytearray(n_bytes)
    view = memoryview(data)
    while view:
        n_read = os.readv(descriptor, [view])
        if not n_read:
            raise EOFError
        view = view[n_read:]
    return data
