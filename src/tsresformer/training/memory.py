"""How much of a batch is computed at once, and what becomes of memory that tensors free."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import re
from pathlib import Path

import torch

from tsresformer.models.baselines import Network
from tsresformer.training.data import SliceBatches

MEMORY = Path("/proc/meminfo")

MEMORY_SHARE = 0.5
"""Part of the free memory that a micro-batch's activations may take."""

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def micro_batch(network: Network, training: SliceBatches) -> int:
    """Largest part of the batch whose activations fit into memory, found by a trial of two."""
    batch_size = training.config.train.batch_size
    saved = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    x = torch.zeros(2, training.store.features.n_mels, training.length)
    trial = copy.deepcopy(network).train()  # batch norms remember what they see
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        trial(x)
    budget = MEMORY_SHARE * free_memory()
    size = batch_size
    while size % 4 == 0 and size * saved / 2 > budget:
        size //= 2
    return size


def free_memory() -> float:
    """Bytes that are free, or that the cache of the system would give back."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text())
    except OSError:
        found = None
    if found:
        return float(found[1]) * 1024
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def keep_freed_memory() -> None:
    """Have glibc keep what tensors free, for the rest of the process.

    Otherwise the system takes large blocks back and clears their pages anew in every step, which
    was a tenth of it. A C library without these settings is left as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
