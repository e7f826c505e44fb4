"""What a catalogue run is: its inputs, frozen and cut into parts, and the model."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tsresformer.bundle import Bundle
from tsresformer.catalogue.inputs import COLUMNS, Listed, classify, open_input, tracks
from tsresformer.catalogue.places import Place, is_remote, parquet_bytes, place
from tsresformer.cluster import EXTRA
from tsresformer.errors import CatalogueError, require
from tsresformer.files import SEAL, is_intact, parse_json, sealed

FORMAT = 2
RECORD = "catalogue.json"
LISTING, PARTS = "listing", "parts"
TRACKS_PER_FILE = 100_000
"""Tracks in one file of the listing, about; it is made in memory."""

PART_TRACKS = 100
"""Tracks in a part: what a worker that dies loses, at most."""

_HASH_BYTES = 2**20

Item = TypeVar("Item")


@dataclass(frozen=True)
class Record:
    """What ``catalogue.json`` says; it is written once the listing is whole.

    Parameters
    ----------
    input : as named, local paths absolute
    input_sha256 : of the bytes of a table; empty for files
    model, model_sha256, labels : name, hash and genres of the bundle
    part_tracks : tracks in each part but the last
    n_tracks : in the whole listing
    listing_sha256 : of each file of the listing
    """

    input: str
    input_sha256: str
    model: str
    model_sha256: str
    labels: tuple[str, ...]
    part_tracks: int
    n_tracks: int
    listing_sha256: tuple[str, ...]

    @property
    def n_parts(self) -> int:
        """Parts that the listing is cut into."""
        return -(-self.n_tracks // self.part_tracks)

    def n_tracks_of(self, part: int) -> int:
        """Tracks in a part."""
        return min(self.part_tracks, self.n_tracks - part * self.part_tracks)

    @property
    def parts_per_file(self) -> int:
        """Parts, which are row groups, in each file of the listing but the last."""
        return _parts_per_file(self.part_tracks)


class Job:
    """A catalogue run with a frozen listing, in the place of its output."""

    def __init__(self, output: Place, record: Record) -> None:
        self.output, self.record = output, record
        self._open_file: tuple[int, Any] | None = None

    @classmethod
    def open(cls, output: str) -> Job:
        """Open a run that was begun.

        Raises
        ------
        CatalogueError : there is none, or of another version
        """
        where = place(output)
        try:
            values = parse_json(where.read(RECORD))
            if (version := values["format"]) == FORMAT:
                record = _record(values)
        except (FileNotFoundError, NotADirectoryError):
            raise CatalogueError(
                f"{output}: holds no catalogue run; 'tsresformer catalogue run' makes one"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CatalogueError(
                f"{output}/{RECORD}: damaged ({error}); name a new folder"
            ) from None
        if version != FORMAT:
            raise CatalogueError(
                f"{output}: format {version}, this version reads {FORMAT}; name a new folder"
            )
        return cls(where, record)

    def rows(self, part: int) -> list[Listed]:
        """Ids and paths of a part's tracks."""
        number, group = divmod(part, self.record.parts_per_file)
        if self._open_file is None or self._open_file[0] != number:
            parquet = require("pyarrow.parquet", EXTRA)
            content = io.BytesIO(self._listing(number))
            self._open_file = number, parquet.ParquetFile(content)
        table = self._open_file[1].read_row_group(group)
        return list(zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True))

    def _listing(self, number: int) -> bytes:
        name = _listing_name(number)
        try:
            content = self.output.read(name)
            intact = hashlib.sha256(content).hexdigest() == self.record.listing_sha256[number]
        except FileNotFoundError:
            intact = False
        if not intact:
            raise CatalogueError(f"{self.output.uri}/{name}: damaged or missing; name a new folder")
        return content

    def finished(self) -> set[int]:
        """Numbers of the parts that are there, whatever else is among them."""
        names = {f"{PARTS}/{name}" for name in self.output.names(PARTS)}
        return {part for part in range(self.record.n_parts) if part_name(part) in names}


def part_name(part: int) -> str:
    """File of a part, below the output."""
    return f"{PARTS}/{part:08d}.parquet"


def begin(source: str, output: str, bundle: Bundle, part_tracks: int | None = None) -> Job:
    """Freeze the listing of the inputs, or take up a run of the same inputs and model.

    Parameters
    ----------
    part_tracks : None for that of the run that was begun, or the default

    Raises
    ------
    CatalogueError : the place holds something else, or there is nothing to list
    """
    where = place(output)
    source = source if is_remote(source) else os.path.abspath(source)
    sha256 = _table_sha256(source)
    if RECORD in where.names(""):
        job = Job.open(output)
        _check_same(job.record, output, source, sha256, bundle, part_tracks)
        return job
    strangers = {name for name in where.names("") if not name.startswith(".")} - {LISTING}
    if strangers:
        raise CatalogueError(f"{output}: holds other files ({min(strangers)}); name a new folder")
    part_tracks = part_tracks or PART_TRACKS
    n_tracks, hashes = _freeze(where, tracks(source), part_tracks)
    if not n_tracks:
        raise CatalogueError(f"{source}: names no audio")
    record = Record(
        source, sha256, bundle.name, bundle.hash, bundle.labels, part_tracks, n_tracks, hashes
    )
    values = sealed({"format": FORMAT, **asdict(record)})
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    where.write(RECORD, text.encode())
    return Job(where, record)


def _check_same(
    record: Record, output: str, source: str, sha256: str, bundle: Bundle, part_tracks: int | None
) -> None:
    if record.model_sha256 != bundle.hash:
        other = f"model {record.model} ({record.model_sha256[:12]}), not of {bundle.hash[:12]}"
        raise CatalogueError(f"{output}: holds a run of the {other}; name a new folder")
    if (record.input, record.input_sha256) != (source, sha256):
        same_name = record.input == source
        why = "has changed since" if same_name else f"is not {record.input}"
        raise CatalogueError(
            f"{output}: holds a run of other inputs: {source} {why}; name a new folder"
        )
    if part_tracks not in (None, record.part_tracks):
        raise CatalogueError(
            f"{output}: was begun with {record.part_tracks} tracks a part; "
            "leave --part-tracks out, or name a new folder"
        )


def _table_sha256(source: str) -> str:
    """Hash of the bytes of a table of paths; "" for a folder or a pattern."""
    kind, name, _ = classify(source)
    if kind != "table":
        return ""
    digest = hashlib.sha256()
    try:
        with open_input(name) as stream:
            while block := stream.read(_HASH_BYTES):
                digest.update(block)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise CatalogueError(f"{source}: {reason}") from None
    return digest.hexdigest()


def _record(values: Mapping[str, Any]) -> Record:
    if not is_intact(values):
        raise ValueError("it has changed since it was written")
    known = {key: value for key, value in values.items() if key not in ("format", SEAL)}
    lists = {key: tuple(known[key]) for key in ("labels", "listing_sha256")}
    return Record(**{**known, **lists})


def _freeze(
    where: Place, listed: Iterable[Listed], part_tracks: int
) -> tuple[int, tuple[str, ...]]:
    """Write the listing, one part a row group; number of tracks, and hash of each file."""
    hashes, n_tracks = [], 0
    per_file = _parts_per_file(part_tracks)
    for number, parts in enumerate(_chunks(_chunks(listed, part_tracks), per_file)):
        n_tracks += sum(map(len, parts))
        content = _listing_bytes(parts, part_tracks)
        hashes.append(hashlib.sha256(content).hexdigest())
        where.write(_listing_name(number), content)
    return n_tracks, tuple(hashes)


def _listing_name(number: int) -> str:
    return f"{LISTING}/{number:06d}.parquet"


def _listing_bytes(parts: Sequence[Sequence[Listed]], part_tracks: int) -> bytes:
    arrow = require("pyarrow", EXTRA)
    ids, paths = zip(*itertools.chain.from_iterable(parts), strict=True)
    columns = (arrow.array(ids, arrow.string()), arrow.array(paths, arrow.binary()))
    table = arrow.table(dict(zip(COLUMNS, columns, strict=True)))
    return parquet_bytes(table, row_group_size=part_tracks)


def _parts_per_file(part_tracks: int) -> int:
    return max(1, TRACKS_PER_FILE // part_tracks)


def _chunks(items: Iterable[Item], n: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, n)):
        yield chunk
