"""What the tests of the catalogue look at in its outputs."""

from __future__ import annotations

import hashlib
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
