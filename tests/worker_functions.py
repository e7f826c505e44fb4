"""What the tests of `tsresformer.workers` run in child processes: it must be importable there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsresformer.errors import AudioError
from tsresformer.workers import alive


def count(item: str) -> Iterator[tuple[str, int]]:
    """As many chunks as the item says."""
    for number in range(int(item)):
        yield item, number


def act(item: str) -> Iterator[Any]:
    """One chunk, then what the item names."""
    yield os.getpid()
    action, _, argument = item.partition(" ")
    if action == "sleep":
        time.sleep(float(argument))
    elif action == "hold-the-gil":
        ctypes.PyDLL(None).sleep(int(argument))
    elif action == "work":
        for _ in range(int(argument)):
            time.sleep(0.1)
            alive()
    elif action == "segfault":
        ctypes.string_at(0)
    elif action == "signal":
        os.kill(os.getpid(), getattr(signal, argument))
    elif action == "exit":
        os._exit(int(argument))
    elif action == "allocate":
        bytearray(int(argument))
    elif action == "raise":
        raise {"ValueError": ValueError, "SystemExit": SystemExit}[argument]("no good")
    elif action == "refuse":
        raise AudioError(item, "it is cut", "get it again", status="incomplete")
    elif action == "unpicklable":
        yield lambda: None
    elif action == "print":
        os.write(1, b"stdout noise\n")
        os.write(2, b"stderr noise\n")
    yield "done"


def stumble(item: str) -> Iterator[tuple[str, int]]:
    """Four chunks; after two the first process to come so far ends as if memory had run out."""
    path, _, number = item.partition(" ")
    for n in range(4):
        yield number, n
        if n == 1 and not Path(path).exists():
            with contextlib.suppress(FileExistsError), open(path, "x"):
                os.kill(os.getpid(), signal.SIGKILL)


def megabytes(item: str) -> Iterator[bytes]:
    """Chunks of 1 MiB; the file named by the item says how many were asked for."""
    path, _, n_chunks = item.partition("#")
    for number in range(int(n_chunks)):
        Path(path).write_text(str(number))
        yield bytes(2**20)


def heavy_modules(item: str) -> Iterator[tuple[list[str], dict[str, str | None]]]:
    """What this process has imported, and its settings."""
    heavy = {"numpy", "torch", "av", "multiprocessing", "click", "pydantic", "pytest"}
    yield sorted(heavy & set(sys.modules)), {name: os.environ.get(name) for name in [item]}


def die(item: str) -> Iterator[bool]:
    """Nothing: the process ends as if memory had run out."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield True
