"""What all tests share: one thread a process, the project's piece of music, a tiny set of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before NumPy or torch is imported: the tests share few cores, and tiny arrays gain no speed from
# threads. Child processes inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["MPLBACKEND"] = "Agg"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def piece_path() -> Path:
    """The project's own piece of music: Ogg Vorbis, 44.1 kHz, stereo, 27.5 s."""
    return ROOT / "demo" / "piece.ogg"


@pytest.fixture(scope="session")
def tiny_music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 short tracks: 3 styles, 4 artists a style, 2 tracks an artist, 4 s each.

    Laid out as `style/artist - album/title.flac`, with tags. Shared by all tests: read only.
    """
    from compose import compose_set

    folder = tmp_path_factory.mktemp("tiny_music")
    for _ in compose_set(
        folder, styles=("ambient", "chiptune", "waltz"), n_artists=4, n_tracks=2, seconds=4.0
    ):
        pass
    return folder
