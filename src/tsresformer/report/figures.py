"""Pictures of an evaluation as inline SVG: one style, light and dark, colour-blind-safe.

Every function returns one ``<svg>`` element. Text stays text, in the page's own font and colour
(``currentColor``), so that a picture fits a light and a dark page and can be searched and read
aloud. Colours are those of Okabe & Ito (2008) as far as a thin line of them stands out from white
paper, 3 to 1, and darker ones for the rest; what colour tells, position or a label tells too.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tsresformer.bootstrap import Interval
from tsresformer.errors import require
from tsresformer.metrics import Reliability, RiskCoverage

Float = NDArray[np.float64]
Parameters = ParamSpec("Parameters")

BLUE, VERMILLION, GREEN, OLIVE = "#0072b2", "#d55e00", "#009e73", "#706c20"
PURPLE, VIOLET, GREY = "#cc79a7", "#b277ed", "#6b6b6b"
INK = "#010203"  # stands for the page's text colour until the SVG is written
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, OLIVE, PURPLE, VIOLET, INK, GREY)
MARKERS = "osD^vPX<"

MAX_POINTS = 3000
"""Of the embedding map; more would make the page heavy and the map no clearer."""

WIDTH = 4.3  # inches; small, so that text is legible when a phone shrinks the picture
NUMBERED_CLASSES = 12
"""Largest confusion matrix whose cells hold numbers; a larger one is drawn wide, in shades."""

_LONGEST_NAME = 26  # characters of a class name that a picture shows

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

_STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "ts-resformer",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


Drawing = Callable[Parameters, str]


def in_style(draw: Drawing[Parameters]) -> Drawing[Parameters]:
    """Let matplotlib's settings be the package's while `draw` runs, and only then."""

    @functools.wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> str:
        with require("matplotlib", "report").rc_context(_STYLE), warnings.catch_warnings():
            # The browser's fonts draw the text, so a glyph that DejaVu lacks is no loss.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            return draw(*args, **kwargs)

    return styled


class Canvas:
    """One figure with one pair of axes, or several below each other; `svg` writes it.

    To be used `in_style`.
    """

    def __init__(
        self, name: str, alt: str, height: float, width: float = WIDTH, n_rows: int = 1
    ) -> None:
        self._name, self._alt = name, alt
        figure = require("matplotlib.figure", "report").Figure(figsize=(width, height))
        self.rows: Any = figure.subplots(n_rows, squeeze=False, sharex=True)[:, 0]
        self.axes: Any = self.rows[0]

    def svg(self) -> str:
        """The picture as an ``<svg>`` element with its alternative text."""
        text = io.StringIO()
        nothing = {"Date": None, "Creator": None}
        self.axes.figure.savefig(text, format="svg", metadata=nothing)
        return _inline(text.getvalue(), self._name, self._alt)


@in_style
def confusion(counts: NDArray[np.int64] | Float, names: Sequence[str], alt: str) -> str:
    """Heat map of a confusion matrix; the shade and the number are per cent of the row."""
    n_classes = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbered = n_classes <= NUMBERED_CLASSES
    size = WIDTH if numbered else 2.0 + 0.17 * n_classes
    canvas = Canvas("confusion", alt, 0.93 * size, size)
    axes = canvas.axes
    axes.grid(False)
    axes.spines[:].set_visible(False)
    shade = np.zeros((n_classes, n_classes, 4))
    shade[..., :3] = [int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    shade[..., 3] = 0.06 + 0.94 * shares  # transparent, so that it fits either page
    edges = np.arange(n_classes + 1) - 0.5
    axes.pcolormesh(edges, edges, shade, edgecolors="none")
    if numbered:
        for i, j in np.ndindex(n_classes, n_classes):
            if round(float(counts[i, j])):
                colour = "white" if shares[i, j] > 0.8 else INK
                axes.text(
                    j,
                    i - 0.12,
                    f"{shares[i, j]:.0%}"[:-1],
                    color=colour,
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    weight="bold" if i == j else "normal",
                )
                axes.text(
                    j,
                    i + 0.27,
                    f"{counts[i, j]:.0f}",
                    color=colour,
                    ha="center",
                    va="center",
                    fontsize=6,
                    alpha=0.85,
                )
    words = [short(name) for name in names]
    turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if numbered else {}
    axes.set_xticks(range(n_classes), words, **(turn or {"rotation": 90}))
    axes.set_yticks(range(n_classes), words)
    axes.tick_params(length=0)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    return canvas.svg()


@in_style
def class_bars(scores: Sequence[Interval], names: Sequence[str], alt: str) -> str:
    """Horizontal bars of F1 with whiskers, best class on top."""
    order = sorted(range(len(names)), key=lambda k: np.nan_to_num(scores[k].value, nan=-1.0))
    step = float(np.clip(3.2 / len(names), 0.22, 0.4))  # inches a bar
    canvas = Canvas("classes", alt, 0.75 + step * len(names))
    axes = canvas.axes
    axes.grid(False, axis="y")
    for place, k in enumerate(order):
        score = scores[k]
        if np.isnan(score.value):
            axes.text(0.01, place, "does not occur", va="center", fontsize=7.5)
            continue
        axes.barh(place, score.value, height=0.66, color=BLUE)
        if not np.isnan(score.low):
            axes.plot([score.low, score.high], [place, place], color=INK, linewidth=1.2)
        end = score.value if np.isnan(score.high) else max(score.value, score.high)
        axes.text(end + 0.015, place, f"{score.value:.2f}", va="center", fontsize=7.5)
    axes.set_yticks(range(len(names)), [short(names[k]) for k in order])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    axes.set_xlabel("F1 score")
    return canvas.svg()


@in_style
def roc(
    curves: Sequence[tuple[Float, Float]], areas: Sequence[float], names: Sequence[str], alt: str
) -> str:
    """ROC curves of the classes; beyond eight, the three best and worst stand out."""
    canvas = Canvas("roc", alt, 3.9)
    axes = canvas.axes
    known = [k for k in np.argsort(-np.asarray(areas)) if not np.isnan(areas[k])]
    named = known if len(known) <= len(CLASS_COLOURS) else known[:3] + known[-3:]
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=0.8, linestyle=(0, (4, 3)))
    for k in known:
        if k not in named:
            axes.plot(*_thinned(*curves[k]), color=GREY, alpha=0.5, linewidth=0.8)
    own_colours = len(names) <= len(CLASS_COLOURS)  # then the same as in the map
    for place, k in enumerate(named):
        axes.plot(
            *_thinned(*curves[k]),
            color=CLASS_COLOURS[k if own_colours else place],
            linewidth=1.4,
            label=f"{short(names[k])}  {areas[k]:.2f}",
        )
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.legend(
        loc="lower right",
        title="genre, area under curve",
        title_fontsize=7.5,
        handlelength=1.2,
        labelspacing=0.3,
    )
    return canvas.svg()


@in_style
def reliability(curve: Reliability, alt: str) -> str:
    """Accuracy against confidence in equal-mass bins, the gap to the diagonal drawn in."""
    canvas = Canvas("reliability", alt, 3.9)
    axes = canvas.axes
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(
        curve.confidence,
        curve.confidence,
        curve.accuracy,
        color=VERMILLION,
        linewidth=3,
        alpha=0.7,
        label="gap (confidence minus accuracy)",
    )
    axes.plot(
        curve.confidence,
        curve.accuracy,
        color=BLUE,
        marker="o",
        markersize=4.5,
        label="one fifteenth of the predictions",
    )
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("confidence (mean of the bin)")
    axes.set_ylabel("share that is right")
    axes.legend(loc="best")
    return canvas.svg()


@in_style
def risk_coverage(curve: RiskCoverage, unsure_below: float, alt: str) -> str:
    """Error among the kept predictions against the share kept; a dot at the bundle's threshold."""
    canvas = Canvas("risk", alt, 3.1)
    axes = canvas.axes
    axes.plot(*_thinned(curve.coverage, curve.risk), color=BLUE)
    axes.axhline(curve.risk[-1], color=INK, alpha=0.4, linewidth=0.8, linestyle=(0, (4, 3)))
    kept = int((curve.threshold >= unsure_below).sum())
    if 0 < kept < len(curve.threshold):
        x, y = curve.coverage[kept - 1], curve.risk[kept - 1]
        axes.plot(x, y, "o", color=VERMILLION, markersize=7)
        axes.annotate(
            f"unsure below {unsure_below:.2f}",
            (x, y),
            (-8, 8),
            ha="right",
            textcoords="offset points",
            fontsize=7.5,
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, max(0.05, 1.15 * float(curve.risk.max())))
    axes.set_xlabel("share of the tracks kept, most confident first")
    axes.set_ylabel("share of wrong ones")
    return canvas.svg()


@in_style
def confidence_histogram(confidence: Float, right: NDArray[np.bool_], alt: str) -> str:
    """How many right and wrong predictions were made at each confidence."""
    canvas = Canvas("confidence", alt, 3.1)
    axes = canvas.axes
    axes.grid(False, axis="x")
    edges = np.linspace(0, 1, 21)
    held = [np.histogram(confidence[side], edges)[0] for side in (right, ~right)]
    where = {"x": edges[:-1], "width": 0.046, "align": "edge"}
    axes.bar(height=held[0], color=BLUE, label="right", **where)
    axes.bar(
        height=held[1],
        bottom=held[0],
        color=VERMILLION,
        hatch="////",
        edgecolor=INK,
        linewidth=0.4,
        label="wrong",
        **where,
    )
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("tracks")
    axes.legend(loc="best")
    return canvas.svg()


@in_style
def training(losses: Sequence[float], scores: Sequence[float], best: int, alt: str) -> str:
    """Score above and loss below, epoch by epoch; a dot at the epoch that was kept."""
    canvas = Canvas("training", alt, 3.9, n_rows=2)
    epochs = np.arange(1, len(scores) + 1)
    rows = ((scores, "development score", BLUE), (losses, "development loss", INK))
    for axes, (values, label, colour) in zip(canvas.rows, rows, strict=True):
        axes.plot(epochs, values, color=colour)
        axes.plot(best + 1, values[best], "o", color=VERMILLION, markersize=7)
        axes.set_ylabel(label)
    canvas.rows[1].set_xlabel("epoch")
    canvas.rows[1].xaxis.get_major_locator().set_params(integer=True)
    return canvas.svg()


@in_style
def embedding_map(points: Float, classes: NDArray[np.int64], names: Sequence[str], alt: str) -> str:
    """Dots (n, 2) by class; colour and shape tell the class."""
    canvas = Canvas("map", alt, 4.2)
    axes = canvas.axes
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for k, name in enumerate(names):
        x, y = points[classes == k].T
        # Beyond eight classes a shape is used again with another colour.
        colour = CLASS_COLOURS[(k + k // len(MARKERS)) % len(CLASS_COLOURS)]
        axes.plot(
            x,
            y,
            MARKERS[k % len(MARKERS)],
            color=colour,
            markersize=3.4,
            alpha=0.8,
            markeredgewidth=0,
            label=short(name),
        )
    if len(names) <= 3 * len(MARKERS):
        axes.figure.legend(
            loc="outside lower center",
            ncols=4,
            handletextpad=0.1,
            columnspacing=1.0,
            markerscale=1.5,
        )
    return canvas.svg()


def short(name: str) -> str:
    """A class name as a picture has room for it."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _thinned(x: Float, y: Float, n_points: int = 300) -> tuple[Float, Float]:
    """A long curve with the points that a small picture can show."""
    if len(x) <= n_points:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, n_points).round().astype(int))
    return x[kept], y[kept]


def _inline(text: str, name: str, alt: str) -> str:
    """Cut a stand-alone SVG down to what an HTML page takes, with ids of its own."""
    for prefix, url in (("", _SVG), ("xlink", _XLINK)):
        ElementTree.register_namespace(prefix, url)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
        for key, value in parent.attrib.items():
            value = re.sub(r"font-family: [^;]*;?", "", value).replace(INK, "currentColor")
            if key == "id":
                value = f"{name}-{value}"
            elif key.endswith("href"):
                value = value.replace("#", f"#{name}-")
            parent.set(key, value.replace("url(#", f"url(#{name}-"))
    view = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": view, "role": "img", "aria-label": alt})
    return ElementTree.tostring(root, encoding="unicode")
