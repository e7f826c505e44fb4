"""The folder of a study's results: what it is of, its cells, and what they were made of.

``study.json`` says what the study is; ``cells/<cell>.json`` is one finished cell and
``predictions/<cell>.csv`` its tracks. ``tuning/`` holds what trials gave, ``parts/`` and ``work/``
what an interrupted run has done of unfinished cells.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsresformer.errors import StudyError
from tsresformer.files import (
    STUDY_FORMAT,
    UNSEALED,
    atomic_write,
    hold_folder,
    is_intact_or_old,
    read_json,
    sha256_file,
    sha256_json,
    write_sealed,
)
from tsresformer.report import EvaluationResult
from tsresformer.report.result import prediction_rows
from tsresformer.splits import Protocol
from tsresformer.spreadsheet import read_table, write_rows
from tsresformer.studies.plan import Cell, Plan
from tsresformer.studies.scores import Scores

FORMAT = STUDY_FORMAT

RECORD = "study.json"
IDENTITY = {
    "name": "name",
    "plan": "axes, seeds, protocols or settings",
    "overrides": "--set",
    "specs": "configuration",
    "manifest_rows": "labels, splits or groups of the manifest",
    "store_key": "store",
}


@dataclass(frozen=True)
class Results:
    """A results folder; `record` is what ``study.json`` says."""

    folder: Path
    record: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Results:
        """Open a results folder to read it."""
        path = Path(folder) / RECORD
        try:
            record = read_record(path)
            Plan(**record["plan"])
        except FileNotFoundError:
            raise StudyError(
                f"{folder}: holds no study; 'tsresformer study run' makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path}: damaged ({error}); run the study again") from None
        return cls(Path(folder), record)

    @classmethod
    def begin(cls, folder: str | Path, record: Mapping[str, Any], *, resume: bool) -> Results:
        """Start in a new folder, or go on with the same study."""
        check_folder(folder, record, resume=resume)
        note = cls.open(folder).note if (Path(folder) / RECORD).is_file() else ""
        results = cls(Path(folder), noted({"format": FORMAT, **record}, note))
        write_sealed(results.folder / RECORD, results.record)
        return results

    @property
    def plan(self) -> Plan:
        """The study's plan."""
        return Plan(**self.record["plan"])

    @property
    def note(self) -> str:
        """The author's sentence about these results, if there is one."""
        return str(self.record.get("note", ""))

    @property
    def progress(self) -> str:
        """How far the study has come, in words."""
        n_cells, n_done = len(self.record["cells"]), len(self.cells())
        return f"{n_done} of {n_cells} cells are done, {n_cells - n_done} remain"

    @property
    def key(self) -> str:
        """Hash of the study and of what it is applied to."""
        return sha256_json({name: self.record[name] for name in IDENTITY})

    def cell_path(self, name: str) -> Path:
        """Where a cell's JSON lies."""
        return self.folder / "cells" / f"{name}.json"

    def predictions_path(self, name: str) -> Path:
        """Where a cell's predictions lie."""
        return self.folder / "predictions" / f"{name}.csv"

    def cells(self) -> list[dict[str, Any]]:
        """What is known of each cell that was run, in the study's order."""
        found = []
        for name in self.record["cells"]:
            cell = self.cell(name)
            if cell is not None:
                found.append(cell)
        return found

    def cell(self, name: str) -> dict[str, Any] | None:
        """What ``cells/<name>.json`` says; None if the cell was not run."""
        path = self.cell_path(name)
        try:
            cell = read_record(path)
            if cell["study"] != self.key or cell["cell"] != name:
                raise ValueError("of another study")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path}: damaged ({error}); delete it and resume the study") from None
        return cell

    def predictions(self, name: str) -> list[dict[str, str]]:
        """The rows of a cell's predictions."""
        path = self.predictions_path(name)
        expected = (self.cell(name) or {}).get("predictions_sha256")
        try:
            return read_table(path, expected)
        except FileNotFoundError:
            raise StudyError(f"{path}: is missing; delete the cell's JSON and resume") from None
        except ValueError as error:
            raise StudyError(
                f"{path}: damaged ({error}); delete the cell's JSON and resume"
            ) from None

    def write_cell(self, cell: Cell, facts: Mapping[str, Any], result: EvaluationResult) -> None:
        """Write a finished cell: first its predictions, then its JSON, which counts."""
        stream = io.StringIO(newline="")
        write_rows(stream, prediction_rows(result))
        with atomic_write(self.predictions_path(cell.name)) as file:
            file.write(stream.getvalue())
        metrics = result.metrics()
        for made_up in ("bundle", "manifest", "temperature", "unsure_below", "n_unsure"):
            del metrics[made_up]
        sha256 = sha256_file(self.predictions_path(cell.name))
        values = {"error": None, "predictions_sha256": sha256, "metrics": metrics}
        self._write(cell, {**facts, **values})
        for path in (self.folder / "parts").glob(f"{cell.name}.*"):
            path.unlink()

    def write_failure(self, cell: Cell, error: str) -> None:
        """Write that a cell failed; the parts that did not are kept for another try."""
        self._write(cell, {"error": error, "metrics": None})

    def _write(self, cell: Cell, values: Mapping[str, Any]) -> None:
        head = {
            "format": FORMAT,
            "study": self.key,
            "cell": cell.name,
            "values": dict(cell.values),
            "protocol": cell.protocol,
            "seed": cell.seed,
        }
        write_sealed(self.cell_path(cell.name), {**head, **values})

    def part(self, cell: Cell, protocol: Protocol) -> tuple[Scores, dict[str, Any]] | None:
        """What an interrupted run found for one part of a cell."""
        path = self._part_path(cell, protocol)
        if not path.with_suffix(".json").is_file():
            return None
        try:
            record = read_record(path.with_suffix(".json"), self.key)
            if not path.is_file() or sha256_file(path) != record["scores_sha256"]:
                raise ValueError("its scores are damaged or missing")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{path.with_suffix('.json')}: damaged ({error}); delete it and resume the study"
            ) from None
        return Scores.read(path), record["facts"]

    def write_part(
        self, cell: Cell, protocol: Protocol, scores: Scores, facts: Mapping[str, Any]
    ) -> None:
        """Keep what one part gave, until its cell is finished."""
        path = self._part_path(cell, protocol)
        scores.write(path)
        head = {"format": FORMAT, "study": self.key}
        record = {**head, "scores_sha256": sha256_file(path), "facts": facts}
        write_sealed(path.with_suffix(".json"), record)

    def _part_path(self, cell: Cell, protocol: Protocol) -> Path:
        return self.folder / "parts" / f"{cell.name}.fold-{protocol.fold}.npz"

    def tidy(self) -> None:
        """Remove what only cells that are unfinished, or failed, need."""
        for name in ("parts", "work", "stores"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def noted(record: Mapping[str, Any], note: str) -> dict[str, Any]:
    """The record of a study with the author's note, if there is one."""
    return {**record, "note": note} if note else dict(record)


def read_record(path: Path, key: str = "") -> dict[str, Any]:
    """Read a record of a study.

    Parameters
    ----------
    key : of the study that it should be of; older versions did not write theirs everywhere

    Raises
    ------
    StudyError : of a version that this one does not know, or of another study
    OSError, ValueError, KeyError, TypeError : missing or damaged
    """
    record = read_json(path)
    version = record["format"]
    if version not in (UNSEALED, FORMAT):
        raise StudyError(f"{path}: format {version} is not known to this version; upgrade")
    if not is_intact_or_old(record):
        raise ValueError("it has changed since it was written")
    if key and record.get("study", key) != key:
        raise StudyError(
            f"{path}: is of another study; take what was copied from there out of this folder, and "
            "resume the study"
        )
    return dict(record)


def check_folder(folder: str | Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a folder that holds another study, or this one without `resume`."""
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        inside = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        if set(inside) - {".lock"}:
            raise StudyError(f"{folder}: holds something that is no study; name a new folder")
        return
    found = Results.open(folder).record
    changed = [text for name, text in IDENTITY.items() if found.get(name) != record[name]]
    if changed:
        raise StudyError(
            f"{folder}: holds the study {found.get('name')}; what differs from what is asked now: "
            f"{', '.join(changed)}; name another folder"
        )
    if not resume:
        raise StudyError(
            f"{folder}: holds this study already; add --resume to go on with it, or name another "
            "folder"
        )


@contextlib.contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Hold a results folder for this process alone."""
    busy = StudyError(f"{folder}: another process is running this study; wait for it")
    with hold_folder(folder, busy):
        yield
