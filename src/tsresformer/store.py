"""The feature store: log-mels of whole tracks, memory-mapped.

A store is a folder. Tracks lie in manifest order in shards of `TRACKS_PER_SHARD`: the frames of
``shard-00000.npy``, shape (n_frames, n_mels), and what is known of each track in
``shard-00000.json``, written after it. ``store.json`` is written last and makes the store
whole: the FeatureConfig, the manifest's key, and the hash of every shard. A build that was
killed goes on with the first missing shard and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.bundle import Bundle, shipped_bundles
from tsresformer.check import judge
from tsresformer.config import FeatureConfig, load_features, resolved
from tsresformer.datasets.arrays import is_row, row_dtype
from tsresformer.errors import AudioError, ConfigError, StoreError
from tsresformer.extract import Chunk, log_mel_chunks
from tsresformer.features import bytes_to_decibels
from tsresformer.files import atomic_write, hold_folder, sha256_file, write_json
from tsresformer.manifest import Manifest, Track, listed, printable
from tsresformer.workers import Limits, stream

FORMAT = 1
MARKER = "store.json"
BEGUN = "store-begun.json"
TRACKS_PER_SHARD = 64


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """One track of a store; `n_frames` is 0 when it has no features.

    `source` is the name of the file (and row) that the features come from, without its folder.
    """

    track_id: str
    source: str
    n_frames: int
    seconds: float
    status: str
    error: str


class FeatureStore:
    """A finished store, open for reading.

    Examples
    --------
    >>> store = FeatureStore.open("store/")  # doctest: +SKIP
    >>> store.log_mel("2").shape  # doctest: +SKIP
    (128, 1292)
    """

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
        """Decibels of stored values, whatever type the store has."""
        if log_mel.dtype == np.uint8:
            return bytes_to_decibels(log_mel, self.features.top_db)
        return log_mel.astype(np.float32)

    def serve(self, manifest: Manifest) -> list[Track]:
        """Return the manifest's tracks that have features; refuse a store made for others."""
        usable = [track for track in manifest.tracks if track.usable]
        foreign = [
            t.track_id
            for t in usable
            if t.track_id not in self.tracks or self.tracks[t.track_id].source != _source(t)
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
            for name, digest in zip((_array_name(i), _tracks_name(i)), digests, strict=True):
                path = self.folder / name
                if not path.is_file() or sha256_file(path) != digest:
                    raise StoreError(
                        f"{path}: damaged or missing; delete {self.folder} and rebuild it"
                    )

    def failures(self) -> list[StoredTrack]:
        """Tracks without features, each with its reason."""
        return [t for t in self.tracks.values() if not t.n_frames]

    def _shard_tracks(self, shard: int) -> list[StoredTrack]:
        return _read_tracks(self.folder / _tracks_name(shard))

    @cached_property
    def _arrays(self) -> list[NDArray[Any]]:
        arrays = [_map_array(self.folder / _array_name(i)) for i in range(len(self._shards))]
        for i, array in enumerate(arrays):
            expected = (sum(t.n_frames for t in self._shard_tracks(i)), self.features.n_mels)
            if array.shape != expected:
                raise StoreError(
                    f"{self.folder / _array_name(i)}: is {array.shape}, its tracks need "
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
    n_workers: int = 1,
    limits: Limits | None = None,
    on_track: Callable[[StoredTrack], None] = lambda track: None,
) -> FeatureStore:
    """Compute the log-mels of a manifest's tracks, or finish a build that was interrupted.

    Parameters
    ----------
    on_track : called for each track as it is done, also for those of earlier runs

    Raises
    ------
    StoreError : the folder holds a store of other features or another manifest
    """
    out, record = Path(out), _identity(manifest, features)
    with _claim(out, record):
        shards = [
            manifest.tracks[i : i + TRACKS_PER_SHARD]
            for i in range(0, len(manifest.tracks), TRACKS_PER_SHARD)
        ]
        pending = [i for i in range(len(shards)) if not (out / _tracks_name(i)).is_file()]
        for i in set(range(len(shards))) - set(pending):
            for stored in _read_tracks(out / _tracks_name(i)):
                on_track(stored)
        results: dict[int, dict[str, _Result]] = {i: {} for i in pending}
        jobs = [(i, track) for i in pending for track in shards[i]]
        for result in _extract(jobs, out, record, n_workers, limits or Limits()):
            on_track(result.stored)
            results[result.shard][result.stored.track_id] = result
            if len(results[result.shard]) == len(shards[result.shard]):
                finished = results.pop(result.shard)
                in_order = [finished[track.track_id] for track in shards[result.shard]]
                _write_shard(out, result.shard, in_order, record)
        if not (out / MARKER).exists():
            record["shards"] = [
                [sha256_file(out / name) for name in (_array_name(i), _tracks_name(i))]
                for i in range(len(shards))
            ]
            write_json(out / MARKER, record)
            (out / BEGUN).unlink()
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


@dataclass(frozen=True, slots=True)
class _Result:
    """A track of shard `shard`; its frames, if it has any, wait in a file without a name."""

    shard: int
    stored: StoredTrack
    frames: IO[bytes] | None = None


def _extract(
    jobs: list[tuple[int, Track]], out: Path, record: dict[str, Any], n_workers: int, limits: Limits
) -> Iterator[_Result]:
    """Features of each track, as they come; long tracks never lie in memory."""
    features = FeatureConfig(**record["features"])
    wanted = [(shard, track) for shard, track in jobs if track.usable]
    for shard, track in jobs:
        if not track.usable:
            yield _Result(shard, _without(track, track.status, track.error))
    function = partial(log_mel_chunks, config=features, max_seconds=limits.decoded_s)
    spools: dict[int, tuple[IO[bytes], Chunk]] = {}
    paths = (track.path for _, track in wanted)
    for event in stream(function, paths, n_workers=n_workers, limits=limits):
        if event.kind == "chunk":
            if event.index in spools:
                spool, _ = spools[event.index]
            else:
                spool = TemporaryFile(dir=out)  # noqa: SIM115 (closed with its shard)
            spool.write(_compact(event.value.log_mel.T, record["dtype"], features).tobytes())
            last = dataclasses.replace(event.value, log_mel=event.value.log_mel[:, :0])
            spools[event.index] = (spool, last)
            continue
        shard, track = wanted[event.index]
        if event.kind == "error":
            error: AudioError = event.value
            spools.pop(event.index, None)
            yield _Result(shard, _without(track, error.status, error.reason))
        else:
            spool, last = spools.pop(event.index)
            stored = _stored(track, last, spool.tell(), record)
            yield _Result(shard, stored, spool if stored.n_frames else None)


def _stored(track: Track, last: Chunk, n_bytes: int, record: dict[str, Any]) -> StoredTrack:
    """Keep a complete track that can be heard; say why any other is left out."""
    seconds = round(last.seconds, 3)
    status, error = judge(track, seconds, silent=last.silent)
    if status != "ok":
        return _without(track, status, error, seconds)
    n_frames = n_bytes // (record["features"]["n_mels"] * np.dtype(record["dtype"]).itemsize)
    return StoredTrack(track.track_id, _source(track), n_frames, seconds, "ok", last.warning)


def _compact(frames: NDArray[np.float32], dtype: str, features: FeatureConfig) -> NDArray[Any]:
    """Decibels as the store keeps them."""
    if dtype == "uint8":
        frames = np.rint((frames + features.top_db) * (255 / features.top_db))
    return frames.astype(dtype)


def _without(track: Track, status: str, error: str, seconds: float = 0.0) -> StoredTrack:
    return StoredTrack(track.track_id, _source(track), 0, seconds, status, error)


def _source(track: Track) -> str:
    return printable(track.path.rpartition("/")[2])


def _write_shard(out: Path, shard: int, results: list[_Result], record: dict[str, Any]) -> None:
    shape = (sum(r.stored.n_frames for r in results), record["features"]["n_mels"])
    header = {"descr": np.dtype(record["dtype"]).str, "fortran_order": False, "shape": shape}
    with atomic_write(out / _array_name(shard), "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for result in results:
            if result.frames is not None:
                with result.frames as frames:
                    frames.seek(0)
                    shutil.copyfileobj(frames, file)
    write_json(out / _tracks_name(shard), [asdict(r.stored) for r in results])


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
        for leftover in out.glob(".shard-*"):
            leftover.unlink()
        if not (out / MARKER).exists():
            write_json(out / BEGUN, record)
        yield


def _same_identity(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for part, name in (("features", "feature configuration"), ("key", "manifest")):
        if found[part] != wanted[part]:
            raise StoreError(f"{out}: holds a store of another {name}; name a new folder")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
        complete = {"key", "features", "dtype"} <= record.keys()
        complete &= path.name == BEGUN or "shards" in record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None
    if version != FORMAT:
        raise StoreError(
            f"{path}: format {version}, this version reads {FORMAT}; rebuild the store"
        )
    if not complete:
        raise StoreError(f"{path}: damaged (keys are missing); delete the folder and rebuild it")
    return dict(record)


def _read_tracks(path: Path) -> list[StoredTrack]:
    try:
        return [StoredTrack(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None


def _map_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None
    return array


def _array_name(shard: int) -> str:
    return f"shard-{shard:05d}.npy"


def _tracks_name(shard: int) -> str:
    return f"shard-{shard:05d}.json"
