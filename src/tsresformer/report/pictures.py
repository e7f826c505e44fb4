"""The pictures of a report, each with a caption that a reader understands alone."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsresformer import metrics
from tsresformer.errors import require
from tsresformer.report import attention_figures, figures
from tsresformer.report.result import Attention, EvaluationResult, decimal, percent

Float = NDArray[np.float64]

MAPPED_BY_TSNE = 30
"""Fewest tracks that the embedding map lays out by t-SNE."""

HISTORY = {"dev_loss", "dev_score"}
"""What must be known of each epoch to draw the training."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its heading and a caption that can be understood alone.

    One in small print is scrolled on a phone; a dense one takes the page's whole width besides.
    """

    heading: str
    svg: str
    caption: str
    small_print: bool = False
    dense: bool = False


def pictures(result: EvaluationResult) -> Iterator[Picture]:
    """All pictures of a report, in its order."""
    yield from (_confusion(result),) if result.task == "single" else ()
    yield _classes(result)
    yield _roc(result)
    yield _reliability(result)
    yield _confidence(result)
    yield _risk(result)
    if len(result.embeddings) > 2 and result.embeddings.shape[1] > 1:
        yield _map(result)
    if len(result.history) > 1 and all(epoch.keys() >= HISTORY for epoch in result.history):
        yield _training(result)
    if result.attention is not None:
        yield from _attention(result, result.attention)


def _training(result: EvaluationResult) -> Picture:
    losses = [epoch["dev_loss"] for epoch in result.history]
    scores = [epoch["dev_score"] for epoch in result.history]
    best = result.history.index(metrics.best_epoch(result.history))
    kept = f"Epoch {best + 1} of {len(scores)} was kept: {percent(scores[best])}."
    return Picture(
        "How the training went",
        figures.training(losses, scores, best, f"Development score and loss by epoch. {kept}"),
        "After each epoch the network was tried on the development fold, a part of the training "
        f"split that it does not learn from. {kept}",
    )


def _attention(result: EvaluationResult, attention: Attention) -> Iterator[Picture]:
    if np.ptp(attention.frequency) > 0:
        truth, _ = metrics.validate(result.known, result.probabilities)
        known = [k for k in range(len(result.labels)) if truth[:, k].any()]
        weights = np.stack([attention.frequency[truth[:, k]].mean(axis=0) for k in known])
        names = [result.labels[k] for k in known]
        yield Picture(
            "Which bands the attention favours, by genre",
            attention_figures.bands(
                weights, names, attention.centres_hz, "Mean attention to each band, by genre."
            ),
            "Weight, between 0 and 1, that the network's attention gives to each mel band, "
            "averaged over the tracks that are labelled with the genre. Brighter bands count more. "
            "Rows that look alike mean that the attention treats those genres alike: it weighs "
            "what is heard, it does not decide.",
            small_print=True,
            dense=True,
        )
    for k, example in enumerate(attention.examples):
        track = example.row.track
        name = " by ".join(filter(None, [track.title, track.artist])) or track.track_id
        ends = (example.start_s, example.start_s + example.seconds)
        text = f"{name}, {ends[0]:.0f} to {ends[1]:.0f} s, recognised as {example.row.predicted}."
        if attention.chosen:
            why = f"It is labelled {track.label}, and was asked for."
        else:
            why = "Shown are the most confident right predictions of different genres."
        yield Picture(
            f"What the attention does with one slice: {example.row.predicted}",
            attention_figures.example(
                example.log_mel,
                example.time.astype(np.float64),
                example.frequency.astype(np.float64),
                ends,
                attention.centres_hz,
                text,
                f"attention{k}",
            ),
            f"A slice's log-mel spectrum, bright is {attention.bright}. Above it the weight that "
            "the attention gives to each moment, at the right to each band; both are means over "
            "the network's channels, between 0 and 1, each curve on a scale of its own. "
            f"{text} {why}",
        )


def _confusion(result: EvaluationResult) -> Picture:
    counts = metrics.confusion_matrix(result.known, result.probabilities)
    worst = worst_confusion(counts, result.labels)
    numbered, cells = confusion_cells(len(counts), "; confusion.csv has the numbers")
    return Picture(
        "What is taken for what",
        figures.confusion(counts, result.labels, f"Confusion matrix. {worst}"),
        f"Each row is a genre as labelled, each column a genre as predicted. {cells} A perfect "
        f"model fills the diagonal only. {worst}",
        small_print=True,
        dense=not numbered,
    )


def confusion_cells(n_classes: int, elsewhere: str = "") -> tuple[bool, str]:
    """Whether the cells of a confusion matrix are numbered, and how they are read."""
    if n_classes <= figures.NUMBERED_CLASSES:
        return True, (
            "The large number is the percentage of the row's tracks, the small one how many they "
            "are."
        )
    return False, f"The stronger the colour, the larger the share of the row's tracks{elsewhere}."


def worst_confusion(counts: NDArray[np.int64] | Float, names: Sequence[str]) -> str:
    """Name the most frequent confusion in a sentence; nothing if there is none."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = np.where(np.eye(len(counts), dtype=bool), 0, shares)
    if not off.max() > 0:
        return ""
    i, j = divmod(int(off.argmax()), len(names))
    return (
        f"Most frequent confusion: {percent(off[i, j])} of {names[i]} is taken for {names[j]} "
        f"({counts[i, j]:,.0f} tracks)."
    )


def _classes(result: EvaluationResult) -> Picture:
    scores = result.track.per_class["f1"]
    known = sorted(
        (s.value, label)
        for s, label in zip(scores, result.labels, strict=True)
        if not math.isnan(s.value)
    )
    (low, worst), (high, best) = known[0], known[-1]
    ends = f"Best: {best} ({high:.2f}); worst: {worst} ({low:.2f})." if high > 0 else ""
    return Picture(
        "Which genres it knows",
        figures.class_bars(scores, result.labels, f"F1 score of each genre. {ends}".strip()),
        "F1 score of each genre: 1 if all its tracks are found and nothing else is taken for it. "
        f"The thin line is the 95 % interval ({result.interval_method}). {ends}".strip(),
    )


def _roc(result: EvaluationResult) -> Picture:
    scores = result.probabilities
    truth, _ = metrics.validate(result.known, scores)
    curves = [metrics.roc_curve(truth[:, k], scores[:, k]) for k in range(len(result.labels))]
    areas = [interval.value for interval in result.track.per_class["roc_auc"]]
    mean = f"The mean area is {decimal(result.track.overall['roc_auc'].value)}."
    return Picture(
        "How well it ranks",
        figures.roc(curves, areas, result.labels, f"ROC curve of each genre. {mean}"),
        "Suppose tracks are called a genre when its probability exceeds a bar, and the bar is "
        "lowered step by step: the curve shows the share of the genre's tracks found (upward) "
        "against the share of all others wrongly included (to the right). The dashed diagonal is "
        f"guessing; the closer to the upper left corner, the better. {mean}",
    )


def _reliability(result: EvaluationResult) -> Picture:
    curve = metrics.reliability(result.known, result.probabilities)
    gap = f"The mean gap (ECE) is {decimal(result.track.overall['ece'].value)}."
    lean = float(np.average(curve.confidence - curve.accuracy, weights=curve.count))
    tendency = "claims too much" if lean > 0 else "is too modest"
    what = "predictions" if result.task == "single" else "claims about a genre"
    return Picture(
        "Whether its confidence can be believed",
        figures.reliability(curve, f"Reliability diagram. {gap}"),
        f"Are {what} made with 70 % confidence right in 70 % of the cases? On the dashed line "
        "they are; below it the model claims too much, above it too little. Each dot is a "
        f"fifteenth of the {what}, from least to most confident. {gap} On the whole the model "
        f"{tendency}, by {abs(lean):.3f}.",
    )


def _confidence(result: EvaluationResult) -> Picture:
    confidence, right = confidence_and_right(result)
    means = [
        f"{name} {percent(float(confidence[side].mean()))}"
        for name, side in (("right", right), ("wrong", ~right))
        if side.any()
    ]
    mean = f"Mean confidence: {' and '.join(means)}."
    return Picture(
        "How sure it is, when right and when wrong",
        figures.confidence_histogram(confidence, right, f"Histogram of confidence. {mean}"),
        "Number of tracks by the probability of the predicted genre, those predicted right below "
        "and those predicted wrong (hatched) on top of them. The further the wrong ones lie to "
        f"the left, the better confidence tells them apart. {mean}",
    )


def _risk(result: EvaluationResult) -> Picture:
    curve = metrics.risk_coverage(result.known, result.probabilities)
    half = int(np.searchsorted(curve.coverage, 0.5))
    ends = (
        f"Of all tracks {percent(curve.risk[-1])} are wrong, of the more confident half "
        f"{percent(curve.risk[half])}."
    )
    kept = int((curve.threshold >= result.unsure_below).sum())
    threshold = ""
    if 0 < kept < len(curve.threshold):
        threshold = (
            f" The red dot is this bundle's threshold: it calls predictions below "
            f"{result.unsure_below:.2f} unsure; of the {percent(curve.coverage[kept - 1])} "
            f"that remain, {percent(curve.risk[kept - 1])} are wrong."
        )
    return Picture(
        "What leaving out the unsure ones buys",
        figures.risk_coverage(curve, result.unsure_below, f"Risk-coverage curve. {ends}"),
        "Share of wrong predictions if only the most confident are kept. Useful confidence makes "
        f"the curve fall to the left; the dashed line keeps everything. {ends}{threshold}",
    )


def _map(result: EvaluationResult) -> Picture:
    truth, _ = metrics.validate(result.known, result.probabilities)
    step = -(-len(result.embeddings) // figures.MAX_POINTS)
    embeddings, classes = result.embeddings[::step], truth.argmax(axis=1)[::step]
    points, how = neighbour_map(embeddings)
    sample = f" Every {step}th track is drawn." if step > 1 else ""
    return Picture(
        "How the model arranges the music",
        figures.embedding_map(
            points,
            classes,
            result.labels,
            f"Map of {len(points):,} tracks by what the network makes of them, coloured by genre.",
        ),
        "Each mark is a track, placed by the network's inner description of it (its embedding, "
        f"{how}); colour and shape are the genre as labelled. Near means similar to the model; the "
        f"axes have no meaning of their own.{sample}",
    )


def neighbour_map(embeddings: Float) -> tuple[Float, str]:
    """Lay points (n, d) out in a plane (n, 2), and say how.

    By t-SNE (van der Maaten & Hinton 2008) where scikit-learn is installed, otherwise, and for a
    handful of points, by principal components.
    """
    points, share = principal_map(embeddings)
    if len(embeddings) < MAPPED_BY_TSNE or importlib.util.find_spec("sklearn") is None:
        return points, (
            f"flattened to two principal components, which hold {percent(share)} of the variance"
        )
    manifold = require("sklearn.manifold", "study")
    start = points / max(float(points[:, 0].std()), 1e-12) * 1e-4
    tsne = manifold.TSNE(init=start, random_state=0, perplexity=min(30, len(points) / 4))
    return np.asarray(tsne.fit_transform(embeddings), dtype=np.float64), (
        "laid out in a plane by t-SNE, which keeps neighbours together and distances between "
        "clusters not"
    )


def principal_map(embeddings: Float) -> tuple[Float, float]:
    """First two principal components and the share of the variance that they hold.

    Returns
    -------
    points : shape (n, 2); signs are fixed so that each axis' largest loading is positive
    share : in [0, 1]
    """
    centred = embeddings - embeddings.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    plane = axes[:2]
    largest = np.take_along_axis(plane, np.abs(plane).argmax(axis=1)[:, None], axis=1)
    variance = spread**2
    share = float(metrics.ratio(variance[:2].sum(), variance.sum(), undefined=1.0))
    return centred @ (plane * np.sign(largest)).T, share


def confidence_and_right(result: EvaluationResult) -> tuple[Float, NDArray[np.bool_]]:
    """Confidence of each prediction, and whether it is right."""
    scores = result.probabilities
    truth, _ = metrics.validate(result.known, scores)
    return scores.max(axis=1), truth[np.arange(len(truth)), scores.argmax(axis=1)]
