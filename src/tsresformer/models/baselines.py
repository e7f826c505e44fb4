"""Networks to compare with, behind the contract of TS-Resformer, and the one that builds either.

Each keeps the arrangement that its source describes; widths that a source leaves open, and
anything that lets any length of input through, are our choice: on windows of 15 s, none but the
full ResNet-18 takes more than twice the multiply-adds of TS-Resformer. Where a network has no
attention to moments or bands, its two attention curves are ones.

References
----------
Simonyan & Zisserman 2015 (VGG), He et al. 2016 (ResNet-18), Choi et al. 2017 (CRNN), Cho et al.
2014 (GRU), Gong et al. 2021 (AST).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsresformer.config import FeatureConfig, ModelConfig
from tsresformer.models.encoder import EncoderLayer, sinusoidal_positions
from tsresformer.models.ts_resformer import Normalise, Output, TSResformer

VGG_WIDTHS = (12, 24, 48, 96)
CRNN_WIDTHS = (8, 16, 24, 24)
RESNET_WIDTHS = {"resnet18": (64, 128, 256, 512), "resnet18_narrow": (24, 48, 96, 192)}
GRU_WIDTH = 128
PATCH_BANDS, PATCH_FRAMES = 16, 8


class Baseline(nn.Module):
    """Absolute decibels, or PCEN, (B, n_mels, n_frames) to genre logits, through one body.

    A body maps a standardised log-mel (B, n_mels, n_frames) to a vector (B, `n_out`).
    """

    def __init__(self, config: ModelConfig, features: FeatureConfig, n_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise(features)
        self.body = BODIES[config.architecture](config, features.n_mels)
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(self.body.n_out, n_classes)  # type: ignore[arg-type]

    def forward(self, log_mel: Tensor) -> Output:
        return self.classify(self.normalise(log_mel))

    def classify(self, x: Tensor) -> Output:
        """Classify standardised log-mels."""
        embedding = self.body(x)
        logits = self.head(self.dropout(embedding))
        return Output(logits, embedding, torch.ones_like(x[:, 0]), torch.ones_like(x[..., 0]))


Network = TSResformer | Baseline


def build_network(config: ModelConfig, features: FeatureConfig, n_classes: int) -> Network:
    """Return the network that `config.architecture` names, with fresh weights."""
    if config.architecture == "ts_resformer":
        return TSResformer(config, features, n_classes)
    return Baseline(config, features, n_classes)


class VGG(nn.Module):
    """Pairs of 3x3 convolutions, each pair pooled by its maxima; batch norm is our addition."""

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 1
        for width in VGG_WIDTHS:
            layers += [*_convolution(n_in, width), *_convolution(width, width)]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            n_in = width
        self.layers = nn.Sequential(*layers)
        self.n_out = n_in

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.unsqueeze(1)).mean((2, 3))


class CRNN(nn.Module):
    """Convolutions whose pools shrink the bands, then two bidirectional GRU layers over frames.

    All frames are kept, where Choi et al. shrink them too, on longer input.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, n_bands = 1, n_mels
        for width in CRNN_WIDTHS:
            layers += _convolution(n_in, width)
            layers.append(nn.MaxPool2d((2, 1), ceil_mode=True))
            n_in, n_bands = width, -(-n_bands // 2)
        self.layers = nn.Sequential(*layers)
        self.recurrent = Recurrent(n_in * n_bands)
        self.n_out = self.recurrent.n_out

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(self.layers(x.unsqueeze(1)).flatten(1, 2))


class GRU(nn.Module):
    """Two bidirectional GRU layers over the frames, their states averaged."""

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        self.recurrent = Recurrent(n_mels)
        self.n_out = self.recurrent.n_out

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x)


class Recurrent(nn.Module):
    """Two bidirectional GRU layers over features (B, C, T), their states averaged (B, `n_out`).

    Exporters unroll PyTorch's GRU to the length that they see, so the graph gets ONNX's instead.
    """

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.GRU(width, GRU_WIDTH, batch_first=True, bidirectional=True)
            for width in (n_in, 2 * GRU_WIDTH)
        )
        self.n_out = 2 * GRU_WIDTH

    def forward(self, x: Tensor) -> Tensor:
        states = x.transpose(1, 2)
        for layer in self.layers:
            states = _onnx_gru(layer, states) if torch.compiler.is_exporting() else layer(states)[0]
        return states.mean(1)


def _onnx_gru(layer: nn.Module, x: Tensor) -> Tensor:
    """ONNX's GRU operator with the weights of a bidirectional PyTorch layer; x is (B, T, C)."""

    def stacked(kind: str) -> Tensor:
        """Parameters of both directions, gates in ONNX's order: update, reset, new."""
        both = []
        for direction in ("", "_reverse"):
            gates = getattr(layer, f"{kind}_l0{direction}")
            reset, update = gates[:GRU_WIDTH], gates[GRU_WIDTH : 2 * GRU_WIDTH]
            both.append(torch.cat([update, reset, gates[2 * GRU_WIDTH :]]))
        return torch.stack(both)

    states = torch.onnx.ops.symbolic(
        "GRU",
        [
            x.transpose(0, 1),
            stacked("weight_ih"),
            stacked("weight_hh"),
            torch.cat([stacked("bias_ih"), stacked("bias_hh")], 1),
        ],
        {"hidden_size": GRU_WIDTH, "direction": "bidirectional", "linear_before_reset": 1},
        dtype=x.dtype,
        shape=(x.shape[1], 2, x.shape[0], GRU_WIDTH),
        version=18,
    )  # (T, directions, B, width)
    return states.permute(2, 0, 1, 3).flatten(2)


class ResNet18(nn.Module):
    """ResNet-18 with one input channel: a 7x7 stem, four stages of two basic blocks.

    The narrow one has 3/8 of the channels, and so the size of TS-Resformer.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        widths = RESNET_WIDTHS[config.architecture]
        n_in = widths[0]
        layers: list[nn.Module] = [
            *_convolution(1, n_in, 7, stride=2),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        for stage, width in enumerate(widths):
            layers.append(BasicBlock(n_in, width, stride=1 if stage == 0 else 2))
            layers.append(BasicBlock(width, width, stride=1))
            n_in = width
        self.layers = nn.Sequential(*layers)
        self.n_out = n_in

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.unsqueeze(1)).mean((2, 3))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut that projects where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(n_in, n_out, stride=stride), *_convolution(n_out, n_out)[:2]
        )
        self.shortcut = (
            nn.Sequential(*_convolution(n_in, n_out, 1, stride=stride)[:2])
            if stride > 1 or n_in != n_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class PatchTransformer(nn.Module):
    """Patches of the spectrogram as tokens of an encoder, as in AST, with its own small widths.

    Positions are learned along the bands and sinusoidal along time, so that any length works;
    frames that fill no patch are left out. The encoder's widths are those of TS-Resformer's.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        patch = (min(PATCH_BANDS, n_mels), PATCH_FRAMES)
        n_rows = n_mels // patch[0]
        self.embed = nn.Conv2d(1, config.d_model, patch, stride=patch)
        self.bands = nn.Parameter(0.02 * torch.randn(config.d_model, n_rows, 1))
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.n_out = config.d_model

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x.unsqueeze(1)) + self.bands  # (B, d_model, rows, columns)
        columns = patches.permute(0, 2, 3, 1)
        columns = columns + sinusoidal_positions(columns.shape[2], columns)
        tokens = columns.flatten(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens).mean(1)


def _convolution(n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    ]


BODIES: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "vgg": VGG,
    "crnn": CRNN,
    "gru": GRU,
    "resnet18": ResNet18,
    "resnet18_narrow": ResNet18,
    "patch_transformer": PatchTransformer,
}
