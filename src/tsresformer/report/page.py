"""The page for people: one self-contained HTML document, drawn from a result."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer import metrics
from tsresformer.errors import require
from tsresformer.report.pictures import confidence_and_right
from tsresformer.report.pictures import pictures as draw
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
        pictures=list(draw(result)),
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
    confidence, right = confidence_and_right(result)
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
