"""The command line as its users meet it: output, files, messages, exit codes."""

import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from audio_files import film_without_sound, half_copied, m4a_that_claims, tone, write
from miniature import FmaTrack, fma_tracks, write_fma
from tsresformer import cli
from tsresformer.classifier import TimelineEntry
from tsresformer.commands.common import json_text
from tsresformer.commands.predict import _collect, _stretches
from tsresformer.files import sha256_json
from worker_functions import die

pytestmark = pytest.mark.torch

COMMAND = [sys.executable, "-m", "tsresformer.cli"]


@pytest.fixture
def mixed(tmp_path, tiny_music):
    """A folder with two tracks, a cover, and a text that calls itself mp3."""
    album = tmp_path / "album"
    album.mkdir()
    for path in sorted(tiny_music.rglob("*.flac"))[:2]:
        shutil.copy(path, album)
    (album / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    (tmp_path / "text.mp3").write_text("no music\n" * 200)
    return tmp_path


def all_commands(group=cli.cli, names=()):
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*names, name))


@pytest.mark.parametrize("names", [(), *all_commands()], ids=" ".join)
def test_every_help_shows_an_example(run, names):
    code, out, _ = run(*names, "--help")
    assert code == 0
    assert re.search(r"Examples?:\n +tsresformer " + " ".join(names), out)


def has_json(names):
    command = cli.cli
    for name in names:
        command = command.get_command(click.Context(command), name)
    return any(parameter.name == "json" for parameter in command.params)


SAYING = {
    "predict": "{home}/library --model {home}/tiny.bundle",
    "tag": "{home}/library --model {home}/tiny.bundle --dry-run",
    "data check": "{home}/m.csv",
    "catalogue run": "--engine local --model {home}/tiny.bundle --input {home}/library "
    "--output {home}/new",
    "catalogue status": "{home}/catalogue",
    "compare": "{home}/report {home}/report",
    "study list": "",
    "study show": "{home}/study",
    "reproduce fma-small": "--audio {fma.audio} --metadata {fma.metadata} -o {home}/all --estimate "
    "--study {home}/svm.toml",
    "info": "{home}/store",
}


@pytest.mark.parametrize("names", [*filter(has_json, all_commands())], ids=" ".join)
def test_the_json_of_every_command_has_its_schema(run, project_root, tmp_path, names):
    home = shutil.copytree(project_root / "tests" / "stored" / "0.1.0", tmp_path / "home")
    (home / "m.csv").write_text("track_id,path,label\n1,library/tune.ogg,waltz\n")
    arguments = SAYING[" ".join(names)]
    fma = None
    if "{fma" in arguments:
        fma = write_fma(tmp_path / "fma", fma_tracks(3, ("Folk", "Hip-Hop")))
        study = "[axes.model]\nsvm = { 'classical.model' = 'svm' }\n"
        (home / "svm.toml").write_text(f'title = "T"\nquestion = "Q"\nconfig = "lean"\n{study}')
    words = arguments.format(home=home, fma=fma).split()
    code, _, err = run(*names, *words, "--json", tmp_path / "said.json")
    assert (code, json.loads((tmp_path / "said.json").read_text())["schema"]) == (0, 1), err


def test_predict_for_people(run, mixed, tiny_bundle):
    code, out, err = run(
        "predict", mixed / "album", "--model", tiny_bundle, "--top", 2, "--timeline"
    )
    assert code == 0
    assert out.count(".flac\n") == 2
    assert len(re.findall(r"^  \w+ +\d+%, \w+ +\d+%( +\(unsure\))?$", out, re.M)) == 2
    assert len(re.findall(r"^    0:00-0:04  \w+  \d+%-\d+%  [▁▂▃▄▅▆▇█]$", out, re.M)) == 2
    assert "1 files inside the folders are no audio" in err


def test_predict_for_machines(run, mixed, tiny_bundle):
    outputs = {kind: mixed / f"out.{kind}" for kind in ("json", "csv", "parquet")}
    options = [x for kind, path in outputs.items() for x in (f"--{kind}", path)]
    bad, gone = mixed / "text.mp3", mixed / "none.mp3"
    code, _, err = run("predict", bad, mixed / "album", gone, "--model", tiny_bundle, *options)
    assert code == 1
    assert "text.mp3: " in err
    assert "none.mp3: " in err
    document = json.loads(outputs["json"].read_text())
    assert (document["schema"], document["model"]) == (1, "tiny")
    tracks = document["tracks"]
    assert [t["status"] for t in tracks] == ["undecodable", "ok", "ok", "missing"]
    keys = ["path", "status", "error", "label", "probabilities", "unsure", "timeline"]
    assert all(list(t) == keys for t in tracks)
    assert tracks[0]["error"]
    assert tracks[0]["label"] is None
    assert tracks[1]["error"] is None
    assert sum(tracks[1]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert tracks[1]["label"] == max(tracks[1]["probabilities"], key=tracks[1]["probabilities"].get)
    with open(outputs["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["path"] for r in rows] == [t["path"] for t in tracks]
    assert float(rows[1]["p_waltz"]) == tracks[1]["probabilities"]["waltz"]
    table = pyarrow.parquet.read_table(outputs["parquet"]).to_pylist()
    assert [r["label"] for r in table] == [t["label"] for t in tracks]


def test_dash_is_stdout_and_nothing_else_is(run, mixed, tiny_bundle):
    code, out, _ = run(
        "predict", mixed / "album", "--model", tiny_bundle, "--json", "-", "--top", 1
    )
    assert code == 0
    assert [len(t["probabilities"]) for t in json.loads(out)["tracks"]] == [1, 1]


def test_odd_names_get_through(run, mixed, tiny_bundle):
    source = next((mixed / "album").glob("*.flac"))
    odd = os.fsencode(mixed) + b"/new\nline \xff [red] http:x.flac"
    shutil.copy(source, odd)
    code, out, _ = run(
        "predict", os.fsdecode(odd), "--model", tiny_bundle, "--json", mixed / "o.json"
    )
    assert code == 0
    assert r"new\nline \xff [red] http:x.flac" in out
    assert json.loads((mixed / "o.json").read_bytes())["tracks"][0]["status"] == "ok"


def test_a_label_that_nothing_could_learn_is_told(run, tmp_path):
    rows = [f"t{i},t{i}.wav,{'rare' if i == 5 else 'ab'[i % 2]},artist{i}" for i in range(6)]
    (tmp_path / "m.csv").write_text("\n".join(["track_id,path,label,group", *rows]) + "\n")
    said = []
    for fold in range(3):
        arguments = ("--protocol", "artist-kfold", "--folds", 3, "--fold", fold)
        code, _, err = run("data", "split", tmp_path / "m.csv", *arguments)
        assert code == 0
        said.append("no track to learn from has the label rare: join it" in err)
    assert said.count(True) == 1
    _, _, err = run("data", "split", tmp_path / "m.csv", "--protocol", "slice")
    assert "no track to learn from" not in err


def test_from_music_to_a_report(run, tiny_music, tmp_path):
    manifest, store = tmp_path / "m.csv", tmp_path / "store"
    run_folder, refit = tmp_path / "run", tmp_path / "refit"
    bundle, report = tmp_path / "my.bundle", tmp_path / "report"
    features = tmp_path / "f.toml"
    features.write_text("sample_rate = 8000\nn_fft = 512\nhop_length = 256\nn_mels = 24\n")
    code, out, _ = run("data", "import", "folder", tiny_music, "-o", manifest)
    assert code == 0
    assert "label: ambient 8, chiptune 8, waltz 8" in out
    code, out, _ = run("data", "check", manifest, "-o", tmp_path / "checked.csv", "--json", "-")
    assert (code, json.loads(out)["findings"]) == (0, [])
    code, out, _ = run("data", "split", manifest, "--protocol", "artist-kfold", "--folds", 4)
    assert code == 0
    assert "no artist on both sides" in out
    code, out, _ = run("features", manifest, "--features", features, "-o", store, "--workers", 2)
    assert code == 0
    assert "24 tracks" in out
    settings = {
        "slicing.slice_s": 1.0,
        "model.residual_widths": [8],
        "model.residual_depths": [1],
        "model.n_layers": 1,
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.dev_fraction": 0.3,
    }
    changes = [x for key, value in settings.items() for x in ("--set", f"{key}={value}")]
    code, out, _ = run(
        "train", "--manifest", manifest, "--store", store, "-o", run_folder, *changes
    )
    assert code == 0
    assert "tracks held out by artist" in out
    assert run("export", run_folder, "-o", bundle)[0] == 0
    again = ("train", "--refit", bundle, "--manifest", manifest, "--store", store, "-o", refit)
    code, _, err = run(*again, "--set", "seed=1")
    assert (code, refit.exists()) == (2, False)
    assert "leave out --config and --set" in err
    code, out, _ = run(*again)
    assert code == 0
    assert "the last one is kept; no track was held out" in out
    code, out, _ = run("evaluate", bundle, manifest, "-o", report)
    assert code == 0
    assert "no artist on both sides" in out
    assert {"index.html", "metrics.json", "predictions.csv"} <= {p.name for p in report.iterdir()}
    for thing, word in (
        (bundle, "bundle"),
        (store, "store"),
        (manifest, "manifest"),
        (run_folder, "run"),
        (refit, "run"),
    ):
        code, out, _ = run("info", thing)
        assert code == 0
        assert word in out.partition("\n")[0]
        known = json.loads(run("info", thing, "--json", "-")[1])
        assert (known["schema"], known["kind"]) == (1, word)


def test_features_lists_what_failed(run, tmp_path):
    noise = np.random.default_rng(0).standard_normal(44100).astype(np.float32) * 0.1
    folder = tmp_path / "music" / "rock"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", noise, 22050)
    soundfile.write(folder / "b.wav", noise * 0, 22050)
    assert run("data", "import", "folder", tmp_path / "music", "-o", tmp_path / "m.csv")[0] == 0
    code, out, err = run("features", tmp_path / "m.csv", "-o", tmp_path / "s")
    assert code == 1
    assert "log-mels of 1 tracks" in out
    assert re.search(r"silent: track .*b", err)
    assert run("features", tmp_path / "m.csv", "-o", tmp_path / "s")[:2] == (1, out)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("predict", "Missing argument 'PATHS...'"),
        ("predict x.mp3 --model none.bundle", "none.bundle: no such bundle"),
        ("predict x.mp3 --top 0", "--top"),
        ("predict {tmp}/empty", "empty: holds no audio to classify"),
        ("predict x.mp3 --json {bad}/o.json", "bad.csv/o.json: cannot be written"),
        ("predict x.mp3 --csv {tmp}/empty", "empty: is a folder; name a file"),
        ("predict x.mp3 --parquet {bad}/o.parquet", "bad.csv/o.parquet: cannot be written"),
        ("data check {bad} -o {bad}/o.csv", "bad.csv/o.csv: cannot be written"),
        ("data import folder {tmp} -o {bad}/o.csv", "bad.csv/o.csv: cannot be written"),
        ("data split {bad} --protocol track -o {tmp}/empty", "empty: is a folder"),
        ("info {bad} --json {bad}/o.json", "bad.csv/o.json: cannot be written"),
        ("evaluate {tmp} {bad} -o {bad}", "bad.csv: is no folder"),
        ("data check {tmp}/none.csv", "none.csv: No such file"),
        ("data import folder {tmp}/empty -o {tmp}/m.csv", "empty"),
        ("data split {bad} --protocol track", "unknown column"),
        ("features {tmp}/none.csv -o {tmp}/s", "none.csv: No such file"),
        ("train --config no_such --manifest m --store s -o r", "shipped: "),
        ("train --manifest m --store s -o r --set train.epoch=3", "did you mean 'epochs'"),
        ("export {tmp} -o {tmp}/b", "is no run folder"),
        ("evaluate {tmp} {bad} -o {tmp}/r", "unknown column"),
        ("info {tmp}/empty", "no bundle, feature store, manifest or run"),
        ("dance", "No such command 'dance'"),
    ],
)
def test_misuse_ends_with_one_clear_sentence(run, tmp_path, arguments, problem):
    (tmp_path / "empty").mkdir()
    bad = tmp_path / "bad.csv"
    bad.write_text("track_id,path,lable\n1,a.mp3,rock\n")
    code, out, err = run(*arguments.format(tmp=tmp_path, bad=bad).split())
    assert code == 2
    assert out == ""
    assert problem in err
    assert "Traceback" not in err
    assert not [p for p in tmp_path.iterdir() if p.name not in ("empty", "bad.csv")]


RECORDS = {
    "run.json": "info {home}",
    "store.json": "info {home}",
    "store-begun.json": "features {home}/m.csv -o {home}",
    "bundle.json": "info {home}",
    "study.json": "study show {home}",
    "cells/a.json": "compare {home}/cells/a.json {home}/cells/a.json",
    "metrics.json": "compare {home} {home}",
    "report/metrics.json": "publish fma-small --report {home}/report -o {home}/x.bundle",
    "catalogue.json": "catalogue status {home}",
}
TABLES = {
    "study.toml": "study run {home}/study.toml --manifest m --store s -o r",
    "config.toml": "train --config {home}/config.toml --manifest m --store s -o r",
}
HOSTILE = {
    "deep": "[" * 100_000,
    "a list": "[]",
    "a number": "1",
    "a long number": '{"format": 2, "n": %s}' % ("1" * 5000),
    "half a character": r'{"format": 2, "text": "\ud800"}',
}


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        *((*record, text) for record in RECORDS.items() for text in HOSTILE.values()),
        *((*table, f"a = {'[' * 5000}") for table in TABLES.items()),
        *((*table, f"a = {'1' * 5000}") for table in TABLES.items()),
    ],
)
def test_a_record_of_whatever_content_is_named(run, tmp_path, name, arguments, text):
    (tmp_path / "m.csv").write_text("track_id,path,label\n1,a.mp3,rock\n")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    code, _, err = run(*arguments.format(home=tmp_path).split())
    assert code == 2
    assert str((tmp_path / name).parent) in err
    assert "unexpected" not in err


def test_notes_that_are_no_utf_8_are_named(run, tmp_path):
    (tmp_path / "notes.md").write_bytes("Zürich\n".encode("latin-1"))
    arguments = ("fma-small", "--report", tmp_path, "--notes", tmp_path / "notes.md")
    code, _, err = run("publish", *arguments, "-o", tmp_path / "x.bundle")
    assert code == 2
    assert err == f"error: {tmp_path}/notes.md: is not UTF-8; save the file as UTF-8\n"


def test_a_file_is_classified_once_however_it_is_spelt(run, mixed, tiny_bundle, monkeypatch):
    monkeypatch.chdir(mixed)
    name = next((mixed / "album").glob("*.flac")).name
    arguments = ("predict", f"./album/{name}", "album", f"album/../album/{name}")
    code, out, _ = run(*arguments, "--model", tiny_bundle, "--json", "-")
    assert code == 0
    paths = [track["path"] for track in json.loads(out)["tracks"]]
    assert len(paths) == 2
    assert paths[0] == f"./album/{name}"


def test_only_children_open_the_files_of_a_folder(run, mixed, tiny_bundle, no_decoder_here):
    album = mixed / "album"
    write(album / "song.m4a", tone(4.0))
    (album / "bomb.m4a").write_bytes(m4a_that_claims(1000))
    film_without_sound(album / "film.mp4")
    code, out, err = run("predict", album, "--model", tiny_bundle, "--json", "-")
    assert code == 1
    tracks = {Path(track["path"]).name: track for track in json.loads(out)["tracks"]}
    assert list(tracks) == sorted(path.name for path in album.glob("*.[fm][l4]a*"))
    bomb = tracks.pop("bomb.m4a")
    assert (bomb["status"], bomb["label"]) == ("undecodable", None)
    assert [track["status"] for track in tracks.values()] == ["ok"] * 3
    assert "2 files inside the folders are no audio" in err


def test_audio_that_was_copied_in_part_has_a_row(run, mixed, tiny_bundle):
    broken = half_copied(mixed / "album")
    code, out, err = run("predict", mixed / "album", "--model", tiny_bundle, "--json", "-")
    assert code == 1
    failed = [t["path"] for t in json.loads(out)["tracks"] if t["status"] == "undecodable"]
    assert [Path(path).name for path in failed] == broken
    assert "1 files inside the folders are no audio" in err


def test_a_file_that_ends_the_child_that_looks_at_it_has_a_row(mixed, no_decoder_here, monkeypatch):
    song = write(mixed / "album" / "song.m4a", tone(1.0))
    monkeypatch.setattr("tsresformer.audio.audio_by_ffmpeg", die)
    files, n_others = _collect([str(mixed / "album")])
    assert str(song) in files
    assert (len(files), n_others) == (3, 1)


def test_one_song_is_looked_at_by_nobody_but_its_decoder(tmp_path, no_decoder_here, monkeypatch):
    song = str(write(tmp_path / "song.m4a", tone(1.0)))
    monkeypatch.setattr("tsresformer.workers.Child", None)
    assert _collect([song, str(tmp_path)]) == ([song], 0)


def test_a_disk_that_is_full_loses_no_results(run, mixed, tiny_bundle, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "out.json")

    monkeypatch.setattr("tsresformer.commands.predict.write_text", fail)
    arguments = ("predict", mixed / "album", "--model", tiny_bundle, "--json", mixed / "out.json")
    code, out, err = run(*arguments)
    assert code == 2
    assert out.count(".flac\n") == 2
    assert "error: out.json: No space left on device" in err


def test_the_stretches_of_a_timeline_do_not_overlap():
    genres = ("Folk", "Folk", "Rock", None, "Folk")
    entries = [
        TimelineEntry(5.0 * k, 5.0 * k + 10, genre, {genre: 0.5} if genre else {})
        for k, genre in enumerate(genres)
    ]
    assert list(_stretches(entries)) == [
        "0:00-0:10  Folk  50%-50%  ▅▅",
        "0:10-0:15  Rock  50%-50%  ▅",
        "0:15-0:20  silent",
        "0:20-0:30  Folk  50%-50%  ▅",
    ]
    assert list(_stretches([])) == []


def test_a_leaking_protocol_is_told_wherever_its_numbers_go(run, tiny_run, tiny_bundle, tmp_path):
    title = "random track split (artists are on both sides), seed 0"
    manifest, run_folder = tmp_path / "m.csv", tmp_path / "run"
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b.bundle")
    assert run("data", "split", tiny_run / "m.csv", "--protocol", "track", "-o", manifest)[0] == 0
    shutil.copytree(tiny_run / "run", run_folder)
    for path in (run_folder / "run.json", bundle / "bundle.json"):
        record = json.loads(path.read_text())
        record.get("training", record)["protocol"] = "track seed=0"
        record["sha256"] = sha256_json({k: v for k, v in record.items() if k != "sha256"})
        path.write_text(json.dumps(record))
    for arguments in (
        ("info", manifest),
        ("info", run_folder),
        ("info", bundle),
        ("predict", tmp_path / "none.mp3", "--model", bundle),
    ):
        assert f": {title}\n" in run(*arguments)[2]
    assert run("info", tiny_bundle)[2] == ""
    code, _, err = run("evaluate", tiny_bundle, manifest, "-o", tmp_path / "report")
    assert code == 0
    assert "warning: These numbers are inflated" in err


def test_epochs_are_counted_from_one(run, tiny_run):
    epochs = re.findall(r"^ +(\d+)  +\d", run("info", tiny_run / "run")[1], re.M)
    assert epochs == [str(n) for n in range(1, 41)]


def test_rows_that_are_missing_are_named_with_their_reason(run, tmp_path):
    track = FmaTrack(2, "Rock", "training", "small", 1, "A", "B", (12,))
    write_fma(tmp_path, [track, dataclasses.replace(track, track_id=3, audio="missing")])
    folders = ("--audio", tmp_path / "fma_small", "--metadata", tmp_path / "fma_metadata")
    code, _, err = run("data", "import", "fma", *folders, "-o", tmp_path / "m.csv")
    assert code == 1
    assert re.search(r"^missing: /.*/000/000003\.mp3: no such file$", err, re.M)


def test_what_nobody_expected_is_one_sentence(run, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("tsresformer.commands.info._describe", fail)
    code, out, err = run("info", "x")
    assert (code, out) == (2, "")
    assert re.fullmatch("error: unexpected ZeroDivisionError: by zero; please report .*\n", err)
    monkeypatch.setenv("TSRESFORMER_DEBUG", "1")
    assert "Traceback" in run("info", "x")[2]


def test_a_closed_stdout_is_no_crash():
    command = f"{shlex.join(COMMAND)} --version >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_has_no_number_that_json_does_not_know():
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text({"p": float("nan")})


def test_ctrl_c_keeps_what_was_classified(tiny_music, tiny_bundle, tmp_path):
    source = next(tiny_music.rglob("*.flac"))
    album = tmp_path / "album"
    album.mkdir()
    for i in range(4000):  # more than any machine classifies before it is interrupted
        os.link(source, album / f"{i}.flac")
    (album / "1000-notes.flac").write_text("no music, and told at once")
    out = tmp_path / "out.json"
    process = subprocess.Popen(
        [*COMMAND, "predict", str(album), "--model", str(tiny_bundle), "--json", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    told = process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "1000-notes.flac" in told
    assert "Traceback" not in err
    statuses = [track["status"] for track in json.loads(out.read_text())["tracks"]]
    assert "ok" in statuses
    assert len(statuses) < 4000


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("press()", ""),
        ("exec('press()')", ""),
        ("try: press()\n    finally: press()", ""),
        ("atexit.register(tell); press()", "SIG_IGN\n"),
        ("dropped = Dropped(); del dropped; print('on and on')", "error: interrupted\n"),
    ],
    ids=["once", "in exec", "twice", "at the end", "in a destructor"],
)
def test_ctrl_c_ends_any_command_without_a_traceback(command, said, tmp_path):
    (tmp_path / "program.py").write_text(
        "import atexit, os, signal, sys\n"
        "from tsresformer import cli\n"
        "def press(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "def tell(): print(signal.getsignal(signal.SIGINT).name, file=sys.stderr)\n"
        "class Dropped: __del__ = press\n"
        f"def run(_):\n    {command}\n    return 0\n"
        "cli.run = run\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)


def test_ctrl_c_in_training_can_be_resumed(tiny_run, tmp_path):
    command = [*COMMAND, "train", "--manifest", str(tiny_run / "m.csv"), "-o", str(tmp_path / "r")]
    command += ["--store", str(tiny_run / "store"), "--set", "train.batch_size=4"]
    command += ["--set", "slicing.slice_s=1.0", "--set", "train.epochs=3"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, text=True)
    while not (tmp_path / "r" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "with --resume goes on" in err
    subprocess.run([*command, "--resume"], check=True)
    with open(tmp_path / "r" / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_a_reader_that_goes_away_is_no_error(mixed, tiny_bundle):
    (mixed / "album" / "cover.jpg").unlink()
    command = [*COMMAND, "predict", str(mixed / "album"), "--model", str(tiny_bundle)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.wait(60) in (0, 1)
    assert process.stderr.read() == ""
    process.stderr.close()


def test_doctor(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert "extra train: installed" in out
    assert "extra tag: installed" in out
    assert "soundfile: " in out


def test_version(run):
    from tsresformer import __version__

    assert run("--version")[:2] == (0, f"tsresformer, version {__version__}\n")
