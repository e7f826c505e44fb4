"""A study's page for people: one self-contained HTML document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tsresformer.compare import MCNEMAR_WARNING
from tsresformer.files import atomic_write
from tsresformer.report.page import template
from tsresformer.report.pictures import Picture
from tsresformer.report.result import percent
from tsresformer.studies import figures
from tsresformer.studies.budget import duration
from tsresformer.studies.results import Results
from tsresformer.studies.tables import (
    Contrast,
    Point,
    contrasts,
    notes,
    p_text,
    point_rows,
    signed,
)

PAGE = "report.html"
AXIS_WORDS = {
    "data.fraction": "the part of the training tracks",
    "slicing.slice_s": "the length of a slice in seconds",
}
CURVES = 10
"""Most points that one picture of curves shows."""


def write_page(
    results: Results, found: Sequence[Point], drawn: Sequence[Picture] | None = None
) -> Path:
    """Write the page beside the results.

    Parameters
    ----------
    drawn : what `draw` gave, if it was called already
    """
    gaps = contrasts(results, found)
    header, rows = point_rows(results, found)
    page = template("study.html.j2").render(
        plan=results.plan,
        banners=list(_banners(results, found)),
        facts=_facts(results, found),
        pictures=draw(results, found) if drawn is None else drawn,
        notes=notes(results, found),
        header=header,
        rows=rows,
        n_names=len(results.plan.axes) + 1,
        reference=" ".join(results.plan.reference_labels.values()),
        contrast_note="A minus sign means that it is worse than the reference. P-values by a "
        "bootstrap over artists; Holm's correction is for the comparisons of one protocol. "
        f"{MCNEMAR_WARNING}; it is of the first seed.",
        contrasts=[_contrast_row(gap) for gap in gaps],
        failures=[cell for cell in results.cells() if cell["error"]],
        origin=_origin(results),
    )
    path = results.folder / PAGE
    with atomic_write(path) as stream:
        stream.write(page)
    return path


def _banners(results: Results, found: Sequence[Point]) -> Iterator[tuple[str, str]]:
    leaking = list(dict.fromkeys(point.protocol for point in found if point.leaks))
    if leaking:
        protocols = f"protocol{'s' if len(leaking) > 1 else ''} {' and '.join(leaking)}"
        yield (
            "leak",
            f"Under the {protocols}, tracks or artists are on both sides of the split: those "
            "accuracies are inflated, and are here to show by how much.",
        )
    left = len(results.record["cells"]) - len(results.cells())
    if left:
        n_cells = len(results.record["cells"])
        yield "note", f"This study is not finished: {left} of {n_cells} cells are still to be run."


def _facts(results: Results, found: Sequence[Point]) -> list[tuple[str, str]]:
    cells = [cell for cell in results.cells() if not cell["error"]]
    return [
        ("cells", f"{len(cells):,}"),
        ("trainings", f"{sum(len(cell['parts']) for cell in cells):,}"),
        ("seeds", str(len({cell["seed"] for cell in cells}))),
        ("tracks", f"{max((point.n_tracks for point in found), default=0):,}"),
        ("training", duration(sum(cell["train_s"] for cell in cells))),
    ]


def _origin(results: Results) -> list[tuple[str, str]]:
    plan, record = results.plan, results.record
    rows = [
        ("Study", f"{record['name']}, ts-resformer {record['version']}"),
        ("Configuration", " ".join([plan.config, *(f"--set {t}" for t in record["overrides"])])),
        ("Tracks", f"{record['n_tracks']:,} usable ones; SHA-256 {record['manifest_rows']}"),
        ("Store", f"SHA-256 {record['store_key']}"),
    ]
    if plan.settings:
        text = ", ".join(f"{key} = {value}" for key, value in plan.settings.items())
        rows.insert(2, ("Settings of the study", text))
    if plan.tuning:
        text = (
            f"{plan.tuning.trials} trials for every variant, chosen on the development fold of "
            "each training split with the first seed"
        )
        rows.insert(2, ("Tuning", text))
    return rows


def _contrast_row(gap: Contrast) -> dict[str, Any]:
    only = f"{gap.only[1]:,}, {gap.only[0]:,}" if gap.only else "–"
    return {
        "label": gap.point.label if gap.point.values else gap.point.protocol,
        "protocol": gap.point.protocol,
        "cells": [
            signed(gap.track),
            signed(gap.slice),
            p_text(gap.track.p),
            p_text(gap.p_holm),
            only,
            p_text(gap.mcnemar_p),
        ],
    }


def draw(results: Results, found: Sequence[Point]) -> list[Picture]:
    """All pictures of a study."""
    return list(_pictures(results, found, contrasts(results, found)))


def _pictures(
    results: Results, found: Sequence[Point], gaps: Sequence[Contrast]
) -> Iterator[Picture]:
    plan = results.plan
    if "protocol" in plan.reference and gaps and not plan.axes:
        yield _leakage(found, gaps)
        return
    for protocol in dict.fromkeys(point.protocol for point in found):
        points = [point for point in found if point.protocol == protocol]
        where = f" ({protocol})" if len(plan.protocols) > 1 else ""
        yield _accuracies(points, where, protocol)
        rivals = [g for g in gaps if g.point.protocol == g.reference.protocol == protocol]
        for k, name in enumerate(dict.fromkeys(gap.reference.label for gap in rivals)):
            against = [gap for gap in rivals if gap.reference.label == name]
            yield _differences(against, name, where, f"{protocol}-{k}")
        if plan.x is not None and len(points) > 1:
            yield from _curves(points, plan.x, where, protocol)
        costly = [point for point in points if point.macs]
        if len(costly) > 1:
            yield from _costs(points, costly, where, protocol)
        learned = [p for p in points if all(part.get("history") for part in p.cells[0]["parts"])]
        if learned and len(learned) <= CURVES:
            yield from _learning(learned, where, protocol)


def _leakage(found: Sequence[Point], gaps: Sequence[Contrast]) -> Picture:
    reference = gaps[0].reference
    worst = max(gaps, key=lambda gap: -gap.track.value)
    text = (
        f"Under {worst.point.protocol} the accuracy of tracks is "
        f"{percent(worst.point.accuracy.value)}, under {reference.protocol} "
        f"{percent(reference.accuracy.value)}: {signed(worst.track)} points."
    )
    return Picture(
        "The same model, the same music: what the split alone changes",
        figures.leakage(found, gaps, text),
        "Each row is one way to divide the tracks into training and test. A filled circle is the "
        "accuracy of whole tracks in per cent, a hollow square that of single slices, lines are "
        f"95 % intervals by artist. The dashed line and its band are whole tracks under "
        f"{reference.protocol}, where no artist is on both sides. Rows that say LEAKS have bars: "
        "what leakage adds to an honest number, beside chance. The numbers at the right are the "
        f"gaps with their intervals, tracks above, slices below. {text}",
        small_print=True,
        dense=True,
    )


def _accuracies(points: Sequence[Point], where: str, protocol: str) -> Picture:
    best = max(points, key=lambda point: point.accuracy.value)
    text = f"Highest: {best.label}, {percent(best.accuracy.value)} of {best.n_tracks:,} tracks."
    leaks = " This protocol leaks, so all of them are inflated." if best.leaks else ""
    seeds = " Small strokes are the single seeds." if len(best.accuracies) > 1 else ""
    return Picture(
        f"How often each is right{where}",
        figures.accuracies(points, text, f"accuracies-{protocol}"),
        "Filled circles: accuracy of whole tracks; hollow squares: of single slices; lines: 95 % "
        f"intervals by artist.{seeds} Overlapping intervals say little of a difference, since all "
        f"are tested on the same tracks: see the table below. {text}{leaks} Measured on: "
        f"{points[0].title}.",
        small_print=True,
        dense=True,
    )


def _differences(gaps: Sequence[Contrast], reference: str, where: str, name: str) -> Picture:
    sure = [gap.point.label for gap in gaps if gap.p_holm < figures.SIGNIFICANT]
    text = f"Beyond chance: {', '.join(sure) or 'none'}."
    return Picture(
        f"How much better or worse than {reference}{where}",
        figures.differences(gaps, f"Differences from {reference}. {text}", f"gaps-{name}"),
        f"Difference in accuracy from {reference}, in points: right of the upright line is better. "
        "Filled circles are whole tracks, hollow squares single slices; lines are 95 % intervals "
        "of the difference itself, by a bootstrap over artists. Blue where the Holm-corrected p "
        f"written at the right is below {figures.SIGNIFICANT}, grey where the difference may be "
        f"chance. {text}",
        small_print=True,
        dense=True,
    )


def _curves(points: Sequence[Point], x: str, where: str, protocol: str) -> Iterator[Picture]:
    ends = [f"{percent(p.accuracy.value)} at {p.values[x]}" for p in (points[0], points[-1])]
    text, words = f"Whole tracks: {' and '.join(ends)}.", AXIS_WORDS.get(x, x)
    yield Picture(
        f"Accuracy over {words}{where}",
        figures.curve(points, x, words, text, f"curve-{protocol}"),
        f"Accuracy of whole tracks (circles) and of single slices (squares) over {words}, on a "
        f"logarithmic scale; upright lines are 95 % intervals by artist. {text}",
    )
    text = ", ".join(f"{duration(p.train_s)} at {p.values[x]}" for p in (points[0], points[-1]))
    yield Picture(
        f"Training time over {words}{where}",
        figures.times(points, x, words, f"Training time: {text}.", f"times-{protocol}"),
        "How long the training of one seed took on the machine that ran the study, its folds "
        f"together: {text}.",
    )


def _costs(
    points: Sequence[Point], costly: Sequence[Point], where: str, protocol: str
) -> Iterator[Picture]:
    text = "Up is more often right, left is cheaper. Upright lines are 95 % intervals by artist."
    yield Picture(
        f"Accuracy against multiply-adds{where}",
        figures.cost(
            costly,
            "macs",
            "multiply-adds of one slice",
            "Accuracy of tracks against multiply-adds.",
            f"macs-{protocol}",
        ),
        f"What each network computes for one slice, on a logarithmic scale. {text}",
    )
    timed = [point for point in points if point.train_s > 0]
    yield Picture(
        f"Accuracy against training time{where}",
        figures.cost(
            timed,
            "train_s",
            "training, seconds",
            "Accuracy of tracks against training time.",
            f"seconds-{protocol}",
        ),
        "Seconds of training on the machine that ran the study, all folds of one seed, on a "
        f"logarithmic scale. {text}",
    )


def _learning(points: Sequence[Point], where: str, protocol: str) -> Iterator[Picture]:
    for of, factor, label, heading in (
        ("dev_score", 100.0, "accuracy on the development fold, %", "How fast each learns"),
        ("train_loss", 1.0, "training loss", "What each still gets wrong while learning"),
    ):
        alt = f"{label} over the epochs."
        yield Picture(
            f"{heading}{where}",
            figures.learning(points, of, factor, label, alt, f"{of}-{protocol}"),
            f"{label.capitalize()}, after each epoch, mean over seeds and folds. The epoch that is "
            "scored is the one with the best development fold, which no test track is in.",
        )
