"""Cores that a worker keeps for itself, so that one worker is one core and no more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO


def take_cores(n: int) -> list[IO[bytes]]:
    """Confine this process, and the children that it starts, to `n` cores that no other took.

    Where fewer are left, nothing changes. The cores are the process's as long as the files that
    are returned stay open; the kernel closes them when it ends.
    """
    folder = Path(tempfile.gettempdir()) / f"tsresformer-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    taken: dict[int, IO[bytes]] = {}
    for core in sorted(os.sched_getaffinity(0)):
        if len(taken) == n:
            break
        file: IO[bytes] = open(folder / str(core), "ab")  # noqa: SIM115 - the lock is as long as it is open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            taken[core] = file
    if len(taken) < n:
        for file in taken.values():
            file.close()
        return []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), taken)
    return list(taken.values())
