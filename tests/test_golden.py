"""A fixed piece of music gives fixed probabilities, by every way; `golden/make.py` stored them."""

import json

import pytest

from catalogue_outputs import rows_of
from serving import GOLDEN, serving
from tsresformer.bundle import shipped_bundles
from tsresformer.catalogue.run import run as run_catalogue
from tsresformer.classifier import Classifier
from tsresformer.cli import run as command_line

STORED = json.loads(GOLDEN.read_text("utf-8"))
TOLERANCE = 1e-4


def test_every_shipped_bundle_is_pinned():
    assert sorted(STORED) == shipped_bundles()


@pytest.mark.parametrize("name", STORED)
def test_the_classifier_says_what_was_stored(name, piece_path):
    prediction = Classifier.load(name).predict(piece_path)
    assert prediction.probabilities == pytest.approx(STORED[name], abs=TOLERANCE)


@pytest.mark.parametrize("name", STORED)
def test_the_command_says_what_was_stored(name, piece_path, tmp_path):
    out = tmp_path / "out.json"
    assert command_line(["predict", str(piece_path), "--model", name, "--json", str(out)]) == 0
    (track,) = json.loads(out.read_text())["tracks"]
    assert track["probabilities"] == pytest.approx(STORED[name], abs=TOLERANCE)


def test_the_service_says_what_was_stored(piece_path):
    with serving(models=tuple(STORED)) as client:
        for name, expected in STORED.items():
            with open(piece_path, "rb") as piece:
                answer = client.post("/v1/predict", params={"model": name}, files={"file": piece})
            assert answer.status_code == 200, answer.text
            assert answer.json()["probabilities"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    "name", ["fma-small", pytest.param("fma-small-lite", marks=pytest.mark.slow)]
)
def test_ray_says_what_was_stored(name, piece_path, tmp_path):
    out = tmp_path / "out"
    run_catalogue(str(piece_path.parent), str(out), name, engine="ray", n_workers=1)
    (track,) = rows_of(out)
    assert track["probabilities"] == pytest.approx(STORED[name], abs=TOLERANCE)
