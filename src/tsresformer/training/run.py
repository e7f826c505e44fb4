"""The folder of one training run."""

from __future__ import annotations

import contextlib
import csv
import io
import pickle
import platform
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tsresformer.config import Config, FeatureConfig
from tsresformer.errors import TrainingError
from tsresformer.files import (
    UNSEALED,
    atomic_write,
    hold_folder,
    is_intact,
    is_intact_or_old,
    read_json,
    sha256_file,
    sha256_json,
    write_sealed,
)
from tsresformer.manifest import Manifest
from tsresformer.metrics import best_epoch
from tsresformer.spreadsheet import write_rows

FORMAT = 2

# What must not change when a run is resumed.
IDENTITY = {
    "config": "configuration",
    "features": "features",
    "labels": "labels",
    "protocol": "split protocol",
    "manifest_key": "tracks of the manifest",
    "rows_key": "labels, splits or groups of the manifest",
    "store_key": "store",
    "training_tracks": "training tracks",
    "development_tracks": "development tracks",
    "init": "bundle to start from",
    "teachers": "teachers",
    "refit": "bundle to refit",
}
RECIPE = {
    key: IDENTITY[key]
    for key in ("config", "features", "labels", "protocol", "rows_key", "init", "teachers")
}
KEYS = (IDENTITY.keys() - {"refit"}) | {
    "manifest",
    "store",
    "datasets",
    "licences",
    "micro_batch",
    "versions",
}
RESULT = ("dev_score", "best_epoch", "epochs", "seconds")
_UNREADABLE = (
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)


def processor() -> str:
    """What trains here and decides how sums round: the GPU, or widest vectors and threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    n_threads = torch.get_num_threads()
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    return f"{torch.backends.cpu.get_cpu_capability()} with {threads}"


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
                "processor": processor(),
            },
        }
        run = cls(folder, record)
        if (folder / "run.json").is_file():
            if resume:
                return cls.load(folder)._unchanged(record)
            if run.last.is_file() or run.finished:
                raise TrainingError(
                    f"{folder}: holds a run already; add --resume to go on with it, "
                    "or name another folder"
                )
        write_sealed(folder / "run.json", record)
        return run

    def _unchanged(self, record: Mapping[str, Any]) -> Run:
        """Return this run if `record` describes the same."""
        was, now = without_heard(self.record), without_heard(record)
        changed = [key for key in IDENTITY if was.get(key) != now[key]]
        names = [IDENTITY[key] for key in changed]
        if "config" in changed:
            keys = _differing(self.record["config"], record["config"])
            names[0] += f" ({', '.join(keys)})"
        if changed:
            raise TrainingError(
                f"{self.folder}: cannot resume; what differs from what is given now: "
                f"{', '.join(names)}; name another folder for a new run"
            )
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Open a run folder."""
        path = Path(folder) / "run.json"
        try:
            record = read_json(path)
            known = record["format"] in (UNSEALED, FORMAT)
            missing = sorted(KEYS - record.keys())
            if known and not missing and not is_intact_or_old(record):
                raise ValueError("it has changed since it was written")
        except FileNotFoundError:
            raise TrainingError(
                f"{folder}: is no run folder; 'tsresformer train' makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path}: damaged ({error}); train again") from None
        if not known:
            raise TrainingError(
                f"{path}: format {record['format']} is not known to this version; upgrade"
            )
        if missing:
            raise TrainingError(f"{path}: lacks {', '.join(missing)}; train again")
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
        """How the training of a finished run went."""
        return self._ending()[0]

    def _ending(self) -> tuple[dict[str, Any], str | None]:
        """What ``result.json`` says: the result, and the hash of ``best.ckpt`` if it has one."""
        path = self.folder / "result.json"
        try:
            said = read_json(path)
            if self.record["format"] != UNSEALED and not is_intact(said):
                raise ValueError("it has changed since it was written")
            return {key: said[key] for key in RESULT}, said.get("best_sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(
                f"{path}: damaged ({error!r}); delete it, and 'tsresformer train' with --resume "
                "writes it anew"
            ) from None

    def write_history(self, epochs: list[dict[str, float]]) -> None:
        """Write ``metrics.csv``, one row an epoch."""
        with atomic_write(self.folder / "metrics.csv") as file:
            writer = csv.DictWriter(file, epochs[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(epochs)

    def write_left_out(self, rows: list[tuple[str, str, str]]) -> None:
        """Write ``left_out.csv``: what is not learned from, or repeated, and why."""
        with atomic_write(self.folder / "left_out.csv") as file:
            write_rows(file, [("track_id", "what", "reason"), *rows])

    @property
    def n_left_out(self) -> int:
        """Number of rows of ``left_out.csv`` that are not learned from."""
        with open(self.folder / "left_out.csv", newline="", encoding="utf-8") as file:
            return sum(row["what"] != "short" for row in csv.DictReader(file))

    def history(self) -> list[dict[str, float]]:
        """Metrics of each finished epoch."""
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return []
        try:
            with open(path, newline="", encoding="utf-8") as file:
                return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise TrainingError(f"{path}: damaged ({error}); train again") from None

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the best epoch, averaged if the run averages, by the network's names."""
        if not self.best.is_file():
            raise TrainingError(f"{self.folder}: no finished epoch yet; let the training go on")
        expected = self._ending()[1] if self.finished else None
        if expected and sha256_file(self.best) != expected:
            raise TrainingError(
                f"{self.best}: damaged, or of another run; delete {self.folder} and train again"
            )
        state = read_checkpoint(self.best)["state_dict"]
        return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}

    def finish(self) -> None:
        """Write down how the training ended."""
        history = self.history()
        best = best_epoch(history)
        write_sealed(
            self.folder / "result.json",
            {
                "dev_score": best.get("dev_score"),
                "best_epoch": int(best["epoch"]),
                "epochs": len(history),
                "seconds": round(sum(epoch["seconds"] for epoch in history), 1),
                "best_sha256": sha256_file(self.best),
            },
        )


@contextlib.contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Hold a run folder for this process alone."""
    busy = TrainingError(f"{folder}: another process is training this run; wait for it")
    with hold_folder(folder, busy):
        yield


def rows_key(manifest: Manifest) -> str:
    """Hash of what training reads from a manifest's rows besides the features."""
    return sha256_json([[t.track_id, t.label, t.split, t.group] for t in manifest.tracks])


def without_heard(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says, its other bundles without the marks of the tracks that they have heard.

    Their hashes tell them apart, and a run of an older version has no marks of `init`.
    """

    def plain(bundle: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in bundle.items() if key != "heard"}

    initial = record.get("init")
    return {
        **record,
        "init": plain(initial) if initial else None,
        "teachers": [plain(teacher) for teacher in record.get("teachers", ())],
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain types of a checkpoint, on the CPU.

    PyTorch overlooks damage, also such as leads it to other parts of the file; so it is given a
    copy of what Python finds whole.
    """
    whole = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(whole, "w") as copy:
            for entry in archive.infolist():
                copy.writestr(entry.filename, archive.read(entry))
        whole.seek(0)
        checkpoint = torch.load(whole, map_location="cpu", weights_only=True)
        if "state_dict" not in checkpoint:
            raise ValueError("no weights")
        return dict(checkpoint)
    except _UNREADABLE:
        raise TrainingError(f"{path}: damaged; delete {path.parent} and train again") from None


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Dotted names of the settings that differ."""
    flat = [
        {
            f"{k}.{name}": v
            for k, part in c.items()
            if isinstance(part, dict)
            for name, v in part.items()
        }
        | {k: v for k, v in c.items() if not isinstance(v, dict)}
        for c in (one, two)
    ]
    return sorted(k for k in flat[0].keys() | flat[1].keys() if flat[0].get(k) != flat[1].get(k))
