"""Genre by genre: what the points of a study find, and what they take for what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsresformer.bootstrap import Interval, Shares, share_interval
from tsresformer.studies.tables import Point


def genres_of(points: Sequence[Point]) -> list[str]:
    """Every genre that a track has or is taken for, in the order of the alphabet."""
    answers = [a for point in points for seed in point.answers for a in seed.values()]
    return sorted({answer.label for answer in answers} | {answer.best for answer in answers})


def recalls(point: Point, genres: Sequence[str]) -> list[Interval]:
    """The share of each genre's tracks that is found, mean over seeds, with its interval."""
    first, *others = point.answers
    labels = [first[i].label for i in first if all(i in other for other in others)]
    found = []
    for genre in genres:
        own = [k for k, label in enumerate(labels) if label == genre]
        if not own:
            found.append(Interval(math.nan, math.nan, math.nan))
            continue
        right, groups = point.track.right[..., own], tuple(point.track.groups[k] for k in own)
        found.append(share_interval(Shares(right, np.ones(len(own)), groups)))
    return found


def confusion(point: Point, genres: Sequence[str]) -> NDArray[np.float64]:
    """How many tracks of each genre (rows) are taken for each (columns), mean over seeds."""
    number = {genre: k for k, genre in enumerate(genres)}
    counts = np.zeros((len(genres), len(genres)))
    for seed in point.answers:
        for answer in seed.values():
            counts[number[answer.label], number[answer.best]] += 1
    return counts / len(point.answers)
