"""The front end of the network: low-level filters and the attention over them.

Every front end maps a standardised log-mel (B, M, T) to `Front`: features V (B, C, M', T') and
two attention curves in (0, 1), where M' and T' are M and T divided by the stride, rounded up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsresformer.config import ModelConfig


class Front(NamedTuple):
    """What a front end hands on."""

    features: Tensor  # (B, C, M', T')
    time: Tensor  # (B, T'), mean over channels of the attention to moments
    frequency: Tensor  # (B, M'), mean over channels of the attention to bands


def build_front(config: ModelConfig) -> tuple[nn.Module, int]:
    """Return the front end that `config.attention` names and its number of channels."""
    if config.attention in ("time_frequency", "time", "frequency"):
        paths = config.attention.split("_")
        front: nn.Module = TimeFrequencyAttention(config, "time" in paths, "frequency" in paths)
        kernels = (config.time_kernels if "time" in paths else ()) + (
            config.frequency_kernels if "frequency" in paths else ()
        )
        return front, config.front_channels * len(kernels)
    kernels = config.time_kernels + config.frequency_kernels
    n_channels = config.front_channels * len(kernels)
    gate = {"se": SqueezeExcitation, "cbam": ConvBlockAttention, "eca": EfficientChannelAttention}
    attention = gate[config.attention](n_channels) if config.attention in gate else nn.Identity()
    return PlainFront(n_channels, config.front_stride, attention), n_channels


class TimeFrequencyAttention(nn.Module):
    """Filters of several scales along time and along frequency, each set with its attention.

    Our choice: sigmoid gates from a small convolution over the averaged axis, learned fusion
    weights (Wang et al. 2020, arXiv 1912.06808), and the input added back. With a stride the
    filters are three wide across their axis, so that no frame or band is skipped.
    """

    def __init__(self, config: ModelConfig, time: bool, frequency: bool) -> None:
        super().__init__()
        stride, width = config.front_stride, config.front_channels
        across = 2 * (config.front_stride // 2) + 1
        self.time = (
            FilterBank([(across, k) for k in config.time_kernels], width, stride) if time else None
        )
        self.frequency = (
            FilterBank([(k, across) for k in config.frequency_kernels], width, stride)
            if frequency
            else None
        )
        self.time_gate = Gate(width * len(config.time_kernels)) if time else None
        self.frequency_gate = Gate(width * len(config.frequency_kernels)) if frequency else None
        self.shrink = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
        self.fusion = nn.Parameter(torch.ones(3), requires_grad=config.learned_fusion)

    def forward(self, x: Tensor) -> Front:
        x = x.unsqueeze(1)
        residual = self.shrink(x)
        attend_time = torch.ones_like(residual[:, :, 0])
        attend_frequency = torch.ones_like(residual[..., 0])
        parts = []
        if self.time is not None and self.time_gate is not None:
            features = self.time(x)
            attend_time = self.time_gate(features.mean(2))
            parts.append(features * (self.fusion[0] * attend_time).unsqueeze(2))
        if self.frequency is not None and self.frequency_gate is not None:
            features = self.frequency(x)
            attend_frequency = self.frequency_gate(features.mean(3))
            parts.append(features * (self.fusion[1] * attend_frequency).unsqueeze(3))
        fused = torch.cat(parts, 1) + self.fusion[2] * residual
        return Front(fused, attend_time.mean(1), attend_frequency.mean(1))


class FilterBank(nn.Module):
    """Parallel convolutions of several shapes over one map, then batch norm and ReLU."""

    def __init__(self, shapes: list[tuple[int, int]], width: int, stride: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Conv2d(1, width, shape, stride, (shape[0] // 2, shape[1] // 2), bias=False)
            for shape in shapes
        )
        self.norm = nn.BatchNorm2d(width * len(shapes))

    def forward(self, x: Tensor) -> Tensor:
        features = torch.cat([scale(x) for scale in self.scales], 1)
        return torch.relu(self.norm(features))


class Gate(nn.Module):
    """Attention (B, C, L) in (0, 1) from features averaged to one axis (B, C, L)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        hidden = max(4, n_channels // 2)
        self.squeeze = nn.Conv1d(n_channels, hidden, 3, padding=1)
        self.expand = nn.Conv1d(hidden, n_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.expand(torch.relu(self.squeeze(x))))


class PlainFront(nn.Module):
    """One 3x3 convolution, and optionally a published attention after it."""

    def __init__(self, n_channels: int, stride: int, attention: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, n_channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_channels)
        self.attention = attention

    def forward(self, x: Tensor) -> Front:
        features = torch.relu(self.norm(self.stem(x.unsqueeze(1))))
        ones = torch.ones_like(features[:, 0])
        return Front(self.attention(features), ones[:, 0], ones[..., 0])


class SqueezeExcitation(nn.Module):
    """Channel attention by two dense layers (Hu et al. 2018)."""

    def __init__(self, n_channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(4, n_channels // reduction)
        self.dense = nn.Sequential(
            nn.Linear(n_channels, hidden), nn.ReLU(), nn.Linear(hidden, n_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.dense(x.mean((2, 3))))[:, :, None, None]


class ConvBlockAttention(nn.Module):
    """Channel attention, then spatial attention, from means and maxima (CBAM, Woo et al. 2018)."""

    def __init__(self, n_channels: int, reduction: int = 8, kernel: int = 7) -> None:
        super().__init__()
        hidden = max(4, n_channels // reduction)
        self.dense = nn.Sequential(
            nn.Linear(n_channels, hidden), nn.ReLU(), nn.Linear(hidden, n_channels)
        )
        self.spatial = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        channel = self.dense(x.mean((2, 3))) + self.dense(x.amax((2, 3)))
        x = x * torch.sigmoid(channel)[:, :, None, None]
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.spatial(summary))


class EfficientChannelAttention(nn.Module):
    """Channel attention by one convolution over the channels (ECA, Wang et al. 2020)."""

    def __init__(self, n_channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mix(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return x * torch.sigmoid(weights)[:, :, None, None]
