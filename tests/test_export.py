"""Export: ONNX Runtime agrees with PyTorch, and calibration helps."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from tsresformer import export as export_module
from tsresformer.bundle import Bundle
from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.errors import BundleError
from tsresformer.export import to_onnx
from tsresformer.models.ts_resformer import TSResformer
from tsresformer.store import FeatureStore
from tsresformer.training.run import Run

pytestmark = pytest.mark.torch

FEATURES = FeatureConfig(n_mels=20)
SMALL = {"residual_widths": (8,), "residual_depths": (1,), "d_model": 8, "n_heads": 2}


def network(**changes):
    torch.manual_seed(1)
    return TSResformer(ModelConfig(**{**SMALL, **changes}), FEATURES, 3).eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": "cbam", "token_stride": 2},
        {"preset": "resnet_only", "attention": "eca"},
        {"preset": "transformer_only", "front_stride": 1},
        {"attention": "se"},
        {"attention": "time"},
    ],
    ids=str,
)
def test_onnx_agrees_at_lengths_that_the_export_did_not_see(changes):
    model = network(**changes)
    session = ort.InferenceSession(to_onnx(model, 20, 64))
    assert [i.name for i in session.get_inputs()] == ["log_mel"]
    names = [o.name for o in session.get_outputs()]
    assert names == ["logits", "embedding", "attention_time", "attention_frequency"]
    for batch, n_frames in ((1, 8), (2, 11), (5, 200), (1, 501)):
        log_mel = torch.randn(batch, 20, n_frames) * 15 - 40
        with torch.no_grad():
            expected = model(log_mel)
        for ours, theirs in zip(
            expected, session.run(names, {"log_mel": log_mel.numpy()}), strict=True
        ):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_a_graph_that_differs_is_refused(monkeypatch):
    model = network()
    graph = to_onnx(model, 20, 64)
    with torch.no_grad():
        model.head.bias += 0.001
    with pytest.raises(BundleError, match=r"differs from the trained one: logits by 0\.001"):
        export_module._check_parity(model, graph, 20, [16])


def test_the_bundle_holds_one_graph_without_external_data(tiny_bundle):
    model = onnx.load(tiny_bundle / "model.onnx", load_external_data=False)
    assert not any(t.data_location for t in model.graph.initializer)
    onnx.checker.check_model(model)


def test_calibration_lowers_the_loss(tiny_bundle):
    development = json.loads((tiny_bundle / "bundle.json").read_text())["metrics"]["development"]
    assert development["nll"] <= development["nll_uncalibrated"] + 1e-9
    assert 0 < development["coverage"] <= 1
    assert all(math.isfinite(value) for value in development.values())


def test_the_bundle_says_nothing_of_this_machine(tiny_bundle, tiny_run):
    packages = Path(torch.__file__).parent.parent
    ours = Path(export_module.__file__).parent
    for file in tiny_bundle.iterdir():
        content = file.read_bytes()
        for folder in (tiny_run, packages, ours):
            assert bytes(folder) not in content, file


def test_the_bundle_tells_what_each_epoch_gave(tiny_bundle, tiny_run):
    told = Bundle.load(tiny_bundle).record["training"]["history"]
    known = Run.load(tiny_run / "run").history()
    assert [epoch["epoch"] for epoch in told] == [epoch["epoch"] for epoch in known]
    assert told[-1]["dev_score"] == pytest.approx(known[-1]["dev_score"], abs=1e-4)
    assert "seconds" not in told[0]  # the same training gives the same bundle


def test_a_moved_manifest_can_be_named(tiny_run, tmp_path, tiny_bundle):
    from tsresformer.manifest import Manifest

    manifest = Manifest.read(tiny_run / "m.csv")
    bundle = export_module.export(
        tiny_run / "run", tmp_path / "b.bundle", name="other", manifest=manifest
    )
    assert bundle.name == "other"
    assert bundle.temperature == Bundle.load(tiny_bundle).temperature
    missing = manifest.replace(dataclasses.replace(t, status="missing") for t in manifest.tracks)
    for other, message in (
        (missing, "development tracks are not in"),
        (manifest.replace(manifest.tracks[:1]), "labels, splits or groups are not those"),
    ):
        with pytest.raises(BundleError, match=message):
            export_module.export(tiny_run / "run", tmp_path / "c.bundle", manifest=other)
    assert not (tmp_path / "c.bundle").exists()


def test_a_store_of_other_features_does_not_calibrate(tiny_run, tmp_path):
    store = tiny_run / "store"
    record = json.loads((store / "store.json").read_text())
    record["features"]["hop_length"] *= 2
    with pytest.raises(BundleError, match=r"store: holds other features than .*run was .*--store"):
        export_module.export(
            tiny_run / "run", tmp_path / "b.bundle", store=FeatureStore(store, record)
        )
    assert not (tmp_path / "b.bundle").exists()


def test_a_compact_graph_has_half_the_size_and_nearly_the_same_outputs():
    model = TSResformer(ModelConfig(front_stride=4), FEATURES, 3).eval()
    graph = to_onnx(model, 20, 64)
    compact = export_module.compact_graph(graph)
    assert len(compact) < 0.6 * len(graph)
    stored = {t.name: t.data_type for t in onnx.load_model_from_string(compact).graph.initializer}
    half = [name for name, kind in stored.items() if kind == onnx.TensorProto.FLOAT16]
    assert half and all(name.endswith(".half") for name in half)
    log_mel = (torch.randn(2, 20, 64) * 15 - 40).numpy()
    full, rounded = (
        ort.InferenceSession(g).run(["logits"], {"log_mel": log_mel})[0] for g in (graph, compact)
    )
    worst = np.abs(full - rounded).max()
    assert 0 < worst < 0.01
    export_module._check_parity(model, compact, 20, [64], 0.05)
    with pytest.raises(BundleError, match="allowed 1e-09"):
        export_module._check_parity(model, compact, 20, [64], 1e-9)


def test_weights_beyond_the_range_of_half_precision_are_kept():
    huge = torch.full((64, 64), 1e5)
    assert export_module._compact_tensor(huge).dtype == torch.float32
    assert export_module._compact_tensor(huge / 10).dtype == torch.float16
    assert export_module._compact_tensor(torch.ones(2048)).dtype == torch.float32  # no matrix


def test_a_compact_bundle_serves_and_can_be_trained_on(tiny_run, tiny_bundle, tmp_path):
    bundle = export_module.export(tiny_run / "run", tmp_path / "c.bundle", compact=True)
    size = sum((bundle.path / name).stat().st_size for name in ("model.onnx", "model.safetensors"))
    whole = sum((tiny_bundle / name).stat().st_size for name in ("model.onnx", "model.safetensors"))
    assert size < whole
    full = Bundle.load(tiny_bundle).weights()
    for name, value in bundle.weights().items():
        assert value.dtype == full[name].dtype
        torch.testing.assert_close(value, full[name], rtol=1e-3, atol=1e-6)
