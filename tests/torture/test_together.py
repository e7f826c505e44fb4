"""Two processes at the same work: one wins, or both give the same; never a mix."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from catalogue_outputs import hashes_of
from killing import CLI, finish
from tagged_files import fill, hashes, journals

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]


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


def test_a_store(tiny_run, tmp_path, torture):
    def command(place: Path) -> list[object]:
        return ["features", tiny_run / "m.csv", "--workers", 1, "-o", place]

    finish(command(tmp_path / "alone"))
    for n in range(torture.amount(1, 5, 50)):
        out = tmp_path / f"both{n}"
        one_won(together(command(out), command(out)), "another process is building this store")
        for path in (tmp_path / "alone").iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_a_library(piece_path, tiny_bundle, tmp_path, torture):
    for n in range(torture.amount(1, 5, 50)):
        library = tmp_path / str(n) / "library"
        fill(library, piece_path, 18)
        old = hashes(library)
        command = ["tag", library, "--model", tiny_bundle, "--workers", 1]
        command += ["--policy", "replace", "--min-confidence", 0]
        one_won(together(command, command), "another process is tagging this library")
        new = hashes(library)
        assert not set(old.values()) & set(new.values())
        for journal in journals(library):
            finish(["tag", "--undo", journal])
        assert hashes(library) == old
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_a_catalogue(tiny_music, tiny_bundle, tmp_path, torture):
    def command(place: Path) -> list[object]:
        given = ["--engine", "local", "--workers", 1, "--part-tracks", 5, "--model", tiny_bundle]
        return ["catalogue", "run", "--input", tiny_music, "--output", place, *given]

    finish(command(tmp_path / "alone"))
    for n in range(torture.amount(1, 5, 50)):
        out = tmp_path / f"both{n}"
        one_won(together(command(out), command(out)), "another process runs this catalogue")
        assert hashes_of(out) == hashes_of(tmp_path / "alone")
        torture.counts["pairs of processes"] += 1


@pytest.mark.slow
def test_a_report(tiny_run, tiny_bundle, tmp_path, torture):
    """Two evaluations of different tracks into one folder."""
    from tsresformer.compare import Side

    def command(split: str) -> list[object]:
        given = ["--split", split, "--workers", 1, "-o", tmp_path / "report"]
        return ["evaluate", tiny_bundle, tiny_run / "m.csv", *given]

    for _ in range(torture.amount(1, 5, 50)):
        ended = together(command("test"), command("training"))
        one_won(ended, "another process is writing a report there")
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
