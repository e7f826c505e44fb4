"""Estimates of how long training takes: of idle cores, whatever else the machine does."""

import time

import pytest
import torch

from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.models import timing

SMALL = ModelConfig(
    front_channels=2, residual_widths=(8,), residual_depths=(1,), d_model=16, n_heads=2,
    n_layers=1, d_feedforward=16,
)  # fmt: skip


def step_seconds(n_threads, batch_size=4):
    return timing.step_seconds(
        SMALL, FeatureConfig(n_mels=16), 3, batch_size=batch_size, n_frames=40, n_threads=n_threads
    )


@pytest.fixture
def clock(monkeypatch):
    """A processor that takes 2 s for each look at its clock."""
    looks = iter(range(0, 1000, 2))
    monkeypatch.setattr(time, "process_time", lambda: next(looks))
    timing._step_work.cache_clear()
    yield
    timing._step_work.cache_clear()


def test_a_step_is_timed_once_in_one_thread_by_processor_time(clock):
    before = torch.get_num_threads()
    assert step_seconds(1) == 2
    assert step_seconds(2) == pytest.approx(2 / 2**0.85)
    assert step_seconds(16) == pytest.approx(2 / 16**0.85)
    assert time.process_time() == 12  # three steps, two looks each: it was not timed again
    assert torch.get_num_threads() == before
