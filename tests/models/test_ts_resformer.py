"""The network: shapes, gradients, independence of the batch, and what the attention maps are."""

import itertools

import numpy as np
import pytest
import torch

from tsresformer.config import PRESETS, FeatureConfig, ModelConfig
from tsresformer.features import reference_to
from tsresformer.models.attention import FilterBank
from tsresformer.models.encoder import sinusoidal_positions
from tsresformer.models.ts_resformer import Normalise, TSResformer

pytestmark = pytest.mark.torch

FEATURES = FeatureConfig(n_mels=32)
SMALL = {
    "residual_widths": (8, 16),
    "residual_depths": (1, 2),
    "d_model": 16,
    "n_heads": 2,
    "d_feedforward": 24,
    "front_channels": 2,
}
ATTENTIONS = ("time_frequency", "time", "frequency", "se", "cbam", "eca", "none")
VARIANTS = [{"preset": preset} for preset in PRESETS] + [{"attention": a} for a in ATTENTIONS]


def network(n_classes=5, **changes):
    torch.manual_seed(0)
    return TSResformer(ModelConfig(**{**SMALL, **changes}), FEATURES, n_classes)


def decibels(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 15 - 40


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: next(iter(v.values())))
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 2), (2, 3)])
def test_shapes_from_eight_frames_up(variant, stride):
    model = network(front_stride=stride, **variant).eval()
    for n_frames in (8, 9, 10, 31, 129):
        out = model(decibels(2, 32, n_frames))
        assert out.logits.shape == (2, 5)
        assert out.embedding.shape == (2, model.head.in_features)
        assert out.attention_time.shape == (2, -(-n_frames // stride[1]))
        assert out.attention_frequency.shape == (2, -(-32 // stride[0]))
        assert all(bool(torch.isfinite(part).all()) for part in out)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: next(iter(v.values())))
def test_every_parameter_gets_a_gradient(variant):
    model = network(**variant)
    for module in model.modules():  # the norms that start a block as the identity hide its body
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    out = model(decibels(6, 32, 40))
    torch.nn.functional.cross_entropy(out.logits, torch.arange(6) % 5).backward()
    still = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    expected = {"time": ["front.fusion"], "frequency": ["front.fusion"]}
    assert not [n for n in still if n not in expected.get(str(variant.get("attention")), [])]


def test_one_stride_stands_for_both_axes():
    assert ModelConfig(front_stride=3).front_stride == (3, 3)
    assert ModelConfig(front_stride=3) == ModelConfig(front_stride=(3, 3))


def test_a_filter_bank_is_its_filters_side_by_side():
    shapes = [(3, 3), (3, 7), (3, 15)]
    bank = FilterBank(shapes, 2, (1, 2)).eval()
    with torch.no_grad():
        bank.weight.copy_(
            torch.randn(bank.weight.shape, generator=torch.Generator().manual_seed(1))
        )
        x = decibels(2, 1, 20, 33)
        out = bank(x)
        for i, (height, width) in enumerate(shapes):
            own = bank.weight[2 * i : 2 * i + 2, :, :, 7 - width // 2 : 8 + width // 2]
            alone = torch.nn.functional.conv2d(x, own, None, (1, 2), (height // 2, width // 2))
            expected = torch.relu(alone / (1 + bank.norm.eps) ** 0.5)
            torch.testing.assert_close(out[:, 2 * i : 2 * i + 2], expected, atol=1e-4, rtol=1e-4)


def test_filters_do_not_grow_beyond_their_shape():
    bank = FilterBank([(3, 3), (3, 7)], 1, (1, 1))
    bank(decibels(2, 1, 10, 10)).sum().backward()
    grown = bank.weight.grad.abs().sum((1, 2)) > 0
    assert grown.tolist() == [[False, False, True, True, True, False, False], [True] * 7]


def test_fixed_fusion_weights_are_not_trained():
    assert "front.fusion" in dict(network().named_parameters())
    model = network(learned_fusion=False)
    assert not dict(model.named_parameters())["front.fusion"].requires_grad


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: next(iter(v.values())))
def test_a_slice_scores_the_same_alone_and_in_a_batch(variant):
    model = network(**variant).eval()
    batch = decibels(4, 32, 50)
    with torch.no_grad():
        together = model(batch)
        alone = [model(batch[i : i + 1]) for i in range(4)]
    for part, pieces in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(part, torch.cat(pieces), atol=1e-5, rtol=1e-5)


def test_attention_is_a_share_and_follows_what_it_names():
    model = network().eval()
    # A click in silence, and a tone: the first differs along time, the second along frequency.
    click = torch.full((1, 32, 64), -90.0)
    click[:, :, 30:34] = 0
    tone = torch.full((1, 32, 64), -90.0)
    tone[:, 10:13, :] = 0
    with torch.no_grad():
        for log_mel, moves, rests in (
            (click, "attention_time", "attention_frequency"),
            (tone, "attention_frequency", "attention_time"),
        ):
            out = model(log_mel)._asdict()
            for curve in (out[moves], out[rests]):
                assert 0 < float(curve.min()) <= float(curve.max()) < 1
            middle = slice(6, -6)  # away from the padding at the edges
            assert out[moves][:, middle].std() > 10 * out[rests][:, middle].std()


@pytest.mark.parametrize("attention", ["se", "cbam", "eca", "none"])
def test_without_own_attention_the_curves_are_one(attention):
    out = network(attention=attention).eval()(decibels(2, 32, 20))
    assert bool((out.attention_time == 1).all())
    assert bool((out.attention_frequency == 1).all())


def test_a_tiny_set_can_be_learned_by_heart():
    model = network(head_dropout=0.0, encoder_dropout=0.0)
    log_mel, labels = decibels(10, 32, 24, seed=2), torch.arange(10) % 5
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(log_mel).logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
    assert (model.eval()(log_mel).logits.argmax(1) == labels).all()


@pytest.mark.parametrize("reference", ["max", 0.25])
def test_normalise_refers_as_the_features_do(reference):
    features = FeatureConfig(n_mels=32, reference=reference, top_db=50)
    log_mel = decibels(3, 32, 20)
    ours = Normalise(features).reference(log_mel)
    np.testing.assert_allclose(ours, reference_to(log_mel.numpy(), features), atol=1e-5)


def test_loudness_does_not_matter():
    model = network().eval()
    log_mel = decibels(2, 32, 30)
    with torch.no_grad():
        torch.testing.assert_close(model(log_mel).logits, model(log_mel - 25).logits)


def test_positions_tell_frames_apart_at_any_length():
    positions = sinusoidal_positions(2000, torch.zeros(1, 16))
    assert positions.shape == (2000, 16)
    distance = torch.cdist(positions, positions) + torch.eye(2000) * 9
    assert float(distance.min()) > 0.05
    torch.testing.assert_close(positions[:50], sinusoidal_positions(50, torch.zeros(1, 16)))


def test_variants_differ():
    def parts(**variant):
        return {(n, tuple(p.shape)) for n, p in network(**variant).named_parameters()}

    networks = [parts(attention=a) for a in ATTENTIONS]
    networks += [parts(preset=p) for p in PRESETS if PRESETS[p] and p != "res_transformer"]
    for one, two in itertools.combinations(networks, 2):
        assert one != two
    assert parts(preset="res_transformer") == parts(attention="none")
