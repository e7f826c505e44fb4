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
    """

    n_items: int
    n_groups: int
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
        overall={k: v[0] for k, v in intervals.items() if not k.startswith("class_")},
        per_class={k[6:]: v for k, v in intervals.items() if k.startswith("class_")},
        support=truth.sum(axis=0).tolist(),
    )


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
