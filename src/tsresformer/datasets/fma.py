"""FMA in its release's own layout: ``fma_small/000/000002.mp3`` and ``fma_metadata/tracks.csv``.

References
----------
Defferrard, Benzi, Vandergheynst & Bresson, "FMA: a dataset for music analysis", ISMIR 2017.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsresformer.config import suggestion
from tsresformer.datasets import require_folder
from tsresformer.errors import ManifestError
from tsresformer.manifest import (
    SPLITS,
    Manifest,
    Track,
    counted,
    csv_rows,
    csv_table,
    parse_seconds,
)

SUBSETS = ("small", "medium", "large", "full")
"""Each subset contains the ones before it."""

CLIP_S = 30.0
"""Nominal length of the clips of all subsets but `full`, which holds whole tracks."""

_USED = (
    ("set", "subset"),
    ("set", "split"),
    ("track", "genre_top"),
    ("track", "genres"),
    ("track", "title"),
    ("track", "duration"),
    ("track", "license"),
    ("artist", "id"),
    ("artist", "name"),
)


def read(
    audio_dir: str | Path,
    metadata_dir: str | Path,
    subset: str = "small",
    *,
    multi: bool = False,
) -> Manifest:
    """Read the tracks of a subset; a clip whose mp3 is not there keeps a row.

    Parameters
    ----------
    audio_dir : the folder that holds ``000/000002.mp3``
    metadata_dir : the folder that holds ``tracks.csv`` and ``genres.csv``
    subset : small, medium, large or full
    multi : label each track with the top-level parents of all its genres, joined by ``|``,
        instead of with its one top genre, which many tracks of large and full do not have

    Raises
    ------
    ManifestError : a folder or file is missing, its contents are not the release's, or there is
        not one clip
    """
    if subset not in SUBSETS:
        raise ManifestError(
            f"unknown subset {subset!r}{suggestion(subset, SUBSETS)}; "
            f"there are {', '.join(SUBSETS)}"
        )
    audio = require_folder(audio_dir, "the folder that holds 000/000002.mp3")
    metadata = require_folder(metadata_dir, "FMA's folder fma_metadata with tracks.csv")
    parents = _top_level_genres(metadata / "genres.csv") if multi else None
    parser = _Parser(audio, f"fma-{subset}", subset, parents)
    wanted = SUBSETS[: SUBSETS.index(subset) + 1]
    lines = csv_rows(metadata / "tracks.csv")
    first, second = next(lines, (0, []))[1], next(lines, (0, []))[1]
    columns = _columns(metadata / "tracks.csv", first, second)
    tracks: dict[str, Track] = {}
    n_repeated = 0
    for number, fields in lines:
        where = f"{metadata / 'tracks.csv'}: line {number}"
        if fields[0] == "track_id":
            continue
        if len(fields) != len(first):
            raise ManifestError(f"{where} has {len(fields)} fields, the header {len(first)}")
        row = {name: fields[position].strip() for name, position in columns.items()}
        if row["set", "subset"] in wanted:
            track = parser.track(fields[0], row, where)
            if tracks.setdefault(track.track_id, track) != track:
                raise ManifestError(f"{where}: track {track.track_id} is there with other values")
            n_repeated += tracks[track.track_id] is not track
    if not tracks:
        raise ManifestError(f"{metadata / 'tracks.csv'}: has no track of the subset {subset}")
    found = tuple(tracks.values())
    if all(track.status == "missing" for track in found):
        raise ManifestError(
            f"{audio_dir}: has none of the {len(found):,} clips of fma_{subset} that "
            f"{metadata / 'tracks.csv'} lists; expected was, as the first, {found[0].path}"
        )
    return Manifest(found, notes=tuple(_notes(audio, found, n_repeated)))


def clip_path(audio_dir: str | Path, track_id: int) -> Path:
    """Where the release keeps a clip.

    >>> clip_path("fma_small", 2).as_posix()
    'fma_small/000/000002.mp3'
    """
    name = f"{track_id:06d}"
    return Path(audio_dir) / name[:3] / f"{name}.mp3"


@dataclass(frozen=True)
class _Parser:
    audio: Path
    dataset: str
    subset: str
    parents: Mapping[int, str] | None

    def track(self, text_id: str, row: Mapping[tuple[str, str], str], where: str) -> Track:
        if not (text_id.isascii() and text_id.isdigit()):
            raise ManifestError(f"{where}: track id {text_id!r} is no number")
        split = row["set", "split"]
        if split not in SPLITS:
            raise ManifestError(f"{where}: split {split!r} is none of {', '.join(SPLITS[:3])}")
        path = clip_path(self.audio, int(text_id))
        missing = not path.is_file()
        return Track(
            track_id=text_id,
            path=str(path),
            label=self._label(row, where),
            split=split,
            group=row["artist", "id"],
            artist=row["artist", "name"],
            title=row["track", "title"],
            duration_s=self._duration(row["track", "duration"], where),
            dataset=self.dataset,
            licence=row["track", "license"],
            protocol="official",
            status="missing" if missing else "",
            error="no such file" if missing else "",
        )

    def _label(self, row: Mapping[tuple[str, str], str], where: str) -> str:
        top = row["track", "genre_top"]
        if self.parents is None:
            return top
        names = {self._parent(genre, where) for genre in _list(row["track", "genres"], where)}
        return "|".join(sorted(names | ({top} if top else set())))

    def _parent(self, genre: int, where: str) -> str:
        assert self.parents is not None
        if genre not in self.parents:
            raise ManifestError(f"{where}: genre {genre} is not in genres.csv")
        return self.parents[genre]

    def _duration(self, text: str, where: str) -> float | None:
        return parse_seconds(text, where) if self.subset == "full" else CLIP_S


def _columns(path: Path, first: Sequence[str], second: Sequence[str]) -> dict[tuple[str, str], int]:
    positions = {pair: i for i, pair in enumerate(zip(first, second, strict=False))}
    for pair in _USED:
        if pair not in positions:
            raise ManifestError(
                f"{path}: the column {pair[0]}.{pair[1]} is missing; expected the release's "
                "file, whose first two lines are its headers"
            )
    return {pair: positions[pair] for pair in _USED}


def _list(text: str, where: str) -> list[int]:
    """A list of numbers, which the release writes as a Python literal."""
    try:
        values = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise ManifestError(f"{where}: genres {text[:40]!r} is no list of numbers")
    return values


def _top_level_genres(path: Path) -> dict[int, str]:
    """Genre id -> title of its top-level parent."""
    header, rows = csv_table(path)
    if not {"genre_id", "title", "top_level"} <= set(header):
        raise ManifestError(f"{path}: expected the columns genre_id, title and top_level")
    titles, tops = {}, {}
    for where, row in rows:
        try:
            titles[int(row["genre_id"])] = row["title"]
            tops[int(row["genre_id"])] = int(row["top_level"])
        except ValueError:
            raise ManifestError(f"{where}: genre_id and top_level are no numbers") from None
    for genre, top in tops.items():
        if top not in titles:
            raise ManifestError(f"{path}: the top level {top} of genre {genre} is not in the file")
    return {genre: titles[top] for genre, top in tops.items()}


def _notes(audio: Path, tracks: Sequence[Track], n_repeated: int) -> Iterator[str]:
    missing = sum(track.status == "missing" for track in tracks)
    if missing:
        first = clip_path("", int(tracks[0].track_id)).as_posix()
        yield (
            f"{missing:,} of {len(tracks):,} clips missing below {audio} (expected as {first}); "
            "each keeps a row"
        )
    unlabelled = sum(not track.label for track in tracks)
    if unlabelled:
        yield f"without a genre, so unused: {counted(unlabelled, 'track')}"
    if n_repeated:
        yield f"repeated in tracks.csv, so left out: {counted(n_repeated, 'row')}"
