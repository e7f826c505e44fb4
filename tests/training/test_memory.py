"""How much of a batch is computed at once."""

import pytest
import torch

from bands import FEATURES, config
from tsresformer.training import fit as fit_module
from tsresformer.training import memory
from tsresformer.training.fit import fit

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


def test_a_batch_in_parts_is_told(bands, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    said = {}
    for kilobytes in (8_000_000, 300):
        (tmp_path / "meminfo").write_text(f"MemAvailable: {kilobytes} kB\n")
        said[kilobytes] = []
        out = tmp_path / str(kilobytes)
        run = fit(config("train.epochs=1"), *bands, out, say=said[kilobytes].append, progress=False)
    assert said[8_000_000] == []
    (text,) = said[300]
    size = run.record["micro_batch"]
    assert size < 8
    assert text.startswith(f"memory is short: a batch of 8 slices is computed by {size}, ")
