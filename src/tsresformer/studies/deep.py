"""Train a network for one part of a cell, export it, and score the bundle on the test tracks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tsresformer.config import Config, FeatureConfig, resolved
from tsresformer.evaluation import evaluate
from tsresformer.files import sha256_json
from tsresformer.manifest import Manifest
from tsresformer.report import EvaluationResult
from tsresformer.slicing import n_slice_frames, slice_starts
from tsresformer.store import FeatureStore
from tsresformer.workers import n_threads

EXPORT_S = 10.0
"""Seconds for the export and the scoring of a network, roughly; for estimates only."""


def train(config: Config, manifest: Manifest, store: FeatureStore, work: Path) -> Path:
    """Train, or go on with the training that an interruption left, in a folder of its own.

    The folder is named after all that the training depends on, so that a trial of the tuning and
    the cell that uses its settings are one training. Where the files lie is not part of it, but a
    training does not go on with files that have moved: it begins anew.
    """
    from tsresformer.training.fit import fit
    from tsresformer.training.run import Run, rows_key

    features = resolved(store.features)
    key = sha256_json([resolved(config), features, rows_key(manifest), store.key])
    folder = work / key[:16]
    begun = (folder / "run.json").is_file()
    if begun and Run.load(folder).record["manifest_key"] != manifest.key():
        discard([folder])
    fit(config, manifest, store, folder, resume=True, progress=False)
    return folder


def development_score(folder: Path) -> float:
    """The score of a finished training on its development fold."""
    from tsresformer.training.run import Run

    return float(Run.load(folder).result["dev_score"])


def score(
    folder: Path, manifest: Manifest, store: FeatureStore, split: str, n_workers: int | None
) -> tuple[EvaluationResult, dict[str, Any]]:
    """Export a finished training and score the bundle; also return what the table wants."""
    from tsresformer.export import export
    from tsresformer.training.run import Run

    run = Run.load(folder)
    path = folder / "scored.bundle"
    shutil.rmtree(path, ignore_errors=True)
    bundle = export(run, path, manifest=manifest, store=store)
    begun = time.monotonic()
    result = evaluate(path, manifest, split=split, n_workers=n_workers, n_bootstrap=0)
    cost = bundle.record["cost"]
    facts = {
        "train_s": run.result["seconds"],
        "epochs": run.result["epochs"],
        "best_epoch": run.result["best_epoch"],
        "dev_score": run.result["dev_score"],
        "score_s": round(time.monotonic() - begun, 1),
        "params": cost["parameters"],
        "macs": cost["multiply_adds"],
        "micro_batch": run.record["micro_batch"],
        "processor": run.record["versions"].get("processor", ""),
        "n_frames": cost["n_frames"],
        "history": run.history(),
    }
    return result, facts


def discard(folders: Iterable[Path]) -> None:
    """Remove trainings that nothing needs any more."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def estimated_seconds(
    config: Config, features: FeatureConfig, n_frames: Sequence[int], n_classes: int
) -> float:
    """Seconds that one training will take here, from a few timed steps.

    Parameters
    ----------
    n_frames : length of each track of the training split
    """
    from tsresformer.models.timing import step_seconds

    batch, length = config.train.batch_size, n_slice_frames(config.slicing, features)
    n_slices = sum(len(slice_starts(n, config.slicing, features)) for n in n_frames)
    n_items = len(n_frames) if config.slicing.windows == "random" else n_slices
    step_s = step_seconds(
        config.model,
        features,
        n_classes,
        batch_size=batch,
        n_frames=length,
        n_threads=n_threads(),
    )
    dev = config.train.dev_fraction
    n_learned = (1 - dev) * n_items
    n_learned *= config.train.n_repeats(round(n_learned))
    steps = n_learned / batch + dev * n_slices / batch / 3
    return step_s * steps * config.train.epochs + EXPORT_S
