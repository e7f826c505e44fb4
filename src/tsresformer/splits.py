"""Split protocols: which tracks train, validate and test, and what that is worth.

`official` keeps the data set's own split, `artist-kfold` has no artist on both sides, `track`
splits by track at random, and `slice` splits the slices of each track, so that tracks leak: it
exists to reproduce published numbers, and its title says what it is. Every draw is a hash of
the seed and an id, so it depends neither on the order of the rows nor on the platform.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import suggestion
from tsresformer.errors import SplitError
from tsresformer.manifest import SPLITS, Manifest, Track, listed

PROTOCOLS = ("official", "artist-kfold", "track", "slice")

OWN_SPLIT = "x_official_split"
"""The column that keeps the data set's own split when another protocol overwrites it."""

VALIDATION_SHARE = TEST_SHARE = 0.1
"""Shares of `track` and `slice`; the rest trains. Our choice."""

_REMEDY = "use 'tsresformer data split --protocol artist-kfold'"


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol with its parameters; `str()` is what the manifest records.

    >>> str(Protocol("artist-kfold", seed=3))
    'artist-kfold folds=5 fold=0 seed=3'
    """

    name: str
    seed: int = 0
    n_folds: int = 5
    fold: int = 0

    def __str__(self) -> str:
        if self.name == "artist-kfold":
            return f"{self.name} folds={self.n_folds} fold={self.fold} seed={self.seed}"
        return f"{self.name} seed={self.seed}" if self.name in ("track", "slice") else self.name

    @property
    def leaks(self) -> bool:
        """Whether slices of one track are on both sides."""
        return self.name == "slice"

    @property
    def honest(self) -> bool:
        """Whether it promises that no artist is on both sides."""
        return self.name not in ("track", "slice")

    @property
    def title(self) -> str:
        """The protocol in words, for titles of reports."""
        if self.name == "official":
            return "official split (no artist on both sides)"
        if self.name == "artist-kfold":
            return (
                f"artist-grouped split (no artist on both sides), fold {self.fold} of "
                f"{self.n_folds}, seed {self.seed}"
            )
        if self.name == "track":
            return f"random track split (artists are on both sides), seed {self.seed}"
        if self.name == "slice":
            return f"slice split: TRACKS LEAK between training and test, seed {self.seed}"
        return "split of unrecorded origin (no artist on both sides)"


def parse_protocol(text: str) -> Protocol:
    """Read back what a manifest records; empty text is a split whose origin is not recorded.

    >>> parse_protocol("artist-kfold folds=10 fold=2 seed=7")
    Protocol(name='artist-kfold', seed=7, n_folds=10, fold=2)
    """
    name, *settings = text.split() or [""]
    keys = {"seed": "seed", "folds": "n_folds", "fold": "fold"}
    values = {}
    for setting in settings:
        match = re.fullmatch(r"(seed|folds|fold)=(\d+)", setting, re.ASCII)
        if not match:
            raise SplitError(f"protocol {text!r}: {setting!r} is none of its settings")
        values[keys[match[1]]] = int(match[2])
    protocol = Protocol(name, **values)
    if name:
        _check_protocol(protocol)
    return protocol


def split(
    manifest: Manifest, protocol: str, *, seed: int = 0, n_folds: int = 5, fold: int = 0
) -> Manifest:
    """Fill the split, fold and protocol columns of every row.

    Rows that are unusable or have no label get no split. The data set's own split is kept in
    the column `x_official_split`, so that `official` can be had back later. `slice` marks all
    rows as training; `slice_split` then decides slice by slice.

    Raises
    ------
    SplitError : unknown protocol, nothing to split, too few groups, or groups that cross the
        official split
    """
    plan = Protocol(protocol, seed, n_folds, fold)
    _check_protocol(plan)
    own = _own_splits(manifest)
    eligible = [track for track in manifest.tracks if track.usable and track.labels]
    if not eligible:
        raise SplitError(
            f"{manifest.path or 'the manifest'}: no usable track has a label; "
            "'tsresformer data check' lists what is wrong with each"
        )
    folds: dict[str, int] = {}
    if protocol == "official":
        if own is None:
            raise SplitError(
                f"{manifest.path or 'the manifest'}: the data set has no split of its own; "
                f"{_REMEDY}"
            )
        splits = {track.track_id: own[track.track_id] for track in eligible}
    elif protocol == "artist-kfold":
        parts = _divide(eligible, [1 / n_folds] * n_folds, seed, "fold")
        folds = {track.track_id: i for i, part in enumerate(parts) for track in part}
        splits = {name: "test" if i == fold else "training" for name, i in folds.items()}
    elif protocol == "track":
        splits = _by_track(eligible, seed)
    else:
        splits = {track.track_id: "training" for track in eligible}
    keep_own = own is not None and splits != own
    result = manifest.replace(
        _assigned(track, plan, splits, folds, own[track.track_id] if own and keep_own else "")
        for track in manifest.tracks
    )
    check_groups(result)
    return result


def slice_split(seed: int, track_id: str, slice_index: int) -> str:
    """Split of one slice under the protocol `slice`: training, validation or test.

    >>> [slice_split(0, "fma-2", k) for k in (5, 6, 7)]
    ['training', 'training', 'test']
    """
    draw = _draw(seed, "slice", track_id, str(slice_index))
    if draw < TEST_SHARE:
        return "test"
    return "validation" if draw < TEST_SHARE + VALIDATION_SHARE else "training"


def group_of(track: Track) -> str:
    """The track's group; a track without one is an artist of its own."""
    return track.group or f"(track {track.track_id})"


def count_ungrouped(tracks: Iterable[Track]) -> int:
    """Number of tracks without a group, each of which counts as an artist of its own."""
    return sum(not track.group for track in tracks)


def crossing_groups(tracks: Iterable[Track]) -> dict[str, dict[str, int]]:
    """Groups that are in more than one split: group -> split -> number of usable tracks."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for track in tracks:
        if track.group and track.split and track.usable:
            found[track.group][track.split] += 1
    return {group: dict(counts) for group, counts in found.items() if len(counts) > 1}


def check_groups(manifest: Manifest) -> None:
    """Refuse a manifest that breaks the promise of its protocol.

    Raises
    ------
    SplitError : the protocol is honest but groups are in several splits; names them
    """
    protocol = parse_protocol(manifest.protocol)
    crossing = crossing_groups(manifest.tracks) if protocol.honest else {}
    if crossing:
        raise SplitError(f"{manifest.path or 'the manifest'}: {crossing_text(manifest, crossing)}")


def crossing_text(manifest: Manifest, crossing: dict[str, dict[str, int]]) -> str:
    """Name the groups that cross splits, with their artists and numbers of tracks."""
    artists = {track.group: track.artist for track in manifest.tracks}
    names = []
    for group, counts in crossing.items():
        artist = f" ({artists[group]})" if artists[group] not in ("", group) else ""
        numbers = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        names.append(f"{group}{artist}: {numbers}")
    are = "artist is" if len(crossing) == 1 else "artists are"
    return f"{len(crossing):,} {are} on both sides of the split ({listed(names)}); {_REMEDY}"


def development_fold(
    tracks: Sequence[Track], fraction: float, seed: int
) -> tuple[list[Track], list[Track]]:
    """Cut a development fold out of training tracks, by group, stratified by label.

    Returns
    -------
    training, development : lists in the order of `tracks`; no group is in both

    Raises
    ------
    SplitError : all tracks belong to one group
    """
    training, development = _divide(tracks, [1 - fraction, fraction], seed, "development")
    return training, development


def _check_protocol(protocol: Protocol) -> None:
    if protocol.name not in PROTOCOLS:
        raise SplitError(
            f"unknown protocol {protocol.name!r}{suggestion(protocol.name, PROTOCOLS)}; "
            f"there are {', '.join(PROTOCOLS)}"
        )
    if protocol.n_folds < 2 or not 0 <= protocol.fold < protocol.n_folds:
        raise SplitError(
            f"fold {protocol.fold} of {protocol.n_folds}: there must be at least 2 folds, "
            "numbered from 0"
        )


def has_own_split(manifest: Manifest) -> bool:
    """Whether the data set came divided, so that the protocol ``official`` can be had."""
    return _own_splits(manifest) is not None


def _own_splits(manifest: Manifest) -> dict[str, str] | None:
    """Return the split of every track as the data set has it, or None."""
    kept = any(OWN_SPLIT in track.extra for track in manifest.tracks)
    if not kept and parse_protocol(manifest.protocol).name not in ("", "official"):
        return None
    own = {t.track_id: t.extra.get(OWN_SPLIT, "") if kept else t.split for t in manifest.tracks}
    for track_id, name in own.items():
        if name not in SPLITS:
            raise SplitError(f"track {track_id}: {OWN_SPLIT} {name!r} is no split")
    return own if any(own.values()) else None


def _assigned(
    track: Track,
    protocol: Protocol,
    splits: dict[str, str],
    folds: dict[str, int],
    own: str,
) -> Track:
    extra = {**track.extra, OWN_SPLIT: own} if own else track.extra
    return dataclasses.replace(
        track,
        split=splits.get(track.track_id, ""),
        fold=str(folds.get(track.track_id, "")),
        protocol=str(protocol),
        extra=extra,
    )


def _by_track(tracks: Sequence[Track], seed: int) -> dict[str, str]:
    """Every tenth track tests and every tenth validates, counted label by label."""
    order = sorted(
        tracks, key=lambda t: (_draw(seed, "label", t.label), t.label, _draw(seed, t.track_id))
    )
    every_test, every_validation = round(1 / TEST_SHARE), round(1 / VALIDATION_SHARE)
    splits = {}
    for position, track in enumerate(order):
        if position % every_test == 0:
            splits[track.track_id] = "test"
        elif position % every_validation == every_validation // 2:
            splits[track.track_id] = "validation"
        else:
            splits[track.track_id] = "training"
    return splits


def _divide(
    tracks: Sequence[Track], shares: Sequence[float], seed: int, what: str
) -> list[list[Track]]:
    """Divide tracks into parts of given shares by group, each with the classes of the whole.

    Groups go, largest first and equal ones in an order drawn from the seed, to the part whose
    class counts they bring least out of proportion: with n the tracks of a class in a part, the
    sum of n^2 / share over parts, each class in units of its total, is smallest when every part
    has its share of every class. The number of tracks counts as one more class.
    """
    members: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        members[group_of(track)].append(track)
    if len(members) < len(shares):
        raise SplitError(
            f"too few artists ({len(members)}) for {len(shares)} parts by artist ({what}); "
            "use fewer folds or add artists"
        )
    classes = {name: i for i, name in enumerate(sorted({n for t in tracks for n in t.labels}))}
    vectors = {group: _class_counts(rows, classes) for group, rows in members.items()}
    weights = 1 / np.maximum(1, sum(vectors.values())) ** 2
    counts = np.zeros((len(shares), len(classes) + 1))
    parts: list[list[str]] = [[] for _ in shares]
    for group in sorted(members, key=lambda g: (-len(members[g]), _draw(seed, what, g), g)):
        vector = vectors[group]
        costs = ((2 * counts * vector + vector**2) @ weights) / np.asarray(shares)
        best = min(range(len(shares)), key=lambda i: (costs[i], counts[i, -1], i))
        counts[best] += vector
        parts[best].append(group)
    _fill_empty(parts)
    part_of = {group: i for i, part in enumerate(parts) for group in part}
    return [[t for t in tracks if part_of[group_of(t)] == i] for i in range(len(shares))]


def _class_counts(tracks: Sequence[Track], classes: dict[str, int]) -> NDArray[np.float64]:
    counts = np.zeros(len(classes) + 1)
    for track in tracks:
        for name in track.labels:
            counts[classes[name]] += 1
    counts[-1] = len(tracks)
    return counts


def _fill_empty(parts: list[list[str]]) -> None:
    """Give every empty part the smallest group of the part with the most groups."""
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())


def _draw(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the words."""
    text = "\x1f".join((str(seed), *words))
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
