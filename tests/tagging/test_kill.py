"""Kill -9 at any instant: each file is old or new, and the journals make all of them old."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagged_files import fill, genres, hashes, journals, leftovers
from tsresformer.tagging.journal import read_journal
from tsresformer.tagging.library import Library, undo
from tsresformer.tagging.plan import Options
from tsresformer.tagging.rewrite import Manner

MOST_LINES = 40


def run(what: str, place: Path, kill_after: int | None, generator: random.Random) -> bool:
    """Run in a process of its own, killed after some files; whether it came to its end."""
    command = [sys.executable, str(Path(__file__).parent.parent / "tag_run.py"), what, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for n, _ in enumerate(process.stdout):
            if n == kill_after:
                break
        if kill_after is not None:
            time.sleep(generator.random() * 0.02)
            process.kill()
    return process.returncode == 0


def check_under_kills(tmp_path: Path, piece_path: Path, n_files: int, n_kills: int) -> None:
    library = tmp_path / "library"
    fill(library, piece_path, n_files)
    old = hashes(library)
    shutil.copytree(library, tmp_path / "reference")
    run("tag", tmp_path / "reference", None, random.Random(0))
    new = hashes(tmp_path / "reference")
    assert not set(old.values()) & set(new.values())

    generator = random.Random(5)
    kills = {"tag": 0, "undo": 0}
    in_flight = 0
    finished = 0
    while sum(kills.values()) < n_kills:
        for what, goal in (("tag", new), ("undo", old)):
            places = [library] if what == "tag" else journals(library)
            while places and sum(kills.values()) < n_kills:
                if run(what, places[0], generator.randrange(MOST_LINES), generator):
                    places.pop(0)
                    continue
                kills[what] += 1
                in_flight += len(leftovers(library))
                now = hashes(library)
                assert set(now) == set(old)
                assert all(now[name] in (old[name], new[name]) for name in now)
            if not places:
                finished += 1
                assert hashes(library) == goal
    assert run("tag", library, None, generator)
    assert hashes(library) == new
    for journal in journals(library):
        statuses = {row.status for row in undo(journal, Manner())}
        assert statuses <= {"restored", "unchanged"}
    assert hashes(library) == old
    assert leftovers(library) == []
    print(f"{kills} kills, {in_flight} of them with a copy under way, {finished} passes finished")


def test_a_few_kills(tmp_path, piece_path):
    check_under_kills(tmp_path, piece_path, 36, 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_over_two_thousand_files(tmp_path, piece_path):
    check_under_kills(tmp_path, piece_path, 2000, 200)


def test_the_command_itself_is_killed(tmp_path, piece_path):
    library = tmp_path / "library"
    fill(library, piece_path, 27)
    old = hashes(library)
    command = [sys.executable, "-m", "tsresformer.cli", "tag", str(library), "--policy", "replace"]
    command += ["--min-confidence", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not (written := journals(library)) or len(list(read_journal(written[0]))) < 3:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        process.kill()
    n_changed = sum(old[name] != now for name, now in hashes(library).items())
    assert 2 <= n_changed < 27
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert all(old[name] != now for name, now in hashes(library).items())
    for journal in journals(library):
        undoing = [sys.executable, "-m", "tsresformer.cli", "tag", "--undo", str(journal)]
        assert subprocess.run(undoing, capture_output=True).returncode == 0
    assert hashes(library) == old


def test_a_kill_between_journal_and_rename_loses_nothing(tmp_path, piece_path, monkeypatch):
    """The journal then tells of a change that was never made."""
    library = tmp_path / "library"
    fill(library, piece_path, 2)
    old = hashes(library)
    replaced = os.replace
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    from tagged_files import StubClassifier

    with pytest.raises(KeyboardInterrupt), Library(library, Options(policy="replace")) as held:
        list(held.tag(StubClassifier()))
    monkeypatch.setattr(os, "replace", replaced)
    assert hashes(library) == old
    (journal,) = journals(library)
    assert [row.status for row in undo(journal, Manner())] == ["unchanged"]
    with Library(library, Options(policy="replace")) as held:
        assert {row.status for row in held.tag(StubClassifier())} == {"written"}
    assert {genres(library / name) for name in old} == {("Rock",)}
