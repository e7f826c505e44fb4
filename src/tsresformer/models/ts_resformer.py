"""TS-Resformer: a residual and a Transformer branch behind a time-frequency attention.

Zhang 2025, doi 10.3389/fnbot.2025.1568811. The arrangement is the paper's; every number is our
choice, see `tsresformer.config.ModelConfig`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.features import fixed_reference_db
from tsresformer.models.attention import build_front
from tsresformer.models.encoder import EncoderBranch
from tsresformer.models.residual import ResidualBranch

PCEN_FLATTEST = 0.01
"""Deviation that PCEN is divided by at least; decibels, by 1."""


class Output(NamedTuple):
    """What the network says of a batch of slices; the exported graph has the same names."""

    logits: Tensor  # (B, n_classes)
    embedding: Tensor  # (B, d)
    attention_time: Tensor  # (B, T'), in (0, 1)
    attention_frequency: Tensor  # (B, M'), in (0, 1)


class TSResformer(nn.Module):
    """Absolute decibels, or PCEN, (B, n_mels, n_frames) to genre logits; n_frames from 8 up."""

    def __init__(self, config: ModelConfig, features: FeatureConfig, n_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise(features)
        self.front, n_channels = build_front(config)
        n_bands = -(-features.n_mels // config.front_stride[0])
        self.left = ResidualBranch(n_channels, config) if config.left else None
        self.right = EncoderBranch(n_channels, n_bands, config) if config.right else None
        n_embedding = sum(branch.n_out for branch in (self.left, self.right) if branch is not None)
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(n_embedding, n_classes)

    def forward(self, log_mel: Tensor) -> Output:
        return self.classify(self.normalise(log_mel))

    def classify(self, x: Tensor) -> Output:
        """Classify standardised log-mels; training augments between `normalise` and this."""
        front = self.front(x)
        branches = [branch(front.features) for branch in (self.left, self.right) if branch]
        embedding = torch.cat(branches, 1)
        logits = self.head(self.dropout(embedding))
        return Output(logits, embedding, front.time, front.frequency)


class Normalise(nn.Module):
    """Refer each slice to its maximum, clip at top_db, standardise each band.

    The definition of `tsresformer.features.reference_to`, within the graph; PCEN is clipped at
    its top and standardised.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: FeatureConfig) -> None:
        super().__init__()
        self.top_db = features.top_db
        self.top = features.pcen.top if features.scale == "pcen" else None
        self.fixed = None if features.reference == "max" else float(fixed_reference_db(features))
        middle = -features.top_db / 2 if self.top is None else self.top / 2
        self.register_buffer("mean", torch.full((features.n_mels, 1), middle))
        self.register_buffer("scale", torch.tensor(abs(middle) / 2))

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean of each band (n_mels,) and the deviation of all, which is never 0."""
        smallest = 1.0 if self.top is None else PCEN_FLATTEST
        self.mean.copy_(mean.unsqueeze(1))
        self.scale.copy_(deviation.clamp(min=smallest))

    @property
    def decibels_per_unit(self) -> Tensor:
        """How many decibels of gain move a standardised value by one: of PCEN, no number does."""
        return self.scale if self.top is None else torch.full_like(self.scale, torch.inf)

    def reference(self, log_mel: Tensor) -> Tensor:
        if self.top is not None:
            return log_mel.clamp(max=self.top)
        loudest = log_mel.amax((1, 2), keepdim=True)
        clipped = torch.maximum(log_mel, loudest - self.top_db)
        return clipped - (loudest if self.fixed is None else self.fixed)

    def forward(self, log_mel: Tensor) -> Tensor:
        return (self.reference(log_mel) - self.mean) / self.scale
