"""Training in several processes, on one machine or several."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tsresformer.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and which of them this is."""

    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        if self.devices < 1 or self.nodes < 1:
            raise ConfigError("devices and nodes must be 1 or more")

    @property
    def count(self) -> int:
        """Processes on all machines."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Number of this process, from 0; as torchrun, or Lightning's launcher, tells it."""
        if self.count == 1:
            return 0
        node, local = (int(os.environ.get(name, 0)) for name in ("NODE_RANK", "LOCAL_RANK"))
        return int(os.environ.get("RANK", node * self.devices + local))

    def share_of(self, batch_size: int) -> int:
        """Slices of a batch that fall to each of several processes; 0 if there is only one."""
        if batch_size % (2 * self.count):
            raise ConfigError(
                f"train.batch_size = {batch_size} does not divide into even parts for "
                f"{self.count} processes; use a multiple of {2 * self.count}"
            )
        return batch_size // self.count if self.count > 1 else 0
