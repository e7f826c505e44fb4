"""`tsresformer tag` and `watch` as users meet them."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tagged_files import copied, genres, hashes, make, piece
from tsresformer.classifier import Classifier
from tsresformer.errors import TsResformerError
from tsresformer.tagging.journal import read_journal

pytestmark = pytest.mark.torch

N_TUNES = 150
COMMAND = [sys.executable, "-m", "tsresformer.cli"]


@pytest.fixture
def music(tmp_path, tiny_music):
    """Four tracks that are classified for certain by the tiny bundle, one of them with a genre."""
    music = tmp_path / "music"
    for style in ("ambient", "chiptune", "waltz"):
        source = min((tiny_music / style).rglob("*.flac"))
        copied(source, music, f"{style}.flac")
    return music


@pytest.fixture
def options(tiny_bundle):
    return ("--model", tiny_bundle, "--workers", 1, "--min-confidence", 0, "--policy", "replace")


def test_dry_run_then_tag_then_undo(run, music, options):
    before = hashes(music)
    code, out, err = run("tag", music, *options, "--dry-run", "--field", "model")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["file", "genre", "now", "proposed", "confidence", "becomes"]
    assert [line.split()[0] for line in lines[1:4]] == [
        "ambient.flac",
        "chiptune.flac",
        "waltz.flac",
    ]
    assert all(line.endswith("to write") for line in lines[1:4])
    assert lines[4:] == ["to write 3"]
    assert hashes(music) == before

    code, out, _ = run("tag", music, *options, "--field", "model")
    assert (code, out.splitlines()[4]) == (0, "written 3")
    undoing = out.splitlines()[5].removeprefix("to undo: tsresformer ")
    assert genres(music / "waltz.flac", "model") != ()
    assert hashes(music) != before
    code, out, _ = run("tag", music, *options, "--field", "model")
    assert (code, out) == (0, "kept 3\n")

    code, out, _ = run(*undoing.split())
    assert (code, out.splitlines()[-1]) == (0, "restored 3")
    assert hashes(music) == before
    assert run(*undoing.split())[1] == "unchanged 3\n"


def test_json_playlists_and_a_map(run, music, options, tmp_path, tiny_bundle):
    labels = ("ambient", "chiptune", "waltz")
    genre_map = tmp_path / "genres.toml"
    genre_map.write_text("[genres]\n" + "".join(f'{x} = ["My {x}", "All"]\n' for x in labels))
    (music / "notes.txt").write_text("no audio\n" * 100)
    code, out, err = run(
        "tag", music, *options, "--map", genre_map, "--playlists", tmp_path / "lists", "--json", "-"
    )
    assert code == 0
    assert err == f"1 files in {music} are no audio\n"
    told = json.loads(out)
    assert {key: told[key] for key in ("schema", "model", "dry_run")} == {
        "schema": 1,
        "model": "tiny",
        "dry_run": False,
    }
    assert os.path.dirname(told["journal"]) == str(music / ".tsresformer")
    files = {os.path.basename(row["path"]): row for row in told["files"]}
    for name, row in files.items():
        assert (row["status"], row["error"]) == ("written", None)
        assert row["after"] == row["proposed"] == list(genres(music / name))
        assert row["after"][1] == "All"
    playlist = (tmp_path / "lists" / "All.m3u8").read_text().splitlines()
    assert playlist[2:] == sorted(f"../music/{name}" for name in files)
    mine = next(iter(files.values()))["after"][0]
    assert (tmp_path / "lists" / f"{mine}.m3u8").exists()


def test_what_cannot_be_used_is_told_and_the_rest_is_tagged(run, music, options):
    os.chmod(music / "waltz.flac", 0o444)
    os.mkfifo(music / "pipe.mp3")
    (music / "broken.flac").write_bytes((music / "ambient.flac").read_bytes()[:5000])
    (music / "empty.mp3").touch()
    code, out, err = run("tag", music, *options, "--field", "model")
    assert code == 1
    assert f"{music}/waltz.flac: it is read-only; make it writable" in err
    assert f"{music}/pipe.mp3: it is no regular file" in err
    assert f"{music}/empty.mp3: it is empty; copy or download it again" in err
    assert "written 2" in out


def full(path, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize(("option", "writer"), [("--playlists", "playlists"), ("--json", "json")])
def test_a_disk_that_is_full_at_the_end_hides_no_journal(
    run, music, options, tmp_path, monkeypatch, option, writer
):
    before, place = hashes(music), tmp_path / "full"
    target = {
        "playlists": "tsresformer.tagging.playlists.write_playlists",
        "json": "tsresformer.commands.tag.write_text",
    }
    monkeypatch.setattr(target[writer], full)
    code, out, err = run("tag", music, *options, "--field", "model", option, place)
    assert code == 2
    assert err == f"error: {place}: No space left on device; make room and run again\n"
    assert out.splitlines()[4] == "written 3"
    undoing = out.splitlines()[5].removeprefix("to undo: tsresformer ")
    assert run(*undoing.split())[0] == 0
    assert hashes(music) == before


def test_what_ends_a_run_midway_hides_no_journal(run, music, options, monkeypatch):
    predict_many = Classifier.predict_many

    def breaks_off(self, paths, *, n_workers=1):
        yield next(predict_many(self, paths, n_workers=n_workers))
        raise TsResformerError("the decoders do not start; look why")

    monkeypatch.setattr(Classifier, "predict_many", breaks_off)
    code, out, err = run("tag", music, *options, "--field", "model")
    assert (code, err) == (2, "error: the decoders do not start; look why\n")
    assert out.splitlines()[2] == "written 1"
    assert "to undo: tsresformer tag --undo" in out

    monkeypatch.setattr(Classifier, "predict_many", full)
    shutil.rmtree(music / ".tsresformer")
    code, out, _ = run("tag", music, *options, "--field", "other")
    assert (code, out) == (2, "")


def test_odd_names_are_shown_on_one_line(run, music, options):
    odd = os.fsencode(music) + b"/new\nline \xff.flac"
    os.rename(music / "waltz.flac", odd)
    code, out, _ = run("tag", music, *options, "--json", "-", "--field", "model")
    assert code == 0
    assert os.fsencode(json.loads(out)["files"][2]["path"]) == odd
    _, out, _ = run("tag", music, *options, "--field", "other")
    assert "new\\nline \\xff.flac" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the folder of your music, or a journal"),
        (("a", "--undo", "b"), "name the folder of your music, or a journal"),
        (("nowhere",), "nowhere: no such folder"),
        ((".", "--field", "artist"), "--field artist: name genre"),
        ((".", "--map", "nowhere.toml"), "nowhere.toml: No such file"),
        ((".", "--policy", "guess"), "'guess' is not one of"),
        ((".", "--playlists", "/dev/null"), "/dev/null: is no folder"),
        (("--undo", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
    ],
)
def test_usage_is_told(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("tag", *arguments)
    assert code == 2
    assert message in err
    assert os.listdir(tmp_path) == []


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(tmp_path, piece_path, options):
    music = tmp_path / "music"
    source = make(tmp_path, "mp3-bare", *piece(piece_path, 4.0))
    for path in copied(source, music, *(f"{i:03}.mp3" for i in range(N_TUNES))):
        with open(path, "r+b") as stream:  # audio of its own for each, so that each is decoded
            stream.seek(5000)
            stream.write(path.name.encode())
    command = [*COMMAND, "tag", str(music), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (journals := list((music / ".tsresformer").glob("journal-*.jsonl"))) or (
        len(list(read_journal(journals[0]))) < 2
    ):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: run the same command again to go on" in err
    n_done = sum(genres(path) != () for path in music.glob("*.mp3"))
    assert 0 < n_done < N_TUNES
    assert f"written {n_done}" in out
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"written {N_TUNES - n_done}, kept {n_done}" in done.stdout or (
        f"kept {n_done}, written {N_TUNES - n_done}" in done.stdout
    )


@pytest.fixture
def watching(tmp_path, options):
    """A folder, and the process that watches it."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    command = [
        *COMMAND,
        "watch",
        str(incoming),
        *map(str, options),
        "--settle",
        "0.3",
        "--field",
        "model",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == f"watching {incoming}; Ctrl-C ends it\n"
        yield incoming, process
        process.kill()


def test_watch_tells_why_a_file_is_left_alone(watching, music):
    incoming, process = watching
    os.chmod(music / "waltz.flac", 0o444)
    os.rename(music / "waltz.flac", incoming / "new.flac")
    assert process.stdout.readline().rstrip().endswith("read-only")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    told = f"{incoming}/new.flac: it is read-only; make it writable\n"
    assert (process.returncode, out, err) == (1, "read-only 1\n", told)


def test_watch_tags_what_arrives_until_ctrl_c(watching, music):
    incoming, process = watching
    time.sleep(0.5)
    copied(music / "waltz.flac", incoming, "new.flac")
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert line.split()[0] == "new.flac"
    assert line.rstrip().endswith("written")
    assert genres(incoming / "new.flac", "model") != ()
    assert "to undo: tsresformer tag --undo" in out
