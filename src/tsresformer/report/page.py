"""The page for people: one self-contained HTML document, drawn from a result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer import metrics
from tsresformer.errors import require
from tsresformer.report import figures
from tsresformer.report.result import (
    EvaluationResult,
    decimal,
    percent,
    span,
    versions,
    warnings_of,
)
from tsresformer.splits import count_ungrouped

Float = NDArray[np.float64]

LISTED_MISTAKES = 20
LISTED_PROBLEMS = 200


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


def check_extras() -> None:
    """Raise MissingExtraError now, rather than after the scoring, if no page can be drawn."""
    require("jinja2", "report")
    require("matplotlib", "report")


def render(result: EvaluationResult) -> str:
    """Draw the page: one self-contained HTML document."""
    problems = [row for row in result.rows if row.probabilities is None]
    page = template("report.html.j2").render(
        result=result,
        warnings=warnings_of(result),
        headline=_headline(result),
        facts=_facts(result),
        metric_rows=_metric_rows(result),
        pictures=list(_pictures(result)),
        class_metrics=_CLASS_METRICS.values(),
        class_rows=_class_rows(result),
        mistakes=_mistakes(result),
        problems=problems[:LISTED_PROBLEMS],
        n_more_problems=max(0, len(problems) - LISTED_PROBLEMS),
        origin=_origin(result),
    )
    return str(page)


def template(name: str) -> Any:
    """Load one of the package's pages."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda file: (resources.files("tsresformer") / "templates" / file).read_text("utf-8")
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=percent, count="{:,}".format)
    return environment.get_template(name)


_METRICS = {
    "accuracy": ("Accuracy", percent, "share that is given the right genre"),
    "mean_average_precision": (
        "Mean average precision", decimal, "ranking quality of each genre, averaged over genres"
    ),
    "top_1_accuracy": (
        "Top-1 accuracy", percent, "share whose most probable genre is one of its labels"
    ),
    "balanced_accuracy": ("Balanced accuracy", percent, "mean recall: every genre counts the same"),
    "macro_f1": ("Macro F1", decimal, "precision and recall in one, averaged over genres"),
    "micro_f1": ("Micro F1", decimal, "precision and recall in one, over all labels"),
    "roc_auc": (
        "ROC-AUC", decimal, "chance that a track of a genre ranks above another; 0.5 is guessing"
    ),
    "nll": ("NLL", decimal, "surprise at the true label, in nats; lower is better"),
    "brier": ("Brier score", decimal, "squared error of the probabilities; lower is better"),
    "ece": ("ECE", decimal, "gap between confidence and accuracy, 15 equal bins; lower is better"),
    "aurc": ("AURC", decimal, "mean error when the least confident are left out; lower is better"),
}  # fmt: skip


def _metric_rows(result: EvaluationResult) -> list[dict[str, Any]]:
    rows = []
    levels_shown = (result.track,) if result.one_slice_a_track else (result.track, result.slice)
    for key, (name, show, meaning) in _METRICS.items():
        if key in result.track.overall:
            levels = [
                (show(level.overall[key].value), span(level.overall[key], show))
                for level in levels_shown
            ]
            rows.append({"name": name, "meaning": meaning, "levels": levels})
    return rows


def _mistakes(result: EvaluationResult) -> list[dict[str, Any]]:
    """Wrong predictions, most confident first."""
    scores, rows = result.probabilities, result.scored
    truth, _ = metrics.validate(result.known, scores)
    confidence, right = _confidence_and_right(result)
    wrong = np.flatnonzero(~right)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:LISTED_MISTAKES]
    return [
        {
            "track": rows[i].track,
            "predicted": result.labels[scores[i].argmax()],
            "confidence": confidence[i],
            "given": scores[i, truth[i]].max(initial=0.0),
        }
        for i in order
    ]


def _headline(result: EvaluationResult) -> dict[str, Any]:
    """Return the main number with its sentence and its place between 0 and 1."""
    interval = result.track.overall[result.main_metric]
    name, show, _ = _METRICS[result.main_metric]
    value = show(interval.value)
    known = not math.isnan(interval.low)
    likely = f"95 % interval {span(interval, show)}" if known else "no interval: one group only"
    n_tracks = f"{result.track.n_items:,} tracks"
    chance = None
    if result.task == "single":
        chance = max(result.track.support) / result.track.n_items
        sentence = (
            f"The model names the right one of {len(result.labels)} genres for {value} of "
            f"{n_tracks}; {likely}, {result.interval_method}. Always naming the most frequent "
            f"genre would be right for {percent(chance)}."
        )
    else:
        sentence = f"{name} over {len(result.labels)} labels on {n_tracks}; {likely}, " + (
            f"{result.interval_method}. 1 means that every track of a label ranks above all others."
        )
    low, high = (interval.low, interval.high) if known else (interval.value, interval.value)
    scale = {
        "value": _place(interval.value),
        "low": _place(low),
        "width": _place(high - low),
        "chance": None if chance is None else _place(chance),
    }
    return {"value": value, "name": name, "sentence": sentence, "scale": scale}


def _place(share: float) -> str:
    return f"{100 * share:.2f}"


def _facts(result: EvaluationResult) -> list[tuple[str, str]]:
    facts = [("tracks", result.track.n_items), ("slices", result.slice.n_items)]
    if result.unit == "artists":
        facts.insert(1, ("artists", result.track.n_groups))
    facts += [
        ("genres", len(result.labels)),
        ("unsure", sum(row.unsure for row in result.scored)),
        ("failed", len(result.failed)),
        ("left out", len(result.excluded)),
    ]
    return [(name, f"{value:,}") for name, value in facts]


_CLASS_METRICS = {"precision": "Precision", "recall": "Recall", "f1": "F1", "roc_auc": "ROC-AUC"}


def _class_rows(result: EvaluationResult) -> list[dict[str, Any]]:
    rows = []
    for k, label in enumerate(result.labels):
        intervals = [result.track.per_class[name][k] for name in _CLASS_METRICS]
        cells = [(decimal(i.value), span(i, decimal)) for i in intervals]
        rows.append({"label": label, "support": result.track.support[k], "cells": cells})
    return rows


def _origin(result: EvaluationResult) -> list[tuple[str, str]]:
    silent = sum(row.status == "silent" for row in result.scored)
    ungrouped = count_ungrouped(row.track for row in result.scored)
    rows = [
        ("Bundle", f"{result.bundle}, SHA-256 {result.bundle_hash}"),
        (
            "Manifest",
            f"{result.manifest}, SHA-256 {result.manifest_hash} (of ids, labels, groups, splits)",
        ),
        ("Protocol", f"{result.protocol.title}; recorded as '{result.protocol}'"),
        ("Split", result.split),
        (
            "Intervals",
            f"95 %, percentiles of a {result.interval_method}, {result.n_bootstrap:,} resamples, "
            f"seed {result.seed}",
        ),
        (
            "Calibration",
            f"temperature {result.temperature:.3f} and unsure below {result.unsure_below:.3f}, "
            "both from the bundle, fitted on data of its training split",
        ),
        ("Software", ", ".join(f"{name} {number}" for name, number in versions().items())),
    ]
    if ungrouped and result.unit == "artists":
        text = f"{ungrouped:,}; each counts as an artist of its own"
        rows.insert(5, ("Tracks without artist", text))
    if silent:
        text = f"{silent:,}; scored like all others, although 'predict' gives silence no genre"
        rows.insert(5, ("Silent tracks", text))
    return rows


def _pictures(result: EvaluationResult) -> Iterator[Picture]:
    yield from (_confusion(result),) if result.task == "single" else ()
    yield _classes(result)
    yield _roc(result)
    yield _reliability(result)
    yield _confidence(result)
    yield _risk(result)
    if len(result.embeddings) > 2 and result.embeddings.shape[1] > 1:
        yield _map(result)


def _confusion(result: EvaluationResult) -> Picture:
    counts = metrics.confusion_matrix(result.known, result.probabilities)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = np.where(np.eye(len(counts), dtype=bool), 0, shares)
    worst = ""
    if off.max() > 0:
        i, j = np.unravel_index(off.argmax(), off.shape)
        worst = (
            f"Most frequent confusion: {percent(off[i, j])} of {result.labels[i]} is taken for "
            f"{result.labels[j]} ({counts[i, j]:,} tracks)."
        )
    numbered = len(counts) <= figures.NUMBERED_CLASSES
    cells = (
        "The large number is the percentage of the row's tracks, the small one how many they are."
        if numbered
        else "The stronger the colour, the larger the share of the row's tracks; confusion.csv "
        "has the numbers."
    )
    return Picture(
        "What is taken for what",
        figures.confusion(counts, result.labels, f"Confusion matrix. {worst}"),
        f"Each row is a genre as labelled, each column a genre as predicted. {cells} A perfect "
        f"model fills the diagonal only. {worst}",
        small_print=True,
        dense=not numbered,
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
    confidence, right = _confidence_and_right(result)
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
    points, share = principal_map(result.embeddings)
    sample = (
        f" At most {figures.MAX_POINTS:,} tracks are drawn."
        if len(points) > figures.MAX_POINTS
        else ""
    )
    return Picture(
        "How the model arranges the music",
        figures.embedding_map(
            points,
            truth.argmax(axis=1),
            result.labels,
            f"Map of {len(points):,} tracks by what the network makes of them, coloured by genre.",
        ),
        "Each mark is a track, placed by the network's inner description of it (its embedding, "
        f"flattened to two principal components, which hold {percent(share)} of the variance); "
        "colour and shape are the genre as labelled. Near means similar to the model; the axes "
        f"have no meaning of their own.{sample}",
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


def _confidence_and_right(result: EvaluationResult) -> tuple[Float, NDArray[np.bool_]]:
    scores = result.probabilities
    truth, _ = metrics.validate(result.known, scores)
    return scores.max(axis=1), truth[np.arange(len(truth)), scores.argmax(axis=1)]
