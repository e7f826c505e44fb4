"""The folder of one training run."""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tsresformer.config import Config, FeatureConfig
from tsresformer.errors import TrainingError
from tsresformer.files import atomic_write, write_json

FORMAT = 1
# What must not change when a run is resumed.
IDENTITY = ("config", "features", "labels", "protocol", "manifest_key", "store_key")


@dataclass(frozen=True)
class Run:
    """A run folder; `record` is what ``run.json`` says."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def begin(cls, folder: str | Path, record: dict[str, Any], *, resume: bool) -> Run:
        """Start a run in a new folder, or go on with the same run."""
        folder = Path(folder)
        record = {
            "format": FORMAT,
            **record,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("ts-resformer", "torch", "pytorch-lightning")},
            },
        }
        if (folder / "run.json").is_file():
            if not resume:
                raise TrainingError(
                    f"{folder}: holds a run already; add --resume to go on with it, "
                    "or name another folder"
                )
            earlier = cls.load(folder)
            changed = [part for part in IDENTITY if earlier.record[part] != record[part]]
            if changed:
                raise TrainingError(
                    f"{folder}: cannot resume, its {', '.join(changed)} differ from what is "
                    "given now; name another folder for a new run"
                )
            return earlier
        write_json(folder / "run.json", record)
        return cls(folder, record)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Open a run folder."""
        path = Path(folder) / "run.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known = record["format"] == FORMAT
        except FileNotFoundError:
            raise TrainingError(
                f"{folder}: is no run folder; 'tsresformer train' makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{path}: damaged ({error}); train again") from None
        if not known:
            raise TrainingError(f"{path}: format {record['format']} is not known to this version")
        return cls(Path(folder), record)

    @property
    def last(self) -> Path:
        """Checkpoint of the last finished epoch."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint with the best score on the development fold."""
        return self.folder / "best.ckpt"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.folder / "result.json").is_file()

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return Config(**self.record["config"])

    @property
    def features(self) -> FeatureConfig:
        """What the store held."""
        return FeatureConfig(**self.record["features"])

    @property
    def result(self) -> dict[str, Any]:
        """What ``result.json`` says of a finished run."""
        return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))

    def write_history(self, epochs: list[dict[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch."""
        with atomic_write(self.folder / "metrics.csv") as file:
            writer = csv.DictWriter(file, epochs[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(epochs)

    def write_left_out(self, rows: list[tuple[str, str, str]]) -> None:
        """Write ``left_out.csv``: the training audio that is not learned from, and why."""
        with atomic_write(self.folder / "left_out.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("track_id", "what", "reason"), *rows])

    def history(self) -> list[dict[str, float]]:
        """Metrics of each finished epoch."""
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the best epoch, averaged if the run averages, by the network's names."""
        if not self.best.is_file():
            raise TrainingError(f"{self.folder}: no finished epoch yet; let the training go on")
        checkpoint = torch.load(self.best, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"]
        return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}

    def finish(self) -> None:
        """Write down how the training ended."""
        history = self.history()
        best = max(history, key=lambda epoch: (epoch["dev_score"], -epoch["dev_loss"]))
        write_json(
            self.folder / "result.json",
            {
                "dev_score": best["dev_score"],
                "best_epoch": int(best["epoch"]),
                "epochs": len(history),
                "seconds": round(sum(epoch["seconds"] for epoch in history), 1),
            },
        )
