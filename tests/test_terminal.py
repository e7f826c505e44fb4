"""What a real terminal is given: no command of a name, a tag, a label or a card."""

import json
import os
import pty
import shutil
import subprocess
import sys

import mutagen
import pytest

from audio_files import tone, write
from tsresformer.bundle import CARD, RECORD
from tsresformer.files import sha256_file, write_sealed
from tsresformer.manifest import Manifest, Track

ORDERS = ("\x1b]0;title\x07", "\x1b[41m", "\x9b2J", "\x7f", "\r", "\u202e")
EVIL = "a" + "".join(ORDERS)


def on_a_terminal(*arguments):
    """Run a command whose outputs are a pseudo-terminal: exit code, and what that was given."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tsresformer.cli", *map(str, arguments)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        given = b""
        try:
            while chunk := os.read(ours, 65536):
                given += chunk
        except OSError:  # Linux's way to say that the other side is closed
            pass
    os.close(ours)
    return process.returncode, given.decode().replace("\r\n", "\n")


def assert_harmless(text):
    assert "]0;title\\" in text
    assert not [order for order in ORDERS if order != "\r" and order in text]
    assert "\ra" not in text


@pytest.fixture
def music(tmp_path):
    """A song whose folder and genre tag are hostile."""
    song = tmp_path / "music" / EVIL / "album" / "song.flac"
    song.parent.mkdir(parents=True)
    write(song, tone(1.2))
    tags = mutagen.File(song)
    tags["GENRE"] = EVIL
    tags.save()
    return tmp_path / "music"


@pytest.fixture
def evil_bundle(tiny_bundle, tmp_path):
    """A bundle of hostile labels and card."""
    bundle = tmp_path / "evil.bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / CARD).write_text(f"# Card\n\n{EVIL}\n", "utf-8")
    record = json.loads((bundle / RECORD).read_text("utf-8"))
    record["labels"] = [f"{EVIL}{i}" for i in range(len(record["labels"]))]
    record["files"][CARD] = sha256_file(bundle / CARD)
    write_sealed(bundle / RECORD, record)
    return bundle


@pytest.mark.parametrize("label_from", ["folder", "tag"])
def test_labels_of_a_folder_and_of_tags(music, tmp_path, label_from):
    manifest = tmp_path / "m.csv"
    code, text = on_a_terminal(
        "data", "import", "folder", music, "--label-from", label_from, "-o", manifest
    )
    assert code == 0, text
    assert_harmless(text)
    code, text = on_a_terminal("info", manifest)
    assert code == 0, text
    assert_harmless(text)


@pytest.mark.torch
def test_labels_and_card_of_a_bundle(music, evil_bundle):
    code, text = on_a_terminal("info", evil_bundle)
    assert code == 0, text
    assert_harmless(text)
    assert text.startswith(f"bundle {evil_bundle}\n\n# Card\n\n")
    song = next(music.rglob("*.flac"))
    for options in (["--timeline"], ["--json", "-"], ["--csv", "-"]):
        code, text = on_a_terminal("predict", song, "--model", evil_bundle, *options)
        assert code == 0, text
        assert_harmless(text)


def test_errors(tmp_path):
    track = Track(track_id=EVIL, path="/a", label="x")
    Manifest((track,)).write(tmp_path / "m.csv")
    with open(tmp_path / "m.csv", newline="", encoding="utf-8") as file:
        header, row = file.read().split("\n", 1)
    (tmp_path / "m.csv").write_text(f"{header}\n{row}{row}", "utf-8", newline="")
    code, text = on_a_terminal("info", tmp_path / "m.csv")
    assert code == 2 and "more than once" in text
    assert_harmless(text)
    code, text = on_a_terminal("info", "--" + EVIL)
    assert code == 2 and "No such option" in text
    assert_harmless(text)
