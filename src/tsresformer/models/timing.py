"""How long a network takes to learn here, from a few steps."""

from __future__ import annotations

import functools
import time

import torch

from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.models.baselines import build_network

TIMED_STEPS = 2

EFFICIENCY = 0.85
"""Steps become faster as the number of threads to this power, roughly: two save 45 %, not half."""


def step_seconds(
    config: ModelConfig,
    features: FeatureConfig,
    n_classes: int,
    *,
    batch_size: int,
    n_frames: int,
    n_threads: int,
) -> float:
    """Seconds that one training step on slices of `n_frames` takes on `n_threads` idle cores."""
    return _step_work(config, features, n_classes, batch_size, n_frames) / n_threads**EFFICIENCY


@functools.cache
def _step_work(
    config: ModelConfig, features: FeatureConfig, n_classes: int, batch_size: int, n_frames: int
) -> float:
    """Processor seconds of one step in one thread.

    On a machine that is busy otherwise, threads that wait for each other would take many times as
    long as on an idle one; the processor time of a single one hardly changes.
    """
    n_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = build_network(config, features, n_classes)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(network.parameters(), fused=True)
        log_mel = torch.randn(batch_size, features.n_mels, n_frames) * 15 - 40
        times = []
        for _ in range(1 + TIMED_STEPS):
            begun = time.process_time()
            network(log_mel).logits.square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
            times.append(time.process_time() - begun)
    finally:
        torch.set_num_threads(n_before)
    return min(times[1:])  # the first one also allocates
