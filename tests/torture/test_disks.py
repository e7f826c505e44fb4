"""A disk that is full, and one that cannot be written: one sentence, nothing half, and it goes on.

Each command runs on a file system of its own, in a mount name space; root may write everywhere
else, so permissions would prove nothing.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from killing import CLI
from studies_of import WITHOUT_A_NETWORK
from tagged_files import SHORT_KINDS, fill, hashes, journals, packets
from tsresformer import cli
from tsresformer.bundle import Bundle
from tsresformer.manifest import Manifest
from tsresformer.spreadsheet import read_rows, read_table
from tsresformer.tagging.journal import read_journal

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
mount -t tmpfs -o size=512m tmpfs "$disk" && cp -r "$saved/begun/." "$disk/" || exit 9
cd "$disk" || exit 9
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
    "study show": ["study", "show", "results", "--json", "out.json"],
    "study export": ["study", "export", "{made}/study/results", "-o", "out"],
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
    "undo": ["tag", "--undo", "music/.tsresformer/{journal}"],
    "playlists": [
        *("tag", "music", "--model", "{model}", "--workers", "1"),
        *("--min-confidence", "0", "--playlists", "out"),
    ],
}
BEGUN = {"undo": "tagged", "study show": "study"}
"""What lies on the disk at first, of what was made before; an album for all other commands."""

MUSIC = {f".{kind.partition('-')[0]}" for kind in SHORT_KINDS}
FAST = ("split", "predict csv")
READ_ONLY = -1


@pytest.fixture(scope="module")
def made(
    tiny_run: Path,
    tiny_bundle: Path,
    piece_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A report of the bundle, a study, its results, and a library that is tagged: read only."""
    home = tmp_path_factory.mktemp("made")
    (home / "study.toml").write_text(WITHOUT_A_NETWORK)
    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
    library = home / "tagged" / "music"
    fill(library, piece_path, 9)
    shutil.rmtree(home / "tagged" / "originals")
    tag = ["tag", library, "--model", tiny_bundle, "--policy", "replace", "--min-confidence", "0"]
    for words in (
        ["evaluate", tiny_bundle, tiny_run / "m.csv", "-o", home / "report"],
        ["study", "run", home / "study.toml", *data, "-o", home / "study" / "results"],
        tag,
    ):
        assert cli.run([str(word) for word in words]) == 0
    return home


def table(path: Path) -> None:
    content = path.read_bytes()
    assert content.endswith(b"\n")
    read_rows(io.StringIO(content.decode()))
    if content.startswith(b"track_id,path,label"):
        Manifest.read(path)


def array(path: Path) -> None:
    import numpy as np

    loaded = np.load(path)
    assert path.suffix == ".npy" or [loaded[name] for name in loaded]


def checkpoint(path: Path) -> None:
    from tsresformer.training.run import read_checkpoint

    read_checkpoint(path)


def parquet(path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.read_table(path)


def record(path: Path) -> None:
    json.loads(path.read_text())
    if path.name == "bundle.json":
        Bundle.load(path.parent)  # and the hashes of what lies beside it


def of_a_bundle(path: Path) -> None:
    assert (path.parent / "bundle.json").is_file()


def text(path: Path) -> None:
    assert path.read_text().endswith("\n")


def page(path: Path) -> None:
    assert path.read_text().rstrip().endswith(("</html>", "</svg>"))


def anything(path: Path) -> None:
    """A lock, and a cache that is begun anew if it is damaged."""


READERS: dict[str, Callable[[Path], object]] = {
    ".ckpt": checkpoint,
    ".csv": table,
    ".gz": lambda path: read_table(path.with_suffix("")),
    ".html": page,
    ".json": record,
    ".jsonl": lambda path: list(read_journal(path)),
    ".lock": anything,
    ".m3u8": text,
    ".md": text,
    ".npy": array,
    ".npz": array,
    ".onnx": of_a_bundle,
    ".parquet": parquet,
    ".safetensors": of_a_bundle,
    ".sqlite": anything,
    ".svg": page,
    ".tex": text,
}
"""How to read a file by its suffix: a command that writes others names them here."""


def check_whole(disk: Path) -> None:
    """Read all that was written, hidden files among it, but for music and TensorBoard's logs."""
    for path in disk.rglob("*"):
        known = path.suffix in MUSIC or path.parent.name == "tensorboard"
        if path.is_file() and not known:
            READERS[path.suffix or path.name](path)


def check_music(begun: Path, disk: Path, last: Path) -> None:
    """Each file is what it was or what it is at last, with the audio that it has always had."""
    old, found, new = (hashes(place / "music") for place in (begun, disk, last))
    assert old.keys() == found.keys() == new.keys()
    for name, content in found.items():
        assert content in (old[name], new[name]), name
        if old[name] != new[name]:
            assert packets(begun / "music" / name) == packets(last / "music" / name), name


def on_a_small_disk(words: list[str], room_kb: int, begun: Path, tmp_path: Path) -> None:
    """Run a command with so much room, then with enough."""
    saved, disk = tmp_path / "saved", tmp_path / "disk"
    disk.mkdir()
    shutil.copytree(begun, saved / "begun")
    unshare = ["unshare", "--map-root-user", "--mount", "bash", "-c", SCRIPT, "bash"]
    done = subprocess.run(
        [*unshare, str(disk), str(room_kb), str(saved), *CLI, *words],
        capture_output=True,
        text=True,
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
    check_whole(saved / "full")
    again = (saved / "err2").read_text()
    if code or "exists already" not in again:  # what was written whole is not written again
        assert (saved / "code2").read_text().strip() == "0", again
    check_whole(saved / "room")
    if (begun / "music").exists():
        check_music(begun, saved / "full", saved / "room")


@pytest.fixture
def begun(request: pytest.FixtureRequest, name: str, tiny_music: Path, tmp_path: Path) -> Path:
    """What lies on the disk before the command runs."""
    if name in BEGUN:
        return request.getfixturevalue("made") / BEGUN[name]
    album = next(path for path in sorted(tiny_music.iterdir()) if path.is_dir())
    shutil.copytree(album, tmp_path / "begun" / "music" / "ambient")
    return tmp_path / "begun"


@pytest.fixture
def words(
    request: pytest.FixtureRequest, name: str, tiny_run: Path, tiny_bundle: Path
) -> list[str]:
    """The command that `name` stands for."""
    places = {"tiny": tiny_run, "model": tiny_bundle}
    if any("{made}" in word or "{journal}" in word for word in COMMANDS[name]):
        made = request.getfixturevalue("made")
        places |= {"made": made, "journal": journals(made / "tagged" / "music")[0].name}
    return [word.format(**places) for word in COMMANDS[name]]


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("room_kb", [0, READ_ONLY], ids=["full", "read-only"])
def test_no_room(words, room_kb, begun, tmp_path, torture):
    on_a_small_disk(words, room_kb, begun, tmp_path)
    torture.counts["disks that are full or read-only"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in FAST])
@pytest.mark.parametrize("room_kb", [0, READ_ONLY], ids=["full", "read-only"])
def test_no_room_for_long_work(words, room_kb, begun, tmp_path, torture):
    test_no_room(words, room_kb, begun, tmp_path, torture)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_room_that_runs_out(name, words, begun, tmp_path, torture):
    """Some room, so that the disk is full in the middle of something."""
    generator = torture.random(f"room {name}")
    for n in range(torture.amount(1, 2, 20)):
        room_kb = round(4 * 2 ** generator.uniform(0, 8))  # 4 KiB to 1 MiB
        place = tmp_path / str(n)
        place.mkdir()
        on_a_small_disk(words, room_kb, begun, place)
        torture.counts["disks that are full or read-only"] += 1


WITH_JSON = {
    "info": ["info", "{model}"],
    "study list": ["study", "list"],
    "check": ["data", "check", "{tiny}/m.csv", "--workers", "1"],
    "predict": ["predict", "{music}", "--model", "{model}", "--workers", "1"],
    "tag": ["tag", "{music}", "--model", "{model}", "--workers", "1", "--dry-run"],
}


def check_refused(code: int, err: str) -> None:
    assert (code, len(re.findall("^error: .*", err, re.M))) == (2, 1), err
    assert "No space left on device; make room and run again" in err
    assert "Traceback" not in err and "unexpected" not in err


@pytest.mark.parametrize("name", WITH_JSON)
def test_a_file_that_takes_nothing(name, begun, tiny_run, tiny_bundle, run):
    places = {"tiny": tiny_run, "model": tiny_bundle, "music": begun / "music"}
    words = [word.format(**places) for word in WITH_JSON[name]]
    code, _, err = run(*words, "--json", "/dev/full")
    check_refused(code, err)
    assert "/dev/full" in err


@pytest.mark.parametrize("more", [[], ["--json", "-"]], ids=["table", "json"])
def test_a_stdout_that_takes_nothing(more):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CLI, "study", "list", *more], stdout=full, stderr=subprocess.PIPE, text=True
        )
    check_refused(done.returncode, done.stderr)
