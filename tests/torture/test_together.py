"""Two processes at the same work: one wins, or both give the same; never a mix."""

from __future__ import annotations

import subprocess

import pytest

import tiny
from catalogue_outputs import hashes_of
from killing import CLI, finish
from outcomes import studied, trained
from studies_of import WITHOUT_A_NETWORK
from tagged_files import fill, hashes, journals, leftovers
from tsresformer.files import hold_folder

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]

BUSY = {
    "features": "another process is building this store",
    "train": "another process is training this run",
    "study": "another process is running this study",
    "evaluate": "another process is writing a report there",
    "catalogue": "another process runs this catalogue",
    "tag": "another process is tagging this library",
    "undo": "another process is tagging this library",
}
"""What each command says of a folder that another process holds."""


@pytest.fixture
def commands(tiny_run, tiny_bundle, tiny_music, tmp_path):
    """Commands by name, without the place that they write to, which comes last."""
    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store", "--resume"]
    settings = [p for text in (*tiny.SETTINGS, "train.epochs=4") for p in ("--set", text)]
    (tmp_path / "study.toml").write_text(WITHOUT_A_NETWORK)
    model = ["--model", tiny_bundle, "--workers", 1]
    return {
        "features": ["features", tiny_run / "m.csv", "--workers", 1, "-o"],
        "train": ["train", *data, *settings, "-o"],
        "study": ["study", "run", tmp_path / "study.toml", *data, "--workers", 1, "-o"],
        "evaluate": ["evaluate", tiny_bundle, tiny_run / "m.csv", "--workers", 1, "-o"],
        "catalogue": [
            *("catalogue", "run", "--input", tiny_music, "--engine", "local"),
            *("--part-tracks", 5, *model, "--output"),
        ],
        "tag": ["tag", *model, "--policy", "replace", "--min-confidence", 0],
        "undo": ["tag", "--undo"],
    }


@pytest.mark.parametrize("name", BUSY)
def test_a_folder_that_another_process_holds_is_left_alone(name, commands, tmp_path, run):
    place = held = tmp_path / "place"
    if name in ("tag", "undo"):
        held = place / ".tsresformer"
    held.mkdir(parents=True)
    if name == "undo":
        place = held / "journal-20260102T030405Z.jsonl"
        place.write_text('{"format": 1, "library": "", "field": "genre"}\n')
    before = hashes(tmp_path)
    with hold_folder(held, AssertionError()):
        code, _, err = run(*commands[name], place)
    assert (code, BUSY[name] in err) == (2, True), err
    assert hashes(tmp_path) == before
    assert [path.name for path in held.iterdir() if path != place] == [".lock"]


def together(*commands: list[object]) -> list[tuple[int, str]]:
    """Run commands at the same time; exit code and stderr of each."""
    processes = [
        subprocess.Popen(
            [*CLI, *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    errors = [process.communicate()[1] for process in processes]
    ended = [(p.returncode, err) for p, err in zip(processes, errors, strict=True)]
    assert not any("Traceback" in err or "unexpected" in err for _, err in ended), ended
    return ended


def one_won(ended: list[tuple[int, str]], busy: str) -> None:
    """Each did it, or said that another was doing it; at least one did."""
    assert 0 in [code for code, _ in ended], ended
    for code, err in ended:
        assert code == 0 or (code == 2 and busy in err), ended


def test_a_store(commands, tmp_path, torture):
    command = commands["features"]
    finish([*command, tmp_path / "alone"])
    for n in range(torture.amount(1, 5, 50)):
        both = [*command, tmp_path / f"both{n}"]
        one_won(together(both, both), BUSY["features"])
        for path in (tmp_path / "alone").iterdir():
            assert (tmp_path / f"both{n}" / path.name).read_bytes() == path.read_bytes()
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_a_library(commands, piece_path, tmp_path, torture):
    for n in range(torture.amount(1, 5, 50)):
        library = tmp_path / str(n) / "library"
        fill(library, piece_path, 18)
        old = hashes(library)
        tag = [*commands["tag"], library]
        one_won(together(tag, tag), BUSY["tag"])
        new = hashes(library)
        assert not set(old.values()) & set(new.values())
        undo = [*commands["undo"], journals(library)[0]]
        one_won(together(tag, undo), BUSY["tag"])
        assert hashes(library) in (old, new)
        assert leftovers(library) == []
        for journal in journals(library):
            finish([*commands["undo"], journal])
        assert hashes(library) == old
        torture.counts["pairs of processes"] += 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [("train", trained), ("study", studied), ("catalogue", hashes_of)],
    ids=["train", "study", "catalogue"],
)
def test_the_same_results(name, content, commands, tmp_path, torture):
    finish([*commands[name], tmp_path / "alone"])
    for n in range(torture.amount(1, 5, 50)):
        both = [*commands[name], tmp_path / f"both{n}"]
        one_won(together(both, both), BUSY[name])
        assert content(tmp_path / f"both{n}") == content(tmp_path / "alone")
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_a_report(commands, tmp_path, torture):
    """Two evaluations of different tracks into one folder."""
    from tsresformer.compare import Side

    command = [*commands["evaluate"], tmp_path / "report", "--split"]
    for _ in range(torture.amount(1, 5, 50)):
        one_won(together([*command, "test"], [*command, "training"]), BUSY["evaluate"])
        Side.read(tmp_path / "report")  # metrics and predictions belong together
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_one_bundle(tiny_run, tmp_path, torture):
    from tsresformer.bundle import Bundle

    for n in range(torture.amount(1, 5, 50)):
        command = ["export", tiny_run / "run", "-o", tmp_path / f"{n}.bundle"]
        one_won(together(command, command), "exists already")
        assert len(Bundle.load(tmp_path / f"{n}.bundle").labels) == 3
        torture.counts["pairs of processes"] += 1
