"""What the code of today reads from each artefact that a version stored: flat, to be compared."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from catalogue_outputs import rows_of
from tsresformer.bundle import Bundle
from tsresformer.catalogue.run import status
from tsresformer.classifier import Classifier
from tsresformer.compare import Side
from tsresformer.config import Config
from tsresformer.files import sha256_file, sha256_json
from tsresformer.manifest import Manifest
from tsresformer.store import FeatureStore
from tsresformer.studies.results import Results
from tsresformer.tagging.library import undo
from tsresformer.tagging.rewrite import Manner

PIECE = Path(__file__).parent.parent / "demo" / "piece.ogg"

Said = dict[str, Any]


def _manifest(home: Path) -> Said:
    csv, parquet = (Manifest.read(home / f"manifest.{kind}") for kind in ("csv", "parquet"))
    assert csv.tracks == parquet.tracks
    rows = [[t.track_id, t.label, t.split, t.group, t.fold, t.artist, t.title] for t in csv.tracks]
    return {"labels": " ".join(csv.vocabulary), "protocol": csv.protocol, "rows": sha256_json(rows)}


def _store(home: Path) -> Said:
    store = FeatureStore.open(home / "store")
    store.verify()
    tracks = store.serve(Manifest.read(home / "manifest.csv"))
    return {
        t.track_id: float(np.mean(store.to_decibels(store.log_mel(t.track_id)))) for t in tracks
    }


def _bundle(home: Path) -> Said:
    bundle = Bundle.load(home / "tiny.bundle")
    prediction = Classifier.load(bundle.path).predict(PIECE)
    config = Config(**bundle.record["training"]["config"])
    return {
        **prediction.probabilities,
        "unsure": prediction.unsure,
        "slice_s": config.slicing.slice_s,
    }


def _side(path: Path) -> Said:
    side = Side.read(path)
    right = sorted(track_id for track_id, answer in side.answers.items() if answer.right)
    return {"name": side.name, "protocol": side.protocol, "right": ", ".join(right)}


def _report(home: Path) -> Said:
    metrics = json.loads((home / "report" / "metrics.json").read_text("utf-8"))
    return {**_side(home / "report"), **metrics["track"]["accuracy"]}


def _study(home: Path) -> Said:
    results = Results.open(home / "study")
    said: Said = {"question": results.plan.question}
    for cell in results.cells():
        name = cell["cell"]
        said[f"{name}: accuracy"] = cell["metrics"]["track"]["accuracy"]["value"]
        said |= {f"{name}: {k}": v for k, v in _side(results.cell_path(name)).items()}
    return said


def _catalogue(home: Path) -> Said:
    found = status(str(home / "catalogue"))
    rows = {
        f"{row['track_id']}: {label}": probability
        for row in rows_of(home / "catalogue")
        for label, probability in row["probabilities"].items()
    }
    return {"complete": found.complete, "model": found.job.record.model, **rows}


def _journal(home: Path) -> Said:
    """Undo what was done, in a copy of the library."""
    with tempfile.TemporaryDirectory() as temporary:
        library = Path(shutil.copytree(home / "library", Path(temporary) / "library"))
        (journal,) = (library / ".tsresformer").glob("journal-*.jsonl")
        (row,) = undo(journal, Manner())
        return {
            "status": row.status,
            "before": " ".join(row.before),
            "after": " ".join(row.after),
            "sha256": sha256_file(library / "tune.ogg"),
        }


READERS: dict[str, Callable[[Path], Said]] = {
    "manifest": _manifest,
    "store": _store,
    "bundle": _bundle,
    "report": _report,
    "study": _study,
    "catalogue": _catalogue,
    "journal": _journal,
}
