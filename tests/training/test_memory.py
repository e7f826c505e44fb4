"""How much of a batch is computed at once."""

import pytest
import torch

from bands import FEATURES, config
from tsresformer.training import fit as fit_module
from tsresformer.training import memory

pytestmark = pytest.mark.torch


def test_micro_batch_shrinks_with_the_memory(bands, monkeypatch):
    plan = fit_module._plan(config(), *bands, None, [])
    network = fit_module.build_network(config().model, FEATURES, 3)
    assert memory.micro_batch(network, plan.training) == 8
    monkeypatch.setattr(memory, "free_memory", lambda: 1e3)
    assert memory.micro_batch(network, plan.training) == 2


def test_free_memory_counts_what_the_cache_would_give_back(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    assert memory.free_memory() > 0
    (tmp_path / "meminfo").write_text("MemFree:  1 kB\nMemAvailable:   5000 kB\n")
    assert memory.free_memory() == 5000 * 1024
