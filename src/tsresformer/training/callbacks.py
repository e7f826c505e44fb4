"""What happens around the epochs: history and checkpoints, averaging, progress."""

# ruff: noqa: D102 (the hooks are Lightning's)

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO

from tsresformer.config import Config
from tsresformer.files import atomic_write
from tsresformer.metrics import best_epoch
from tsresformer.progress import meter
from tsresformer.training.run import Run


class Epochs(Checkpoint):
    """Keep the metrics of every epoch, its checkpoint, and the best one's; stop without gain.

    All is decided on the history, which is saved with the checkpoints: a resumed run, moved or
    not, decides as an uninterrupted one.
    """

    def __init__(self, run: Run, patience: int | None) -> None:
        self._run, self._patience = run, patience
        self._history: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = self._out_of_patience()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, step: int
    ) -> None:
        if step == 0:
            self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        found = trainer.callback_metrics
        names = ("train_loss", "dev_loss", "dev_score")
        values = {name: float(found[name]) for name in names if name in found}
        seconds = round(time.monotonic() - self._started, 2)
        epoch = {"epoch": trainer.current_epoch, **values, "seconds": seconds}
        self._history.append(epoch)
        if trainer.is_global_zero:
            self._run.write_history(self._history)
        if best_epoch(self._history) is epoch:
            trainer.save_checkpoint(self._run.best)
        trainer.save_checkpoint(self._run.last)
        trainer.should_stop = trainer.should_stop or self._out_of_patience()

    def state_dict(self) -> dict[str, Any]:
        return {"history": self._history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._history = state_dict["history"]

    def _out_of_patience(self) -> bool:
        if self._patience is None or not self._history:
            return False
        since_best = self._history[-1]["epoch"] - best_epoch(self._history)["epoch"]
        return since_best >= self._patience


@torch.no_grad()
def _approach(
    averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], share: float
) -> None:
    """Move averages by a share of the way to the current weights; what is counted is copied."""
    for average, value in zip(averages, current, strict=True):
        if average.is_floating_point():
            average.lerp_(value, share)
        else:
            average.copy_(value)


def _ema(
    decay: float, averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], n: Any
) -> None:
    """Move averages towards the current weights; fast at first, so that the start is forgotten."""
    _approach(averages, current, 1 - min(decay, (1 + int(n)) / (10 + int(n))))


class _SWA(WeightAveraging):
    """Equal average of the weights at the ends of the last epochs; until then, the last weights.

    Updated at an epoch's last step, not at its end: the development score comes in between, and
    must be that of the weights which the epoch's checkpoint holds.
    """

    def __init__(self, first_epoch: int, n_steps: int) -> None:
        super().__init__(multi_avg_fn=self._average)
        self._first_epoch, self._n_steps, self._epoch = first_epoch, n_steps, 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        self._epoch = step_idx // self._n_steps
        return (step_idx + 1) % self._n_steps == 0

    def _average(
        self, averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], _n: Any
    ) -> None:
        _approach(averages, current, 1 / (max(0, self._epoch - self._first_epoch) + 1))


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()  # PyTorch turns a full disk into an error that names neither
        torch.save(checkpoint, buffer)
        with atomic_write(path, "wb") as file:
            file.write(buffer.getbuffer())


class ProgressBar(Callback):
    """One bar over all batches, and a line an epoch, also in a log file."""

    def __init__(self, n_epochs: int) -> None:
        self._n_epochs, self._open = n_epochs, ExitStack()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        n_batches = int(trainer.num_training_batches)
        n_all, show = n_batches * self._n_epochs, trainer.is_global_zero
        self._bar = self._open.enter_context(meter("training", n_all, show=show))
        self._bar.reach(n_batches * trainer.current_epoch)

    def on_train_batch_end(self, *_ignored: Any) -> None:
        self._bar.advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        values = trainer.callback_metrics
        if not trainer.is_global_zero:
            return
        held_out = "dev_score" in values
        score = f", development score {values['dev_score']:.1%}" if held_out else ""
        self._bar.say(
            f"epoch {trainer.current_epoch + 1:3} of {self._n_epochs}: loss "
            f"{values['train_loss']:.3f}{score}"
        )

    def teardown(self, *_ignored: Any, **_too: Any) -> None:
        self._open.close()


def averaging(config: Config, n_steps: int) -> Iterable[Callback]:
    """The callback that averages the weights as the configuration asks; an epoch has `n_steps`."""
    train = config.train
    if train.averaging == "ema":
        yield WeightAveraging(multi_avg_fn=partial(_ema, train.ema_decay))
    elif train.averaging == "swa":
        yield _SWA(train.epochs - max(1, round(train.swa_fraction * train.epochs)), n_steps)
