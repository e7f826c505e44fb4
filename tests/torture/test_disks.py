"""A disk that is full, and one that cannot be written: one sentence, nothing half, and it goes on.

Each command runs on a file system of its own, in a mount name space; root may write everywhere
else, so permissions would prove nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from studies_of import WITHOUT_A_NETWORK
from tsresformer import cli
from tsresformer.bundle import Bundle
from tsresformer.manifest import Manifest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode,
        reason="no mount name spaces here",
    ),
]

SCRIPT = """
disk=$1 room=$2 saved=$3; shift 3
mount -t tmpfs -o size=512m tmpfs "$disk" && cp -r "$saved/music" "$disk/" && cd "$disk" || exit 9
used=$(( $(df --output=used -k . | tail -1) + room ))
mount -o "remount,size=${used}k" . || exit 9
[ "$room" -ge 0 ] || mount -o remount,ro . || exit 9
"$@" > /dev/null 2> "$saved/err"; echo $? > "$saved/code"
mkdir "$saved/full" && cp -r . "$saved/full"
mount -o remount,rw,size=512m . || exit 9
"$@" > /dev/null 2> "$saved/err2"; echo $? > "$saved/code2"
cp -r . "$saved/room"
"""

DATA = ["--manifest", "{tiny}/m.csv", "--store", "{tiny}/store"]
SET = [part for text in (*tiny.SETTINGS, "train.epochs=2") for part in ("--set", text)]
COMMANDS = {
    "import": ["data", "import", "folder", "music", "-o", "out.csv"],
    "check": ["data", "check", "{tiny}/m.csv", "-o", "out.csv", "--workers", "1"],
    "split": ["data", "split", "{tiny}/m.csv", "--protocol", "track", "-o", "out.csv"],
    "features": ["features", "{tiny}/m.csv", "-o", "out", "--workers", "1"],
    "train": ["train", *DATA, *SET, "--resume", "-o", "out"],
    "export": ["export", "{tiny}/run", "-o", "out.bundle"],
    "evaluate": ["evaluate", "{model}", "{tiny}/m.csv", "-o", "out", "--workers", "1"],
    "publish": ["publish", "{model}", "--report", "{made}/report", "-o", "out.bundle"],
    "study": ["study", "run", "{made}/study.toml", *DATA, "--resume", "-o", "out"],
    "study export": ["study", "export", "{made}/results", "-o", "out"],
    "predict json": ["predict", "music", "--model", "{model}", "--json", "out.json"],
    "predict csv": ["predict", "music", "--model", "{model}", "--csv", "out.csv"],
    "predict parquet": ["predict", "music", "--model", "{model}", "--parquet", "out.parquet"],
    "catalogue": [
        *("catalogue", "run", "--input", "music", "--output", "out", "--model", "{model}"),
        *("--engine", "local", "--workers", "1", "--part-tracks", "1"),
    ],
    "tag": [
        *("tag", "music", "--model", "{model}", "--workers", "1"),
        *("--policy", "replace", "--min-confidence", "0"),
    ],
}
FAST = ("split", "predict csv")
READ_ONLY = -1


@pytest.fixture(scope="module")
def made(tiny_run: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the bundle, a study, and its results: read only."""
    home = tmp_path_factory.mktemp("made")
    (home / "study.toml").write_text(WITHOUT_A_NETWORK)
    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
    for words in (
        ["evaluate", tiny_bundle, tiny_run / "m.csv", "-o", home / "report"],
        ["study", "run", home / "study.toml", *data, "-o", home / "results"],
    ):
        assert cli.run([str(word) for word in words]) == 0
    return home


def readable(path: Path) -> None:
    """Read a file that has its final name, by what it is."""
    if path.suffix == ".csv" and path.name == "out.csv" and b"track_id" in path.read_bytes()[:20]:
        Manifest.read(path)
    elif path.name == "bundle.json":
        Bundle.load(path.parent)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.read_table(path)
    elif path.suffix == ".ckpt":
        from tsresformer.training.run import read_checkpoint

        read_checkpoint(path)
    elif path.suffix == ".npy":
        import numpy as np

        np.load(path)


def on_a_small_disk(words: list[str], room_kb: int, tiny_music: Path, tmp_path: Path) -> None:
    """Run a command with so much room, then with enough."""
    saved, disk = tmp_path / "saved", tmp_path / "disk"
    disk.mkdir()
    album = next(path for path in sorted(tiny_music.iterdir()) if path.is_dir())
    shutil.copytree(album, saved / "music" / "ambient")
    command = [sys.executable, "-m", "tsresformer.cli", *words]
    unshare = ["unshare", "--map-root-user", "--mount", "bash", "-c", SCRIPT, "bash"]
    done = subprocess.run(
        [*unshare, str(disk), str(room_kb), str(saved), *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    err = (saved / "err").read_text()
    code = int((saved / "code").read_text())
    assert "Traceback" not in err
    assert "unexpected" not in err
    if code:  # else there was room enough
        problem = (
            "read-only|no permission" if room_kb == READ_ONLY else "no space left|disk is full"
        )
        assert re.search(problem, err, re.IGNORECASE), err
    assert code in ((1, 2) if room_kb in (0, READ_ONLY) else (0, 1, 2))
    for path in (saved / "full").rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(saved / "full").parts)
        if path.is_file() and not hidden:
            readable(path)
    again = (saved / "err2").read_text()
    if code or "exists already" not in again:  # what was written whole is not written again
        assert (saved / "code2").read_text().strip() == "0", again
    for path in (saved / "room").rglob("*"):
        if path.is_file():
            readable(path)


@pytest.fixture
def words(
    request: pytest.FixtureRequest, name: str, tiny_run: Path, tiny_bundle: Path
) -> list[str]:
    """The command that `name` stands for."""
    places = {"tiny": tiny_run, "model": tiny_bundle}
    if any("{made}" in word for word in COMMANDS[name]):
        places["made"] = request.getfixturevalue("made")
    return [word.format(**places) for word in COMMANDS[name]]


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("room_kb", [0, READ_ONLY], ids=["full", "read-only"])
def test_no_room(words, room_kb, tiny_music, tmp_path, torture):
    on_a_small_disk(words, room_kb, tiny_music, tmp_path)
    torture.counts["disks that are full or read-only"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in FAST])
@pytest.mark.parametrize("room_kb", [0, READ_ONLY], ids=["full", "read-only"])
def test_no_room_for_long_work(words, room_kb, tiny_music, tmp_path, torture):
    test_no_room(words, room_kb, tiny_music, tmp_path, torture)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_room_that_runs_out(name, words, tiny_music, tmp_path, torture):
    """Some room, so that the disk is full in the middle of something."""
    generator = torture.random(f"room {name}")
    for n in range(torture.amount(1, 2, 20)):
        room_kb = round(4 * 2 ** generator.uniform(0, 8))  # 4 KiB to 1 MiB
        place = tmp_path / str(n)
        place.mkdir()
        on_a_small_disk(words, room_kb, tiny_music, place)
        torture.counts["disks that are full or read-only"] += 1
