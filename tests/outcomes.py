"""What trainings and studies give, to compare; without what differs from run to run."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def trained(place: Path) -> tuple[object, ...]:
    """What a run gave, but for how long it took."""
    import torch

    from tsresformer.training.run import Run

    run = Run.load(place)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]
    result = {k: v for k, v in run.result.items() if k != "seconds"}
    states = [torch.load(p, weights_only=True)["state_dict"] for p in (run.best, run.last)]
    return history, result, [{k: v.tolist() for k, v in state.items()} for state in states]


def studied(place: Path) -> tuple[object, ...]:
    """What a study found, but for how long it took."""
    cells = {}
    for path in sorted((place / "cells").iterdir()):
        cell = json.loads(path.read_text())
        cells[path.name] = cell["metrics"], cell["predictions_sha256"], cell["error"]
    with open(place / "results.csv", newline="") as file:
        rows = [{k: v for k, v in r.items() if k != "train_s"} for r in csv.DictReader(file)]
    predictions = {p.name: p.read_text() for p in (place / "predictions").iterdir()}
    return cells, rows, predictions
