"""Runs without Ray: rows, refusals, interruptions, an object store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

from catalogue_outputs import N_PARTS, N_TRACKS, PART_TRACKS, hashes_of, rows_of
from tsresformer import cli
from tsresformer.bundle import Bundle
from tsresformer.catalogue import places
from tsresformer.catalogue.job import TRACKS_PER_FILE, Job, begin
from tsresformer.catalogue.places import persistent
from tsresformer.catalogue.run import run, status
from tsresformer.catalogue.worker import Settings, Worker, bundle_files, read_summary
from tsresformer.classifier import Classifier
from tsresformer.errors import CatalogueError
from tsresformer.workers import Limits

pytestmark = pytest.mark.torch

COMMAND = [sys.executable, "-m", "tsresformer.cli", "catalogue"]


@pytest.fixture
def command(capfd):
    def command(*arguments):
        code = cli.run(["catalogue", *map(str, arguments)])
        return code, *capfd.readouterr()

    return command


def test_rows_are_what_the_classifier_says(expected, music, tiny_bundle):
    classifier = Classifier.load(tiny_bundle, threads=1)
    rows = {row["track_id"]: row for row in rows_of(expected)}
    assert len(rows) == len(rows_of(expected)) == N_TRACKS
    row = rows["album 1/001.flac"]
    path = music / "album 1" / "001.flac"
    prediction = classifier.predict(path)
    ((_, scores),) = classifier.score_many([str(path)])
    assert row == {
        "track_id": "album 1/001.flac",
        "path": str(path),
        "status": "ok",
        "error": None,
        "warning": None,
        "labels": [prediction.label],
        "unsure": prediction.unsure,
        "probabilities": pytest.approx(prediction.probabilities, abs=1e-6),
        "embedding": pytest.approx(scores.embedding.tolist(), rel=1e-6),
        "audio_s": prediction.seconds,
        "model_sha256": Bundle.load(tiny_bundle).hash,
    }


def test_a_file_that_fails_is_a_row(expected):
    (row,) = [row for row in rows_of(expected) if row["status"] != "ok"]
    assert (row["track_id"], row["status"]) == ("album 0/text.mp3", "undecodable")
    assert "this is no audio: it looks like text" in row["error"]
    assert row["labels"] is row["probabilities"] is row["embedding"] is row["audio_s"] is None
    found = status(str(expected))
    assert (found.status, found.n_failed) == ({"ok": N_TRACKS - 1, "undecodable": 1}, 1)


def test_parts_are_cut_in_the_order_of_the_listing(expected):
    files = sorted((expected / "parts").iterdir())
    sizes = [pyarrow.parquet.read_metadata(file).num_rows for file in files]
    assert sizes == [PART_TRACKS] * (N_PARTS - 1) + [N_TRACKS % PART_TRACKS]
    ids = [row["track_id"] for row in rows_of(expected)]
    assert ids == sorted(ids)


def test_several_decoders_give_the_same_rows(expected, music, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    run(str(music), str(out), str(tiny_bundle), engine="local", n_workers=2, part_tracks=25)
    for row, other in zip(rows_of(out), rows_of(expected), strict=True):
        close = pytest.approx(other["probabilities"], abs=1e-6)
        assert row["probabilities"] == close if other["probabilities"] else True
        assert (row["path"], row["status"]) == (other["path"], other["status"])


def test_only_what_is_missing_is_computed(expected, music, tiny_bundle, tmp_path):
    out = shutil.copytree(expected, tmp_path / "out")
    kept = (out / "parts" / "00000003.parquet").stat().st_mtime_ns
    for name in ("00000000", "00000008"):
        (out / "parts" / f"{name}.parquet").unlink()
    (out / "parts" / ".00000005.parquet.abc").write_bytes(b"half of something")
    assert not status(str(out)).complete
    done = []
    found = run(
        str(music),
        str(out),
        str(tiny_bundle),
        engine="local",
        on_part=lambda s: done.append(s.part),
    )
    assert done == [0, 8]
    assert found.complete
    (out / "parts" / ".00000005.parquet.abc").unlink()
    assert hashes_of(out) == hashes_of(expected)
    assert (out / "parts" / "00000003.parquet").stat().st_mtime_ns == kept


def test_a_driver_that_is_killed_loses_nothing(expected, music, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    arguments = ["run", "--input", str(music), "--output", str(out), "--model", str(tiny_bundle)]
    arguments += ["--engine", "local", "--workers", "1", "--part-tracks", str(PART_TRACKS)]
    n_kills = 0
    for n_parts in (0, 1, 3):  # killed while listing or starting, and in the middle
        process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(parts_of(out)) < n_parts:
            time.sleep(0.002)
        n_kills += process.poll() is None
        process.kill()
        process.wait()
    assert n_kills == 3
    assert len(parts_of(out)) < N_PARTS
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1  # one track is no audio
    assert f"{N_TRACKS} of {N_TRACKS} tracks in {N_PARTS} of {N_PARTS} parts" in done.stdout
    assert {k: v for k, v in hashes_of(out).items() if k[0] != "."} == hashes_of(expected)


def parts_of(out):
    folder = out / "parts"
    return [n for n in os.listdir(folder) if n[0] != "."] if folder.is_dir() else []


def test_ctrl_c_goes_on(music, tiny_bundle, tmp_path):
    out, many = tmp_path / "out", tmp_path / "many"
    many.mkdir()
    source = next(music.rglob("*.flac"))
    for i in range(2000):  # more than any machine classifies before it is interrupted
        os.link(source, many / f"{i}.flac")
    arguments = ["run", "--input", str(many), "--output", str(out), "--model", str(tiny_bundle)]
    arguments += ["--engine", "local", "--part-tracks", "2"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not parts_of(out):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command again goes on" in err
    assert "Traceback" not in err


def test_another_run_in_the_same_place_is_refused(expected, music, tiny_bundle, tmp_path):
    out = str(shutil.copytree(expected, tmp_path / "out"))
    before = hashes_of(tmp_path / "out")
    with pytest.raises(CatalogueError, match=r"holds a run of the model tiny .* name a new folder"):
        run(str(music), out, "fma-small", engine="local")
    with pytest.raises(CatalogueError, match=r"other inputs: .*album 0 is not .*; name a new"):
        run(str(music / "album 0"), out, str(tiny_bundle), engine="local")
    with pytest.raises(CatalogueError, match=r"begun with 7 tracks a part; leave --part-tracks"):
        run(str(music), out, str(tiny_bundle), engine="local", part_tracks=8)
    with pytest.raises(CatalogueError, match="holds other files"):
        run(str(music), str(music / "album 0"), str(tiny_bundle), engine="local")
    assert hashes_of(tmp_path / "out") == before


def test_a_table_that_has_changed_is_refused(music, tiny_bundle, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(f"track_id,path\n1,{music}/album 1/001.flac\n2,{music}/none.mp3\n")
    out = tmp_path / "out"
    found = run(str(table), str(out), str(tiny_bundle), engine="local")
    assert found.status == {"missing": 1, "ok": 1}
    table.write_text(table.read_text() + "3,other.mp3\n")
    with pytest.raises(CatalogueError, match=r"t\.csv has changed since; name a new folder"):
        run(str(table), str(out), str(tiny_bundle), engine="local")


def test_two_at_once_are_refused(expected, music, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(expected, out)
    refused = pytest.raises(CatalogueError, match="another process runs this catalogue")
    with places.place(str(out)).hold(AssertionError()), refused:
        run(str(music), str(out), str(tiny_bundle), engine="local")


def test_the_listing_is_frozen(expected, music, tiny_bundle, tmp_path):
    folder = tmp_path / "music"
    shutil.copytree(music / "album 1", folder)
    out = tmp_path / "out"
    begin(str(folder), str(out), Bundle.load(tiny_bundle), part_tracks=4)
    shutil.copy(folder / "001.flac", folder / "000.flac")
    (folder / "005.flac").unlink()
    found = run(str(folder), str(out), str(tiny_bundle), engine="local")
    assert found.status == {"missing": 1, "ok": 14}
    assert "000.flac" not in {row["track_id"] for row in rows_of(out)}


def test_a_listing_of_many_files_finds_its_rows(tiny_bundle, tmp_path):
    n = 2 * TRACKS_PER_FILE + 5
    table = tmp_path / "t.csv"
    with open(table, "w") as stream:
        stream.write("track_id,path\n")
        stream.writelines(f"t{i},/m/{i}.mp3\n" for i in range(n))
    job = begin(str(table), str(tmp_path / "out"), Bundle.load(tiny_bundle), part_tracks=99)
    assert len(list((tmp_path / "out" / "listing").iterdir())) == 3
    assert job.record.n_parts == -(-n // 99)
    for part in (0, 1009, 1010, 1011, job.record.n_parts - 1):
        rows = job.rows(part)
        assert len(rows) == job.record.n_tracks_of(part)
        assert rows[0] == (f"t{99 * part}", f"/m/{99 * part}.mp3".encode())


def test_a_file_that_kills_its_decoder_is_a_row_and_the_next_part_goes_well(
    expected, music, tiny_bundle, tmp_path
):
    out = tmp_path / "out"
    bundle = Bundle.load(tiny_bundle)
    begin(str(music), str(out), bundle, part_tracks=2)
    hasty = Worker(str(out), bundle_files(bundle), Settings(limits=Limits(stall_s=1e-6)))
    assert hasty.do(0).status == {"undecodable": 2}
    hasty.close()
    rows = rows_of(out)
    assert all("the decoder made no progress for 1e-06 s" in row["error"] for row in rows)
    patient = Worker(str(out), bundle_files(bundle), Settings())
    assert patient.do(1).status == {"ok": 2}
    assert patient.do(0).status == {"undecodable": 2}  # what is there stays
    (child,) = patient._children._pool._workers.values()
    child.kill()  # between two parts, as when memory runs out
    assert patient.do(2).status == {"ok": 2}
    patient.close()


def test_status_for_people_and_machines(command, expected, tmp_path):
    code, out, _ = command("status", expected)
    assert code == 0
    assert out.splitlines()[0].endswith("out: complete")
    assert f"{N_TRACKS} of {N_TRACKS} tracks in {N_PARTS} of {N_PARTS} parts, 0.07 hours" in out
    document = json.loads(command("status", expected, "--json", "-")[1])
    assert (document["schema"], document["complete"]) == (1, True)
    assert document["tracks_done"] == document["tracks"] == N_TRACKS
    assert document["status"] == {"ok": N_TRACKS - 1, "undecodable": 1}
    assert document["audio_hours"] == pytest.approx((N_TRACKS - 1) * 4 / 3600, rel=0.01)


def test_what_is_no_part_of_the_run_is_left_alone(expected, music, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(expected, out)
    strangers = ["00000000 (copy).parquet", "all.parquet", "1.parquet", f"{N_PARTS:08d}.parquet"]
    for name in strangers:
        shutil.copy(out / "parts" / "00000000.parquet", out / "parts" / name)
    (out / "parts" / "00000001.parquet").unlink()
    assert (status(str(out)).n_done_parts, status(str(out)).complete) == (N_PARTS - 1, False)
    begun = []
    done = run(
        str(music),
        str(out),
        str(tiny_bundle),
        engine="local",
        on_start=lambda job, n_done: begun.append(n_done),
    )
    assert (begun, done.complete) == ([N_TRACKS - PART_TRACKS], True)
    assert all((out / "parts" / name).exists() for name in strangers)


def test_misuse_is_one_sentence(command, tmp_path, music):
    for arguments, problem in (
        (("status", tmp_path), "holds no catalogue run"),
        (("run", "--input", tmp_path, "--output", tmp_path / "o"), "names no audio"),
        (("run", "--input", music, "--output", "file:///x"), "by its path"),
        (
            (*f"run --input x --output {tmp_path}/o --engine local --address auto".split(),),
            "is for --engine ray",
        ),
    ):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert problem in err
    (tmp_path / "catalogue.json").write_text('{"format": 9}')
    assert "format 9, this version reads 2" in command("status", tmp_path)[2]
    (tmp_path / "catalogue.json").write_text('{"format": 2, "input": "x"}')
    assert "damaged" in command("status", tmp_path)[2]


def test_from_an_object_store_into_it(bucket, expected, music, tiny_bundle):
    for path in music.rglob("*.*"):
        bucket.upload_file(str(path), "music", f"in/{path.relative_to(music)}")
    found = run(
        "s3://music/in", "s3://music/out", str(tiny_bundle), engine="local", part_tracks=PART_TRACKS
    )
    assert found.complete
    again = []
    run("s3://music/in", "s3://music/out", str(tiny_bundle), engine="local", on_part=again.append)
    assert again == []
    assert status("s3://music/out").status == {"ok": N_TRACKS - 1, "undecodable": 1}
    job = Job.open("s3://music/out")
    assert read_summary(job, 3).n_tracks == PART_TRACKS
    rows = []
    for part in range(N_PARTS):
        with job.output.open(f"parts/{part:08d}.parquet") as file:
            rows += pyarrow.parquet.read_table(file).to_pylist()
    for row, other in zip(rows, rows_of(expected), strict=True):
        assert row["path"] == f"s3://music/in/{row['track_id']}"
        assert {**row, "path": ""} == {**other, "path": ""}


def test_what_a_store_does_not_give_is_a_row_or_an_end(bucket, music, tiny_bundle, tmp_path):
    song = music / "album 1" / "001.flac"
    bucket.upload_file(str(song), "music", "a.flac")
    table = tmp_path / "t.csv"
    table.write_text("track_id,path\n1,s3://music/a.flac\n2,s3://music/b.flac\n")
    out = tmp_path / "out"
    found = run(str(table), str(out), str(tiny_bundle), engine="local")
    assert found.status == {"missing": 1, "ok": 1}
    small = Settings(max_bytes=song.stat().st_size - 1)
    run(str(table), str(tmp_path / "small"), str(tiny_bundle), engine="local", settings=small)
    errors = [row["error"] for row in rows_of(tmp_path / "small")]
    assert errors[0] == f"it has more than {small.max_bytes:,} bytes; raise --max-bytes"


def test_where_nothing_can_be_fetched_the_run_ends_and_writes_no_rows(
    bucket, tiny_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody answers
    (tmp_path / "t.csv").write_text("track_id,path\n1,s3://music/a.flac\n")
    with pytest.raises(CatalogueError, match=r"part 0: 1 of its 1 files could not be fetched"):
        run(str(tmp_path / "t.csv"), str(tmp_path / "out"), str(tiny_bundle), engine="local")
    assert not (tmp_path / "out" / "parts").exists()


def test_what_fails_for_a_moment_is_tried_again(monkeypatch):
    monkeypatch.setattr(places, "FIRST_PAUSE_S", 0.001)
    failures = [OSError("connection reset"), OSError("slow down")]
    calls = []

    def action():
        calls.append(1)
        if failures:
            raise failures.pop()
        return "got it"

    assert persistent(action) == "got it"
    assert len(calls) == 3
    failures += [OSError("a"), OSError("b"), OSError("c")]
    with pytest.raises(OSError, match="a"):
        persistent(action)
    with pytest.raises(FileNotFoundError):
        persistent(lambda: os.stat("/none"))
