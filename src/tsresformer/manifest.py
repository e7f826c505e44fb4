"""The manifest: one row a track, in CSV or Parquet.

Columns
-------
`track_id, path, label, split, group` are always written, the others where a row has a value.
`label` may hold several names joined by ``|``; `split` is training, validation, test or empty
(unused); `group` is the artist that must not be on both sides of a split. `path` is a file, or
``X.npy#row`` for a precomputed log-mel; in memory it is absolute, in the file it is relative to
the manifest's folder where it lies below it. A user's own columns start with ``x_``.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import FeatureConfig, resolved, suggestion
from tsresformer.errors import AudioError, ConfigError, ManifestError, require
from tsresformer.files import atomic_write, sha256_json
from tsresformer.spreadsheet import csv_line, plain

SPLITS = ("training", "validation", "test", "")
"""The values of the split column; empty means unused."""

STATUSES = ("", "ok", "short", "missing", "undecodable", "incomplete", "silent", "duplicate")
"""The values of the status column; empty means not checked, short is repeated to fill a slice."""

USABLE = ("", "ok", "short")

ALWAYS = ("track_id", "path", "label", "split", "group")
OPTIONAL = (
    "fold",
    "artist",
    "title",
    "duration_s",
    "sha256",
    "dataset",
    "licence",
    "protocol",
    "features",
    "status",
    "error",
)
COLUMNS = ALWAYS + OPTIONAL
REQUIRED = ("track_id", "path", "label")

_PARQUET_MAGIC = b"PAR1"
_LARGEST_FIELD = 2**27


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One recording of a data set.

    Parameters
    ----------
    path : absolute path of an audio file, or ``/abs/X.npy#row``
    duration_s : the length that the data set promises, None where it promises none
    features : canonical JSON of the FeatureConfig of a precomputed log-mel
    extra : the columns whose names start with ``x_``
    """

    track_id: str
    path: str
    label: str
    split: str = ""
    group: str = ""
    fold: str = ""
    artist: str = ""
    title: str = ""
    duration_s: float | None = None
    sha256: str = ""
    dataset: str = ""
    licence: str = ""
    protocol: str = ""
    features: str = ""
    status: str = ""
    error: str = ""
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names in the label column."""
        return tuple(name for name in self.label.split("|") if name)

    @property
    def usable(self) -> bool:
        """Whether nothing is known that speaks against using the track."""
        return self.status in USABLE


@dataclass(frozen=True)
class Manifest:
    """The tracks of a data set, in a fixed order, with unique ids.

    Parameters
    ----------
    path : the file it was read from or written to
    notes : what whoever made it wants the user to be told; not written
    """

    tracks: tuple[Track, ...]
    path: Path | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        seen = Counter(track.track_id for track in self.tracks)
        repeated = [track_id for track_id, n in seen.items() if n > 1]
        if repeated:
            source = f"{self.path}: " if self.path else ""
            raise ManifestError(
                f"{source}track ids that are there more than once: {listed(repeated)}; "
                "every row needs an id of its own"
            )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a CSV or Parquet manifest and check every row.

        Raises
        ------
        ManifestError : unreadable, an unknown column, or a bad value; names the line
        """
        path = Path(path)
        try:
            with open(path, "rb") as stream:
                parquet = stream.read(4) == _PARQUET_MAGIC
        except OSError as error:
            raise ManifestError(f"{path}: {error.strerror or error}") from error
        header, rows = _parquet_table(path) if parquet else csv_table(path)
        _check_header(path, header)
        parse = _RowParser(Path(os.path.abspath(path)).parent)
        tracks = tuple(parse(values, where) for where, values in rows)
        if not tracks:
            raise ManifestError(f"{path}: has no rows")
        return cls(tracks, path)

    def write(self, path: str | Path) -> None:
        """Write the manifest atomically, as Parquet when the name ends in .parquet, else as CSV."""
        path = Path(path)
        folder = os.path.abspath(path.parent)
        columns = self._columns()
        rows = [_values(track, columns, folder) for track in self.tracks]
        if path.suffix.lower() == ".parquet":
            _write_parquet(path, columns, rows)
            return
        text = "".join(csv_line(values) for values in (columns, *rows))
        with atomic_write(path, "wb") as stream:
            stream.write(text.encode("utf-8", "surrogateescape"))

    def replace(self, tracks: Iterable[Track]) -> Self:
        """The same manifest with other tracks."""
        return dataclasses.replace(self, tracks=tuple(tracks))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Sorted names of the labels of all usable tracks."""
        return tuple(sorted({name for t in self.tracks if t.usable for name in t.labels}))

    @property
    def protocol(self) -> str:
        """The split protocol that the rows record, empty when they record none."""
        return self._only("protocol")

    @property
    def features(self) -> FeatureConfig | None:
        """How the precomputed log-mels of the rows were made; None for audio."""
        text = self._only("features")
        return FeatureConfig(**json.loads(text)) if text else None

    def in_split(self, name: str) -> list[Track]:
        """The usable, labelled tracks of a split."""
        return [t for t in self.tracks if t.split == name and t.usable and t.labels]

    def key(self) -> str:
        """Hash of all that the features of the tracks depend on."""
        return sha256_json(
            [
                [t.track_id, printable(t.path), t.sha256, t.duration_s, t.features]
                for t in self.tracks
            ]
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of tracks by split, status and label, and of groups, for people."""
        groups = {track.group for track in self.tracks if track.group}
        without = sum(not track.group for track in self.tracks)
        return {
            "split": dict(Counter(track.split or "unused" for track in self.tracks)),
            "status": dict(Counter(track.status or "not checked" for track in self.tracks)),
            "label": dict(
                sorted(Counter(name for t in self.tracks for name in t.labels or ("",)).items())
            ),
            "group": {"groups": len(groups), "tracks without a group": without},
        }

    def _only(self, column: str) -> str:
        values = sorted({getattr(track, column) for track in self.tracks})
        if len(values) > 1:
            raise ManifestError(
                f"{self.path or 'the manifest'}: the rows differ in the column {column} "
                f"({' / '.join(value or 'empty' for value in values[:3])}); "
                "split or import them as one data set"
            )
        return values[0] if values else ""

    def _columns(self) -> list[str]:
        optional = [
            c for c in OPTIONAL if any(getattr(t, c) not in ("", None) for t in self.tracks)
        ]
        return [*ALWAYS, *optional, *dict.fromkeys(name for t in self.tracks for name in t.extra)]


def canonical_features(config: FeatureConfig) -> str:
    """The features column of a precomputed log-mel: JSON with every default resolved."""
    return json.dumps(resolved(config), sort_keys=True, separators=(",", ":"))


def array_row(path: str) -> tuple[str, int] | None:
    """Array file and row of ``X.npy#row``, or None for the path of an audio file.

    >>> array_row("/data/X.npy#12"), array_row("/music/C#4.mp3")
    (('/data/X.npy', 12), None)
    """
    name, mark, row = path.rpartition("#")
    if mark and name.endswith(".npy") and row.isascii() and row.isdigit():
        return name, int(row)
    return None


def open_array(path: str | Path) -> NDArray[Any]:
    """Map a ``.npy`` file, to read it.

    Raises
    ------
    OSError, ValueError : it cannot be read, or is no such file, or holds objects
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        raise
    except Exception as error:  # NumPy's complaints about a header have no common root
        raise ValueError(f"no array's header ({type(error).__name__}: {error})") from None


def raw_row(path: str) -> NDArray[Any]:
    """Values of ``X.npy#row`` as stored, shape (n_mels, n_frames), mapped and not yet read.

    Raises
    ------
    AudioError : no such array or row
    """
    name, row = array_row(path) or (path, 0)
    try:
        array = open_array(name)
    except FileNotFoundError:
        raise AudioError(path, "no such array of log-mels", status="missing") from None
    except (OSError, ValueError) as error:
        raise AudioError(path, f"not a readable .npy array: {error}") from None
    if array.ndim != 3 or row >= len(array):
        raise AudioError(path, f"the array has shape {array.shape} and no such row")
    values: NDArray[Any] = array[row]
    return values


def csv_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a UTF-8 CSV file as (line number, fields), blank lines left out.

    Bytes that are not UTF-8 come as lone surrogates: file names may hold them.

    Raises
    ------
    ManifestError : unreadable or malformed; names the line
    """
    csv.field_size_limit(_LARGEST_FIELD)  # FMA's biographies exceed the module's default
    try:
        with open(path, "rb") as stream:
            if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise ManifestError(f"{path}: is UTF-16; save it as CSV in UTF-8")
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.reader(text, strict=True)
            try:
                for row in reader:
                    if row:
                        yield reader.line_num, [plain(cell) for cell in row]
            except csv.Error as error:
                raise ManifestError(
                    f"{path}: line {reader.line_num}: not valid CSV: {error}"
                ) from None
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or error}") from error


def csv_table(path: str | Path) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Header of a CSV file, and its rows as ("path: line n", column -> value).

    Raises
    ------
    ManifestError : empty, a repeated column, or (while iterating) a line of another width
    """
    lines = csv_rows(path)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    if not header:
        raise ManifestError(f"{path}: is empty")
    repeated = [name for name, n in Counter(header).items() if n > 1]
    if repeated:
        raise ManifestError(f"{path}: the column {repeated[0]!r} is there twice")

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        for number, fields in lines:
            if len(fields) != len(header):
                raise ManifestError(
                    f"{path}: line {number} has {len(fields)} fields, the header {len(header)}"
                )
            yield f"{path}: line {number}", dict(zip(header, fields, strict=True))

    return header, rows()


def printable(text: str) -> str:
    r"""The text with every byte that is not UTF-8 written out, as in ``caf\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def counted(n: int, noun: str) -> str:
    """A number with its noun, for messages.

    >>> counted(1, "track"), counted(1200, "track")
    ('1 track', '1,200 tracks')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(names: Sequence[str], n: int = 5) -> str:
    """The first names and how many more there are, for messages.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - n:,} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


class _RowParser:
    """Turns a row's text into a Track; each FeatureConfig is parsed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._features: dict[str, str] = {"": ""}

    def __call__(self, values: Mapping[str, str], where: str) -> Track:
        extra = {name: text for name, text in values.items() if name.startswith("x_") and text}
        known: dict[str, Any] = {name: values[name] for name in COLUMNS if name in values}
        _check_text(where, {**known, **extra})
        for column, allowed in (("split", SPLITS), ("status", STATUSES)):
            if known.get(column, "") not in allowed:
                names = ", ".join(value or "empty" for value in allowed)
                raise ManifestError(f"{where}: {column} {known[column]!r} is none of {names}")
        known["duration_s"] = parse_seconds(known.get("duration_s", ""), where)
        known["features"] = self._canonical(known.get("features", ""), where)
        known["path"] = os.path.normpath(os.path.join(self.folder, known["path"]))
        return Track(**known, extra=extra)

    def _canonical(self, text: str, where: str) -> str:
        if text not in self._features:
            try:
                values = json.loads(text)
                if not isinstance(values, dict):
                    raise ValueError("no JSON object")
                self._features[text] = canonical_features(FeatureConfig(**values))
            except (ValueError, ConfigError, RecursionError) as error:
                raise ManifestError(f"{where}: features: {error}") from None
        return self._features[text]


def _check_text(where: str, values: Mapping[str, str]) -> None:
    for column in ("track_id", "path"):
        if not values[column]:
            raise ManifestError(f"{where}: {column} is empty")
    for column, text in values.items():
        if column != "path" and printable(text) != text:
            raise ManifestError(
                f"{where}: {column} '{printable(text)}' is not UTF-8; save the file as UTF-8"
            )


def parse_seconds(text: str, where: str) -> float | None:
    """Seconds of a duration column, None where it is empty; `where` names the row in errors."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ManifestError(f"{where}: duration_s {text!r} is no number of seconds")
    return seconds


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in COLUMNS and not name.startswith("x_")]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ManifestError(f"{path}: the fields are separated by other than commas")
    if unknown:
        raise ManifestError(
            f"{path}: unknown column {unknown[0]!r}{suggestion(unknown[0], COLUMNS)}; "
            "your own columns start with x_"
        )
    if missing:
        raise ManifestError(
            f"{path}: the column {missing[0]} is missing; needed are {', '.join(REQUIRED)}"
        )


def _parquet_table(path: Path) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
        found = table.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file: {error}") from error
    rows = (
        (f"{path}: row {n}", {k: "" if v is None else str(v) for k, v in row.items()})
        for n, row in enumerate(found, 1)
    )
    return table.column_names, rows


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    arrays = {}
    for position, column in enumerate(columns):
        values: list[Any] = [row[position] for row in rows]
        if column == "duration_s":
            values = [float(text) if text else None for text in values]
        broken = [text for text in values if isinstance(text, str) and printable(text) != text]
        if broken:
            raise ManifestError(
                f"{path}: '{printable(broken[0])}' is not UTF-8, which Parquet cannot hold; "
                "write the manifest as .csv"
            )
        kind = pyarrow.float64() if column == "duration_s" else pyarrow.string()
        arrays[column] = pyarrow.array(values, kind)
    with atomic_write(path, "wb") as stream:
        parquet.write_table(pyarrow.table(arrays), stream, write_page_checksum=True)


def _values(track: Track, columns: Sequence[str], folder: str) -> list[str]:
    values = []
    for column in columns:
        value = getattr(track, column) if column in COLUMNS else track.extra.get(column, "")
        if column == "path":
            value = _relative(value, folder)
        values.append("" if value is None else str(value))
    return values


def _relative(path: str, folder: str) -> str:
    below = folder.rstrip(os.sep) + os.sep
    return path[len(below) :] if path.startswith(below) else path
