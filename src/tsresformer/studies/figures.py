"""Pictures of a study, in the style of the reports: what colour tells, shape or place tells too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsresformer.bootstrap import Interval
from tsresformer.report.figures import (
    BLUE,
    CLASS_COLOURS,
    GREEN,
    GREY,
    INK,
    MARKERS,
    OLIVE,
    VERMILLION,
    Canvas,
    in_style,
)
from tsresformer.report.result import percent
from tsresformer.studies.tables import Contrast, Point, counted_short, p_text, signed

WIDE = 7.4  # inches
ROW = 0.42  # inches
SIGNIFICANT = 0.05


@in_style
def accuracies(points: Sequence[Point], alt: str, name: str) -> str:
    """Accuracy of tracks and slices of each point, with intervals; small ticks are the seeds."""
    canvas = Canvas(name, alt, 0.95 + ROW * len(points), WIDE)
    axes = canvas.axes
    axes.grid(False, axis="y")
    for row, point in enumerate(points):
        _interval(axes, point.slice_accuracy, row + 0.17, OLIVE, "s", hollow=True)
        _interval(axes, point.accuracy, row - 0.17, BLUE, "o")
        if len(point.accuracies) > 1:
            axes.plot(
                [100 * accuracy for accuracy in point.accuracies],
                [row - 0.17] * len(point.accuracies),
                "|",
                color=INK,
                markersize=7,
                markeredgewidth=0.8,
            )
    _rows(axes, [point.label for point in points])
    _legend(axes, (("whole tracks", BLUE, "o"), ("single slices", OLIVE, "s")))
    axes.set_xlabel("accuracy, %, with 95 % interval")
    return canvas.svg()


@in_style
def leakage(points: Sequence[Point], contrasts: Sequence[Contrast], alt: str) -> str:
    """Accuracy under each protocol beside the honest reference, values and gaps written out.

    The shaded band is the interval of the reference: what lies right of it is not the music.
    """
    reference = contrasts[0].reference
    gaps = {id(contrast.point): contrast for contrast in contrasts}
    canvas = Canvas("leakage", alt, 1.5 + 0.86 * len(points), WIDE)
    axes = canvas.axes
    axes.grid(False, axis="y")
    honest = reference.accuracy
    if not math.isnan(honest.low):
        axes.axvspan(100 * honest.low, 100 * honest.high, color=GREEN, alpha=0.13, linewidth=0)
    axes.axvline(100 * honest.value, color=GREEN, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"{reference.protocol}, {percent(honest.value)}",
        (100 * honest.value, 1.01),
        xycoords=("data", "axes fraction"),
        color=GREEN,
        ha="center",
        va="bottom",
        fontsize=7.5,
    )
    for row, point in enumerate(points):
        colour = VERMILLION if point.leaks else BLUE
        y = (row - 0.17, row + 0.21)
        pairs = ((point.accuracy, honest), (point.slice_accuracy, reference.slice_accuracy))
        for (value, base), place in zip(pairs, y, strict=True):
            if point.leaks and value.value > base.value:
                axes.plot(
                    [100 * base.value, 100 * value.value],
                    [place] * 2,
                    color=colour,
                    alpha=0.25,
                    linewidth=7,
                    solid_capstyle="butt",
                )
            axes.annotate(
                f"{100 * value.value:.1f}",
                (100 * value.value, place),
                (0, 5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                weight="bold" if place == y[0] else "normal",
            )
        _interval(axes, point.accuracy, y[0], colour, "o")
        _interval(axes, point.slice_accuracy, y[1], colour, "s", hollow=True)
        if (gap := gaps.get(id(point))) is not None:
            for difference, place in ((gap.track, y[0]), (gap.slice, y[1])):
                axes.annotate(
                    signed(difference),
                    (1.02, place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontsize=7.5,
                )
    axes.annotate(
        f"points more than\n{reference.protocol} (95 %)",
        (1.02, -0.62),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=7,
    )
    _rows(axes, [_split_words(point) for point in points], margin=0.6)
    _legend(axes, (("whole tracks", INK, "o"), ("single slices", INK, "s")))
    axes.set_xlabel("accuracy, %, with 95 % interval by artist")
    return canvas.svg()


def _split_words(point: Point) -> str:
    """A protocol, what it leaks, and how many tracks it tests on, in three lines."""
    leaked = {"slice": "one track", "track": "one artist"}.get(point.protocol)
    fault = f"LEAKS: {leaked} on both sides" if leaked else "no artist on both sides"
    return f"{point.protocol}\n{fault}\n{point.n_tracks:,} tracks"


@in_style
def differences(gaps: Sequence[Contrast], alt: str, name: str) -> str:
    """What each point has more than the reference, with intervals; at the right the p-values."""
    canvas = Canvas(name, alt, 1.15 + ROW * len(gaps), WIDE)
    axes = canvas.axes
    axes.grid(False, axis="y")
    axes.axvline(0, color=INK, linewidth=0.9)
    for row, gap in enumerate(gaps):
        colour = BLUE if gap.p_holm < SIGNIFICANT else GREY
        for difference, y, marker in ((gap.track, row - 0.17, "o"), (gap.slice, row + 0.17, "s")):
            more = Interval(-difference.value, -difference.high, -difference.low)
            _interval(axes, more, y, colour, marker, hollow=marker == "s")
        axes.annotate(
            p_text(gap.p_holm),
            (1.02, row - 0.17),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
        )
    axes.annotate(
        "p (Holm)",
        (1.02, -0.58),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=7.5,
    )
    _rows(axes, [gap.point.label for gap in gaps])
    _legend(axes, (("whole tracks", INK, "o"), ("single slices", INK, "s")))
    axes.set_xlabel("accuracy, points more than the reference, with 95 % interval")
    return canvas.svg()


@in_style
def curve(points: Sequence[Point], axis: str, words: str, alt: str, name: str) -> str:
    """Accuracy of tracks and slices over the numbers of one axis."""
    canvas = Canvas(name, alt, 3.3)
    axes = canvas.axes
    x = np.array([float(point.values[axis]) for point in points])
    for dodge, colour, marker, label, of in (
        (0.985, BLUE, "o", "whole tracks", "accuracy"),
        (1.015, OLIVE, "s", "single slices", "slice_accuracy"),
    ):
        found: list[Interval] = [getattr(point, of) for point in points]
        y = 100 * np.array([interval.value for interval in found])
        axes.plot(x * dodge, y, color=colour, marker=marker, markersize=4.5, label=label)
        for place, interval in zip(x * dodge, found, strict=True):
            axes.plot([place] * 2, [100 * interval.low, 100 * interval.high], color=colour, lw=0.9)
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set_xlabel(words)
    axes.set_ylabel("accuracy, %")
    axes.figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3)
    return canvas.svg()


@in_style
def times(points: Sequence[Point], axis: str, words: str, alt: str, name: str) -> str:
    """Training time over the numbers of one axis."""
    canvas = Canvas(name, alt, 3.3)
    axes = canvas.axes
    x = [float(point.values[axis]) for point in points]
    unit, seconds = ("minutes", 60) if max(p.train_s for p in points) >= 120 else ("seconds", 1)
    y = [point.train_s / seconds for point in points]
    axes.plot(x, y, color=BLUE, marker="o", markersize=4.5)
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(words)
    axes.set_ylabel(f"training, {unit}")
    return canvas.svg()


@in_style
def cost(points: Sequence[Point], of: str, label: str, alt: str, name: str) -> str:
    """Accuracy of tracks against what a point costs, on a logarithmic scale."""
    canvas = Canvas(name, alt, 3.9)
    axes = canvas.axes
    costs = [float(getattr(point, of)) for point in points]
    for k, (point, x) in enumerate(zip(points, costs, strict=True)):
        interval, colour = point.accuracy, _colour(k)
        axes.plot([x] * 2, [100 * interval.low, 100 * interval.high], color=colour, lw=0.9)
        axes.plot(
            x,
            100 * interval.value,
            MARKERS[k % len(MARKERS)],
            color=colour,
            markersize=6,
            label=point.label,
        )
    axes.set_xscale("log")
    ticks = _round_numbers(min(costs), max(costs))
    axes.set_xticks(ticks, [counted_short(tick) for tick in ticks])
    axes.minorticks_off()
    axes.margins(x=0.1)
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy of tracks, %")
    axes.figure.legend(loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.0)
    return canvas.svg()


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around a range; more in a short one, powers alone in a long.

    >>> _round_numbers(700, 1500), _round_numbers(60, 450)
    ([500.0, 700.0, 1000.0, 1500.0, 2000.0, 3000.0], [50.0, 100.0, 200.0, 500.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high < 5 * low:
        steps: tuple[float, ...] = (1, 1.5, 2, 3, 5, 7)
    else:
        steps = (1, 2, 5) if len(powers) <= 3 else (1,)
    every = [step * 10.0**power for power in powers for step in steps]
    return [number for number in every if low / 2 <= number <= high * 2]


@in_style
def learning(
    points: Sequence[Point], of: str, factor: float, label: str, alt: str, name: str
) -> str:
    """A curve over the epochs of each point: mean over its trainings, times `factor`."""
    canvas = Canvas(name, alt, 3.9)
    axes = canvas.axes
    longest = 0
    for k, point in enumerate(points):
        runs = [part["history"] for cell in point.cells for part in cell["parts"]]
        n_epochs = min(map(len, runs))
        mean = np.mean([[epoch[of] for epoch in run[:n_epochs]] for run in runs], axis=0)
        axes.plot(
            np.arange(1, n_epochs + 1),
            factor * mean,
            color=_colour(k),
            marker=MARKERS[k % len(MARKERS)],
            markersize=3,
            linewidth=1.2,
            label=point.label,
        )
        longest = max(longest, n_epochs)
    axes.set_xlim(0.5, longest + 0.5)
    axes.set_xticks(range(1, longest + 1, max(1, longest // 8)))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.figure.legend(loc="outside lower center", ncols=3, handletextpad=0.4, columnspacing=1.0)
    return canvas.svg()


def _colour(k: int) -> str:
    """The k-th colour; where the markers begin anew, each gets another one than before."""
    return CLASS_COLOURS[(k + k // len(MARKERS)) % len(CLASS_COLOURS)]


def _interval(
    axes: Any, interval: Interval, y: float, colour: str, marker: str, *, hollow: bool = False
) -> None:
    if not math.isnan(interval.low):
        axes.plot([100 * interval.low, 100 * interval.high], [y, y], color=colour, linewidth=1.3)
    axes.plot(
        100 * interval.value,
        y,
        marker,
        color=colour,
        markerfacecolor="white" if hollow else colour,
        markersize=6,
    )


def _rows(axes: Any, labels: Sequence[str], margin: float = 0.5) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 1 + margin, -margin)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(labels)):
        axes.axhline(row - 0.5, color=GREY, alpha=0.3, linewidth=0.5)


def _legend(axes: Any, entries: Sequence[tuple[str, str, str]]) -> None:
    for label, colour, marker in entries:
        face = "white" if marker == "s" else colour
        axes.plot([], [], marker, color=colour, markerfacecolor=face, label=label)
    axes.figure.legend(loc="outside upper left", ncols=len(entries), handletextpad=0.3)
