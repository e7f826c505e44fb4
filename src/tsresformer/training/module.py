"""The Lightning module: loss, schedule, development score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from tsresformer.config import Config
from tsresformer.errors import TrainingError
from tsresformer.metrics import accuracy, average_precision, macro, nll
from tsresformer.models.baselines import Network
from tsresformer.slicing import probabilities
from tsresformer.training.augment import augment
from tsresformer.training.data import Batch, SliceBatches

FINAL_RATE = 1e-3
"""Learning rate at the end of a schedule, as a part of its peak."""


class GenreModule(pl.LightningModule):
    """Train a network on slices; score it by tracks on the development fold."""

    class_weights: Tensor

    def __init__(
        self,
        network: Network,
        config: Config,
        *,
        n_steps: int,
        class_weights: Tensor,
        development: SliceBatches | None,
    ) -> None:
        super().__init__()
        self.network, self.config, self.n_steps = network, config, n_steps
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._development = development
        self._scores: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, batch: Batch, step: int) -> None:
        """Derive dropout's draws from (seed, epoch, rank), so that a resumed run repeats them.

        Lightning leaves the hooks of an epoch's start out when it resumes at an epoch's end.
        """
        if step == 0:
            draw = self.config.seed * 1_000_003 + self.current_epoch + self.global_rank * 7_919
            torch.manual_seed(draw % 2**63)
        if self.config.train.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def training_step(self, batch: Batch, step: int) -> Tensor:
        normalise = self.network.normalise
        x = normalise(batch.log_mel)
        x, target = augment(x, batch.target, batch.draws, normalise.decibels_per_unit)
        loss = self._loss(self.network.classify(x).logits, target)
        if not torch.isfinite(loss):
            ids = list(dict.fromkeys(self._track_id(int(i)) for i in batch.track))[:8]
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}, batch {step + 1} "
                f"(tracks {', '.join(ids)}, ...); lower train.learning_rate, or look at these "
                "tracks with 'tsresformer data check'"
            )
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, batch_size=len(x), sync_dist=True
        )
        return loss

    def _track_id(self, i: int) -> str:
        tracks: Sequence[Any] = self.trainer.train_dataloader.dataset.tracks  # type: ignore[union-attr]
        return str(tracks[i].track_id)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        smooth, n_classes = self.config.train.label_smoothing, logits.shape[1]
        if self.config.task == "multi":
            target = target * (1 - smooth) + smooth / 2
            losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
            return (losses * self.class_weights).mean()
        target = target * (1 - smooth) + smooth / n_classes
        return -(target * self.class_weights * functional.log_softmax(logits, 1)).sum(1).mean()

    def validation_step(self, batch: Batch, step: int) -> None:
        self._scores.append((self.network(batch.log_mel).logits, batch.track))

    def on_validation_epoch_end(self) -> None:
        """Score the tracks of the development fold."""
        logits, target = self.track_logits()
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"the network says no numbers any more after epoch {self.current_epoch + 1}; lower "
                "train.learning_rate, then train in a new folder"
            )
        score, loss = development_score(logits, target, self.config.task)
        # Every process scores the whole fold; the mean makes all of them decide alike.
        self.log_dict({"dev_score": score, "dev_loss": loss}, sync_dist=True)

    def track_logits(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean logits and targets of the development tracks, both (n_tracks, n_classes)."""
        assert self._development is not None
        logits, track = (torch.cat(parts).cpu() for parts in zip(*self._scores, strict=True))
        self._scores = []
        n_tracks = len(self._development.tracks)
        total = torch.zeros(n_tracks, logits.shape[1]).index_add_(0, track, logits)
        count = torch.bincount(track, minlength=n_tracks).unsqueeze(1)
        scored = (count > 0).squeeze(1).numpy()
        return (total / count).numpy()[scored], self._development.targets[scored]

    def configure_optimizers(self) -> Any:
        train = self.config.train
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": train.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=train.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: rate_factor(step / self.n_steps, train.schedule, train.warmup_fraction),
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def development_score(logits: np.ndarray, target: np.ndarray, task: str) -> tuple[float, float]:
    """Score that selection maximises, and negative log-likelihood.

    Accuracy of tracks in the task "single", mean average precision in the task "multi".
    """
    likely = probabilities(logits, 1.0, task)
    if task == "multi":
        return float(macro(average_precision(target, likely))), float(nll(target, likely))
    labels = target.argmax(1)
    return float(accuracy(labels, likely)), float(nll(labels, likely))


def rate_factor(progress: float, schedule: str, warmup: float) -> float:
    """Learning rate at `progress` in [0, 1] of the training, as a part of its peak.

    Both schedules fall by half a cosine after the warm-up; `one_cycle` also rises by one, from
    1/25 of the peak (Smith & Topin 2019), `cosine` rises in a straight line from 0.

    >>> [round(rate_factor(p, "one_cycle", 0.25), 3) for p in (0, 0.25, 1)]
    [0.04, 1.0, 0.001]
    """
    if progress < warmup:
        rise = progress / warmup
        if schedule == "cosine":
            return rise
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * rise))
    fall = min(1.0, (progress - warmup) / (1 - warmup))
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * fall))
