"""The feature store: log-mels of whole tracks, memory-mapped.

A store is a folder. Tracks lie in manifest order in shards of `TRACKS_PER_SHARD`. ``store.json`` is
written last and makes the store whole: the FeatureConfig, the manifest's key, and the hash of
every shard. A build that was killed goes on with the shards that are missing, or are not as they
were written, and ends with the same bytes, whatever engine computes the shards.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.bundle import Bundle, shipped_bundles
from tsresformer.cluster import Engine, run_on_ray
from tsresformer.config import FeatureConfig, load_features, resolved
from tsresformer.datasets.arrays import is_row, row_dtype
from tsresformer.errors import ConfigError, StoreError
from tsresformer.features import from_bytes
from tsresformer.files import (
    UNSEALED,
    hold_folder,
    is_intact_or_old,
    read_json,
    sha256_file,
    write_sealed,
)
from tsresformer.manifest import Manifest, Track, listed, open_array
from tsresformer.shards import (
    ShardBuilder,
    StoredTrack,
    array_name,
    file_hashes,
    read_tracks,
    source_of,
    tracks_name,
)
from tsresformer.workers import Limits

FORMAT = 2

MARKER = "store.json"
BEGUN = "store-begun.json"
TRACKS_PER_SHARD = 64


class FeatureStore:
    """A finished store, open for reading: `FeatureStore.open("store/").log_mel("2")`."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        try:
            self.features = FeatureConfig(**record["features"])
        except (ConfigError, TypeError) as error:
            raise StoreError(
                f"{folder / MARKER}: {error}; delete the folder and rebuild it"
            ) from None
        self.key: str = record["key"]
        self._shards: list[list[str]] = record["shards"]

    @classmethod
    def open(cls, folder: str | Path) -> FeatureStore:
        """Open a store; refuse one that is unfinished, foreign or of another version."""
        folder = Path(folder)
        if not (folder / MARKER).is_file():
            problem = "is unfinished" if (folder / BEGUN).is_file() else "holds no feature store"
            raise StoreError(
                f"{folder}: {problem}; 'tsresformer features MANIFEST -o {folder}' builds it"
            )
        return cls(folder, _read_record(folder / MARKER))

    @cached_property
    def tracks(self) -> dict[str, StoredTrack]:
        """All tracks by id, in manifest order."""
        return {t.track_id: t for i in range(len(self._shards)) for t in self._shard_tracks(i)}

    def log_mel(self, track_id: str) -> NDArray[Any]:
        """Stored log-mel (n_mels, n_frames), a view of the mapped file; see `to_decibels`."""
        shard, start = self._places[track_id]
        frames = self._arrays[shard][start : start + self.tracks[track_id].n_frames]
        return frames.T

    def to_decibels(self, log_mel: NDArray[Any]) -> NDArray[np.float32]:
        """Decibels (or values of PCEN) of stored values, whatever type the store has."""
        if log_mel.dtype == np.uint8:
            return from_bytes(log_mel, self.features)
        return log_mel.astype(np.float32)

    def serve(self, manifest: Manifest) -> list[Track]:
        """Return the manifest's tracks that have features; refuse a store made for others."""
        usable = [track for track in manifest.tracks if track.usable]
        foreign = [
            t.track_id
            for t in usable
            if t.track_id not in self.tracks or self.tracks[t.track_id].source != source_of(t)
        ]
        if foreign:
            raise StoreError(
                f"{self.folder}: was built for another manifest: {len(foreign)} tracks are not "
                f"in it, or come from other files ({listed(foreign)}); build a store for this one"
            )
        return [track for track in usable if self.tracks[track.track_id].n_frames]

    def verify(self) -> None:
        """Compare every file with its hash; raise StoreError naming the damaged one."""
        for i, digests in enumerate(self._shards):
            for name, digest in zip((array_name(i), tracks_name(i)), digests, strict=True):
                path = self.folder / name
                if not path.is_file() or sha256_file(path) != digest:
                    raise StoreError(
                        f"{path}: damaged or missing; delete {self.folder} and rebuild it"
                    )

    def failures(self) -> list[StoredTrack]:
        """Tracks without features, each with its reason."""
        return [t for t in self.tracks.values() if not t.n_frames]

    def _shard_tracks(self, shard: int) -> list[StoredTrack]:
        return read_tracks(self.folder / tracks_name(shard))

    @cached_property
    def _arrays(self) -> list[NDArray[Any]]:
        arrays = [_map_array(self.folder / array_name(i)) for i in range(len(self._shards))]
        for i, array in enumerate(arrays):
            expected = (sum(t.n_frames for t in self._shard_tracks(i)), self.features.n_mels)
            if array.shape != expected:
                raise StoreError(
                    f"{self.folder / array_name(i)}: is {array.shape}, its tracks need "
                    f"{expected}; delete the folder and rebuild it"
                )
        return arrays

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        places = {}
        for shard in range(len(self._shards)):
            start = 0
            for track in self._shard_tracks(shard):
                places[track.track_id] = (shard, start)
                start += track.n_frames
        return places


def build_store(
    manifest: Manifest,
    features: FeatureConfig,
    out: str | Path,
    *,
    engine: Engine = "local",
    n_workers: int = 1,
    address: str | None = None,
    pin: bool = False,
    limits: Limits | None = None,
    on_track: Callable[[StoredTrack], None] = lambda track: None,
) -> FeatureStore:
    """Compute the log-mels of a manifest's tracks, or finish a build that was interrupted.

    Parameters
    ----------
    n_workers : processes that decode; with Ray, workers with one such process each
    address, pin : as of `run_on_ray`; for that engine alone
    on_track : called for each track as it is done, also for those of earlier runs

    Raises
    ------
    ClusterError : Ray cannot be reached, or gives up
    StoreError : the folder holds a store of other features or another manifest
    """
    out, record, limits = Path(out), _identity(manifest, features), limits or Limits()
    with _claim(out, record):
        shards = [
            manifest.tracks[i : i + TRACKS_PER_SHARD]
            for i in range(0, len(manifest.tracks), TRACKS_PER_SHARD)
        ]
        complete = (out / MARKER).exists()
        whole = {i for i in range(len(shards)) if complete or file_hashes(out, i)}
        for i in sorted(whole):
            for stored in read_tracks(out / tracks_name(i)):
                on_track(stored)
        jobs = [(i, tracks) for i, tracks in enumerate(shards) if i not in whole]
        if engine == "local" or not jobs:
            with contextlib.closing(ShardBuilder(out, record, limits, n_workers)) as builder:
                for stored in builder.build(jobs):
                    on_track(stored)
        else:
            prepare = partial(ShardBuilder, Path(os.path.abspath(out)), record, limits)
            for finished in run_on_ray(
                prepare, jobs, n_workers=n_workers, address=address, pin=pin
            ):
                for stored in finished:
                    on_track(stored)
        _complete(out, record, len(shards))
    store = FeatureStore.open(out)
    store.verify()
    return store


def feature_config(manifest: Manifest, source: str | None = None) -> FeatureConfig:
    """Features to compute: of a TOML file or a bundle, else the manifest's, else the default.

    Raises
    ------
    StoreError : the manifest's tracks are log-mels already, made in another way
    """
    made = manifest.features
    if source is None:
        return made or FeatureConfig()
    is_bundle = source in shipped_bundles() or Path(source).is_dir()
    wanted = Bundle.load(source).features if is_bundle else load_features(source)
    if made is not None and made != wanted:
        raise StoreError(
            f"{manifest.path}: its log-mels were made with other features than {source} asks for; "
            "leave --features out, or import the audio"
        )
    return wanted


def _identity(manifest: Manifest, features: FeatureConfig) -> dict[str, Any]:
    rows = {t.path.rpartition("#")[0] for t in manifest.tracks if is_row(t.path)}
    whole = all(is_row(t.path) for t in manifest.tracks)
    bytes_only = whole and all(row_dtype(path) == np.uint8 for path in rows)
    return {
        "format": FORMAT,
        "key": manifest.key(),
        "features": dict(resolved(features)),
        "dtype": "uint8" if bytes_only else "float16",
    }


@contextlib.contextmanager
def _claim(out: Path, record: dict[str, Any]) -> Iterator[None]:
    """Hold the folder for this build alone; refuse a folder that belongs to something else."""
    busy = StoreError(f"{out}: another process is building this store; wait for it")
    with hold_folder(out, busy):
        for name in (MARKER, BEGUN):
            if (out / name).is_file():
                _same_identity(out, _read_record(out / name), record)
        strangers = [
            p.name for p in out.iterdir() if not p.name.startswith((".", "shard-", "store"))
        ]
        if strangers and not (out / BEGUN).exists() and not (out / MARKER).exists():
            raise StoreError(f"{out}: holds other files ({strangers[0]}, ...); name a new folder")
        _sweep(out)
        if not (out / MARKER).exists():
            write_sealed(out / BEGUN, record)
        yield


def _complete(out: Path, record: dict[str, Any], n_shards: int) -> None:
    """Write the marker of a store whose shards are all there, unless it has one."""
    _sweep(out)  # of workers that were killed
    if not (out / MARKER).exists():
        hashes = [file_hashes(out, i) for i in range(n_shards)]
        if None in hashes:
            path = out / array_name(hashes.index(None))
            raise StoreError(f"{path}: has changed since it was written; run again")
        write_sealed(out / MARKER, {**record, "shards": hashes})
    for begun in out.glob(f"{Path(BEGUN).stem}*"):
        begun.unlink()


def _sweep(out: Path) -> None:
    """Remove what was begun and never got its name."""
    for leftover in (*out.glob(".shard-*"), *out.glob(".store*")):
        leftover.unlink(missing_ok=True)


def _same_identity(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for part, name in (("features", "feature configuration"), ("key", "manifest")):
        if found[part] != wanted[part]:
            raise StoreError(f"{out}: holds a store of another {name}; name a new folder")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
        version = record["format"]
        complete = {"key", "features", "dtype"} <= record.keys()
        complete &= path.name == BEGUN or "shards" in record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None
    if version not in (UNSEALED, FORMAT):
        raise StoreError(
            f"{path}: format {version}, this version reads {FORMAT}; rebuild the store"
        )
    if not complete or not is_intact_or_old(record):
        problem = "it has changed since it was written" if complete else "keys are missing"
        raise StoreError(f"{path}: damaged ({problem}); delete the folder and rebuild it")
    return dict(record)


def _map_array(path: Path) -> NDArray[Any]:
    try:
        return open_array(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None
