"""The right branch: Transformer encoder layers over the frames (Vaswani et al. 2017, pre-norm)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsresformer.config import ModelConfig


class EncoderBranch(nn.Module):
    """Features (B, C, M, T) to a vector (B, `n_out`); each frame of the mixed map is a token."""

    def __init__(self, n_channels: int, n_bands: int, config: ModelConfig) -> None:
        super().__init__()
        self.mix = nn.Conv2d(n_channels, 1, 1)
        self.shrink = nn.AvgPool1d(config.token_stride, ceil_mode=True, count_include_pad=False)
        self.embed = nn.Linear(n_bands, config.d_model)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.n_out = 2 * config.d_model

    def forward(self, x: Tensor) -> Tensor:
        bands = self.shrink(self.mix(x).squeeze(1))
        tokens = self.embed(bands.transpose(1, 2))
        tokens = tokens + sinusoidal_positions(tokens.shape[1], tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        return torch.cat([tokens.mean(1), tokens.amax(1)], 1)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and added back.

    Dropout acts on what is added back, not on the attention itself: that would keep PyTorch from
    its fused kernel.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model, self.n_heads = config.d_model, config.n_heads
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, config.d_feedforward),
            nn.GELU(),
            nn.Dropout(config.encoder_dropout),
            nn.Linear(config.d_feedforward, d_model),
        )
        self.drop = nn.Dropout(config.encoder_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attend(self.attention_norm(x)))
        return x + self.drop(self.feedforward(x))

    def attend(self, x: Tensor) -> Tensor:
        heads = self.query_key_value(x).unflatten(-1, (3, self.n_heads, -1)).transpose(1, 3)
        query, key, value = heads.unbind(2)  # each (B, n_heads, T, d_head)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


def sinusoidal_positions(n_tokens: int, like: Tensor) -> Tensor:
    """Sines and cosines (n_tokens, d_model) of geometrically spaced periods; any length works."""
    d_model = like.shape[-1]
    rates = torch.exp(
        torch.arange(0, d_model, 2, device=like.device) * (-math.log(10000.0) / d_model)
    )
    angles = torch.arange(n_tokens, device=like.device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1).to(like.dtype)
