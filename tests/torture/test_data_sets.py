"""A data set with every fault at once: each is found, and none stops anything."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audio_files
import tiny
from miniature import music
from tsresformer.manifest import Manifest

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

    clipped = np.clip(40 * tune(15, 44100), -1, 1)
    one_side = np.stack([0.3 * clipped, clipped], axis=1)
    nan = tune(3).astype(np.float32)
    nan[1000:1010] = np.nan
    files = {
        "missing": write(folder / "missing.wav", tune(1)),
        "empty": folder / "empty.wav",
        "truncated": write(folder / "truncated.flac", tune(2)),
        "without its end": audio_files.write(folder / "half.m4a", audio_files.tone(SECONDS)),
        "only a start": write(folder / "start.ogg", tune(14)),
        "words": folder / "words.mp3",
        "nan": write(folder / "nan.wav", nan, subtype="FLOAT"),
        "dc": write(folder / "dc.wav", 0.2 * tune(4) + 0.3),
        "silent": write(folder / "silent.wav", np.zeros(int(SECONDS * RATE))),
        "clipped": write(folder / "clipped.wav", np.clip(40 * tune(5), -1, 1)),
        "half clipped": write(folder / "side.wav", one_side, 44100),
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
    files["words"].write_text("no music\n" * 200)
    for name, part in (("truncated", 0.5), ("without its end", 0.5), ("only a start", 0.01)):
        content = files[name].read_bytes()
        files[name].write_bytes(content[: int(part * len(content))])
    return files


FOUND = {
    "missing": ("missing", "no such file"),
    "empty": ("undecodable", "empty"),
    "truncated": ("damage", "cut short: "),
    "without its end": ("undecodable", "its header cannot be read"),
    "only a start": ("undecodable", "its header cannot be read"),
    "words": ("undecodable", "this is no audio: it looks like text"),
    "nan": ("damage", "samples that were no numbers: 10"),
    "dc": ("oddity", "has an offset of +0.30 of full scale"),
    "silent": ("silent", "nothing is louder than -60 dBFS"),
    "clipped": ("oddity", "of the samples are at full scale"),
    "half clipped": ("oddity", "of the samples are at full scale in channel 2"),
    "wrong suffix": ("oddity", "is named .mp3, and is flac"),
    "copy": ("duplicate", "the same audio as original"),
    "blank": ("label", "'Rock ' (1 track)"),
}


@pytest.mark.torch
def test_every_fault_is_found_and_none_stops_a_run(tmp_path, run, torture):
    for i, (name, path) in enumerate(make(tmp_path).items()):
        genre = "Rock " if name == "blank" else ("Rock", "Folk")[i % 2]
        album = tmp_path / "music" / genre / name
        album.mkdir(parents=True)
        path.rename(album / path.name)
    for other in ("cover.jpg", "list.m3u", "about.nfo", "._mono.wav"):
        (album / other).write_bytes(b"\xff\xd8\xff" * 99)
    code, out, err = run("data", "import", "folder", tmp_path / "music", "-o", tmp_path / "m.csv")
    assert (code, "no audio, so left out: 3 files" in err) == (1, True), err
    rows = [
        dataclasses.replace(track, track_id=track.track_id.split("/")[1], split="training")
        for track in Manifest.read(tmp_path / "m.csv").tracks
    ]
    broken = {"empty", "without its end", "only a start", "words"}
    assert {track.track_id for track in rows if not track.usable} == broken
    Manifest(tuple(rows)).write(tmp_path / "m.csv")
    next(tmp_path.rglob("missing.wav")).unlink()
    code, out, err = run(
        "data", "check", tmp_path / "m.csv", "-o", tmp_path / "c.csv", "--json", "-"
    )
    assert (code, err) == (1, "")
    findings = json.loads(out)["findings"]
    for name, (kind, message) in FOUND.items():
        told = [f["message"] for f in findings if f["kind"] == kind and name in f["tracks"]]
        assert any(message in text for text in told), (name, told)
    named = {name for f in findings for name in f["tracks"] if f["kind"] != "label"}
    assert named == {*FOUND, "original"} - {"blank"}
    torture.counts["faults of data sets found"] += len(FOUND)

    (tmp_path / "f.toml").write_text("".join(f"{k} = {v}\n" for k, v in tiny.FEATURES.items()))
    given = ["--features", tmp_path / "f.toml", "-o", tmp_path / "store", "--workers", 1]
    for manifest, n_used in (("m.csv", 14), ("c.csv", 13)):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        code, out, err = run("features", tmp_path / manifest, *given)
        assert (code, f"log-mels of {n_used} tracks" in out) == (1, True), (out, err)
    settings = [part for text in (*tiny.SETTINGS, "train.epochs=1") for part in ("--set", text)]
    data = ["--manifest", tmp_path / "c.csv", "--store", tmp_path / "store"]
    code, out, err = run("train", *data, *settings, "-o", tmp_path / "run")
    assert code == 0, err
    left_out = (tmp_path / "run" / "left_out.csv").read_text()
    assert all(f"\n{name}," in left_out for name in ("missing", "empty", "silent", "copy"))
