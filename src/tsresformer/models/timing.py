"""How long a network takes to learn here, from a few steps."""

from __future__ import annotations

import time

import torch

from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.models.baselines import build_network

TIMED_STEPS = 2


def step_seconds(
    config: ModelConfig,
    features: FeatureConfig,
    n_classes: int,
    *,
    batch_size: int,
    n_frames: int,
    n_threads: int,
) -> float:
    """Seconds of one training step on slices of `n_frames`."""
    torch.set_num_threads(n_threads)
    network = build_network(config, features, n_classes)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    log_mel = torch.randn(batch_size, features.n_mels, n_frames) * 15 - 40
    begun = time.monotonic()
    for step in range(1 + TIMED_STEPS):
        if step == 1:  # the first one also allocates
            begun = time.monotonic()
        network(log_mel).logits.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return (time.monotonic() - begun) / TIMED_STEPS
