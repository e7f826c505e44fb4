"""Ctrl-C, and Ctrl-C again while the first is being answered."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

import tiny
from killing import CLI, finish

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]


def interrupted(arguments: list[object], first_s: float, second_s: float) -> tuple[int, str]:
    """Press Ctrl-C after `first_s`, and again `second_s` later; exit code and stderr."""
    process = subprocess.Popen(
        [*CLI, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    for pause_s in (first_s, second_s):
        try:
            process.wait(pause_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.fixture
def commands(tiny_run, tiny_bundle, tiny_music, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    sources = sorted(tiny_music.rglob("*.flac"))
    for i in range(3000):  # more than any machine classifies before it is interrupted
        os.link(sources[i % len(sources)], album / f"{i}.flac")
    settings = [part for text in (*tiny.SETTINGS, "train.epochs=500") for part in ("--set", text)]
    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
    return {
        "predict": ["predict", album, "--model", tiny_bundle, "--json", tmp_path / "out.json"],
        "train": ["train", *data, *settings, "--resume", "-o", tmp_path / "run"],
        "catalogue": [
            *("catalogue", "run", "--input", album, "--output", tmp_path / "out"),
            *("--model", tiny_bundle, "--engine", "local"),
        ],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "train", "catalogue"])
def test_ctrl_c_twice(name, commands, torture):
    generator = torture.random(f"interrupts {name}")
    arguments = commands[name]
    for _ in range(torture.amount(1, 10, 100)):
        first_s = generator.uniform(2.0, 12.0)  # while Python starts, nobody is there to answer
        code, err = interrupted(arguments, first_s, generator.uniform(0, 0.3))
        assert code == 130, (code, err)
        assert "Traceback" not in err
        torture.counts["Ctrl-C twice"] += 1


def test_nothing_is_lost_by_it(tiny_run, tmp_path, torture):
    command = ["features", tiny_run / "m.csv", "--workers", 1, "-o", tmp_path / "store"]
    for first_s in (1.5, 2.5):
        code, err = interrupted(command, first_s, 0.05)
        assert code in (0, 130, -signal.SIGINT), err
        torture.counts["Ctrl-C twice"] += 1
    finish(command)
