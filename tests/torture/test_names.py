"""Names that mean something to a shell, a terminal, a spreadsheet or a decoder; and no files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from pathlib import Path

import pytest

from audio_files import tone, write
from tsresformer.manifest import Manifest

NAMES = (
    *("=1+1.wav", "+1+1.wav", "-1+1.wav", "@SUM(A1).wav", "\t=1.wav", "=cmd|' C'!A0.wav"),
    *("new\nline.wav", "carriage\rreturn.wav", "-rf.wav", "--help.wav", " blank .wav"),
    *("$(touch pwned).wav", "a;b|c&d.wav", "*?[x].wav", "%s%n%x.wav", 'a,b,"c".wav', "{0}.wav"),
    *("http:x.wav", "file:x.wav", "concat:a.wav|b.wav", "pipe:0.wav", "a%03d.wav", "noext"),
    *("x" * 250 + ".wav", "\u202egpj.wav", "<img src=x>.wav"),
)
BYTES = (b"latin1-\xe9.wav", b"bad\xff\xfe.wav", b"esc\x1b[31mred.wav", b"\xed\xa0\x80.wav")


@pytest.fixture
def folder(tmp_path):
    """Copies of one tone under odd names, and what only looks like a file."""
    place = tmp_path / "music"
    (place / "deep" / "er").mkdir(parents=True)
    source = write(tmp_path / "tone.wav", tone(1.2))
    content = source.read_bytes()
    for name in (*map(os.fsencode, NAMES), *BYTES):
        (Path(os.fsdecode(os.fsencode(place) + b"/" + name))).write_bytes(content)
    for link, target in {
        "loop_a.wav": "loop_b.wav",
        "loop_b.wav": "loop_a.wav",
        "dangling.wav": "nowhere.wav",
        "zero.wav": "/dev/zero",
        "null.wav": "/dev/null",
        "around": ".",
    }.items():
        (place / link).symlink_to(target)
    os.mkfifo(place / "fifo.wav")
    (place / "folder.wav").mkdir()
    with open(place / "sparse.flac", "wb") as file, contextlib.suppress(OSError):
        file.truncate(64 * 2**30)
    return place


@pytest.mark.torch
def test_a_folder_of_odd_names(folder, tiny_bundle, tmp_path, run, torture, monkeypatch):
    monkeypatch.chdir(folder)  # so that paths begin as the names do
    outputs = ["--csv", tmp_path / "out.csv", "--json", tmp_path / "out.json"]
    code, out, _ = run("predict", ".", "--model", tiny_bundle, "--workers", "1", *outputs)
    assert code == 1
    assert not set(out) & set(map(chr, (*range(10), *range(11, 32), 127, 0x202E)))
    tracks = json.loads((tmp_path / "out.json").read_text())["tracks"]
    bad = [(row["path"], row["status"]) for row in tracks if row["status"] != "ok"]
    assert bad == [("sparse.flac", "undecodable")]
    assert len(tracks) == len(NAMES) + len(BYTES) + 1
    assert not (folder / "pwned").exists()
    code, _, _ = run("predict", "--model", tiny_bundle, *outputs, "--", *NAMES)
    assert code == 0
    with open(tmp_path / "out.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(NAMES)
    assert not [row["path"] for row in table if row["path"][0] in "=+-@\t\r\n"]
    assert {"'=1+1.wav", "'-rf.wav", "new\nline.wav"} <= {row["path"] for row in table}
    torture.counts["odd names and things that are no files"] += len(tracks) + 8


@pytest.mark.torch
def test_a_manifest_of_odd_names(folder, run):
    code, _, err = run("data", "import", "folder", folder, "-o", folder / "m.csv")
    assert "unexpected" not in err and code in (0, 1)
    with open(folder / "m.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        cells = [cell for line in csv.reader(file) for cell in line if cell]
    assert {"'=1+1.wav", "'-rf.wav"} <= set(cells)
    names = {Path(track.path).name for track in Manifest.read(folder / "m.csv").tracks}
    assert names >= {*NAMES, *map(os.fsdecode, BYTES)}
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r\n"]
