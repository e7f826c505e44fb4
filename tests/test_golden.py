"""A fixed piece of music gives fixed probabilities, by every way; `golden/make.py` stored them."""

import json
from pathlib import Path

import pytest

from tsresformer.bundle import shipped_bundles
from tsresformer.classifier import Classifier
from tsresformer.cli import run as command_line

STORED = json.loads((Path(__file__).parent / "golden" / "piece.json").read_text("utf-8"))
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
