"""Kill -9 at random instants, then the same command again: as if nothing had happened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tiny
from catalogue_outputs import hashes_of
from killing import finish, kill_and_resume
from outcomes import studied, trained
from tagged_files import fill, hashes, journals, leftovers

EPOCHS = 24
"""So that a training takes longer than its start."""


def tortured(torture, what, command, tmp_path, n_kills, reference_s, check, **options):
    """Kill, resume, compare; put what was done into the counts."""
    counts = kill_and_resume(
        command,
        tmp_path,
        n_kills,
        torture.random(what),
        typical_s=reference_s,
        check=check,
        **options,
    )
    assert counts["kills"] == n_kills
    for name, n in counts.items():
        torture.counts[f"{what}: {name}"] += n


@pytest.mark.timeout(36_000)
def test_features(torture, tiny_music, tmp_path):
    music = tmp_path / "music"
    for copy in range(6):
        shutil.copytree(tiny_music, music / str(copy), copy_function=os.link)
    rows = [f"{i},{path},x" for i, path in enumerate(sorted(music.rglob("*.flac")))]
    (tmp_path / "m.csv").write_text("\n".join(["track_id,path,label", *rows]) + "\n")
    (tmp_path / "f.toml").write_text("".join(f"{k} = {v}\n" for k, v in tiny.FEATURES.items()))

    def command(place: Path) -> list[object]:
        given = ["--features", tmp_path / "f.toml", "--workers", 1]
        return ["features", tmp_path / "m.csv", *given, "-o", place]

    def content(place: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in place.iterdir() if p.name != ".lock"}

    seconds = finish(command(tmp_path / "whole"))
    whole = content(tmp_path / "whole")
    assert len(whole) == 2 * -(-len(rows) // 64) + 1

    def check(place: Path) -> None:
        assert content(place) == whole

    n_kills = torture.amount(2, 100, 100)
    tortured(torture, "kill -9 in features", command, tmp_path, n_kills, seconds, check)


@pytest.mark.torch
@pytest.mark.timeout(36_000)
def test_tag(torture, piece_path, tiny_bundle, tmp_path):
    untouched = tmp_path / "untouched" / "library"
    fill(untouched, piece_path, torture.amount(18, 90, 180))
    old = hashes(untouched)

    def command(place: Path) -> list[object]:
        if not place.exists():
            shutil.copytree(untouched, place)
        given = ["--policy", "replace", "--min-confidence", 0, "--workers", 1]
        return ["tag", place, "--model", tiny_bundle, *given]

    seconds = finish(command(tmp_path / "whole"))
    new = hashes(tmp_path / "whole")
    assert not set(old.values()) & set(new.values())

    def check(place: Path) -> None:
        assert hashes(place) == new
        for journal in journals(place):
            finish(["tag", "--undo", journal])
        assert hashes(place) == old
        assert leftovers(place) == []

    n_kills = torture.amount(2, 100, 100)
    what = "kill -9 in tag"
    tortured(torture, what, command, tmp_path, n_kills, seconds, check, begun=journals)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(36_000)
def test_train(torture, tiny_run, tmp_path):
    settings = [
        part for text in (*tiny.SETTINGS, f"train.epochs={EPOCHS}") for part in ("--set", text)
    ]

    def command(place: Path) -> list[object]:
        data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
        return ["train", *data, *settings, "--resume", "-o", place]

    seconds = finish(command(tmp_path / "whole"))
    whole = trained(tmp_path / "whole")
    assert len(whole[0]) == EPOCHS

    def check(place: Path) -> None:
        assert trained(place) == whole

    n_kills = torture.amount(1, 15, 100)
    tortured(torture, "kill -9 in train", command, tmp_path, n_kills, seconds, check)


STUDY = """title = "Two"
question = "Which?"
config = "ts_resformer"
protocols = ["artist-kfold"]
folds = [0]

[axes.model]
both = {{}}
right = {{ "model.left" = false }}

[settings]
{settings}
"""


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(36_000)
def test_study(torture, tiny_run, tmp_path):
    settings = [text.partition("=") for text in (*tiny.SETTINGS, "train.epochs=10")]
    lines = "\n".join(f'"{key}" = {value}' for key, _, value in settings if key != "seed")
    (tmp_path / "two.toml").write_text(STUDY.format(settings=lines))

    def command(place: Path) -> list[object]:
        data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
        return ["study", "run", tmp_path / "two.toml", *data, "--resume", "-o", place]

    seconds = finish(command(tmp_path / "whole"))
    whole = studied(tmp_path / "whole")
    assert [row["error"] for row in whole[1]] == ["", ""]

    def check(place: Path) -> None:
        assert studied(place) == whole

    n_kills = torture.amount(1, 15, 100)
    tortured(torture, "kill -9 in study run", command, tmp_path, n_kills, seconds, check)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(36_000)
def test_catalogue(torture, tiny_music, tiny_bundle, tmp_path):
    music = tmp_path / "music"
    for copy in range(2):
        shutil.copytree(tiny_music, music / str(copy), copy_function=os.link)

    def command(place: Path) -> list[object]:
        given = ["--engine", "local", "--workers", 1, "--part-tracks", 5, "--model", tiny_bundle]
        return ["catalogue", "run", "--input", music, "--output", place, *given]

    seconds = finish(command(tmp_path / "whole"))
    whole = hashes_of(tmp_path / "whole")
    assert len(whole) == 10

    def check(place: Path) -> None:
        assert {k: v for k, v in hashes_of(place).items() if k[0] != "."} == whole

    n_kills = torture.amount(1, 15, 100)
    tortured(torture, "kill -9 in catalogue run", command, tmp_path, n_kills, seconds, check)
