"""A data set with every fault at once: each is found, and none stops anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny
from miniature import music
from tsresformer.manifest import Manifest, Track

RATE = 22050
SECONDS = 4.0


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def make(folder: Path) -> dict[str, Path]:
    """Files by what they are an example of."""

    def tune(i: int, rate: int = RATE) -> np.ndarray:
        wave = music(i, SECONDS)
        return np.interp(np.arange(0, len(wave), RATE / rate), np.arange(len(wave)), wave)

    nan = tune(3).astype(np.float32)
    nan[1000:1010] = np.nan
    files = {
        "missing": folder / "missing.wav",
        "empty": folder / "empty.wav",
        "truncated": write(folder / "truncated.flac", tune(2)),
        "nan": write(folder / "nan.wav", nan, subtype="FLOAT"),
        "dc": write(folder / "dc.wav", 0.2 * tune(4) + 0.3),
        "silent": write(folder / "silent.wav", np.zeros(int(SECONDS * RATE))),
        "clipped": write(folder / "clipped.wav", np.clip(40 * tune(5), -1, 1)),
        "wrong suffix": write(folder / "wrong.mp3", tune(6), format="FLAC"),
        "copy": write(folder / "copy.wav", tune(7), subtype="PCM_16"),
        "original": write(folder / "original.flac", tune(7), subtype="PCM_16"),
        "blank": write(folder / "blank.wav", tune(8)),
        "mono": write(folder / "mono.wav", tune(9)),
        "stereo": write(folder / "stereo.wav", np.stack([tune(10)] * 2, axis=1)),
        "8 channels": write(folder / "eight.wav", np.stack([tune(11)] * 8, axis=1)),
        "8 kHz": write(folder / "slow.wav", tune(12, 8000), 8000),
        "192 kHz": write(folder / "fast.wav", tune(13, 192_000), 192_000),
    }
    files["empty"].touch()
    content = files["truncated"].read_bytes()
    files["truncated"].write_bytes(content[: len(content) // 2])
    return files


FOUND = {
    "missing": ("missing", "no such file"),
    "empty": ("undecodable", "empty"),
    "truncated": ("damage", "cut short: "),
    "nan": ("damage", "samples that were no numbers: 10"),
    "dc": ("oddity", "has an offset of +0.30 of full scale"),
    "silent": ("silent", "nothing is louder than -60 dBFS"),
    "clipped": ("oddity", "of the samples are at full scale"),
    "wrong suffix": ("oddity", "is named .mp3, and is flac"),
    "original": ("duplicate", "the same audio as copy"),
    "blank": ("label", "'Rock ' (1 track)"),
}


@pytest.mark.torch
def test_every_fault_is_found_and_none_stops_a_run(tmp_path, run, torture):
    files = make(tmp_path)
    rows = [
        Track(
            track_id=name,
            path=str(path),
            label="Rock " if name == "blank" else ("Rock", "Folk")[i % 2],
            split="training",
            group=name,
        )
        for i, (name, path) in enumerate(files.items())
    ]
    Manifest(tuple(rows)).write(tmp_path / "m.csv")
    code, out, err = run(
        "data", "check", tmp_path / "m.csv", "-o", tmp_path / "c.csv", "--json", "-"
    )
    assert (code, err) == (1, "")
    findings = json.loads(out)["findings"]
    for name, (kind, message) in FOUND.items():
        told = [f["message"] for f in findings if f["kind"] == kind and name in f["tracks"]]
        assert any(message in text for text in told), (name, told)
    named = {name for f in findings for name in f["tracks"] if f["kind"] != "label"}
    assert named == {*FOUND, "copy"} - {"blank"}
    torture.counts["faults of data sets found"] += len(FOUND)

    (tmp_path / "f.toml").write_text("".join(f"{k} = {v}\n" for k, v in tiny.FEATURES.items()))
    given = ["--features", tmp_path / "f.toml", "-o", tmp_path / "store", "--workers", 1]
    for manifest, n_used in (("m.csv", 13), ("c.csv", 12)):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        code, out, err = run("features", tmp_path / manifest, *given)
        assert (code, f"log-mels of {n_used} tracks" in out) == (1, True), (out, err)
    settings = [part for text in (*tiny.SETTINGS, "train.epochs=1") for part in ("--set", text)]
    data = ["--manifest", tmp_path / "c.csv", "--store", tmp_path / "store"]
    code, out, err = run("train", *data, *settings, "-o", tmp_path / "run")
    assert code == 0, err
    left_out = (tmp_path / "run" / "left_out.csv").read_text()
    assert all(f"\n{name}," in left_out for name in ("missing", "empty", "silent", "original"))
