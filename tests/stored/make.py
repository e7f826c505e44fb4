"""Store a small one of everything that this version writes.

PYTHONPATH=tests:demo python tests/stored/make.py

The folder is named after the version and is never changed again: `test_stored.py` reads what every
version stored, with the code of today. Run it at a release that raises the number of a format.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import soundfile

import tsresformer
from compose import SAMPLE_RATE, compose_set, make_artist, render_track
from stored_readers import READERS
from tsresformer import cli
from tsresformer.files import sha256_file, write_json
from tsresformer.manifest import Manifest

STYLES = ("ambient", "chiptune", "waltz")
FEATURES = "sample_rate = 16000\nn_fft = 1024\nhop_length = 1024\nn_mels = 16\n"
NETWORK = (
    "slicing.slice_s=1.0",
    "model.front_channels=1",
    "model.time_kernels=[3]",
    "model.frequency_kernels=[3]",
    "model.residual_widths=[8]",
    "model.residual_depths=[1]",
    "model.d_model=8",
    "model.n_heads=2",
    "model.n_layers=1",
    "model.d_feedforward=8",
    "train.batch_size=8",
    "train.epochs=20",
    "train.ema_decay=0.9",
    "train.dev_fraction=0.3",
)
STUDY = """\
title = "Without a network"
question = "Which classifier?"
config = "ts_resformer"
reference = { model = "knn" }

[axes.model]
knn = { "classical.model" = "knn", "classical.neighbours" = 3 }
svm = { "classical.model" = "svm" }

[settings]
"slicing.slice_s" = 1.0
"""


def main() -> None:
    """Make everything in a temporary folder, keep what is to be read, and what is read from it."""
    home = Path(__file__).parent / tsresformer.__version__
    if home.exists():
        sys.exit(f"{home}: is stored already, and stays as it is")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "made"
        work.mkdir()
        tagged = _make(work)
        for name in ("study.toml", "features.toml", "music", "run"):
            _remove(work / name)
        for pattern in (".lock", "cache.sqlite*", "*.html", "table.*"):
            for path in work.rglob(pattern):
                _remove(path)
        said = {name: read(work) for name, read in READERS.items()}
        assert said["journal"]["sha256"] == tagged
        write_json(work / "said.json", said)
        shutil.copytree(work, home)


def _make(work: Path) -> str:
    """Write everything as a user would; the hash of the tagged file as it was before."""
    for _ in compose_set(work / "music", styles=STYLES, n_artists=5, n_tracks=2, seconds=3.0):
        pass
    (work / "features.toml").write_text(FEATURES)
    (work / "study.toml").write_text(STUDY)
    (work / "library").mkdir()
    tune = work / "library" / "tune.ogg"
    soundfile.write(tune, render_track(make_artist("waltz", 9), 0, 2.0, SAMPLE_RATE), SAMPLE_RATE)
    before = sha256_file(tune)

    manifest, store, bundle = work / "manifest.csv", work / "store", work / "tiny.bundle"
    trained_on = ("--manifest", manifest, "--store", store)
    network = [word for setting in NETWORK for word in ("--set", setting)]
    _run("data", "import", "folder", work / "music", "-o", manifest)
    _run("data", "split", manifest, "--protocol", "artist-kfold")
    Manifest.read(manifest).write(work / "manifest.parquet")
    _run("features", manifest, "--features", work / "features.toml", "-o", store)
    _run("train", "--config", "ts_resformer", *trained_on, "-o", work / "run", *network)
    _run("export", work / "run", "-o", bundle)
    _run("evaluate", bundle, manifest, "-o", work / "report")
    _run("study", "run", work / "study.toml", *trained_on, "-o", work / "study")
    _run(
        *("catalogue", "run", "--engine", "local", "--model", bundle),
        *("--input", work / "music" / "waltz", "--output", work / "catalogue"),
    )
    _run("tag", work / "library", "--model", bundle, "--min-confidence", 0)
    return before


def _run(*words: object) -> None:
    if code := cli.run([str(word) for word in words]):
        sys.exit(code)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
