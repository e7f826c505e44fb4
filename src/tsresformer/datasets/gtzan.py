"""GTZAN in any of its usual copies: folders of ``blues/blues.00000.wav`` or ``.au``.

The release names no artists, so `group` stays empty. The fault-filtered list gives a split
without repeats and with no artist on both sides, but names no artists either.

References
----------
Tzanetakis & Cook 2002 (the data set); Sturm 2013 (its faults); Kereliuk, Sturm & Larsen 2015
(the fault-filtered split).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from tsresformer.datasets import require_folder, walk
from tsresformer.errors import ManifestError
from tsresformer.labels import GTZAN
from tsresformer.manifest import Manifest, Track, counted, csv_table

CLIP_S = 30.0
N_TRACKS = 1000

_CLIP = re.compile(rf"({'|'.join(GTZAN)})\.(\d{{5}})\.(?:wav|au)", re.IGNORECASE | re.ASCII)
_LIST_ENTRY = re.compile(rf"(?:.*/)?({'|'.join(GTZAN)})\.(\d{{5}})(?:\.(?:wav|au))?", re.ASCII)
_SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}


def read(audio_dir: str | Path, fault_filtered: str | Path | None = None) -> Manifest:
    """Read the clips of a GTZAN folder, however deep the genre folders lie in it.

    Parameters
    ----------
    audio_dir : ``genres``, ``genres_original``, ``Data/genres_original`` or a folder above
    fault_filtered : CSV with the columns track, genre and split; its split is recorded, tracks
        that it leaves out get no split, and tracks that are not there keep a row

    Raises
    ------
    ManifestError : no clips, or a list that is not one
    """
    root = require_folder(audio_dir, "GTZAN's folder with blues/blues.00000.wav or .au in it")
    clips, n_copies = _find(root)
    if not clips:
        raise ManifestError(
            f"{audio_dir}: has no GTZAN clips; expected <genre>/<genre>.00000.wav or .au below it, "
            f"for {', '.join(GTZAN)}"
        )
    tracks = {name: _track(name, path) for name, path in clips.items()}
    notes = []
    if n_copies:
        notes.append(f"there more than once, the first copy is used: {counted(n_copies, 'clip')}")
    if len(clips) < N_TRACKS:
        notes.append(f"found {len(clips):,} of GTZAN's {N_TRACKS:,} clips")
    if fault_filtered is not None:
        splits = _read_list(Path(fault_filtered))
        n_unlisted = len(tracks.keys() - splits.keys())
        if n_unlisted:
            notes.append(f"not on the list, so unused: {counted(n_unlisted, 'clip')}")
        tracks = _with_splits(tracks, splits)
    notes.append("GTZAN names no artists: every track counts as an artist of its own")
    return Manifest(tuple(tracks[name] for name in sorted(tracks)), notes=tuple(notes))


def _find(root: Path) -> tuple[dict[str, Path], int]:
    """Clips by name, and the number of further copies of clips already found."""
    clips: dict[str, Path] = {}
    n_copies = 0
    for path in walk(root):
        match = _CLIP.fullmatch(path.name)
        if match and path.parent.name.lower() == match[1].lower():
            name = f"{match[1].lower()}.{match[2]}"
            n_copies += name in clips
            clips.setdefault(name, path)
    return clips, n_copies


def _track(name: str, path: Path) -> Track:
    genre = name.partition(".")[0]
    return Track(track_id=name, path=str(path), label=genre, duration_s=CLIP_S, dataset="gtzan")


def _read_list(path: Path) -> dict[str, str]:
    """Split of each track on a fault-filtered list."""
    header, rows = csv_table(path)
    if not {"track", "split"} <= set(header):
        raise ManifestError(f"{path}: expected the columns track, genre and split")
    splits: dict[str, str] = {}
    for where, row in rows:
        match = _LIST_ENTRY.fullmatch(row["track"].strip())
        if not match or row.get("genre", match[1]).strip() != match[1]:
            raise ManifestError(f"{where}: {row['track']!r} is no track of GTZAN, as blues.00000")
        name = f"{match[1]}.{match[2]}"
        word = row["split"].strip().lower()
        split = next((s for start, s in _SPLIT_NAMES.items() if word.startswith(start)), None)
        if split is None:
            raise ManifestError(f"{where}: split {row['split']!r} is none of train, valid, test")
        if name in splits:
            raise ManifestError(f"{where}: {name} is on the list twice")
        splits[name] = split
    return splits


def _with_splits(tracks: Mapping[str, Track], splits: Mapping[str, str]) -> dict[str, Track]:
    """Record the list's splits; a track that is only on the list is missing."""
    beside = Path(next(iter(tracks.values())).path)
    listed = dict(tracks)
    for name in splits.keys() - tracks.keys():
        genre = name.partition(".")[0]
        path = beside.parent.parent / genre / f"{name}{beside.suffix}"
        listed[name] = dataclasses.replace(
            _track(name, path), status="missing", error="on the list, but no such file"
        )
    return {
        name: dataclasses.replace(track, split=splits.get(name, ""), protocol="official")
        for name, track in listed.items()
    }
