"""Augmentation: what each part does, and that draws depend on nothing but their seed."""

import random

import pytest
import torch

from tsresformer.config import AugmentConfig
from tsresformer.training.augment import augment, draw_augmentation, stack_draws

pytestmark = pytest.mark.torch

OFF = {
    "time_masks": 0,
    "frequency_masks": 0,
    "mixup_alpha": 0.0,
    "gain_db": 0.0,
    "time_shift": False,
}


def apply(x, target=None, seed=0, **on):
    config = AugmentConfig(**{**OFF, **on})
    draws = [
        draw_augmentation(config, *x.shape[1:], random.Random(f"{seed} {i}")) for i in range(len(x))
    ]
    target = torch.eye(len(x)) if target is None else target
    return augment(x, target, stack_draws(draws), torch.tensor(10.0))


@pytest.fixture
def x():
    return torch.randn(4, 16, 50, generator=torch.Generator().manual_seed(0)) + 5


def test_everything_off_changes_nothing(x):
    out, target = apply(x)
    torch.testing.assert_close(out, x)
    torch.testing.assert_close(target, torch.eye(4))


def test_time_masks_blank_whole_frames(x):
    out, _ = apply(x, time_masks=2, time_mask_fraction=0.5)
    blank = out == 0
    assert (blank.all(1) == blank.any(1)).all()
    share = blank.float().mean((1, 2))
    assert share.max() > 0.1
    assert len(set(share.tolist())) > 1


def test_frequency_masks_blank_whole_bands(x):
    out, _ = apply(x, frequency_masks=1, frequency_mask_fraction=0.9)
    blank = out == 0
    assert (blank.all(2) == blank.any(2)).all()
    assert blank.any()


def test_shift_rotates_in_time(x):
    out, _ = apply(x, time_shift=True)
    moved = 0
    for before, after in zip(x, out, strict=True):
        shifts = [k for k in range(50) if torch.equal(before.roll(k, 1), after)]
        assert len(shifts) == 1
        moved += shifts[0] > 0
    assert moved >= 3


def test_gain_is_smooth_over_the_bands_and_constant_in_time(x):
    out, _ = apply(x, gain_db=6.0)
    gain = (out - x) * 10
    assert gain.std(2).max() < 1e-3
    curve = gain.mean(2)
    assert curve.std() > 1
    assert (curve[:, 2:] - 2 * curve[:, 1:-1] + curve[:, :-2]).abs().median() < 1e-3


def test_mixup_mixes_neighbours_and_their_targets_alike(x):
    out, target = apply(x, mixup_alpha=1.0)
    for i, partner in enumerate((1, 0, 3, 2)):
        keep = float(target[i, i])
        assert 0.5 <= keep <= 1
        torch.testing.assert_close(target[i, partner], torch.tensor(1 - keep))
        torch.testing.assert_close(out[i], keep * x[i] + (1 - keep) * x[partner])


def test_no_micro_batch_divides_a_pair(x):
    config = AugmentConfig(mixup_alpha=1.0)
    draws = [draw_augmentation(config, 16, 50, random.Random(i)) for i in range(4)]
    scale = torch.tensor(10.0)
    whole, _ = augment(x, torch.eye(4), stack_draws(draws), scale)
    halves = [
        augment(x[i : i + 2], torch.eye(4)[i : i + 2], stack_draws(draws[i : i + 2]), scale)[0]
        for i in (0, 2)
    ]
    torch.testing.assert_close(torch.cat(halves), whole)


def test_draws_repeat_with_their_seed():
    config = AugmentConfig(time_shift=True)
    one, two, other = (draw_augmentation(config, 16, 50, random.Random(s)) for s in "aab")
    assert one == two != other
