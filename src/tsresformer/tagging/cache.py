"""What is known of a library's files, so that nothing is read or decoded twice.

A file is known by its size and time of modification, and its audio by a hash that tags do not
change. The cache can be deleted at any time; one that is damaged is begun anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from tsresformer.classifier import Prediction
from tsresformer.tagging.reading import Known

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB, field TEXT, size INTEGER, mtime_ns INTEGER, format TEXT, genres TEXT, audio TEXT,
    PRIMARY KEY (path, field)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (
    audio TEXT, model TEXT, status TEXT, label TEXT, probabilities TEXT,
    PRIMARY KEY (audio, model)
) WITHOUT ROWID;
"""


class Cache:
    """Files and predictions of one library.

    Parameters
    ----------
    path : of the data base; None to keep it in memory
    """

    def __init__(self, path: Path | None) -> None:
        self._data = self._open_anew(path) if path else self._open(":memory:")

    def _open_anew(self, path: Path) -> sqlite3.Connection:
        """Open the data base; a new one if it is damaged, none on disk if the disk is full."""
        try:
            return self._open(path)
        except sqlite3.DatabaseError:
            for name in (path, Path(f"{path}-journal")):
                name.unlink(missing_ok=True)
        try:
            return self._open(path)
        except sqlite3.DatabaseError:
            return self._open(":memory:")

    def _open(self, path: Path | str) -> sqlite3.Connection:
        data = sqlite3.connect(path, isolation_level=None)
        try:
            # No WAL: it needs memory that is shared, which network file systems lack. What a
            # power cut damages is begun anew.
            data.execute("PRAGMA synchronous = OFF")
            found = data.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"version {found}")
            data.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
            data.execute("SELECT count(*) FROM files").fetchone()
        except sqlite3.DatabaseError:
            data.close()
            raise
        return data

    def known(self, path: str, field: str, status: os.stat_result) -> Known | None:
        """What was read from a file, if it has not changed since."""
        row = self._first(
            "SELECT format, genres, audio FROM files "
            "WHERE path = ? AND field = ? AND size = ? AND mtime_ns = ?",
            (os.fsencode(path), field, status.st_size, status.st_mtime_ns),
        )
        return Known(row[0], tuple(json.loads(row[1])), row[2]) if row else None

    def remember(self, path: str, field: str, status: os.stat_result, known: Known) -> None:
        """Keep what was read from a file."""
        row = (
            os.fsencode(path),
            field,
            status.st_size,
            status.st_mtime_ns,
            known.format,
            json.dumps(known.values),
            known.audio,
        )
        self._store("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def prediction(self, path: str, audio: str, model: str) -> Prediction | None:
        """What a model said of audio, as if it had said it of `path`."""
        row = self._first(
            "SELECT status, label, probabilities FROM predictions WHERE audio = ? AND model = ?",
            (audio, model),
        )
        if not row:
            return None
        return Prediction(path, row[0], label=row[1], probabilities=json.loads(row[2]))

    def remember_prediction(self, audio: str, model: str, prediction: Prediction) -> None:
        """Keep what a model said of audio, but for failures, which may pass."""
        if prediction.error or not audio:
            return
        likely = json.dumps(prediction.probabilities)
        row = (audio, model, prediction.status, prediction.label, likely)
        self._store("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?)", row)

    def _first(self, statement: str, values: tuple[object, ...]) -> Any:
        """First row of a query; None if there is none, or where the data base is damaged."""
        with contextlib.suppress(sqlite3.DatabaseError):
            return self._data.execute(statement, values).fetchone()
        return None

    def _store(self, statement: str, row: tuple[object, ...]) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):  # a full disk costs time, no more
            self._data.execute(statement, row)

    def close(self) -> None:
        """Close the data base."""
        self._data.close()
