"""Pictures of a study, in the style of the reports: what colour tells, shape or place tells too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.bootstrap import Difference, Interval
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
    short,
)
from tsresformer.report.result import percent
from tsresformer.studies.tables import Contrast, Point, p_text, signed

WIDE = 7.4  # inches
ROW = 0.42  # inches
SIGNIFICANT = 0.05
P_COLUMN = 104  # points, right of the axes
APART = 0.045
"""Least distance of two marks in a picture of costs, as a share of the range that is drawn."""


@in_style
def accuracies(points: Sequence[Point], alt: str, name: str, axis: str = "") -> str:
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
    axes.set_ylabel(axis)
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
        ha="center",
        va="bottom",
        fontsize=7.5,
    )
    for row, point in enumerate(points):
        colour = VERMILLION if point.leaks else BLUE
        values = ((point.accuracy, honest), (point.slice_accuracy, reference.slice_accuracy))
        marks = (("o", row - 0.17), ("s", row + 0.21))
        gap = gaps.get(id(point))
        sides = _sides(gap) if gap else (None, None)
        for (value, base), (marker, place), side in zip(values, marks, sides, strict=True):
            own = _sure(side[1], colour) if side else colour
            if point.leaks and value.value > base.value:
                axes.plot(
                    [100 * base.value, 100 * value.value],
                    [place] * 2,
                    color=own,
                    alpha=0.25,
                    linewidth=7,
                    solid_capstyle="butt",
                )
            right = value.value >= honest.value  # of the dashed line, which no number is to cross
            axes.annotate(
                f"{100 * value.value:.1f}",
                (100 * value.value, place),
                (4 if right else -4, 4),
                textcoords="offset points",
                ha="left" if right else "right",
                va="bottom",
                fontsize=7.5,
                weight="bold" if marker == "o" else "normal",
            )
            _interval(axes, value, place, own, marker, hollow=marker == "s")
            if side:
                _beside(axes, signed(side[0]), place)
                _beside(axes, p_text(side[1]), place, P_COLUMN)
    _beside(axes, f"points more than\n{reference.protocol} (95 %)", -0.62, va="bottom")
    _beside(axes, "p (Holm)", -0.62, P_COLUMN, va="bottom")
    _rows(axes, [_split_words(point) for point in points], margin=0.6)
    _legend(axes, (("whole tracks", INK, "o"), ("single slices", INK, "s")))
    axes.set_xlabel("accuracy, %, with 95 % interval")
    return canvas.svg()


def _split_words(point: Point) -> str:
    """A protocol, what it leaks, and how many tracks it tests on, in three lines."""
    leaked = {"slice": "one track", "track": "one artist"}.get(point.protocol)
    fault = f"LEAKS: {leaked} on both sides" if leaked else "no artist on both sides"
    return f"{point.protocol}\n{fault}\n{point.n_tracks:,} tracks"


@in_style
def differences(gaps: Sequence[Contrast], alt: str, name: str, axis: str = "") -> str:
    """What each point has more than the reference, with intervals; at the right the p-values."""
    canvas = Canvas(name, alt, 1.15 + ROW * len(gaps), WIDE)
    axes = canvas.axes
    axes.grid(False, axis="y")
    axes.axvline(0, color=INK, linewidth=0.9)
    for row, gap in enumerate(gaps):
        for (difference, p), (marker, dodge) in zip(
            _sides(gap), (("o", -0.17), ("s", 0.17)), strict=True
        ):
            more = Interval(-difference.value, -difference.high, -difference.low)
            _interval(axes, more, row + dodge, _sure(p, BLUE), marker, hollow=marker == "s")
            _beside(axes, p_text(p), row + dodge)
    _beside(axes, "p (Holm)", -0.58, va="bottom")
    _rows(axes, [gap.point.label for gap in gaps])
    _legend(axes, (("whole tracks", INK, "o"), ("single slices", INK, "s")))
    axes.set_xlabel("accuracy, points more than the reference, with 95 % interval")
    axes.set_ylabel(axis)
    return canvas.svg()


def _sides(gap: Contrast) -> tuple[tuple[Difference, float], tuple[Difference, float]]:
    """The differences in tracks and in slices, each with its own corrected p-value."""
    return (gap.track, gap.p_holm), (gap.slice, gap.slice_p_holm)


def _beside(axes: Any, text: str, y: float, x: float = 7, va: str = "center") -> None:
    """Write right of the axes, at a row; `x` is in points."""
    axes.annotate(
        text,
        (1, y),
        (x, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va=va,
        fontsize=7.5,
        annotation_clip=False,
    )


def _sure(p: float, colour: str) -> str:
    """The colour of what is beyond chance, grey for what may be chance."""
    return colour if p < SIGNIFICANT else GREY


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
    y, unit = in_time_unit([point.train_s for point in points])
    axes.plot(x, y, color=BLUE, marker="o", markersize=4.5)
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(words)
    axes.set_ylabel(f"training, {unit}")
    return canvas.svg()


def in_time_unit(seconds: Sequence[float]) -> tuple[list[float], str]:
    """Times in the unit that suits the longest, and its name.

    >>> in_time_unit([90, 600])
    ([1.5, 10.0], 'minutes')
    """
    longest = max(seconds)
    unit, size = ("hours", 3600) if longest >= 3 * 3600 else ("minutes", 60)
    unit, size = (unit, size) if longest >= 120 else ("seconds", 1)
    return [second / size for second in seconds], unit


@in_style
def cost(
    points: Sequence[Point], costs: Sequence[float], label: str, alt: str, name: str, axis: str = ""
) -> str:
    """Accuracy of tracks against what a point costs, on a logarithmic scale; marks lie apart."""
    canvas = Canvas(name, alt, 3.9)
    axes = canvas.axes
    logs = np.log(costs)
    range_ = float(np.ptp(logs)) or 1.0
    places = np.exp(_apart(logs.tolist(), APART * range_))
    for k, (point, x) in enumerate(zip(points, places, strict=True)):
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
    axes.margins(x=0.1)
    ticks = round_numbers(*axes.get_xlim())
    axes.set_xticks(ticks, [_tick(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy of tracks, %")
    _legend_below(axes, axis)
    return canvas.svg()


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Move places that are nearer than `gap` apart, about their common mean; order is kept.

    >>> _apart([5.0, 1.0, 1.0], 1.0)
    [5.0, 0.5, 1.5]
    """
    order = sorted(range(len(places)), key=lambda k: places[k])
    groups: list[list[int]] = []

    def first(group: Sequence[int]) -> float:
        return sum(places[k] for k in group) / len(group) - gap * (len(group) - 1) / 2

    for k in order:
        groups.append([k])
        while len(groups) > 1 and first(groups[-1]) < first(groups[-2]) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = {k: first(group) + gap * i for group in groups for i, k in enumerate(group)}
    return [moved[k] for k in range(len(places))]


def round_numbers(low: float, high: float) -> list[float]:
    """At least three round numbers within a range, for a logarithmic scale.

    >>> round_numbers(8, 1500), round_numbers(60, 450)
    ([10.0, 100.0, 1000.0], [70.0, 100.0, 150.0, 200.0, 300.0])
    >>> round_numbers(25.5, 31)
    [26.0, 27.0, 28.0, 29.0, 30.0, 31.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        every = [step * 10.0**power for power in powers for step in steps]
        within = [number for number in every if low <= number <= high]
        if len(within) >= 3:
            return within
    most = (high - low) / 3  # three multiples of such a step lie within
    power = 10.0 ** math.floor(math.log10(most))
    step = max(n * power for n in (1, 2, 5) if n * power <= most)
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [round(n * step, 12) for n in numbers]


def _tick(value: float) -> str:
    """Write a round number with its unit, all its digits.

    >>> _tick(26.5e6), _tick(0.2)
    ('26.5 M', '0.2')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


@in_style
def learning(
    points: Sequence[Point],
    of: str,
    factor: float,
    label: str,
    alt: str,
    name: str,
    axis: str = "",
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
    _legend_below(axes, axis)
    return canvas.svg()


@in_style
def recalls(
    shares: NDArray[np.float64],
    intervals: Sequence[Interval],
    names: Sequence[str],
    kinds: Sequence[int],
    genres: Sequence[str],
    alt: str,
    axis: str = "",
) -> str:
    """Recall of each genre, a row each, by each of some points; the first one stands out.

    Parameters
    ----------
    shares : shape (n_points, n_genres)
    intervals : of the first point, one a genre
    kinds : place of each point in the other pictures, which gives its colour and shape
    """
    step = float(np.clip(16 / len(genres), 0.22, 0.46))  # inches a row
    canvas = Canvas("recalls", alt, 1.2 + step * len(genres), WIDE)
    axes = canvas.axes
    axes.grid(False, axis="y")
    rows = np.arange(len(genres))
    for k, dodge in reversed([*enumerate(np.linspace(-0.3, 0.3, len(names)))]):
        colour = _colour(kinds[k])
        if k == 0:
            for row, interval in enumerate(intervals):
                ends = [100 * interval.low, 100 * interval.high]
                axes.plot(ends, [row + dodge] * 2, color=colour, linewidth=1.3)
        axes.plot(
            100 * shares[k],
            rows + dodge,
            MARKERS[kinds[k] % len(MARKERS)],
            color=colour,
            markerfacecolor=colour if k == 0 else "none",
            markersize=6 if k == 0 else 5,
            label=names[k],
        )
    _rows(axes, [short(genre) for genre in genres])
    axes.set_xlabel("recall, %")
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside upper left",
        ncols=len(names),
        title=axis,
        title_fontsize=7.5,
        alignment="left",
        handletextpad=0.2,
        columnspacing=1.0,
    )
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
        markerfacecolor="none" if hollow else colour,
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
        face = "none" if marker == "s" else colour
        axes.plot([], [], marker, color=colour, markerfacecolor=face, label=label)
    axes.figure.legend(loc="outside upper left", ncols=len(entries), handletextpad=0.3)


def _legend_below(axes: Any, title: str) -> None:
    axes.figure.legend(
        loc="outside lower center",
        ncols=3,
        title=title,
        title_fontsize=7.5,
        handletextpad=0.3,
        columnspacing=1.0,
    )
