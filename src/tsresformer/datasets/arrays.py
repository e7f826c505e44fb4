"""Precomputed log-mels: one array for all tracks, and a table with a row for each.

A track's path is ``X.npy#row``. Of uint8 arrays, the value i means -top_db + top_db * i / 255
decibels, or with PCEN top * i / 255; floats are decibels, or values of PCEN.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import FeatureConfig, suggestion
from tsresformer.errors import AudioError, ManifestError
from tsresformer.features import from_bytes
from tsresformer.manifest import (
    SPLITS,
    Manifest,
    Track,
    array_row,
    canonical_features,
    counted,
    csv_table,
    open_array,
    raw_row,
)

REQUIRED = ("track_id", "genre")
KNOWN = (*REQUIRED, "split", "artist_id", "artist", "title")


def read(log_mel: str | Path, table: str | Path, features: FeatureConfig) -> Manifest:
    """Read the table of an array of log-mels.

    Parameters
    ----------
    log_mel : .npy file, shape (n_tracks, n_mels, n_frames), uint8 or float
    table : CSV with the columns track_id and genre, optionally split, artist_id, artist and
        title; others are kept as ``x_`` columns. Its rows follow the array.
    features : how the log-mels were made

    Raises
    ------
    ManifestError : array, table and features do not fit each other
    """
    array_path = os.path.abspath(log_mel)
    shape = _check_array(array_path, features)
    header, rows = csv_table(table)
    for name in REQUIRED:
        if name not in header:
            raise ManifestError(
                f"{table}: the column {name} is missing{suggestion(name, header)}; "
                f"needed are {' and '.join(REQUIRED)}"
            )
    blank = Track(
        track_id="",
        path="",
        label="",
        dataset=Path(array_path).parent.name,
        features=canonical_features(features),
    )
    tracks = [
        _track(row, where, dataclasses.replace(blank, path=f"{array_path}#{i}"))
        for i, (where, row) in enumerate(rows)
    ]
    if len(tracks) != shape[0]:
        raise ManifestError(
            f"{table} has {len(tracks):,} rows, {log_mel} {shape[0]:,}; rows must follow the array"
        )
    if any(track.split for track in tracks):
        tracks = [dataclasses.replace(track, protocol="official") for track in tracks]
    return Manifest(tuple(tracks), notes=tuple(_notes(tracks)))


def is_row(path: str) -> bool:
    """Whether a track's path is a row of an array, not an audio file."""
    return array_row(path) is not None


def row_dtype(array_path: str | Path) -> np.dtype[Any]:
    """Type of the values of an array of log-mels, from its header alone."""
    return _open(str(array_path)).dtype


def read_row(item: str, features: FeatureConfig) -> NDArray[np.float32]:
    """Decibels (or values of PCEN) of one track, shape (n_mels, n_frames), float32.

    Parameters
    ----------
    item : ``X.npy#row``
    features : how the array was made, which says what the values of a uint8 array stand for

    Raises
    ------
    AudioError : no such array or row, or values that are not finite
    """
    values = raw_row(item)
    if values.dtype == np.uint8:
        return from_bytes(values, features)
    log_mel = values.astype(np.float32)
    if not np.isfinite(log_mel).all():
        raise AudioError(item, "holds values that are not finite")
    return log_mel


def _open(path: str) -> NDArray[Any]:
    try:
        return open_array(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{path}: not a readable .npy array: {reason}") from None


def _check_array(path: str, features: FeatureConfig) -> tuple[int, ...]:
    if not path.endswith(".npy"):
        raise ManifestError(f"{path}: expected an array of log-mels in a .npy file")
    array = _open(path)
    if array.ndim != 3:
        raise ManifestError(
            f"{path}: has shape {array.shape}, expected (n_tracks, n_mels, n_frames)"
        )
    if array.shape[1] != features.n_mels:
        raise ManifestError(
            f"{path}: has {array.shape[1]} mel bands, the features say n_mels = {features.n_mels}"
        )
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ManifestError(f"{path}: holds {array.dtype}, expected uint8 or float values")
    return array.shape


def _track(row: Mapping[str, str], where: str, blank: Track) -> Track:
    split = row.get("split", "")
    if not row["track_id"]:
        raise ManifestError(f"{where}: track_id is empty")
    if split not in SPLITS:
        raise ManifestError(f"{where}: split {split!r} is none of {', '.join(SPLITS[:3])} or empty")
    extra = {
        name if name.startswith("x_") else f"x_{name}": text
        for name, text in row.items()
        if name not in KNOWN and text
    }
    return dataclasses.replace(
        blank,
        track_id=row["track_id"],
        label=row["genre"],
        split=split,
        group=row.get("artist_id", ""),
        artist=row.get("artist", ""),
        title=row.get("title", ""),
        extra=extra,
    )


def _notes(tracks: Sequence[Track]) -> Iterator[str]:
    ungrouped = sum(not track.group for track in tracks)
    if ungrouped:
        yield f"without an artist, each counts as one of its own: {counted(ungrouped, 'track')}"
    unlabelled = sum(not track.label for track in tracks)
    if unlabelled:
        yield f"without a genre, so unused: {counted(unlabelled, 'track')}"
