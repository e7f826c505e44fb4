"""A study's page for people: one self-contained HTML document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsresformer.compare import MCNEMAR_WARNING
from tsresformer.errors import TsResformerError
from tsresformer.files import atomic_write
from tsresformer.report.figures import confusion as draw_confusion
from tsresformer.report.page import template
from tsresformer.report.pictures import Picture, confusion_cells, worst_confusion
from tsresformer.report.result import percent
from tsresformer.studies import figures
from tsresformer.studies.budget import duration
from tsresformer.studies.genres import confusion, genres_of, recalls
from tsresformer.studies.plan import Plan, Study
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

COMPARED = 5
"""Most points that the picture of the genres shows."""

MUSIC_S = 30
"""Seconds of music whose multiply-adds are counted."""


def write_page(
    results: Results,
    found: Sequence[Point],
    drawn: Sequence[Picture] | None = None,
) -> Path:
    """Write the page beside the results.

    Parameters
    ----------
    drawn : what `draw` gave, if it was called already
    """
    gaps = contrasts(results, found)
    header, rows = point_rows(results, found)
    paired = any(gap.only is not None for gap in gaps)
    page = template("study.html.j2").render(
        plan=results.plan,
        note=results.note,
        banners=list(_banners(results, found)),
        facts=_facts(results, found),
        pictures=draw(results, found) if drawn is None else drawn,
        notes=[text for text in notes(results, found) if MCNEMAR_WARNING not in text],
        header=header,
        rows=rows,
        n_names=len(results.plan.axes) + 1,
        reference=" ".join(results.plan.reference_labels.values()),
        contrast_note=_contrast_note(results.plan, paired=paired),
        contrast_header=[*CONTRAST_HEADER, *(PAIRED_HEADER if paired else ())],
        contrasts=[_contrast_row(gap, paired=paired) for gap in gaps],
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
        ("tracks", f"{results.record['n_tracks']:,}"),
        ("of them tested", _range([point.n_tracks for point in found])),
        ("training", duration(sum(cell["train_s"] for cell in cells))),
    ]


def _range(numbers: Sequence[int]) -> str:
    """Numbers by their ends.

    >>> _range([799, 799]), _range([1457, 799])
    ('799', '799–1,457')
    """
    return "–".join(f"{n:,}" for n in sorted({min(numbers, default=0), max(numbers, default=0)}))


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


CONTRAST_HEADER = ("Tracks, points", "p", "p (Holm)", "Slices, points", "p", "p (Holm)")
PAIRED_HEADER = ("Right alone: it, the reference", "McNemar p")


def _contrast_note(plan: Plan, *, paired: bool) -> str:
    family = "all of them" if "protocol" in plan.reference else "the comparisons of one protocol"
    text = (
        "A minus sign means that it is worse than the reference. P-values by a bootstrap over "
        f"artists; Holm's correction is over {family}, for tracks and for slices by themselves."
    )
    if not paired:
        return text
    return f"{text} {MCNEMAR_WARNING}; it is of the first seed alone and not corrected."


def _contrast_row(gap: Contrast, *, paired: bool) -> dict[str, Any]:
    cells = [
        *(signed(gap.track), p_text(gap.track.p), p_text(gap.p_holm)),
        *(signed(gap.slice), p_text(gap.slice.p), p_text(gap.slice_p_holm)),
    ]
    if paired:
        cells.append(f"{gap.only[1]:,}, {gap.only[0]:,}" if gap.only else "–")
        cells.append(p_text(gap.mcnemar_p))
    return {"label": _name(gap.point), "protocol": gap.point.protocol, "cells": cells}


def _name(point: Point) -> str:
    """What tells a point from the others on its page."""
    return point.label if point.values else point.protocol


def _name_in_text(plan: Plan, point: Point) -> str:
    """The same with the names of the axes whose values do not speak for themselves."""
    values = [
        value if isinstance(plan.axes.get(axis), dict) else f"{value} ({_axis_words(axis)})"
        for axis, value in point.values.items()
    ]
    return ", ".join(values) or point.protocol


def draw(results: Results, found: Sequence[Point]) -> list[Picture]:
    """All pictures of a study."""
    return list(_pictures(results, found, contrasts(results, found)))


def _pictures(
    results: Results, found: Sequence[Point], gaps: Sequence[Contrast]
) -> Iterator[Picture]:
    plan = results.plan
    if "protocol" in plan.reference and gaps and not plan.axes:
        yield _leakage(results, found, gaps)
        yield from _genres(plan, found, "", gaps[0].reference)
        return
    main = _main_protocol(found)
    for protocol in dict.fromkeys(point.protocol for point in found):
        points = [point for point in found if point.protocol == protocol]
        where = f" ({protocol})" if len(plan.protocols) > 1 else ""
        rivals = [g for g in gaps if g.point.protocol == g.reference.protocol == protocol]
        yield _accuracies(plan, points, where, protocol, compared=bool(rivals))
        for k, label in enumerate(dict.fromkeys(gap.reference.label for gap in rivals)):
            against = [gap for gap in rivals if gap.reference.label == label]
            yield _differences(plan, against, where, f"{protocol}-{k}")
        if protocol == main:
            yield from _genres(plan, points, where, rivals[0].reference if rivals else None)
        if plan.x is not None and len(points) > 1:
            yield from _curves(points, plan.x, where, protocol)
        if sum(point.macs is not None for point in points) > 1:
            yield from _costs(results, points, where, protocol)
        learned = [p for p in points if all(part.get("history") for part in p.cells[0]["parts"])]
        if learned and len(learned) <= CURVES:
            yield from _learning(plan, learned, where, protocol)


def _main_protocol(found: Sequence[Point]) -> str:
    """The protocol whose genres are shown: an honest one, of most points, the first such."""
    of = [point.protocol for point in found]
    honest = [point.protocol for point in found if not point.leaks]
    return max(honest or of, key=of.count, default="")


def _axes_words(plan: Plan) -> str:
    """What the labels of the points are values of."""
    return ", ".join(map(_axis_words, plan.axes))


def _axis_words(axis: str) -> str:
    return AXIS_WORDS.get(axis, axis.rpartition(".")[2]).removeprefix("the ")


def _leakage(results: Results, found: Sequence[Point], gaps: Sequence[Contrast]) -> Picture:
    reference = gaps[0].reference
    worst = max(gaps, key=lambda gap: -gap.track.value)
    text = (
        f"Under {worst.point.protocol} the accuracy of tracks is "
        f"{percent(worst.point.accuracy.value)}, under {reference.protocol} "
        f"{percent(reference.accuracy.value)}: {signed(worst.track)} points."
    )
    per_track = ", ".join(f"{point.protocol} {point.slices_per_track:.2f}" for point in found)
    spread = (
        " Under slice a track's slices are spread over both sides, so that what is called a whole "
        "track there is the few of them on the test side, and the square is the number that papers "
        "report."
        if any(point.protocol == "slice" for point in found)
        else ""
    )
    return Picture(
        "One model under each split",
        figures.leakage(found, gaps, text),
        f"Each row is one way to divide the same {results.record['n_tracks']:,} tracks into "
        "training and test; the tracks that it tests are others in each row, as many as the row "
        "says. A filled circle is the accuracy of whole tracks in per cent, a hollow square that "
        f"of single slices, lines are 95 % intervals by {_drawn(found)}. A track is judged by its "
        f"tested slices together, in the mean {per_track} of them.{spread} The dashed line and its "
        f"band are whole tracks under {reference.protocol}, where no artist is on both sides. Rows "
        "that say LEAKS have bars from the honest number to their own: what leakage adds, beside "
        "chance and other tracks. The numbers at the right are the gaps with their intervals and "
        "Holm-corrected p, tracks above, slices below; a mark is grey where its p is not below "
        f"{figures.SIGNIFICANT}, so that its gap may be chance. {text}",
        small_print=True,
        dense=True,
    )


def _drawn(points: Sequence[Point]) -> str:
    """What the resamples behind the intervals of these points draw."""
    several = {len(point.cells) > 1 for point in points}
    if len(several) > 1:
        return "artist, and by seed where there are several"
    return "artist and seed" if True in several else "artist"


def _accuracies(
    plan: Plan, points: Sequence[Point], where: str, protocol: str, *, compared: bool
) -> Picture:
    best = max(points, key=lambda point: point.accuracy.value)
    share = f"{percent(best.accuracy.value)} of {best.n_tracks:,} tracks"
    text = f"Highest: {_name_in_text(plan, best)}, {share}."
    leaks = " This protocol leaks, so all of them are inflated." if best.leaks else ""
    several = any(len(point.accuracies) > 1 for point in points)
    seeds = " Small strokes are the single seeds." if several else ""
    pairs = ": the next picture has the differences, with intervals of their own" * compared
    return Picture(
        f"How often each is right{where}",
        figures.accuracies(points, text, f"accuracies-{protocol}", _axes_words(plan)),
        "Filled circles: accuracy of whole tracks; hollow squares: of single slices; lines: 95 % "
        f"intervals by {_drawn(points)}.{seeds} Overlapping intervals say little of a difference, "
        f"since all are tested on the same tracks{pairs}. {text}{leaks} Measured on: "
        f"{points[0].title}.",
        small_print=True,
        dense=True,
    )


def _differences(plan: Plan, gaps: Sequence[Contrast], where: str, name: str) -> Picture:
    reference = _name_in_text(plan, gaps[0].reference)
    sure = [gap.point.label for gap in gaps if gap.p_holm < figures.SIGNIFICANT]
    by = _drawn([gaps[0].reference, *(gap.point for gap in gaps)])
    text = f"Beyond chance, in whole tracks: {', '.join(sure) or 'none'}."
    return Picture(
        f"How much better or worse than {reference}{where}",
        figures.differences(
            gaps, f"Differences from {reference}. {text}", f"gaps-{name}", _axes_words(plan)
        ),
        f"Difference in accuracy from {reference}, in points: right of the upright line is better. "
        "Filled circles are whole tracks, hollow squares single slices; lines are 95 % intervals "
        f"of the difference itself, by {by}. Each mark is blue where its "
        "own Holm-corrected p, written at the right, tracks above and slices below, is "
        f"less than {figures.SIGNIFICANT}, and grey where the difference may be chance. {text}",
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
        f"logarithmic scale; upright lines are 95 % intervals by {_drawn(points)}. {text}",
    )
    text = ", ".join(f"{duration(p.train_s)} at {p.values[x]}" for p in (points[0], points[-1]))
    yield Picture(
        f"Training time over {words}{where}",
        figures.times(points, x, words, f"Training time: {text}.", f"times-{protocol}"),
        "How long the training of one seed took on the machine that ran the study, its folds "
        f"together: {text}.",
    )


def _costs(
    results: Results, points: Sequence[Point], where: str, protocol: str
) -> Iterator[Picture]:
    axis = _axes_words(results.plan)
    text = (
        "Up is more often right, left is cheaper. Upright lines are 95 % intervals by "
        f"{_drawn(points)}. Marks that would hide one another are set side by side."
    )
    counted = _multiply_adds(results, [point for point in points if point.macs])
    if counted is not None:
        costly, macs, what = counted
        yield Picture(
            f"Accuracy against multiply-adds{where}",
            figures.cost(
                costly,
                macs,
                f"multiply-adds for {what}",
                "Accuracy of tracks against multiply-adds.",
                f"macs-{protocol}",
                axis,
            ),
            f"What each network computes for {what}, training not counted, on a logarithmic "
            f"scale. {text}",
        )
    timed = [point for point in points if point.train_s > 0]
    if len(timed) > 1:
        times, unit = figures.in_time_unit([point.train_s for point in timed])
        yield Picture(
            f"Accuracy against training time{where}",
            figures.cost(
                timed,
                times,
                f"training, {unit}",
                "Accuracy of tracks against training time.",
                f"times-cost-{protocol}",
                axis,
            ),
            f"{unit.capitalize()} of training on the machine that ran the study, all folds of one "
            f"seed, on a logarithmic scale. {text}",
        )


def _multiply_adds(
    results: Results, points: Sequence[Point]
) -> tuple[Sequence[Point], list[float], str] | None:
    """Multiply-adds on one footing, and of what; None if slices differ by an unknown length."""
    lengths = _slice_steps(results)
    if all(point.cells[0]["cell"] in lengths for point in points):
        steps = [lengths[point.cells[0]["cell"]] for point in points]
        macs = [float(p.macs or 0) * MUSIC_S / step for p, step in zip(points, steps, strict=True)]
        return points, macs, f"{MUSIC_S} s of music"
    axes = results.plan.axes.items()
    keys = {key for axis, values in axes for key in _keys(axis, values)}
    if any(key.startswith("slicing.") for key in keys):
        return None
    return points, [float(point.macs or 0) for point in points], "one slice"


def _keys(axis: str, values: Any) -> Iterator[str]:
    """The configuration keys that an axis sets."""
    if isinstance(values, dict):
        for keys in values.values():
            yield from keys
    else:
        yield axis


def _slice_steps(results: Results) -> dict[str, float]:
    """Seconds from slice to slice in each cell; nothing if the configuration has changed since."""
    study = Study(results.record["name"], results.plan, tuple(results.record["overrides"]))
    done = [cell for cell in results.cells() if not cell["error"]]
    chosen = {cell["cell"]: cell["parts"][0]["chosen"] for cell in done}
    try:
        if study.record()["specs"] != results.record["specs"]:
            return {}
        return {
            cell.name: study.spec(cell, chosen[cell.name]).config.slicing.hop_s
            for cell in study.cells
            if cell.name in chosen
        }
    except TsResformerError:  # a configuration file of the author's that is not here
        return {}


def _learning(plan: Plan, points: Sequence[Point], where: str, protocol: str) -> Iterator[Picture]:
    scored = (
        "The epoch that is scored is the one with the best development fold, which no test track "
        "is in."
    )
    for of, factor, label, heading, text in (
        ("dev_score", 100.0, "accuracy on the development fold, %", "How fast each learns", ""),
        (
            *("train_loss", 1.0, "training loss", "The loss that each lowers in training"),
            "It is of the training tracks as training hears them: with dropout, and with masks, "
            "mixed tracks and smoothed labels as configured, so that it cannot reach 0 and does "
            "not say how often a network is wrong. ",
        ),
    ):
        alt = f"{label} over the epochs."
        yield Picture(
            f"{heading}{where}",
            figures.learning(points, of, factor, label, alt, f"{of}-{protocol}", _axes_words(plan)),
            f"{label.capitalize()}, after each epoch, mean over seeds and folds. {text}{scored}",
        )


def _genres(
    plan: Plan, points: Sequence[Point], where: str, reference: Point | None
) -> Iterator[Picture]:
    """Recall of each genre by several points, and what the reference takes for what."""
    if any(cell["metrics"]["task"] != "single" for point in points for cell in point.cells):
        return
    best = sorted(points, key=lambda point: -point.accuracy.value)
    first = reference or best[0]
    name = _name_in_text(plan, first)
    which = f"{name}, {'the reference' if reference else 'which is most often right'}"
    genres = genres_of(points)
    if len(points) > 1:
        others = [point for point in best if point is not first][: COMPARED - 1]
        kinds = [k for k, point in enumerate(points) if any(point is other for other in others)]
        kinds.insert(0, next(k for k, point in enumerate(points) if point is first))
        yield _recalls(plan, points, kinds, genres, where, which)
    counts = confusion(first, genres)
    worst = worst_confusion(counts, genres)
    numbered, cells = confusion_cells(len(genres))
    seeds = ", mean over its seeds" if len(first.answers) > 1 else ""
    yield Picture(
        f"What is taken for what{where}",
        draw_confusion(counts, genres, f"Confusion matrix of {name}. {worst}"),
        f"Whole tracks, by {which}{seeds}. Each row is a genre as labelled, each column a genre as "
        f"predicted. {cells} A perfect model fills the diagonal only. {worst} Measured on: "
        f"{first.title}.",
        small_print=True,
        dense=not numbered,
    )


def _recalls(
    plan: Plan,
    points: Sequence[Point],
    kinds: Sequence[int],
    genres: Sequence[str],
    where: str,
    which: str,
) -> Picture:
    shown = [points[k] for k in kinds]
    found = [recalls(point, genres) for point in shown]
    order = sorted(range(len(genres)), key=lambda k: -np.nan_to_num(found[0][k].value, nan=-1.0))
    first = [found[0][k] for k in order]
    ends = [f"{genres[order[i]]} ({percent(first[i].value)})" for i in (0, -1)]
    text = f"Found best by {_name_in_text(plan, shown[0])}: {ends[0]}; worst: {ends[1]}."
    seeds = ", mean over seeds" if any(len(point.answers) > 1 for point in shown) else ""
    texts = [
        f"Recall: the share of a genre's tracks that is found, in per cent of whole tracks{seeds}. "
        f"Filled marks are {which}, with 95 % intervals by {_drawn(shown[:1])}; hollow marks are "
        "the others."
    ]
    if len(shown) < len(points):
        texts.append(
            f"Shown are it and the {len(shown) - 1} others that are most often right, of "
            f"{len(points)} in all."
        )
    if not plan.axes:
        texts.append(
            "Each protocol tests other tracks; those that leak find more than they should."
        )
    alone = [genres[k] for k in order if np.isnan(found[0][k].low)]
    if alone:
        texts.append(
            f"Without interval, since all its tracks are of one artist: {', '.join(alone)}."
        )
    return Picture(
        f"Which genres each finds{where}",
        figures.recalls(
            np.array([[row[k].value for k in order] for row in found]),
            first,
            [_name(point) for point in shown],
            kinds,
            [genres[k] for k in order],
            f"Recall of each genre. {text}",
            _axes_words(plan) or "protocol",
        ),
        " ".join([*texts, text]),
        small_print=True,
        dense=True,
    )
