"""What a released version wrote is read for ever, and says what it said then."""

import json
from pathlib import Path

import numpy as np
import pytest

from stored_readers import READERS
from tsresformer.bundle import Bundle

HOMES = sorted(path.parent for path in (Path(__file__).parent / "stored").glob("*/said.json"))
LARGEST_BUNDLE = 200_000


def test_the_first_release_is_there():
    assert HOMES[0].name == "0.1.0"


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
@pytest.mark.parametrize("kind", READERS)
def test_it_says_what_it_said_then(home, kind):
    said = json.loads((home / "said.json").read_text("utf-8"))[kind]
    assert said
    assert READERS[kind](home) == pytest.approx(said, abs=1e-4)


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
