"""A shard of the feature store: its two files, and what fills them.

The frames of its tracks lie in ``shard-00000.npy``, shape (n_frames, n_mels), and what is known of
each track in ``shard-00000.json``, which is written last: a shard that has it is whole. Until the
store is, ``store-begun-00000.json`` has the hashes of both, as they were when they were written.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.check import judge
from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError, ChildDiedError, StoreError
from tsresformer.extract import Chunk, log_mel_chunks
from tsresformer.features import to_bytes
from tsresformer.files import atomic_write, read_json, sha256_file, sha256_json, write_json
from tsresformer.manifest import Track, printable
from tsresformer.workers import Children, Limits

Job = tuple[int, Sequence[Track]]
"""Number of a shard, and its tracks."""


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


@dataclass(frozen=True, slots=True)
class _Result:
    """A track of shard `shard`; its frames, if it has any, wait in a file without a name."""

    shard: int
    stored: StoredTrack
    frames: IO[bytes] | None = None


class ShardBuilder:
    """Computes shards and writes them into the folder of a store.

    Parameters
    ----------
    record : features and dtype of the store
    n_workers : child processes that decode
    """

    def __init__(
        self, out: Path, record: Mapping[str, Any], limits: Limits, n_workers: int = 1
    ) -> None:
        self._out, self._dtype = out, str(record["dtype"])
        self._features = FeatureConfig(**record["features"])
        function = partial(log_mel_chunks, config=self._features, max_seconds=limits.decoded_s)
        self._children = Children(function, n_workers=n_workers, limits=limits)

    def do(self, job: Job) -> list[StoredTrack]:
        """Compute a shard and write it, unless it is there already."""
        if file_hashes(self._out, job[0]):
            return read_tracks(self._out / tracks_name(job[0]))
        return list(self.build([job]))

    def build(self, jobs: Sequence[Job]) -> Iterator[StoredTrack]:
        """Compute shards side by side, and write each with its last track."""
        waiting: dict[int, dict[str, _Result]] = {shard: {} for shard, _ in jobs}
        order = {shard: [track.track_id for track in tracks] for shard, tracks in jobs}
        for result in self._extract([(shard, track) for shard, ts in jobs for track in ts]):
            yield result.stored
            finished = waiting[result.shard]
            finished[result.stored.track_id] = result
            if len(finished) == len(order[result.shard]):
                self._write(result.shard, [finished[name] for name in order[result.shard]])
                del waiting[result.shard]

    def close(self) -> None:
        """End the child processes."""
        self._children.close()

    def _extract(self, jobs: list[tuple[int, Track]]) -> Iterator[_Result]:
        """Features of each track, as they come.

        A track on which a child died has a second chance: the system may have killed the child
        for the memory that another process took.
        """
        for shard, track in jobs:
            if not track.usable:
                yield _Result(shard, _without(track, track.status, track.error))
        wanted = [(shard, track) for shard, track in jobs if track.usable]
        died: list[tuple[int, Track]] = []
        yield from self._attempt(wanted, died.append)
        if died:
            yield from self._attempt(died, None)

    def _attempt(
        self, wanted: list[tuple[int, Track]], on_death: Callable[[tuple[int, Track]], None] | None
    ) -> Iterator[_Result]:
        """Features of each track; long tracks never lie in memory.

        Parameters
        ----------
        on_death : told of the tracks on which a child died, instead of a result; None for a result
        """
        spools: dict[int, tuple[IO[bytes], Chunk]] = {}
        paths = (track.path for _, track in wanted)
        for event in self._children.stream(paths):
            if event.kind == "chunk":
                if event.index in spools:
                    spool, _ = spools[event.index]
                else:
                    spool = TemporaryFile(dir=self._out)  # noqa: SIM115 (closed with its shard)
                spool.write(self._compact(event.value.log_mel.T).tobytes())
                last = dataclasses.replace(event.value, log_mel=event.value.log_mel[:, :0])
                spools[event.index] = (spool, last)
                continue
            shard, track = wanted[event.index]
            if event.kind == "error":
                error: AudioError = event.value
                spools.pop(event.index, None)
                if on_death and isinstance(error, ChildDiedError):
                    on_death((shard, track))
                    continue
                yield _Result(shard, _without(track, error.status, error.reason))
            else:
                spool, last = spools.pop(event.index)
                stored = self._stored(track, last, spool.tell())
                yield _Result(shard, stored, spool if stored.n_frames else None)

    def _stored(self, track: Track, last: Chunk, n_bytes: int) -> StoredTrack:
        """Keep a complete track that can be heard; say why any other is left out."""
        seconds = round(last.seconds, 3)
        status, error = judge(track, seconds, silent=last.silent)
        if status != "ok":
            return _without(track, status, error, seconds)
        n_frames = n_bytes // (self._features.n_mels * np.dtype(self._dtype).itemsize)
        return StoredTrack(track.track_id, source_of(track), n_frames, seconds, "ok", last.warning)

    def _compact(self, frames: NDArray[np.float32]) -> NDArray[Any]:
        """Values as the store keeps them."""
        if self._dtype == "uint8":
            return to_bytes(frames, self._features)
        return frames.astype(self._dtype)

    def _write(self, shard: int, results: list[_Result]) -> None:
        shape = (sum(r.stored.n_frames for r in results), self._features.n_mels)
        header = {"descr": np.dtype(self._dtype).str, "fortran_order": False, "shape": shape}
        with atomic_write(self._out / array_name(shard), "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for result in results:
                if result.frames is not None:
                    with result.frames as frames:
                        frames.seek(0)
                        shutil.copyfileobj(frames, file)
        rows = [asdict(r.stored) for r in results]
        hashes = [sha256_file(self._out / array_name(shard)), sha256_json(rows)]
        write_json(self._out / begun_name(shard), hashes)
        write_json(self._out / tracks_name(shard), rows)


def file_hashes(out: Path, shard: int) -> list[str] | None:
    """Hashes of a shard's two files; None if one is missing, or not as it was written.

    Older versions did not write down how they were; their shards are taken as they are.
    """
    array, tracks, begun = (out / name(shard) for name in (array_name, tracks_name, begun_name))
    try:
        hashes = [sha256_file(array), sha256_file(tracks)]
        if begun.is_file() and read_json(begun) != [hashes[0], sha256_json(read_json(tracks))]:
            return None
    except (OSError, ValueError):
        return None
    return hashes


def read_tracks(path: Path) -> list[StoredTrack]:
    """Read what is known of a shard's tracks."""
    try:
        return [StoredTrack(**row) for row in read_json(path)]
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and rebuild it") from None


def array_name(shard: int) -> str:
    """File of a shard's frames."""
    return f"shard-{shard:05d}.npy"


def tracks_name(shard: int) -> str:
    """File of what is known of a shard's tracks."""
    return f"shard-{shard:05d}.json"


def begun_name(shard: int) -> str:
    """File of a shard's hashes, while the store is unfinished."""
    return f"store-begun-{shard:05d}.json"


def source_of(track: Track) -> str:
    """Name of the file (and row) that a track's features come from, without its folder."""
    return printable(track.path.rpartition("/")[2])


def _without(track: Track, status: str, error: str, seconds: float = 0.0) -> StoredTrack:
    return StoredTrack(track.track_id, source_of(track), 0, seconds, status, error)
