"""Decoded lengths beside those of the program ffmpeg, within one frame of the format."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hostile
from audio_files import PYAV_CODECS, SOUNDFILE_SUBTYPES, tone, write
from tsresformer.audio import load, probe
from tsresformer.errors import TooLongError
from tsresformer.workers import stream

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")

FRAME = {"mp3": 1152, "m4a": 1024, "aac": 1024, "opus": 960, "webm": 960, "ogg": 1024, "wma": 2048}
LONGEST_FRAME = 2048


def encoded(path: Path, *options: str, seconds: float = 3.3) -> Path:
    """A tone, encoded by ffmpeg."""
    source = f"sine=frequency=440:sample_rate=44100:duration={seconds}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *options, str(path)]
    subprocess.run(command, check=True)
    return path


def ffmpeg_samples(path: Path, *options: str) -> int:
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), *options, "-ac", "1", "-f", "s16le", "-"]
    return len(subprocess.run(command, capture_output=True).stdout) // 2


def make(folder: Path) -> dict[str, tuple[Path, int]]:
    """Files by name, with the samples of one frame."""
    files = {}
    for kind in (*SOUNDFILE_SUBTYPES, *PYAV_CODECS):
        path = write(folder / f"tone.{kind}", tone(3.3), kind=kind)
        files[kind] = path, FRAME.get(kind, 1)
    vbr = ["-c:a", "libmp3lame", "-q:a", "4"]
    bare = ["-write_xing", "0", "-id3v2_version", "0"]
    files["vbr mp3"] = encoded(folder / "vbr.mp3", *vbr), 1152
    files["vbr mp3 without a header"] = encoded(folder / "bare.mp3", *vbr, *bare), 1152
    files["gapless mp3"] = encoded(folder / "gapless.mp3", *vbr, seconds=1.0001), 1152
    files["gapless m4a"] = encoded(folder / "gapless.m4a", "-c:a", "aac", seconds=1.0001), 1024
    garbage = folder / "garbage.mp3"
    junk = np.random.default_rng(0).integers(0, 200, 3000, dtype=np.uint8).tobytes()
    garbage.write_bytes(junk + (folder / "bare.mp3").read_bytes())
    files["garbage before the first frame"] = garbage, 1152
    one = encoded(folder / "one.ogg", "-c:a", "libvorbis", "-serial_offset", "7")
    two = encoded(folder / "two.ogg", "-c:a", "libvorbis", "-serial_offset", "9", seconds=2.0)
    (folder / "chain.ogg").write_bytes(one.read_bytes() + two.read_bytes())
    files["chained ogg"] = folder / "chain.ogg", 1024
    return files


def test_lengths_agree_with_ffmpeg(tmp_path, torture):
    differences = {}
    for name, (path, frame) in make(tmp_path).items():
        found, expected = len(load(path)), ffmpeg_samples(path)
        assert expected > probe(path).sample_rate * 0.9
        if abs(found - expected) > frame:
            differences[name] = found, expected
        torture.counts["lengths compared with ffmpeg"] += 1
    assert differences == {}


@pytest.mark.skipif(not os.environ.get("TORTURE_AUDIO"), reason="TORTURE_AUDIO names no folder")
@pytest.mark.timeout(36_000)
def test_lengths_of_yours(torture):
    """All files below the folder that TORTURE_AUDIO names, where ffmpeg decodes them too.

    A `manifest.csv` there (name, expect, ref_seconds) says which file must_decode, which
    must_reject, and what length other decoders found; ffmpeg is asked where that is not ours.
    """
    home = Path(os.environ["TORTURE_AUDIO"])
    listed = {}
    if (home / "manifest.csv").is_file():
        with open(home / "manifest.csv", newline="") as file:
            listed = {str(home / row["name"]): row for row in csv.DictReader(file)}
    paths = [str(path) for path in sorted(home.rglob("*")) if path.is_file()]
    differences = {}
    for event in stream(hostile.length, paths, n_workers=2, limits=hostile.LIMITS):
        row = listed.get(event.item, {})
        expect = row.get("expect", "")
        if event.kind == "error" and expect == "must_decode":
            if not isinstance(event.value, TooLongError):
                differences[event.item] = str(event.value)
        elif event.kind == "chunk":
            n_samples, seconds = event.value
            rate = round(n_samples / seconds)
            wanted = round(float(row.get("ref_seconds") or 0) * rate)
            if not wanted or abs(n_samples - wanted) > LONGEST_FRAME:
                wanted = ffmpeg_samples(Path(event.item), "-ar", str(rate))
            far = wanted and abs(n_samples - wanted) > LONGEST_FRAME
            if expect == "must_reject" or (far and expect in ("", "must_decode")):
                differences[event.item] = n_samples, wanted
            torture.counts["lengths of files of TORTURE_AUDIO compared"] += bool(wanted)
    assert differences == {}
