"""What a released version wrote is read for ever, and says what it said then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stored_readers import READERS
from tsresformer.bundle import Bundle
from tsresformer.files import sha256_file, sha256_json, write_json

HOMES = sorted(path.parent for path in (Path(__file__).parent / "stored").glob("*/said.json"))
LARGEST_BUNDLE = 200_000
PINNED = {"0.1.0": "03a9f5b545891ae9c1d990434f6c9d95927d41bba30255049647a4e244cb3893"}
"""Hash of every version's files: they are never changed again."""


def test_the_first_release_is_there():
    assert HOMES[0].name == "0.1.0"


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_it_is_never_changed(home):
    files = {p.relative_to(home).as_posix(): p for p in home.rglob("*") if p.is_file()}
    assert sha256_json({name: sha256_file(p) for name, p in files.items()}) == PINNED[home.name]


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
@pytest.mark.parametrize("kind", READERS)
def test_it_says_what_it_said_then(home, kind):
    said = json.loads((home / "said.json").read_text("utf-8"))[kind]
    assert said
    assert READERS[kind](home) == pytest.approx(said, abs=1e-4)


def unsealed(folder, copy):
    """A copy of a folder whose records are of format 1, which had no hash of themselves."""
    shutil.copytree(folder, copy)
    for path in copy.rglob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        if "sha256" in record:
            del record["sha256"]
            write_json(path, {**record, "format": 1} if "format" in record else record)
    return copy


@pytest.mark.parametrize("kind", ["store", "study"])
def test_format_1_is_read_still(kind, tmp_path):
    home = HOMES[0]
    shutil.copy(home / "manifest.csv", tmp_path)
    unsealed(home / kind, tmp_path / kind)
    said = json.loads((home / "said.json").read_text("utf-8"))[kind]
    assert READERS[kind](tmp_path) == pytest.approx(said, abs=1e-4)


@pytest.mark.torch
def test_a_run_of_format_1_is_read_still(tiny_run, tmp_path):
    from tsresformer.training.run import Run

    run, old = Run.load(tiny_run / "run"), Run.load(unsealed(tiny_run / "run", tmp_path / "run"))
    assert old.record["format"] == 1
    assert (old.config, old.result) == (run.config, run.result)
    assert old.weights().keys() == run.weights().keys()


@pytest.mark.torch
@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_its_weights_still_make_the_network_of_its_graph(home):
    import onnxruntime
    import torch

    from tsresformer.models.baselines import build_network

    bundle = Bundle.load(home / "tiny.bundle")
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < LARGEST_BUNDLE
    network = build_network(bundle.model, bundle.features, len(bundle.labels))
    network.load_state_dict(bundle.weights())
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-40, 15, (2, bundle.features.n_mels, 31)).astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.graph, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"log_mel": log_mel})
    with torch.no_grad():
        found = network.eval()(torch.from_numpy(log_mel)).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)
