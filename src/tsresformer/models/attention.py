"""The front end of the network: low-level filters and the attention over them.

Every front end maps a standardised log-mel (B, M, T) to `Front`: features V (B, C, M', T') and
two attention curves in (0, 1), where M' and T' are M and T divided by the stride, rounded up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        return front, config.front_channels * len(kernels) + 1
    kernels = config.time_kernels + config.frequency_kernels
    n_channels = config.front_channels * len(kernels)
    gate = {"se": SqueezeExcitation, "cbam": ConvBlockAttention, "eca": EfficientChannelAttention}
    attention = gate[config.attention](n_channels) if config.attention in gate else nn.Identity()
    return PlainFront(n_channels, config.front_stride, attention), n_channels


class TimeFrequencyAttention(nn.Module):
    """Filters of several scales along time and along frequency, each set with its attention.

    Our choice: sigmoid gates from a small convolution over the averaged axis, learned fusion
    weights (Wang et al. 2020, arXiv 1912.06808), and the averaged input as one more channel. With
    a stride the filters are wide enough across their axis that no frame or band is skipped.
    """

    def __init__(self, config: ModelConfig, time: bool, frequency: bool) -> None:
        super().__init__()
        self.stride, width = config.front_stride, config.front_channels
        over_bands, over_frames = (2 * (step // 2) + 1 for step in self.stride)
        self.time = self.frequency = self.time_gate = self.frequency_gate = None
        if time:
            shapes = [(over_bands, k) for k in config.time_kernels]
            self.time = FilterBank(shapes, width, self.stride)
            self.time_gate = Gate(width * len(shapes))
        if frequency:
            shapes = [(k, over_frames) for k in config.frequency_kernels]
            self.frequency = FilterBank(shapes, width, self.stride)
            self.frequency_gate = Gate(width * len(shapes))
        self.fusion = nn.Parameter(torch.ones(3), requires_grad=config.learned_fusion)

    def forward(self, x: Tensor) -> Front:
        x = x.unsqueeze(1)
        shrunk = functional.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        attend_time = torch.ones_like(shrunk[:, :, 0])
        attend_frequency = torch.ones_like(shrunk[..., 0])
        parts = []
        if self.time is not None and self.time_gate is not None:
            features = self.time(x)
            attend_time = self.time_gate(features.mean(2))
            parts.append(features * (self.fusion[0] * attend_time).unsqueeze(2))
        if self.frequency is not None and self.frequency_gate is not None:
            features = self.frequency(x)
            attend_frequency = self.frequency_gate(features.mean(3))
            parts.append(features * (self.fusion[1] * attend_frequency).unsqueeze(3))
        parts.append(self.fusion[2] * shrunk)
        return Front(torch.cat(parts, 1), attend_time.mean(1), attend_frequency.mean(1))


class FilterBank(nn.Module):
    """Filters of several shapes over one map, then batch norm and ReLU.

    All shapes are computed as one convolution of the largest, whose weights outside a filter's own
    shape stay zero: on a processor, one pass over the output costs less than the zeros.
    """

    inside: Tensor

    def __init__(self, shapes: list[tuple[int, int]], width: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        weight, inside = (torch.zeros(width * len(shapes), 1, *largest) for _ in range(2))
        for i, shape in enumerate(shapes):
            rows, columns = (
                slice((whole - size) // 2, (whole + size) // 2)
                for whole, size in zip(largest, shape, strict=True)
            )
            window = (slice(i * width, (i + 1) * width), slice(None), rows, columns)
            nn.init.kaiming_uniform_(weight[window], a=math.sqrt(5))  # as PyTorch's convolutions
            inside[window] = 1
        self.weight = nn.Parameter(weight)
        self.register_buffer("inside", inside, persistent=False)
        self.norm = nn.BatchNorm2d(len(weight))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.inside
        margin = (weight.shape[2] // 2, weight.shape[3] // 2)
        return torch.relu(self.norm(functional.conv2d(x, weight, None, self.stride, margin)))


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
    """One small convolution, and optionally a published attention after it."""

    def __init__(self, n_channels: int, stride: tuple[int, int], attention: nn.Module) -> None:
        super().__init__()
        height, width = (max(3, 2 * (step // 2) + 1) for step in stride)
        margin = (height // 2, width // 2)
        self.stem = nn.Conv2d(1, n_channels, (height, width), stride, margin, bias=False)
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
