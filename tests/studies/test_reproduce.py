"""`reproduce fma-small` on a miniature of the release: real mp3 files in the real layout."""

import csv
import json
import shutil

import pytest

from miniature import FmaTrack, fma_tracks, write_fma
from tsresformer.cli import run as command_line
from tsresformer.reproduce import STUDIES

pytestmark = pytest.mark.torch

BAD = {98565: "short", 98567: "short", 98569: "short", 99134: "empty", 108925: "empty"}
BAD |= {133297: "empty"}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    tracks = fma_tracks(7, ("Folk", "Hip-Hop"))
    tracks += [FmaTrack(i, "Rock", artist_id=i, audio=audio) for i, audio in BAD.items()]
    return write_fma(tmp_path_factory.mktemp("release"), tracks)


def test_everything_from_the_two_downloads(release, study_file, tmp_path, capsys, no_decoder_here):
    path = study_file(
        'protocols = ["official"]\nreference = { model = "left" }\n[axes.model]\n'
        'left = { "model.right" = false }\nsvm = { "classical.model" = "svm" }'
    )
    out = tmp_path / "fma"
    command = ["reproduce", "fma-small", "--audio", str(release.audio), "--workers", "1"]
    command += ["--metadata", str(release.metadata), "-o", str(out), "--study", str(path)]
    command += ["--set", "train.epochs=1", "--set", "slicing.slice_s=10"]

    assert command_line([*command, "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "20 tracks; on this machine about" in said  # the check will find six of them bad
    assert "GB of disk" in said
    assert not out.exists()

    assert command_line(command) == 0
    with open(out / "checked.csv", newline="") as stream:
        status = {int(row["track_id"]): row["status"] for row in csv.DictReader(stream)}
    assert {i for i, s in status.items() if s not in ("ok", "short")} == BAD.keys()
    with open(out / "results" / "quick" / "results.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["model"], row["n_tracks"], row["error"]) for row in rows] == [
        ("left", "2", ""),
        ("svm", "2", ""),
    ]
    page = (out / "index.html").read_text()
    assert 'href="results/quick/report.html"' in page
    assert "98565" in page

    before = {p: p.stat().st_mtime_ns for p in (out / "results" / "quick" / "cells").iterdir()}
    assert command_line([*command, "--json", "-"]) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    values = json.JSONDecoder().raw_decode(capsys.readouterr().out.split("studies\n", 1)[1])[0]
    assert list(values["seconds"]) == ["check and log-mels", "quick"]

    for name, folder in (("audio", release.audio), ("metadata", release.metadata)):
        other = shutil.copytree(folder, tmp_path / f"other-{name}")
        assert command_line([*command, f"--{name}", str(other)]) == 2
        said = capsys.readouterr().err
        assert f"was begun with --{name} {folder}, and now it is {other}; name the former" in said


def test_the_help_names_the_studies(capsys):
    assert command_line(["reproduce", "fma-small", "--help"]) == 0
    assert f"[default: {', '.join(STUDIES)}]" in " ".join(capsys.readouterr().out.split())
