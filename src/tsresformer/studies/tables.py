"""A study's tables: one row a cell for machines, one row a point of the grid for people."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsresformer.bootstrap import (
    Difference,
    Interval,
    Shares,
    difference,
    equal_groups,
    share_interval,
)
from tsresformer.compare import MCNEMAR_WARNING, Answer, answers_of, holm, mcnemar
from tsresformer.files import atomic_write
from tsresformer.report.result import percent, span
from tsresformer.splits import Protocol
from tsresformer.spreadsheet import write_rows
from tsresformer.studies.budget import duration
from tsresformer.studies.plan import label_of
from tsresformer.studies.results import Results

TABLE, MARKDOWN, LATEX = "results.csv", "table.md", "table.tex"


@dataclass(frozen=True)
class Point:
    """A point of the grid under one protocol: its cells of all seeds taken together.

    Attributes
    ----------
    accuracies : of whole tracks, one a seed
    track, slice : right answers of each seed, with their groups
    """

    values: Mapping[str, str]
    protocol: str
    title: str
    leaks: bool
    n_tracks: int
    accuracies: tuple[float, ...]
    track: Shares
    slice: Shares
    accuracy: Interval
    slice_accuracy: Interval
    answers: tuple[Mapping[str, Answer], ...]
    train_s: float
    params: int | None
    macs: int | None
    cells: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """The point in words, without its protocol."""
        return ", ".join(self.values.values()) or "base"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its cells."""
        return tuple(cell["seed"] for cell in self.cells)

    @property
    def slices_per_track(self) -> float:
        """How many slices of a track were scored, in the mean."""
        return float(self.slice.count.sum() / self.track.count.sum())


@dataclass(frozen=True)
class Contrast:
    """A point against the reference: the difference, corrected for how many are compared.

    `only` are the tracks that the reference alone, and the point alone, gets right with the first
    seed that both have; None where they were not scored on the same tracks.
    """

    point: Point
    reference: Point
    track: Difference
    slice: Difference
    p_holm: float
    slice_p_holm: float
    only: tuple[int, int] | None
    mcnemar_p: float


def points(results: Results) -> list[Point]:
    """Every point of which a cell is finished: protocols, then variants, as the plan lists them."""
    grouped: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell in results.cells():
        if not cell["error"]:
            grouped.setdefault((*cell["values"].values(), cell["protocol"]), []).append(cell)
    listed = results.plan.protocols.index
    order = sorted(grouped.values(), key=lambda cells: listed(cells[0]["protocol"]))
    return [_point(results, cells) for cells in order]


def _point(results: Results, cells: Sequence[Mapping[str, Any]]) -> Point:
    answers = [answers_of(results.predictions(cell["cell"])) for cell in cells]
    common = [i for i in answers[0] if all(i in others for others in answers)]
    first = [answers[0][i] for i in common]
    groups = tuple(answer.group for answer in first)
    right = np.array([[float(a[i].right) for i in common] for a in answers])
    slices = np.array([[float(a[i].n_slices_right) for i in common] for a in answers])
    track = Shares(right, np.ones(len(common)), groups)
    slice_ = Shares(slices, np.array([float(a.n_slices) for a in first]), groups)
    metrics = cells[0]["metrics"]
    return Point(
        values=cells[0]["values"],
        protocol=cells[0]["protocol"],
        title=metrics["title"],
        leaks=not Protocol(cells[0]["protocol"]).honest,
        n_tracks=len(common),
        accuracies=tuple(cell["metrics"]["track"]["accuracy"]["value"] for cell in cells),
        track=track,
        slice=slice_,
        accuracy=share_interval(track),
        slice_accuracy=share_interval(slice_),
        answers=tuple(answers),
        train_s=float(np.mean([cell["train_s"] for cell in cells])),
        params=cells[0]["params"],
        macs=cells[0]["macs"],
        cells=tuple(cells),
    )


def contrasts(results: Results, found: Sequence[Point]) -> list[Contrast]:
    """Compare the points with the study's reference; Holm over all those of one protocol.

    Where the protocols themselves are compared, over all.
    """
    pairs = _pairs(results, found)
    tracks = [difference(reference.track, point.track) for _, reference, point in pairs]
    slices = [difference(reference.slice, point.slice) for _, reference, point in pairs]
    families: dict[str, list[int]] = {}
    for i, (axis, _, point) in enumerate(pairs):
        families.setdefault("" if axis == "protocol" else point.protocol, []).append(i)
    p_track: dict[int, float] = {}
    p_slice: dict[int, float] = {}
    for family in families.values():
        p_track.update(zip(family, holm([tracks[i].p for i in family]), strict=True))
        p_slice.update(zip(family, holm([slices[i].p for i in family]), strict=True))
    compared = []
    for i, (axis, reference, point) in enumerate(pairs):
        only = _discordant(axis, reference, point)
        compared.append(
            Contrast(
                point,
                reference,
                tracks[i],
                slices[i],
                p_track[i],
                p_slice[i],
                only,
                mcnemar(*only) if only else math.nan,
            )
        )
    return compared


def _pairs(results: Results, found: Sequence[Point]) -> list[tuple[str, Point, Point]]:
    """Axis of the reference, the reference, and the point that is compared with it."""
    return [
        (axis, reference, point)
        for axis, label in results.plan.reference_labels.items()
        for reference in found
        if _place(reference, axis) == label
        for point in found
        if point is not reference and _without(point, axis) == _without(reference, axis)
    ]


def _place(point: Point, axis: str) -> str:
    return point.protocol if axis == "protocol" else point.values[axis]


def _without(point: Point, axis: str) -> list[tuple[str, str]]:
    where = [*point.values.items(), ("protocol", point.protocol)]
    return [(name, value) for name, value in where if name != axis]


def _discordant(axis: str, one: Point, two: Point) -> tuple[int, int] | None:
    """Tracks that only one, and only the other, gets right with the first seed of both.

    None without such a seed, and where protocols are compared, which test other tracks.
    """
    if axis == "protocol":
        return None
    others = dict(zip(two.seeds, two.answers, strict=True))
    both = [
        (a, others[seed]) for seed, a in zip(one.seeds, one.answers, strict=True) if seed in others
    ]
    if not both:
        return None
    a, b = both[0]
    pairs = [(a[i].right, b[i].right) for i in a if i in b]
    return sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs)


def cell_rows(results: Results) -> Iterator[list[object]]:
    """Rows of ``results.csv``, header first; a cell that was not run is not there."""
    axes = list(results.plan.axes)
    yield [
        *("cell", *axes, "seed", "protocol", "n_tracks", "accuracy", "low", "high"),
        *("train_s", "params", "macs", "slice_accuracy", "slice_low", "slice_high", "error"),
    ]
    for cell in results.cells():
        head = [cell["cell"], *(cell["values"][a] for a in axes), cell["seed"], cell["protocol"]]
        if cell["error"]:
            yield [*head, *[""] * 10, cell["error"]]
            continue
        metrics = cell["metrics"]
        track, slice_ = metrics["track"]["accuracy"], metrics["slice"]["accuracy"]
        yield [
            *head,
            metrics["n_tracks"],
            *(_rounded(track[name]) for name in ("value", "low", "high")),
            cell["train_s"],
            *("" if cell[name] is None else cell[name] for name in ("params", "macs")),
            *(_rounded(slice_[name]) for name in ("value", "low", "high")),
            "",
        ]


def point_rows(results: Results, found: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table for people."""
    gaps = {id(c.point): c for c in contrasts(results, found)}
    axes = [axis.rpartition(".")[2] for axis in results.plan.axes]
    header = [*axes, "protocol", "tracks", "seeds", "accuracy", "95 %", "slices", "95 %"]
    header += ["minus reference", "p (Holm)"] if gaps else []
    header += ["training", "parameters", "multiply-adds"]
    rows = []
    for point in found:
        row = [*point.values.values(), point.protocol + (" (leaks)" if point.leaks else "")]
        row += [f"{point.n_tracks:,}", str(len(point.cells))]
        for interval in (point.accuracy, point.slice_accuracy):
            row += [percent(interval.value), span(interval, percent)]
        if gaps:
            gap = gaps.get(id(point))
            row += [signed(gap.track), p_text(gap.p_holm)] if gap else ["", ""]
        row += [duration(point.train_s), counted_short(point.params), counted_short(point.macs)]
        rows.append(row)
    return header, rows


def signed(gap: Difference) -> str:
    """What a point has more than the reference, in points, with its interval."""
    value, low, high = (round(-100 * v, 1) + 0.0 for v in (gap.value, gap.high, gap.low))
    return f"{value:+.1f}" + ("" if math.isnan(low) else f" ({low:+.1f} to {high:+.1f})")


def p_text(p: float) -> str:
    """Write a p-value."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted_short(n: float | None) -> str:
    """Write a large number with two digits and a unit.

    >>> counted_short(1_545_460), counted_short(None)
    ('1.5 M', '–')
    """
    if n is None:
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if n >= size:
            text = f"{n / size:.1f}" if n < 10 * size else f"{n / size:.0f}"
            return text.removesuffix(".0") + unit
    return f"{n:g}"


def markdown(results: Results, found: Sequence[Point]) -> str:
    """The table for people as Markdown, with what a reader must know below it."""
    header, rows = point_rows(results, found)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"**{results.plan.title}**", "", *lines, "", *notes(results, found)]) + "\n"


def latex(results: Results, found: Sequence[Point]) -> str:
    """The table for people as a LaTeX tabular (package booktabs)."""
    header, rows = point_rows(results, found)
    n_names = len(results.plan.axes) + 1
    lines = [
        f"% {results.plan.title}",
        f"\\begin{{tabular}}{{{'l' * n_names}{'r' * (len(header) - n_names)}}}",
        "\\toprule",
        " & ".join(map(_escaped, header)) + " \\\\",
        "\\midrule",
        *(" & ".join(map(_escaped, row)) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"% {note}" for note in notes(results, found)),
    ]
    return "\n".join(lines) + "\n"


def notes(results: Results, found: Sequence[Point]) -> list[str]:
    """Sentences that belong below every table of this study."""
    titles = dict.fromkeys(point.title for point in found)
    texts = [f"Accuracy of whole tracks and of single slices on: {'; '.join(titles)}."]
    texts.append(
        "95 % intervals: bootstrap over artists, and over seeds where there are several. Training: "
        "all folds of one seed together."
    )
    texts.append(_artists_note(found))
    if any(len(point.cells) == 1 for point in found):
        texts.append("With one seed, the luck of that one training is not in its intervals.")
    if any(point.leaks for point in found):
        texts.append(
            "Protocols that leak have tracks or artists on both sides: their accuracy is inflated."
        )
    for axis, label in results.plan.reference_labels.items():
        texts.append(
            f"Differences are from {axis} {label}, in points; p by a bootstrap over artists, Holm-"
            f"corrected among the comparisons{'' if axis == 'protocol' else ' of one protocol'}."
        )
    texts += [text] if (text := _mcnemar_note(results, found)) else []
    per_track = [point.slices_per_track for point in found]
    if any(point.leaks for point in found) and max(per_track) > 1.05 * min(per_track):
        each = (f"{point.protocol} {n:.1f}" for point, n in zip(found, per_track, strict=True))
        texts.append(f"Slices of a track that are scored together: {', '.join(each)}.")
    texts += [text] if (text := _chosen_note(results, found)) else []
    parts = [part for point in found for cell in point.cells for part in cell["parts"]]
    sizes = {part.get("micro_batch") for part in parts} - {None}
    if len(sizes) > 1:
        texts.append(
            f"Slices computed at once: {', '.join(map(str, sorted(sizes)))}. Batch norms see no "
            "more; where memory was short, the same seed may give other numbers elsewhere."
        )
    processors = {part.get("processor") or "not recorded" for part in parts if part.get("history")}
    if len(processors) > 1:
        texts.append(
            f"Processors that trained networks: {', '.join(sorted(processors))}. They round "
            "differently, so that one seed gives other numbers on each."
        )
    failed = [cell["cell"] for cell in results.cells() if cell["error"]]
    left = len(results.record["cells"]) - len(results.cells())
    texts += [f"Failed cells: {', '.join(failed)}."] if failed else []
    texts += [f"Not run yet: {left} of {len(results.record['cells'])} cells."] if left else []
    return texts


def _artists_note(found: Sequence[Point]) -> str:
    """How many artists the intervals rest on, and how unequal they are."""
    each = []
    for point in {point.protocol: point for point in found}.values():
        sizes = list(Counter(point.track.groups).values())
        largest = percent(max(sizes) / sum(sizes))
        each.append(
            f"{point.protocol} {len(sizes):,}, worth {equal_groups(sizes):,.0f} "
            f"of one size (the largest has {largest} of the tracks)"
        )
    return f"Artists tested: {'; '.join(each)}."


def _chosen_note(results: Results, found: Sequence[Point]) -> str:
    """What the tuning chose, fold by fold where it differs; nothing where nothing was tuned."""
    if results.plan.tuning is None:
        return ""
    chosen: dict[str, list[str]] = {}
    for point in found:
        folds = [part["chosen"] for part in point.cells[0]["parts"]]
        for key in folds[0]:
            values = [label_of(fold[key]) for fold in folds]
            text = values[0] if len(set(values)) == 1 else " ".join(values)
            name = f"{point.label} {key.rpartition('.')[2]} {text}"
            chosen.setdefault(point.protocol, []).append(name)
    each = "; ".join(f"{protocol}: {', '.join(texts)}" for protocol, texts in chosen.items())
    return f"Chosen in tuning, one value a fold where they differ, {each}."


def _mcnemar_note(results: Results, found: Sequence[Point]) -> str:
    """McNemar's p-values with the warning that goes with them; nothing where there are none."""
    tests: dict[str, list[str]] = {}
    for axis, reference, point in _pairs(results, found):
        if only := _discordant(axis, reference, point):
            text = f"{point.label} {p_text(mcnemar(*only))}"
            tests.setdefault(point.protocol, []).append(text)
    if not tests:
        return ""
    each = "; ".join(f"{protocol}: {', '.join(texts)}" for protocol, texts in tests.items())
    return f"McNemar's p, of the first seed alone and not corrected, {each}. {MCNEMAR_WARNING}."


def write_tables(results: Results) -> list[Point]:
    """Write ``results.csv`` and the tables for people; return the points behind them."""
    found = points(results)
    stream = io.StringIO(newline="")
    write_rows(stream, cell_rows(results))
    texts = {TABLE: stream.getvalue()}
    if found:
        texts |= {MARKDOWN: markdown(results, found), LATEX: latex(results, found)}
    for name, text in texts.items():
        with atomic_write(results.folder / name) as file:
            file.write(text)
    return found


def as_json(results: Results, found: Sequence[Point]) -> dict[str, Any]:
    """Cells, and the comparisons with the reference (positive: better than it), as plain values."""
    return {
        "schema": 1,
        "mcnemar": MCNEMAR_WARNING,
        "study": dict(results.record),
        "cells": results.cells(),
        "comparisons": [
            {
                "values": dict(gap.point.values),
                "protocol": gap.point.protocol,
                "reference": {
                    "values": dict(gap.reference.values),
                    "protocol": gap.reference.protocol,
                },
                "track": _plain(gap.track),
                "slice": _plain(gap.slice),
                "p_holm": _number(gap.p_holm),
                "slice_p_holm": _number(gap.slice_p_holm),
                "mcnemar_p": _number(gap.mcnemar_p),
            }
            for gap in contrasts(results, found)
        ],
    }


def _plain(gap: Difference) -> dict[str, float | None]:
    values = {"value": -gap.value, "low": -gap.high, "high": -gap.low, "p": gap.p}
    return {name: _number(v) for name, v in values.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _rounded(value: float | None) -> object:
    return "" if value is None else round(value, 6)


def _escaped(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "–": "--", "<": "$<$"}
    return "".join(signs.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)
