"""Two models on the same tracks: whether one is better, where, and on which tracks they differ.

The difference of the accuracies has its interval from a bootstrap over artists, since one artist's
tracks are not independent. McNemar's exact test, which takes them to be, is given beside it.

References
----------
Efron & Tibshirani 1993, ch. 16 (p-values by the bootstrap); McNemar 1947; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsresformer.bootstrap import Difference, Shares, difference
from tsresformer.errors import ManifestError
from tsresformer.files import REPORT_SCHEMA, STUDY_FORMAT, UNSEALED, is_intact_or_old, read_json
from tsresformer.manifest import listed
from tsresformer.spreadsheet import read_table

MCNEMAR_WARNING = (
    "McNemar's test takes tracks to be independent; tracks of one artist are not, so its p-value "
    "is too small where artists have several tracks: go by the bootstrap over artists"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of one track.

    Attributes
    ----------
    predicted : the genre, or several joined by ``|``
    best : the most probable of them
    """

    label: str
    predicted: str
    best: str
    group: str
    confidence: float
    n_slices: int
    n_slices_right: int

    @property
    def right(self) -> bool:
        """Whether the most probable genre is one of the labels, as `top_1_accuracy` counts."""
        return self.best in self.label.split("|")


@dataclass(frozen=True)
class Side:
    """One model's answers, by track, with the words that the report gives to them."""

    name: str
    protocol: str
    answers: Mapping[str, Answer]

    @classmethod
    def read(cls, path: str | Path) -> Side:
        """Read a report folder of ``evaluate``, or the JSON of a study's cell.

        Raises
        ------
        ManifestError : no such thing, or one that is damaged or of a future version
        """
        path = Path(path)
        if path.is_dir():
            metrics, predictions = path / "metrics.json", path / "predictions.csv"
            number, known = "schema", {REPORT_SCHEMA}
        else:
            metrics = path
            predictions = path.absolute().parent.parent / "predictions" / f"{path.stem}.csv"
            number, known = "format", {UNSEALED, STUDY_FORMAT}
        try:
            record = read_json(metrics)
            if record[number] not in known:
                raise ManifestError(
                    f"{metrics}: {number} {record[number]} is not known to this version; upgrade"
                )
            if not is_intact_or_old(record):
                raise ValueError("it has changed since it was written")
            if path.is_dir():
                name, title = record["bundle"]["name"], record["title"]
            elif record["error"]:
                raise ManifestError(f"{path}: this cell failed ({record['error']})")
            else:
                name, title = record["cell"], record["metrics"]["title"]
            answers = answers_of(read_table(predictions, record.get("predictions_sha256")))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ManifestError(
                f"{path}: {Path(error.filename).name} is missing; name a folder that 'tsresformer "
                "evaluate' wrote, or a cell's JSON of a study"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ManifestError(f"{metrics}: damaged ({error}); evaluate again") from None
        return cls(name, title, answers)


def _lone(track_id: str) -> str:
    """The group of a track whose artist is not known."""
    return f"(track {track_id})"


def answers_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Answer]:
    """The scored tracks of a ``predictions.csv``."""
    answers = {}
    for row in rows:
        if row["predicted"]:
            likely = {name: float(row[f"p_{name}"]) for name in row["predicted"].split("|")}
            best = max(likely, key=lambda name: likely[name])
            answers[row["track_id"]] = Answer(
                row["label"],
                row["predicted"],
                best,
                row["group"] or _lone(row["track_id"]),
                likely[best],
                int(row["n_slices"]),
                int(row["n_slices_right"]),
            )
    return answers


@dataclass(frozen=True)
class Comparison:
    """What two models differ in, `one` minus `two`.

    Attributes
    ----------
    n_only_one, n_only_two : tracks that only one of them gets right
    mcnemar_p : two-sided exact p-value
    per_class : label, number of tracks, share that each gets right
    flipped : ids of the tracks that one gets right and the other wrong
    """

    one: Side
    two: Side
    n_tracks: int
    n_groups: int
    accuracies: tuple[float, float]
    difference: Difference
    n_only_one: int
    n_only_two: int
    mcnemar_p: float
    per_class: list[tuple[str, int, float, float]]
    flipped: list[str]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values, for machines."""
        return {
            "schema": 1,
            "one": {"name": self.one.name, "title": self.one.protocol},
            "two": {"name": self.two.name, "title": self.two.protocol},
            "n_tracks": self.n_tracks,
            "n_artists": self.n_groups,
            "accuracy_one": self.accuracies[0],
            "accuracy_two": self.accuracies[1],
            "difference": {
                name: _plain(getattr(self.difference, name)) for name in ("value", "low", "high")
            },
            "p": _plain(self.difference.p),
            "mcnemar": {
                "only_one_right": self.n_only_one,
                "only_two_right": self.n_only_two,
                "p": self.mcnemar_p,
                "warning": MCNEMAR_WARNING,
            },
            "per_class": [
                {"label": label, "n_tracks": n, "recall_one": one, "recall_two": two}
                for label, n, one, two in self.per_class
            ],
            "flipped": [
                {
                    "track_id": track_id,
                    "label": self.one.answers[track_id].label,
                    "one": self.one.answers[track_id].predicted,
                    "two": self.two.answers[track_id].predicted,
                }
                for track_id in self.flipped
            ],
        }

    @property
    def unit(self) -> str:
        """What the bootstrap drew: artists, or tracks where none is known."""
        known = any(answer.group != _lone(i) for i, answer in self.one.answers.items())
        return "artists" if known else "tracks"


def compare(one: Side, two: Side, *, n_bootstrap: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two models on the tracks that both have scored.

    Raises
    ------
    ManifestError : they have no track in common, or name its labels differently
    """
    common = [track_id for track_id in one.answers if track_id in two.answers]
    if not common:
        raise ManifestError(
            f"{one.name} and {two.name} have no scored track in common, so they cannot be "
            "compared track by track; evaluate both on one split"
        )
    ones, twos = ([side.answers[track_id] for track_id in common] for side in (one, two))
    other = [i for i, a, b in zip(common, ones, twos, strict=True) if a.label != b.label]
    if other:
        raise ManifestError(
            f"{one.name} and {two.name} were scored against other labels ({listed(other)}); "
            "evaluate both on one manifest"
        )
    right = np.array([[a.right for a in side] for side in (ones, twos)])
    groups = tuple(a.group for a in ones)
    shares = [Shares(r.astype(np.float64), np.ones(len(r)), groups) for r in right]
    n_only_one, n_only_two = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    names = sorted({name for a in ones for name in a.label.split("|")})
    per_class = []
    for name in names:
        members = np.array([name in a.label.split("|") for a in ones])
        n = int(members.sum())
        per_class.append(
            (name, n, float(right[0, members].mean()), float(right[1, members].mean()))
        )
    confidence = [max(a.confidence, b.confidence) for a, b in zip(ones, twos, strict=True)]
    flipped = np.flatnonzero(right[0] != right[1])
    return Comparison(
        one,
        two,
        len(common),
        len(set(groups)),
        (shares[0].value, shares[1].value),
        difference(shares[0], shares[1], n_bootstrap=n_bootstrap, seed=seed),
        n_only_one,
        n_only_two,
        mcnemar(n_only_one, n_only_two),
        per_class,
        [common[i] for i in sorted(flipped, key=lambda i: -confidence[i])],
    )


def mcnemar(n_one: int, n_two: int) -> float:
    """Two-sided exact p-value of a split of discordant pairs that should be even.

    >>> round(mcnemar(1, 9), 4)
    0.0215
    """
    n = n_one + n_two
    if not n:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(min(n_one, n_two) + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values that may be read together: multiplied by how many are no smaller, kept in order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [math.nan] * len(p_values)
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
