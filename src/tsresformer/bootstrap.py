"""All metrics of an evaluation with their intervals, by a bootstrap over groups (artists)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsresformer import metrics
from tsresformer.errors import TsResformerError

Float = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All metrics of one set of items.

    Attributes
    ----------
    overall : metric to interval
    per_class : metric (precision, recall, f1, roc_auc) to one interval a class
    support : items of each class
    n_groups : groups that the bootstrap resampled
    n_equal_groups : groups of one size that would weigh as much
    """

    n_items: int
    n_groups: int
    n_equal_groups: float
    overall: dict[str, Interval]
    per_class: dict[str, list[Interval]]
    support: list[int]


def summarise(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Summary:
    """Compute every metric with its percentile bootstrap interval over groups.

    Parameters
    ----------
    groups : one name an item; whole groups are drawn with replacement, since items of one artist
        are not independent. None: every item is its own group
    n_bootstrap : resamples; 0 leaves the intervals undefined, and so does a single group

    Notes
    -----
    A resample doubles the noise in the bins of the ECE, which raises it on average; its interval
    is therefore shifted by the mean of that rise.
    """
    truth, _ = metrics.validate(labels, probabilities)
    n_items = len(truth)
    members = _group_numbers(groups, n_items)
    n_groups = int(members.max()) + 1
    value = _all_metrics(labels, probabilities, np.ones(n_items))
    draws: list[dict[str, Float]] = []
    if n_groups > 1:
        generator = np.random.default_rng(seed)
        step = max(1, 4_000_000 // n_items)  # bounds memory to some 32 MB an array
        for start in range(0, n_bootstrap, step):
            size = min(step, n_bootstrap - start)
            counts = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size)
            weights = counts[:, members].astype(np.float64)
            draws.append(_all_metrics(labels, probabilities, weights))
    intervals = {
        name: _intervals(value[name], [d[name] for d in draws], unbias=name == "ece")
        for name in value
    }
    return Summary(
        n_items=n_items,
        n_groups=n_groups,
        n_equal_groups=equal_groups(np.bincount(members)),
        overall={k: v[0] for k, v in intervals.items() if not k.startswith("class_")},
        per_class={k[6:]: v for k, v in intervals.items() if k.startswith("class_")},
        support=truth.sum(axis=0).tolist(),
    )


def equal_groups(sizes: ArrayLike) -> float:
    """Return how many groups of one size would weigh as much as groups of these (Kish 1965).

    A bootstrap over few of them, or over many of which one is large, makes rough intervals.

    >>> equal_groups([2, 2, 2]), equal_groups([8, 1, 1])
    (3.0, 1.5151515151515151)
    """
    n = np.asarray(sizes, np.float64)
    return float(n.sum() ** 2 / np.square(n).sum())


@dataclass(frozen=True, slots=True)
class Shares:
    """Right answers out of all, item by item, and the group of each item.

    An item may be a track (1 of 1) or all slices of a track. `right` has one row for each of
    several trainings that differ in nothing but their seed, or no such axis.
    """

    right: Float
    count: Float
    groups: tuple[str, ...]

    @property
    def value(self) -> float:
        """The share of all that is right, in the mean over seeds."""
        return float(np.mean(self.right.sum(-1)) / self.count.sum())


@dataclass(frozen=True, slots=True)
class Difference:
    """One share minus another, its 95 % interval, and a two-sided p-value; NaN if undefined."""

    value: float
    low: float
    high: float
    p: float


def share_interval(shares: Shares, *, n_bootstrap: int = 1000, seed: int = 0) -> Interval:
    """Return a share with its percentile bootstrap interval over groups, and over seeds."""
    (draws,) = _share_draws([shares], n_bootstrap, seed)
    return _intervals(np.array([shares.value]), [draws] if len(draws) else [], unbias=False)[0]


def difference(one: Shares, two: Shares, *, n_bootstrap: int = 10_000, seed: int = 0) -> Difference:
    """Return the share of `one` minus that of `two`, by a bootstrap over the groups of both.

    A resample draws the same groups for both sides: where they hold the same tracks, this is the
    paired bootstrap, and where they do not, what they share is still accounted for. Seeds are
    drawn for each side by itself. The p-value is twice the smaller share of resamples on either
    side of no difference, one added to each count, so that it is never 0.
    """
    value = one.value - two.value
    ones, twos = _share_draws([one, two], n_bootstrap, seed)
    gaps = (ones - twos)[np.isfinite(ones - twos)].round(12)  # no difference is exactly 0
    if not len(gaps):
        return Difference(value, np.nan, np.nan, np.nan)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(gaps, [tail, 1 - tail])
    sides = (np.sum(gaps <= 0) + 1, np.sum(gaps >= 0) + 1)
    p = min(1.0, 2 * min(sides) / (len(gaps) + 1))
    return Difference(value, float(low), float(high), float(p))


def _share_draws(samples: Sequence[Shares], n_bootstrap: int, seed: int) -> list[Float]:
    """Shares of each sample in resamples of the groups of all samples; none for one group."""
    names = sorted({name for sample in samples for name in sample.groups})
    number = {name: i for i, name in enumerate(names)}
    if len(names) < 2:
        return [np.empty(0) for _ in samples]
    sums = []
    for sample in samples:
        members = np.array([number[name] for name in sample.groups])
        columns = np.vstack([np.atleast_2d(sample.right), sample.count])
        of_group = np.zeros((len(names), len(columns)))
        np.add.at(of_group, members, columns.T)
        sums.append(of_group)
    generator, of_seeds = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    drawn: list[list[Float]] = [[] for _ in samples]
    for start in range(0, n_bootstrap, 1000):  # bounds memory
        size = min(1000, n_bootstrap - start)
        counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size)
        for shares, of_group in zip(drawn, sums, strict=True):
            totals = counts @ of_group
            right = np.sum(totals[:, :-1] * _seed_weights(of_seeds, size, len(of_group[0]) - 1), 1)
            shares.append(np.asarray(metrics.ratio(right, totals[:, -1])))
    return [np.concatenate(shares) if shares else np.empty(0) for shares in drawn]


def _seed_weights(generator: np.random.Generator, n_draws: int, n_seeds: int) -> Float:
    """What each seed weighs in each resample.

    One seed fewer is drawn than there are, so that the spread is that of their mean and not, with
    two or three of them, much less (Rao & Wu 1988).
    """
    if n_seeds == 1:
        return np.ones((n_draws, 1))
    n_drawn = n_seeds - 1
    return generator.multinomial(n_drawn, np.full(n_seeds, 1 / n_seeds), n_draws) / n_drawn


def _all_metrics(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike
) -> dict[str, Float]:
    """Every metric at once; names with ``class_`` have a trailing axis of classes."""
    args = (labels, probabilities, weights)
    table, areas = metrics.class_scores(*args), metrics.roc_auc(*args)
    if np.ndim(labels) == 1:
        overall = {
            "accuracy": metrics.accuracy(*args),
            "macro_f1": metrics.macro(table.f1),
            "balanced_accuracy": metrics.macro(table.recall),
        }
    else:
        n_hit, claimed = table.n_hit.sum(-1), (table.support + table.n_decided).sum(-1)
        overall = {
            "mean_average_precision": metrics.macro(metrics.average_precision(*args)),
            "macro_f1": metrics.macro(table.f1),
            "micro_f1": metrics.ratio(2 * n_hit, claimed),
            "top_1_accuracy": metrics.accuracy(*args),
        }
    return overall | {
        "roc_auc": metrics.macro(areas),
        "nll": metrics.nll(*args),
        "brier": metrics.brier(*args),
        "ece": metrics.ece(*args),
        "aurc": metrics.aurc(*args),
        "class_precision": table.precision,
        "class_recall": table.recall,
        "class_f1": table.f1,
        "class_roc_auc": areas,
    }


def _intervals(value: Float, draws: list[Float], *, unbias: bool) -> list[Interval]:
    """One interval for each element of `value`."""
    values = np.atleast_1d(value)
    if not draws:
        return [Interval(float(v), np.nan, np.nan) for v in values]
    samples = np.concatenate(draws).reshape(-1, len(values))
    tail = (1 - CONFIDENCE_LEVEL) / 2
    result = []
    for centre, column in zip(values, samples.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            result.append(Interval(float(centre), np.nan, np.nan))
            continue
        if unbias:
            known = np.maximum(known - (known.mean() - centre), 0)
        low, high = np.quantile(known, [tail, 1 - tail])
        result.append(Interval(float(centre), float(low), float(high)))
    return result


def _group_numbers(groups: Sequence[str] | None, n_items: int) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(n_items)
    if len(groups) != n_items:
        raise TsResformerError(f"{len(groups)} groups do not fit {n_items} items")
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
