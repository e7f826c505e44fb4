"""What is known of a library's files, so that nothing is read or decoded twice.

A file is known by its size and its times of modification and of change, of which programs can keep
only the first; its audio by a hash that tags do not change. The cache can be deleted at any time;
one that is damaged is begun anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from tsresformer.classifier import Prediction
from tsresformer.files import sha256_json
from tsresformer.tagging.reading import Known

_VERSION = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB, field TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, said TEXT, hash TEXT,
    PRIMARY KEY (path, field)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (
    audio TEXT, model TEXT, said TEXT, hash TEXT,
    PRIMARY KEY (audio, model)
) WITHOUT ROWID;
"""

_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What a damaged data base raises; the latter where it is named in SQLite's own words."""


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
        except _DAMAGED:
            for name in (path, Path(f"{path}-journal")):
                name.unlink(missing_ok=True)
        try:
            return self._open(path)
        except _DAMAGED:
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
        except _DAMAGED:
            data.close()
            raise
        return data

    def known(self, path: str, field: str, status: os.stat_result) -> Known | None:
        """What was read from a file, if it has not changed since."""
        where = "path = ? AND field = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?"
        said = self._said(f"files WHERE {where}", _row(path, field, status))
        return Known(said[0], tuple(said[1]), said[2]) if said else None

    def remember(self, path: str, field: str, status: os.stat_result, known: Known) -> None:
        """Keep what was read from a file."""
        row = _row(path, field, status)
        self._store("files", row, (known.format, known.values, known.audio))

    def forget(self, path: str, field: str) -> None:
        """Have a file read again, whatever its times say; not every file system keeps them all."""
        with contextlib.suppress(*_DAMAGED):
            row = (os.fsencode(path), field)
            self._data.execute("DELETE FROM files WHERE path = ? AND field = ?", row)

    def prediction(self, path: str, audio: str, model: str) -> Prediction | None:
        """What a model said of audio, as if it had said it of `path`."""
        said = self._said("predictions WHERE audio = ? AND model = ?", (audio, model))
        if not said:
            return None
        return Prediction(path, said[0], label=said[1], probabilities=said[2])

    def remember_prediction(self, audio: str, model: str, prediction: Prediction) -> None:
        """Keep what a model said of audio, but for failures, which may pass."""
        if prediction.error or not audio:
            return
        said = (prediction.status, prediction.label, prediction.probabilities)
        self._store("predictions", (audio, model), said)

    def _said(self, where: str, row: tuple[object, ...]) -> Any:
        """What was kept under a row's key; None if nothing was, or it is damaged."""
        with contextlib.suppress(*_DAMAGED):
            found = self._data.execute(f"SELECT said, hash FROM {where}", row).fetchone()
            if found and found[1] == _hash(row, found[0]):
                return json.loads(found[0])
        return None

    def _store(self, table: str, row: tuple[object, ...], said: tuple[object, ...]) -> None:
        text = json.dumps(said)
        values = (*row, text, _hash(row, text))
        marks = ", ".join("?" * len(values))
        with contextlib.suppress(*_DAMAGED):  # a full disk costs time, no more
            self._data.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)

    def close(self) -> None:
        """Close the data base."""
        self._data.close()


def _row(path: str, field: str, status: os.stat_result) -> tuple[object, ...]:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (os.fsencode(path), field, status.st_size, *times)


def _hash(row: tuple[object, ...], said: object) -> str:
    """Hash of a key and of what is kept under it: the data base itself overlooks damage."""
    return sha256_json([str(value) for value in (*row, said)])
