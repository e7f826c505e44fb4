"""What the tests of the catalogue look at in its outputs, and at in its processes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet

N_TRACKS = 60
PART_TRACKS = 7
N_PARTS = 9


def rows_of(out: Path) -> list[dict[str, Any]]:
    """All rows of an output, in the order of the listing."""
    files = sorted((out / "parts").iterdir())
    return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]


def hashes_of(out: Path) -> dict[str, str]:
    """Hash of every file where the parts lie."""
    files = sorted((out / "parts").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


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
