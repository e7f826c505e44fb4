"""Ctrl-C, and Ctrl-C again while the first is being answered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import tiny
from killing import CLI, finish
from processes import descendants, wait_for
from studies_of import TINY, toml

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]


def interrupted(
    arguments: list[object], place: Path, first_s: float, second_s: float
) -> tuple[int, str]:
    """Press Ctrl-C, and again `second_s` later; exit code and stderr.

    The first comes `first_s` after the command has begun: it has a child, or has made `place`.
    """
    process = subprocess.Popen(
        [*CLI, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    wait_for(lambda: descendants(process.pid) or place.exists() or process.poll() is not None)
    for pause_s in (first_s, second_s):
        try:
            process.wait(pause_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.fixture
def place(tmp_path):
    """Where a training or a study is written."""
    return tmp_path / "run"


@pytest.fixture
def commands(tiny_run, tiny_bundle, tiny_music, place, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    sources = sorted(tiny_music.rglob("*.flac"))
    for i in range(3000):  # more than any machine classifies before it is interrupted
        os.link(sources[i % len(sources)], album / f"{i}.flac")
    tracks = "".join(f"t{i},album/{i}.flac,waltz,test,artist {i}\n" for i in range(3000))
    manifest = tmp_path / "album.csv"
    manifest.write_text(f"track_id,path,label,split,group\n{tracks}")
    (tmp_path / "study.toml").write_text(
        'title = "Long"\nquestion = "When?"\nconfig = "ts_resformer"\n'
        f"[settings]\n{toml({**TINY, 'train.epochs': 500})}\n"
    )
    settings = [part for text in (*tiny.SETTINGS, "train.epochs=500") for part in ("--set", text)]
    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
    return {
        "predict": ["predict", album, "--model", tiny_bundle, "--json", tmp_path / "out.json"],
        "train": ["train", *data, *settings, "--resume", "-o", place],
        "catalogue": [
            *("catalogue", "run", "--input", album, "--output", tmp_path / "out"),
            *("--model", tiny_bundle, "--engine", "local"),
        ],
        "tag": [
            *("tag", album, "--model", tiny_bundle, "--break-links"),
            *("--policy", "replace", "--min-confidence", 0),
        ],
        "study": ["study", "run", tmp_path / "study.toml", *data, "--resume", "-o", place],
        "evaluate": ["evaluate", tiny_bundle, manifest, "-o", tmp_path / "report"],
        "check": ["data", "check", manifest, "-o", tmp_path / "checked.csv"],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["predict", "train", "catalogue", "tag", "study", "evaluate", "check"]
)
def test_ctrl_c_twice(name, commands, place, tmp_path, torture):
    generator = torture.random(f"interrupts {name}")
    arguments = commands[name]
    for _ in range(torture.amount(1, 10, 100)):
        for written in (place, tmp_path / "out", tmp_path / "album" / ".tsresformer"):
            shutil.rmtree(written, ignore_errors=True)
        pauses = generator.uniform(0.0, 4.0), generator.uniform(0, 0.3)
        code, err = interrupted(arguments, place, *pauses)
        assert code == 130, (code, err)
        assert "Traceback" not in err
        torture.counts["Ctrl-C twice"] += 1


def test_nothing_is_lost_by_it(tiny_run, tmp_path, torture):
    command = ["features", tiny_run / "m.csv", "--workers", 1, "-o", tmp_path / "store"]
    for first_s in (0.0, 0.5):
        code, err = interrupted(command, tmp_path / "none", first_s, 0.05)
        assert code in (0, 130) and "Traceback" not in err, err
        torture.counts["Ctrl-C twice"] += 1
    finish(command)
