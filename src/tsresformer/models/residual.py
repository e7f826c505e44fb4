"""The left branch: an improved residual network.

Our choice of "improved": shortcuts that average before they project, so that no activation is
thrown away (He et al. 2019, arXiv 1812.01187), batch norms that start each block as the
identity, and global mean and maximum pooling together (Zhang et al., Interspeech 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsresformer.config import ModelConfig


class ResidualBranch(nn.Module):
    """Features (B, C, M, T) to a vector (B, `n_out`); every stage halves both axes."""

    def __init__(self, n_channels: int, config: ModelConfig) -> None:
        super().__init__()
        blocks = []
        stages = zip(config.residual_widths, config.residual_depths, strict=True)
        for width, depth in stages:
            for block in range(depth):
                blocks.append(ResidualBlock(n_channels, width, stride=2 if block == 0 else 1))
                n_channels = width
        self.blocks = nn.Sequential(*blocks)
        self.n_out = 2 * n_channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        last_norm = nn.BatchNorm2d(n_out)
        nn.init.zeros_(last_norm.weight)
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            last_norm,
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if n_in != n_out:
            shortcut += [nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))
