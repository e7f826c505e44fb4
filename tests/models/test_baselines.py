"""The networks to compare with keep TS-Resformer's contract: shapes, gradients, any length."""

import pytest
import torch

from tsresformer.config import FeatureConfig, ModelConfig, load_config
from tsresformer.errors import ConfigError
from tsresformer.export import cost
from tsresformer.models.baselines import BODIES, build_network
from tsresformer.models.ts_resformer import TSResformer

pytestmark = pytest.mark.torch

FEATURES = FeatureConfig(n_mels=32)
NAMES = sorted(BODIES)


def network(name, n_classes=5, n_mels=32):
    torch.manual_seed(0)
    config = ModelConfig(architecture=name, d_model=16, n_heads=2, n_layers=2, d_feedforward=24)
    return build_network(config, FeatureConfig(n_mels=n_mels), n_classes)


def decibels(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 15 - 40


def test_the_configuration_names_them_all():
    assert isinstance(build_network(ModelConfig(), FEATURES, 3), TSResformer)
    for name in NAMES:
        assert not isinstance(network(name), TSResformer)
    with pytest.raises(ConfigError, match="architecture = 'vgg16'"):
        ModelConfig(architecture="vgg16")


@pytest.mark.parametrize("name", NAMES)
def test_shapes_from_eight_frames_up(name):
    for n_mels in (12, 32, 40):
        model = network(name, n_mels=n_mels).eval()
        for n_frames in (8, 9, 31, 129):
            out = model(decibels(2, n_mels, n_frames))
            assert out.logits.shape == (2, 5)
            assert out.embedding.shape == (2, model.head.in_features)
            torch.testing.assert_close(out.attention_time, torch.ones(2, n_frames))
            torch.testing.assert_close(out.attention_frequency, torch.ones(2, n_mels))
            assert bool(torch.isfinite(out.logits).all())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = network(name)
    out = model(decibels(6, 32, 40))
    torch.nn.functional.cross_entropy(out.logits, torch.arange(6) % 5).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_is_judged_by_itself(name):
    model = network(name).eval()
    x = decibels(3, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits[1:2], model(x[1:2]).logits, atol=1e-5, rtol=0)


def test_sizes_are_those_of_their_sources():
    def parameters(name):
        return sum(p.numel() for p in network(name, n_classes=1000, n_mels=128).parameters())

    # torchvision's resnet18 has 11,689,512: one input channel saves 2 * 64 * 49 of the stem.
    assert parameters("resnet18") == 11_689_512 - 2 * 64 * 49
    # Two bidirectional layers of 128 over 128 bands, and the head.
    layer = 2 * 3 * 128
    assert parameters("gru") == layer * (128 + 128 + 2) + layer * (256 + 128 + 2) + 257_000


def test_rivals_are_of_about_the_size_of_ts_resformer():
    lean = load_config("lean").model

    def multiply_adds(name):
        config = lean.model_copy(update={"architecture": name})
        return cost(build_network(config, FeatureConfig(), 8), 128, 64)["multiply_adds"]

    ours = multiply_adds("ts_resformer")
    ratios = {name: multiply_adds(name) / ours for name in NAMES}
    assert ratios.pop("resnet18") > 9
    assert all(0.5 < ratio < 2 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("name", NAMES)
def test_export_keeps_batch_and_frames_free(name):
    from tsresformer.export import to_onnx

    assert to_onnx(network(name).eval(), 32, 40)  # compares several shapes with PyTorch itself
