"""What ``--input`` names, as a stream of tracks: a folder, a pattern, or a table of paths.

Names alone decide what is listed: nothing is opened, since there may be hundreds of millions.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsresformer._sniff import AUDIO_SUFFIXES
from tsresformer.catalogue.places import is_remote, persistent, remote_files, resolve
from tsresformer.cluster import EXTRA
from tsresformer.datasets import walk
from tsresformer.errors import CatalogueError, ManifestError, require
from tsresformer.manifest import csv_table, printable

SUFFIXES = AUDIO_SUFFIXES | {".3gp", ".mp4", ".rm", ".webm"}
"""What a folder is searched for; a pattern finds whatever it fits."""

TABLES = (".csv", ".parquet")
COLUMNS = ("track_id", "path")

_ROWS_AT_ONCE = 10_000

Listed = tuple[str, bytes]
"""Id and path of one track; the path as the file system has it, whatever its encoding."""


def tracks(source: str) -> Iterator[Listed]:
    """Stream the tracks that ``--input`` names, in a fixed order.

    Raises
    ------
    CatalogueError, ManifestError : it names nothing that can be listed
    """
    kind, root, pattern = classify(source)
    if kind == "table":
        return _table(source)
    found = _remote(root, pattern) if is_remote(source) else _local(root, pattern)
    return ((printable(name), path) for name, path in found)


def classify(source: str) -> tuple[str, str, list[str] | None]:
    """Kind of an input ("table" or "files"), the folder to search, and the pattern to fit."""
    literal = not _wild(source) or (not is_remote(source) and os.path.exists(source))
    if literal and source.lower().endswith(TABLES):
        return "table", source, None
    if literal:
        return "files", source.rstrip("/") or "/", None
    parts = source.split("/")
    first = next(i for i, part in enumerate(parts) if _wild(part))
    return "files", "/".join(parts[:first]) or ("/" if first else "."), parts[first:]


def _wild(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _fits(names: list[str], pattern: list[str]) -> bool:
    """Whether a path fits a pattern, name by name; ``**`` stands for any number of names.

    >>> _fits(["a", "b", "c.mp3"], ["**", "*.mp3"]), _fits(["a", "c.mp3"], ["*.mp3"])
    (True, False)
    """
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(names[i:], pattern[1:]) for i in range(len(names) + 1))
    first_fits = bool(names) and fnmatch.fnmatchcase(names[0], pattern[0])
    return first_fits and _fits(names[1:], pattern[1:])


def _wanted(name: str, pattern: list[str] | None) -> bool:
    if pattern is None:
        return os.path.splitext(name)[1].lower() in SUFFIXES
    return _fits(name.split("/"), pattern)


def _local(root: str, pattern: list[str] | None) -> Iterator[tuple[str, bytes]]:
    folder = Path(os.path.abspath(root))
    if not folder.is_dir():
        problem = "is one file; name its folder, or a table" if folder.exists() else "no such file"
        raise CatalogueError(f"{root}: {problem}")
    for path in walk(folder):
        name = path.relative_to(folder).as_posix()
        if _wanted(name, pattern):
            yield name, os.fsencode(path)


def _remote(root: str, pattern: list[str] | None) -> Iterator[tuple[str, bytes]]:
    depth = None if pattern is None or "**" in pattern else len(pattern) - 1
    try:
        for name in remote_files(root, depth):
            if _wanted(name, pattern):
                yield name, f"{root}/{name}".encode()
    except OSError as error:
        raise CatalogueError(f"{root}: cannot be listed: {_line(error)}") from None


def _table(source: str) -> Iterator[Listed]:
    folder = source.rpartition("/")[0] if is_remote(source) else os.path.dirname(source)
    rows = _csv_rows(source) if source.lower().endswith(".csv") else _parquet_rows(source)
    for number, (track_id, path) in enumerate(rows, 1):
        if not (track_id and path):
            raise ManifestError(f"{source}: row {number} has no track_id or no path")
        if is_remote(path):
            yield track_id, path.encode()
        elif is_remote(source):
            yield track_id, f"{folder}/{path}".encode()
        else:
            absolute = os.path.normpath(os.path.join(os.path.abspath(folder), path))
            yield track_id, os.fsencode(absolute)


def _csv_rows(source: str) -> Iterator[tuple[str, str]]:
    if is_remote(source):
        raise ManifestError(f"{source}: tables in object stores must be Parquet; convert it")
    header, rows = csv_table(source)
    _check_columns(source, header)
    return ((printable(row["track_id"]), row["path"]) for _, row in rows)


def _parquet_rows(source: str) -> Iterator[tuple[str, str]]:
    arrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    try:
        with open_input(source) as stream, parquet.ParquetFile(stream) as file:
            _check_columns(source, file.schema_arrow.names)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(COLUMNS)):
                text = [batch.column(name).cast(arrow.string()) for name in COLUMNS]
                yield from zip(*(column.to_pylist() for column in text), strict=True)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{source}: not a readable Parquet file: {_line(error)}") from None


def open_input(source: str) -> Any:
    """Open a table for reading, wherever it lies."""
    if not is_remote(source):
        return open(source, "rb")
    filesystem, path = resolve(source)
    return persistent(lambda: filesystem.open_input_file(path))


def _check_columns(source: str, names: list[str]) -> None:
    for column in COLUMNS:
        if column not in names:
            raise ManifestError(
                f"{source}: the column {column} is missing; needed are track_id, path"
            )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
