"""Processes that tests look for, and wait for."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until a condition holds; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descriptors() -> Counter[str]:
    """What this process has open, and how often."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing itself is closed by now
            found[os.readlink(f"/proc/self/fd/{name}")] += 1
    return found


def descendants(pid: int) -> dict[int, str]:
    """Processes that come from `pid`, with their command lines."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            names[int(entry.name)] = name
    found: dict[int, str] = {}
    pending = [pid]
    while pending:
        above = pending.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found |= {child: names[child] for child in below}
        pending += below
    return found


def ray_workers(pid: int) -> list[int]:
    """Actors of Ray Data that come from `pid`."""
    return [child for child, name in descendants(pid).items() if name.startswith("ray::MapWorker")]


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run."""
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
