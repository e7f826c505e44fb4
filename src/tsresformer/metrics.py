"""How good predictions are: NumPy only, checked against scikit-learn.

Conventions
-----------
- `labels` is (n,) int, the class of each item, or (n, n_classes) bool, any number of classes an
  item. The first is the task "single", the second "multi"; nothing else tells them apart.
- `probabilities` is (n, n_classes) in [0, 1]; each row sums to 1 in the task "single".
- The *decision* is the most probable class (single), or every class from 0.5 up (multi).
- *Confidence* is the highest probability of an item. A prediction is *right* if the most
  probable class is the item's (single) or one of the item's (multi).
- `weights` is (..., n): how often each item counts. An integer weight equals that many copies, so
  a bootstrap passes (n_resamples, n) and gets n_resamples results at once.
- What is undefined is NaN: recall, F1 and ROC-AUC of a class that does not occur, precision of a
  class that is never decided. Macro averages run over the classes where the value is defined.
- Equal scores are ties: midranks in ROC-AUC, and one threshold in average precision and
  risk-coverage, so that no result depends on the order of the items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsresformer.errors import TsResformerError

Epoch = TypeVar("Epoch", bound=Mapping[str, float])

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

N_BINS = 15
TEMPERATURES = (0.05, 20.0)
"""Bounds of `fit_temperature`; reached only by scores that are always right or mere noise."""


def validate(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Bool, Float]:
    """Check one evaluation's input.

    Returns
    -------
    truth : shape (n, n_classes), bool
    probabilities : shape (n, n_classes), float64

    Raises
    ------
    TsResformerError : shapes do not fit, nothing to score, a label out of range, or scores that
        are no probabilities; the message names the first bad item
    """
    truth, scores = _truth(labels, probabilities)
    bad = ((scores < 0) | (scores > 1)).any(axis=1)
    if bad.any():
        raise TsResformerError(f"probabilities of item {int(bad.argmax())} are not within [0, 1]")
    off = np.abs(scores.sum(axis=1) - 1) > 1e-3
    if np.ndim(labels) == 1 and off.any():
        raise TsResformerError(f"probabilities of item {int(off.argmax())} do not sum to 1")
    return truth, scores


def accuracy(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> Float:
    """Share of right predictions (multi: top-1 accuracy)."""
    truth, scores = validate(labels, probabilities)
    return _mean(_right(truth, scores), _weights(weights, len(truth)))


def confusion_matrix(labels: ArrayLike, probabilities: ArrayLike) -> Int:
    """Counts (n_classes, n_classes): row = label, column = decision; task "single" only."""
    truth, scores = validate(labels, probabilities)
    if np.ndim(labels) != 1:
        raise TsResformerError("a confusion matrix needs one label an item")
    n_classes = scores.shape[1]
    cells = truth.argmax(axis=1) * n_classes + scores.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def macro(values: ArrayLike) -> Float:
    """Mean over the last axis of the values that are defined."""
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def ratio(part: ArrayLike, whole: ArrayLike, undefined: float = np.nan) -> Float:
    """Element-wise quotient, `undefined` where `whole` is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.asarray(np.divide(part, whole, out=np.full(shape, undefined), where=whole > 0))


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Per-class arrays (..., n_classes)."""

    precision: Float
    recall: Float
    f1: Float
    support: Float
    n_decided: Float
    n_hit: Float


def class_scores(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> ClassScores:
    """Precision, recall, F1 and support of each class.

    F1 is 2 * hits / (support + decided), hence 0 for a class that occurs and is never decided.
    """
    truth, scores = validate(labels, probabilities)
    weight = _weights(weights, len(truth))
    decided = _decisions(scores, multi=np.ndim(labels) == 2)
    n_hit = weight @ (truth & decided).astype(np.float64)
    n_decided, support = weight @ decided.astype(np.float64), weight @ truth.astype(np.float64)
    f1 = np.where(support > 0, ratio(2 * n_hit, support + n_decided), np.nan)
    return ClassScores(
        precision=ratio(n_hit, n_decided),
        recall=ratio(n_hit, support),
        f1=f1,
        support=support,
        n_decided=n_decided,
        n_hit=n_hit,
    )


def roc_auc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Area under the ROC curve of each class against the rest, shape (..., n_classes).

    The probability that an item of the class scores above one of the rest, ties counting half.
    """
    truth, scores = _truth(labels, probabilities)
    weight = _weights(weights, len(truth))
    areas = np.empty((*weight.shape[:-1], truth.shape[1]))
    for k in range(truth.shape[1]):
        order, first, end = _ranked(scores[:, k])
        positive = truth[order, k]
        ranked = weight[..., order]
        below = _cumulated(ranked * ~positive)  # [i]: rest among the i highest scores
        n_rest, counted = below[..., -1:], ranked[..., positive]
        midrank = (below[..., first[positive]] + below[..., end[positive]]) / 2
        won = (counted * (n_rest - midrank)).sum(axis=-1)
        areas[..., k] = ratio(won, counted.sum(axis=-1) * n_rest[..., 0])
    return areas


def average_precision(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> Float:
    """Mean precision at the scores of each class's items, shape (..., n_classes)."""
    truth, scores = _truth(labels, probabilities)
    weight = _weights(weights, len(truth))
    means = np.empty((*weight.shape[:-1], truth.shape[1]))
    for k in range(truth.shape[1]):
        order, _, end = _ranked(scores[:, k])
        positive = truth[order, k]
        ranked = weight[..., order]
        hits, kept = _cumulated(ranked * positive), _cumulated(ranked)
        precision = ratio(hits[..., end[positive]], kept[..., end[positive]], undefined=0.0)
        total = (ranked[..., positive] * precision).sum(axis=-1)
        means[..., k] = ratio(total, hits[..., -1])
    return means


def nll(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Mean negative log-likelihood in nats (multi: binary cross-entropy, mean over classes)."""
    truth, scores = validate(labels, probabilities)
    tiny = float(np.finfo(np.float64).eps)
    loss = -np.log(np.clip(np.where(truth, scores, 1 - scores), tiny, None))
    single = np.ndim(labels) == 1
    per_item = loss[truth] if single else loss.mean(axis=1)
    return _mean(per_item, _weights(weights, len(truth)))


def brier(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Brier score: squared error summed over classes, in [0, 2] (multi: their mean, in [0, 1])."""
    truth, scores = validate(labels, probabilities)
    error = (scores - truth) ** 2
    per_item = error.sum(axis=1) if np.ndim(labels) == 1 else error.mean(axis=1)
    return _mean(per_item, _weights(weights, len(truth)))


def ece(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Expected calibration error: mean |confidence - accuracy| over equal-mass bins.

    Single: of the most probable class. Multi: of every class of every item. The bins are cut once
    on all items, so that weights move the gaps and not the edges.
    """
    truth, scores = validate(labels, probabilities)
    weight = _weights(weights, len(truth))
    confidence, right, item = _claims(truth, scores, multi=np.ndim(labels) == 2)
    gaps = np.zeros((len(truth), N_BINS))
    np.add.at(gaps, (item, _bins(confidence)), right - confidence)
    n_claims = len(confidence) / len(truth)
    return ratio(np.abs(weight @ gaps).sum(axis=-1), weight.sum(axis=-1) * n_claims)


@dataclass(frozen=True, slots=True)
class Reliability:
    """One row a bin that holds anything: mean confidence, share of right claims, claims."""

    confidence: Float
    accuracy: Float
    count: Int


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> Reliability:
    """Points of the reliability diagram, in the bins of `ece`."""
    truth, scores = validate(labels, probabilities)
    confidence, right, _ = _claims(truth, scores, multi=np.ndim(labels) == 2)
    bins = _bins(confidence)
    count = np.bincount(bins, minlength=N_BINS)
    held = count > 0
    sums = [np.bincount(bins, values, minlength=N_BINS)[held] for values in (confidence, right)]
    return Reliability(sums[0] / count[held], sums[1] / count[held], count[held])


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """One point a distinct confidence, highest first: keep what is at least so confident."""

    threshold: Float
    coverage: Float
    risk: Float


def risk_coverage(labels: ArrayLike, probabilities: ArrayLike) -> RiskCoverage:
    """Share of wrong predictions among the kept, against the share kept."""
    truth, scores = validate(labels, probabilities)
    confidence, wrong = scores.max(axis=1), 1 - _right(truth, scores)
    order, _, end = _ranked(confidence)
    last = np.unique(end)
    errors = np.cumsum(wrong[order])[last - 1]
    return RiskCoverage(confidence[order][last - 1], last / len(order), errors / last)


def aurc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Area under the risk-coverage curve: mean over items of the risk at their confidence."""
    truth, scores = validate(labels, probabilities)
    order, _, end = _ranked(scores.max(axis=1))
    ranked = _weights(weights, len(truth))[..., order]
    wrong = _cumulated(ranked * (1 - _right(truth, scores)[order]))
    kept = _cumulated(ranked)
    risk = ratio(wrong[..., end], kept[..., end], undefined=0.0)
    return ratio((ranked * risk).sum(axis=-1), kept[..., -1])


def roc_curve(positive: ArrayLike, scores: ArrayLike) -> tuple[Float, Float]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    order, _, end = _ranked(values)
    last = np.concatenate([[0], np.unique(end)])
    hits, falls = _cumulated(truth[order] * 1.0)[last], _cumulated(~truth[order] * 1.0)[last]
    return falls / max(falls[-1], 1.0), hits / max(hits[-1], 1.0)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature that minimises the negative log-likelihood of ``logits / temperature``.

    The loss is convex in 1/temperature, so its slope is bisected; the result is within
    `TEMPERATURES`. Multi-label: the same with sigmoids and binary cross-entropy.
    """
    truth, scores = _truth(labels, logits)
    single = np.ndim(labels) == 1

    def slope(scale: float) -> float:
        scaled = scores * scale
        if single:
            scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            expected = scaled / scaled.sum(axis=1, keepdims=True)
        else:
            expected = (1 + np.tanh(scaled / 2)) / 2
        return float((scores * (expected - truth)).sum())

    low, high = (float(np.log(1 / t)) for t in reversed(TEMPERATURES))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(float(np.exp(middle))) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def unsure_threshold(
    labels: ArrayLike, probabilities: ArrayLike, target: float, *, min_coverage: float = 0.5
) -> float:
    """Confidence below which a prediction is to be called unsure.

    The smallest threshold at which accuracy among the kept predictions reaches `target`, but never
    one that keeps less than `min_coverage` of them: if the target is not reached by then, the
    threshold that keeps just that share. It lies midway between two confidences that occur, so
    that rounding moves no prediction across; 0 if everything may be kept.
    """
    curve = risk_coverage(labels, probabilities)
    allowed = curve.coverage >= min_coverage
    reached = allowed & (curve.risk <= 1 - target + 1e-12)  # as if the fractions were exact
    last_kept = int(reached.nonzero()[0][-1]) if reached.any() else int(allowed.argmax())
    if last_kept == len(curve.threshold) - 1:
        return 0.0
    lowest, below = curve.threshold[last_kept : last_kept + 2]
    middle = (lowest + below) / 2
    return float(middle if middle > below else lowest)  # no number lies between neighbours


def _truth(labels: ArrayLike, scores: ArrayLike) -> tuple[Bool, Float]:
    """Labels as a matrix, with the scores (probabilities or logits) that they must fit."""
    known, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise TsResformerError(f"scores of shape {values.shape} are not (n, n_classes), n > 0")
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise TsResformerError(f"scores of item {int(finite.argmin())} are not finite")
    n_items, n_classes = values.shape
    if known.shape not in ((n_items,), (n_items, n_classes)):
        raise TsResformerError(f"labels of shape {known.shape} do not fit scores of {values.shape}")
    if known.ndim == 2:
        return known.astype(bool), values
    if known.dtype.kind not in "iu":
        raise TsResformerError(f"labels must be class numbers, not {known.dtype}")
    outside = (known < 0) | (known >= n_classes)
    if outside.any():
        item = int(outside.argmax())
        raise TsResformerError(f"label {known[item]} of item {item} is not in 0..{n_classes - 1}")
    return known[:, None] == np.arange(n_classes), values


def _weights(weights: ArrayLike | None, n_items: int) -> Float:
    if weights is None:
        return np.ones(n_items)
    checked = np.asarray(weights, dtype=np.float64)
    if checked.ndim < 1 or checked.shape[-1] != n_items:
        raise TsResformerError(f"weights of shape {checked.shape} do not fit {n_items} items")
    return checked


def _decisions(scores: Float, *, multi: bool) -> Bool:
    if multi:
        return np.asarray(scores >= 0.5)
    return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]))


def _right(truth: Bool, scores: Float) -> Float:
    return np.asarray(truth[np.arange(len(truth)), scores.argmax(axis=1)], dtype=np.float64)


def _claims(truth: Bool, scores: Float, *, multi: bool) -> tuple[Float, Float, Int]:
    """What calibration is about: confidence, right (0 or 1) and item of each claim."""
    items = np.arange(len(truth))
    if multi:
        return scores.ravel(), truth.ravel().astype(np.float64), items.repeat(truth.shape[1])
    return scores.max(axis=1), _right(truth, scores), items


def _bins(confidence: Float) -> Int:
    """Equal-mass bin of each claim, by its rank; equal confidences share a bin."""
    rank = np.searchsorted(np.sort(confidence), confidence, side="left")
    return rank * N_BINS // len(confidence)


def _ranked(scores: Float) -> tuple[Int, Int, Int]:
    """Descending order; for each place the first place and the end of its run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    ascending = -scores[order]
    first = np.searchsorted(ascending, ascending, side="left")
    return order, first, np.searchsorted(ascending, ascending, side="right")


def _cumulated(values: Float) -> Float:
    """Cumulative sums (..., n + 1) that start at 0."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _mean(values: Float, weights: Float) -> Float:
    return ratio(weights @ values, weights.sum(axis=-1))


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch to ship: of the highest score, then of the lowest loss, then the first.

    The last one where no development fold was held out.
    """
    if "dev_score" not in history[-1]:
        return history[-1]
    return max(history, key=lambda epoch: (epoch["dev_score"], -epoch["dev_loss"]))
