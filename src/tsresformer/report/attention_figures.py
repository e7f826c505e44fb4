"""Pictures of what the attention looks at, in the style of all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsresformer.report.figures import BLUE, VERMILLION, WIDTH, Canvas, Float, in_style, short


@in_style
def bands(weights: Float, names: Sequence[str], centres_hz: Float, alt: str) -> str:
    """Heat map of the mean weight of each band (n_classes, M'), by class."""
    canvas = Canvas("bands", alt, 1.3 + 0.27 * len(names), 1.7 * WIDTH)
    axes = canvas.axes
    axes.grid(False)
    n_bands = weights.shape[1]
    mesh = axes.pcolormesh(weights, cmap="cividis")
    axes.set_yticks(np.arange(len(names)) + 0.5, [short(name) for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    places, words = _hertz(centres_hz, n_bands)
    axes.set_xticks(places, words)
    axes.set_xlabel("band, Hz")
    axes.figure.colorbar(mesh, ax=axes, label="mean weight", pad=0.01)
    return canvas.svg()


@in_style
def example(
    log_mel: NDArray[np.float32],
    times: Float,
    frequencies: Float,
    span_s: tuple[float, float],
    centres_hz: Float,
    alt: str,
    name: str,
) -> str:
    """A slice's log-mel, the weights of its moments above, of its bands at the right."""
    canvas = Canvas(name, alt, 3.4)
    axes = canvas.axes
    axes.grid(False)
    n_mels = len(log_mel)
    axes.imshow(
        log_mel,
        aspect="auto",
        origin="lower",
        cmap="cividis",
        interpolation="nearest",
        extent=(*span_s, 0, n_mels),
    )
    places, words = _hertz(centres_hz, n_mels)
    axes.set_yticks(places, words)
    axes.set_xlabel("seconds")
    axes.set_ylabel("band, Hz")
    above = axes.inset_axes((0, 1.03, 1, 0.2), sharex=axes)
    edges = np.linspace(*span_s, len(times) + 1)
    above.stairs(times, edges, baseline=None, color=BLUE)
    above.set_title("weight of each moment", fontsize=7.5, loc="left")
    beside = axes.inset_axes((1.03, 0, 0.2, 1), sharey=axes)
    edges = np.linspace(0, n_mels, len(frequencies) + 1)
    beside.stairs(frequencies, edges, baseline=None, orientation="horizontal", color=VERMILLION)
    beside.locator_params(axis="x", nbins=2, min_n_ticks=1, prune="lower")
    beside.tick_params(axis="x", labelsize=7)
    beside.set_title("of each band", fontsize=7.5)
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    return canvas.svg()


def _hertz(centres_hz: Float, n_bands: int) -> tuple[list[float], list[str]]:
    """Places among `n_bands` equal bands of a few round frequencies, and their names."""
    known = np.flatnonzero(~np.isnan(centres_hz))
    wanted = [f for f in (200, 500, 1000, 2000, 4000, 8000, 16000) if f < centres_hz[known[-1]]]
    places = np.interp(wanted, centres_hz[known], known + 0.5) * n_bands / len(centres_hz)
    return places.tolist(), [f"{f / 1000:g} k" if f >= 1000 else str(f) for f in wanted]
