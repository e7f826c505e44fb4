"""An evaluation's report: JSON and CSV for machines, one HTML file for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tsresformer.files import atomic_write, sha256_file, write_sealed
from tsresformer.report.page import check_extras, render
from tsresformer.report.result import (
    EvaluationResult,
    TrackResult,
    confusion_rows,
    prediction_rows,
)
from tsresformer.spreadsheet import write_rows

__all__ = ["EvaluationResult", "TrackResult", "check_extras", "render", "write"]

PAGE, METRICS, PREDICTIONS, CONFUSION = (
    "index.html",
    "metrics.json",
    "predictions.csv",
    "confusion.csv",
)


def write(result: EvaluationResult, folder: str | Path) -> Path:
    """Write the report folder, each file whole; returns the path of the page.

    ``metrics.json`` comes last, so that a folder that holds it is complete.
    """
    folder = Path(folder)
    page = render(result)
    _write_csv(folder / PREDICTIONS, prediction_rows(result))
    _write_csv(folder / CONFUSION, confusion_rows(result))
    with atomic_write(folder / PAGE) as stream:
        stream.write(page)
    sha256 = sha256_file(folder / PREDICTIONS)
    write_sealed(folder / METRICS, {**result.metrics(), "predictions_sha256": sha256})
    return folder / PAGE


def _write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with atomic_write(path) as stream:
        write_rows(stream, rows)
