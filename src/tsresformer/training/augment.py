"""Augmentation of standardised log-mels: masks, equalisation, rotation, mixup.

The draws of a slice come from one generator that is seeded by (seed, epoch, track, start); the
batch is then changed at once.

References
----------
Park et al. 2019 (SpecAugment), Zhang et al. 2018 (mixup); the amounts are our choice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from tsresformer.config import AugmentConfig

EQUALISER_POINTS = 5
"""Control points of the random equalisation, equally spaced over the mel bands."""

Draw = dict[str, list[float]]


def draw_augmentation(
    config: AugmentConfig, n_mels: int, n_frames: int, draw: random.Random
) -> Draw:
    """All random numbers that the augmentation of one slice needs."""
    alpha = config.mixup_alpha
    return {
        "time_masks": _masks(
            config.time_masks, config.time_mask_fraction * n_frames, n_frames, draw
        ),
        "frequency_masks": _masks(
            config.frequency_masks, config.frequency_mask_fraction * n_mels, n_mels, draw
        ),
        "gain_db": [draw.gauss(0, config.gain_db) for _ in range(EQUALISER_POINTS)],
        "shift": [draw.randrange(n_frames) if config.time_shift else 0],
        "keep": [draw.betavariate(alpha, alpha) if alpha else 1.0],
    }


def stack_draws(draws: Sequence[Draw]) -> dict[str, Tensor]:
    """Collect the draws of a batch; each tensor is (B, numbers)."""
    return {name: torch.tensor([d[name] for d in draws]) for name in draws[0]}


def augment(
    x: Tensor, target: Tensor, draws: dict[str, Tensor], db_per_unit: Tensor
) -> tuple[Tensor, Tensor]:
    """Change a batch.

    Parameters
    ----------
    x : shape (B, n_mels, n_frames), standardised: 0 is the mean of a band
    target : shape (B, n_classes)
    draws : from `stack_draws`
    db_per_unit : decibels that one unit of `x` stands for; infinite for PCEN, which a constant gain
        of a band hardly changes
    """
    n_mels, n_frames = x.shape[1:]
    gain = torch.nn.functional.interpolate(
        draws["gain_db"].unsqueeze(1), n_mels, mode="linear", align_corners=True
    )
    x = x + gain.transpose(1, 2) / db_per_unit
    x = _rotate(x, draws["shift"].squeeze(1).long())
    keep = draws["keep"]
    keep = torch.maximum(keep, 1 - keep)  # the slice itself stays the larger part
    neighbour = torch.arange(len(x), device=x.device) ^ 1  # pairs: no micro-batch divides them
    x = keep.unsqueeze(2) * x + (1 - keep).unsqueeze(2) * x[neighbour]
    target = keep * target + (1 - keep) * target[neighbour]
    masked = _inside(draws["time_masks"], n_frames).unsqueeze(1) | _inside(
        draws["frequency_masks"], n_mels
    ).unsqueeze(2)
    return x.masked_fill(masked, 0.0), target


def _masks(count: int, widest: float, length: int, draw: random.Random) -> list[float]:
    """First and last + 1 positions of `count` masks, flattened."""
    edges = []
    for _ in range(count):
        width = draw.uniform(0, widest)
        start = draw.uniform(0, length - width)
        edges += [float(round(start)), float(round(start + width))]
    return edges


def _inside(edges: Tensor, length: int) -> Tensor:
    """Positions (B, length) that some mask covers."""
    position = torch.arange(length, device=edges.device)
    first, last = edges.unflatten(1, (-1, 2)).unsqueeze(3).unbind(2)
    return ((position >= first) & (position < last)).any(1)


def _rotate(x: Tensor, shift: Tensor) -> Tensor:
    """Rotate each slice in time by its own number of frames."""
    n_frames = x.shape[2]
    index = (torch.arange(n_frames, device=x.device) - shift.unsqueeze(1)) % n_frames
    return x.gather(2, index.unsqueeze(1).expand_as(x))
