"""Genre vocabularies, and names that differ only in spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FMA_SMALL = (
    "Electronic",
    "Experimental",
    "Folk",
    "Hip-Hop",
    "Instrumental",
    "International",
    "Pop",
    "Rock",
)
"""The eight balanced genres of FMA-small."""

GTZAN = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
"""The ten genres of GTZAN, spelt as its folders are."""

VOCABULARIES: Mapping[str, tuple[str, ...]] = {"fma-small": FMA_SMALL, "gtzan": GTZAN}

_LATIN_ACCENTS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile(r"[\W_]+")
_SHORTEST_TYPO = 4
_TWO_SLIPS_FROM = 9
_FIRST_LETTER_COUNTS_BELOW = 6
_RARE_SHARE = 0.1


def fold(name: str) -> str:
    """Key that spellings of one name share: no case, blanks, punctuation or Latin accents.

    >>> {fold(name) for name in ("Hip-Hop ", "hip hop", "HipHop")}
    {'hiphop'}
    >>> fold("R&B") == fold("RnB"), fold("Drum and Bass") == fold("drum'n'bass")
    (True, True)
    """
    text = _LATIN_ACCENTS.sub("", unicodedata.normalize("NFKD", name)).casefold()
    text = unicodedata.normalize("NFKC", text)
    words = _SEPARATORS.split(text.replace("&", " n "))
    return "".join("n" if word == "and" else word for word in words) or text.strip()


def canonical(name: str, vocabulary: Iterable[str]) -> str | None:
    """The vocabulary's own spelling of `name`, or None where it has no such name.

    >>> canonical("hip hop", FMA_SMALL), canonical("polka", FMA_SMALL)
    ('Hip-Hop', None)
    """
    key = fold(name)
    return next((known for known in vocabulary if fold(known) == key), None)


@dataclass(frozen=True, slots=True)
class NearMiss:
    """Two label names that look like one: `name` is the rarer, `meant` the more frequent."""

    name: str
    meant: str
    same_spelling: bool


def near_misses(counts: Mapping[str, int]) -> list[NearMiss]:
    """Pairs of label names of which one is probably a slip of the other.

    Names with the same `fold` always count. Names one edit apart (two from nine letters on) count
    when one of them is rare beside the other, for `Electronic` and `Electronica` may both be
    meant; short names must agree in their first letter, for `Punk` and `Funk` are both genres.

    Parameters
    ----------
    counts : label name -> number of tracks
    """
    names = sorted(counts, key=lambda name: (-counts[name], name))
    found = []
    for position, rare in enumerate(names):
        for common in names[:position]:
            same = fold(rare) == fold(common)
            if same or _is_slip(fold(rare), fold(common), counts[rare], counts[common]):
                found.append(NearMiss(rare, common, same))
                break
    return found


def _is_slip(rare: str, common: str, n_rare: int, n_common: int) -> bool:
    shortest = min(len(rare), len(common))
    if shortest < _SHORTEST_TYPO or n_rare > max(1, _RARE_SHARE * n_common):
        return False
    if shortest < _FIRST_LETTER_COUNTS_BELOW and rare[0] != common[0]:
        return False
    return edit_distance(rare, common) <= (2 if shortest >= _TWO_SLIPS_FROM else 1)


def edit_distance(left: str, right: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that turn one into the other.

    >>> edit_distance("rock", "rokc"), edit_distance("reggae", "regae")
    (1, 1)
    """
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
