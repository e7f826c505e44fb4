"""What an evaluation found: the result, and its tables for machines."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tsresformer
from tsresformer import metrics
from tsresformer.bootstrap import CONFIDENCE_LEVEL, Interval, Summary
from tsresformer.files import REPORT_SCHEMA
from tsresformer.manifest import Track, printable
from tsresformer.splits import Protocol, count_ungrouped

Float = NDArray[np.float64]

FEW_GROUPS = 20
"""With fewer groups than this, the report calls its intervals rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackResult:
    """One track of the split, scored or not.

    Attributes
    ----------
    status : ``ok``, ``silent`` (scored all the same), ``no label``, the manifest's status of a
        row that is not usable, or what went wrong while scoring
    probabilities : shape (n_classes,); None if the track was not scored
    slices : shape (n_slices, n_classes), the same of each slice by itself
    failed : whether scoring was tried and failed
    """

    track: Track
    status: str
    error: str = ""
    failed: bool = False
    predicted: str = ""
    unsure: bool = False
    probabilities: Float | None = None
    slices: Float | None = None

    @property
    def n_slices(self) -> int:
        """Number of slices that were scored."""
        return 0 if self.slices is None else len(self.slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionExample:
    """What the network's attention does with one slice of a track.

    Attributes
    ----------
    log_mel : shape (n_mels, n_frames), decibels relative to the slice's maximum
    time, frequency : weights in (0, 1), shapes (T',) and (M',)
    """

    row: TrackResult
    log_mel: NDArray[np.float32]
    start_s: float
    seconds: float
    time: NDArray[np.float32]
    frequency: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What the network's attention looks at.

    Attributes
    ----------
    frequency : weights of the bands, mean over slices, (n, M') in the order of the scored tracks
    centres_hz : centres of the mel bands, shape (n_mels,)
    bright : what a bright place of a log-mel stands for
    chosen : whether somebody asked for these examples
    """

    frequency: Float
    centres_hz: Float
    bright: str
    examples: tuple[AttentionExample, ...]
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """A bundle's scores on one split of a manifest.

    Attributes
    ----------
    labels : the bundle's genres, in the order of the probabilities
    known : labels of the scored tracks as `metrics` takes them, (n,) int or (n, n_classes) bool
    embeddings : shape (n, d), the network's, in the order of the scored tracks
    n_heard : scored tracks that the bundle was trained or calibrated on
    unit : what the bootstrap drew: ``artists``, or ``tracks`` where no group is known
    track, slice : the metrics at both levels
    attention : None for a network without
    history : what each epoch of the training gave, ``dev_loss`` and ``dev_score`` among it; empty
        where it is not known
    """

    bundle: str
    bundle_hash: str
    manifest: str
    manifest_hash: str
    task: str
    labels: tuple[str, ...]
    temperature: float
    unsure_below: float
    protocol: Protocol
    split: str
    n_heard: int
    unit: str
    n_bootstrap: int
    seed: int
    rows: tuple[TrackResult, ...]
    known: NDArray[Any]
    embeddings: Float
    track: Summary
    slice: Summary
    attention: Attention | None = None
    history: tuple[Mapping[str, float], ...] = ()

    @property
    def title(self) -> str:
        """Split and protocol in words."""
        return f"{self.split} part of the {self.protocol.title}"

    @property
    def scored(self) -> list[TrackResult]:
        """The tracks behind every number."""
        return [row for row in self.rows if row.probabilities is not None]

    @property
    def failed(self) -> list[TrackResult]:
        """The tracks that could not be scored although the manifest calls them usable."""
        return [row for row in self.rows if row.failed]

    @property
    def excluded(self) -> list[TrackResult]:
        """The tracks that were not tried, because of their status or for want of a label."""
        return [row for row in self.rows if row.probabilities is None and not row.failed]

    @property
    def probabilities(self) -> Float:
        """Track probabilities (n, n_classes) of the scored tracks."""
        return np.stack([row.probabilities for row in self.scored if row.probabilities is not None])

    @property
    def one_slice_a_track(self) -> bool:
        """Whether the metrics of slices are those of tracks over again."""
        return self.slice.n_items == self.track.n_items

    @property
    def main_metric(self) -> str:
        """The metric of the headline."""
        return "accuracy" if self.task == "single" else "mean_average_precision"

    @property
    def n_failed(self) -> int:
        """Number of tracks that could not be scored."""
        return len(self.failed)

    @property
    def interval_method(self) -> str:
        """How the intervals were made; a few large artists make many worth little."""
        n, equal = self.track.n_groups, self.track.n_equal_groups
        worth = f", worth {equal:.0f} of one size" if equal < n / 2 else ""
        return f"bootstrap over {n} {self.unit}{worth}"

    def sentence(self) -> str:
        """The main number with its interval, protocol and losses, in one line."""
        interval, show = self.track.overall[self.main_metric], percent
        if self.task == "multi":
            show = decimal
        ends = span(interval, show)
        likely = f" (95 % interval {ends}, {self.interval_method})" if ends else ""
        failed = f"; {self.n_failed:,} could not be scored" if self.n_failed else ""
        return (
            f"{self.bundle}, {self.title}: {self.main_metric.replace('_', ' ')} "
            f"{show(interval.value)}{likely} on {self.track.n_items:,} tracks{failed}"
        )

    def metrics(self) -> dict[str, Any]:
        """Everything that ``metrics.json`` says; what is undefined is None."""
        return {
            "protocol": str(self.protocol) or "unrecorded",
            "split": self.split,
            "n_tracks": self.track.n_items,
            "track": {name: _plain(value) for name, value in self.track.overall.items()},
            "slice": {name: _plain(value) for name, value in self.slice.overall.items()},
            "schema": REPORT_SCHEMA,
            "title": self.title,
            "leaks": self.protocol.leaks,
            "warnings": [text for _, text in warnings_of(self)],
            "task": self.task,
            "bundle": {"name": self.bundle, "sha256": self.bundle_hash},
            "manifest": {"name": self.manifest, "sha256": self.manifest_hash},
            "interval": self.interval_method,
            "interval_level": CONFIDENCE_LEVEL,
            "n_bootstrap": self.n_bootstrap,
            "seed": self.seed,
            "n_slices": self.slice.n_items,
            "n_groups": self.track.n_groups,
            "n_without_group": count_ungrouped(row.track for row in self.scored),
            "n_failed": self.n_failed,
            "n_excluded": len(self.excluded),
            "excluded": dict(sorted(Counter(row.status for row in self.excluded).items())),
            "n_silent": sum(row.status == "silent" for row in self.scored),
            "n_unsure": sum(row.unsure for row in self.scored),
            "temperature": self.temperature,
            "unsure_below": self.unsure_below,
            "per_class": [
                {"label": label, "support": self.track.support[k]}
                | {name: _plain(values[k]) for name, values in self.track.per_class.items()}
                for k, label in enumerate(self.labels)
            ],
            "versions": versions(),
        }


_SLICES_LEAK = (
    "These numbers are inflated: under this protocol slices of one track are on both sides of the "
    "split, so the model has heard every track that it is tested on. They say nothing about music "
    "that it has not heard."
)
_ARTISTS_LEAK = (
    "These numbers are inflated: under this protocol tracks of one artist are on both sides of the "
    "split, so the model may recognise the artist instead of the genre."
)
_TRAINING = (
    "This is the training split: if the bundle was trained on these very tracks, the numbers say "
    "how well it remembers them, not how well it works on others."
)
_NO_ARTISTS = (
    "No artists are known here, so the intervals resample tracks. Tracks of one artist resemble "
    "each other: the true uncertainty is larger."
)


def warnings_of(result: EvaluationResult) -> list[tuple[str, str]]:
    """What a reader must know before the numbers, as (``leak`` or ``note``, sentence)."""
    found = []
    if not result.protocol.honest:
        found.append(("leak", _SLICES_LEAK if result.protocol.leaks else _ARTISTS_LEAK))
    if result.split == "training":
        found.append(("leak", _TRAINING))
    elif result.n_heard:
        found.append(
            (
                "leak",
                f"The bundle was trained on {result.n_heard:,} of these "
                f"{len(result.scored):,} tracks: it knows them.",
            )
        )
    if result.failed:
        n_tried = result.n_failed + len(result.scored)
        found.append(
            (
                "note",
                f"{result.n_failed:,} of {n_tried:,} tracks could not be scored. They are in "
                "no number here; each is listed with its reason.",
            )
        )
    if result.unit == "tracks":
        found.append(("note", _NO_ARTISTS))
    if result.track.n_groups < FEW_GROUPS:
        few = f"Only {result.track.n_groups} {result.unit} stand behind these numbers"
        found.append(("note", f"{few}: the intervals are rough."))
    return found


def prediction_rows(result: EvaluationResult) -> Iterable[Sequence[str]]:
    """Rows of ``predictions.csv``: every track of the split, in the manifest's order."""
    yield [
        *("track_id", "label", "predicted", "unsure"),
        *(f"p_{label}" for label in result.labels),
        *("status", "error", "group", "n_slices", "n_slices_right"),
    ]
    for row in result.rows:
        scored = row.probabilities is not None
        values = row.probabilities if row.probabilities is not None else ()
        yield [
            row.track.track_id,
            row.track.label,
            row.predicted,
            str(row.unsure).lower() if scored else "",
            *([f"{value:.6g}" for value in values] or [""] * len(result.labels)),
            row.status,
            printable(row.error),
            row.track.group,
            str(row.n_slices) if scored else "",
            str(_n_right(row, result.labels)) if scored else "",
        ]


def _n_right(row: TrackResult, labels: Sequence[str]) -> int:
    """Slices whose most probable genre is one of the track's labels."""
    best = row.slices.argmax(axis=1) if row.slices is not None else ()
    return sum(labels[k] in row.track.labels for k in best)


def confusion_rows(result: EvaluationResult) -> Iterable[Sequence[object]]:
    """Rows of ``confusion.csv``: labels by predictions, or the four counts of each label."""
    if result.task == "single":
        yield ["label", *result.labels]
        counts = metrics.confusion_matrix(result.known, result.probabilities)
        for label, row in zip(result.labels, counts.tolist(), strict=True):
            yield [label, *row]
        return
    yield ["label", "true_positive", "false_positive", "false_negative", "true_negative"]
    table = metrics.class_scores(result.known, result.probabilities)
    for k, label in enumerate(result.labels):
        hit, decided, support = (
            int(column[k]) for column in (table.n_hit, table.n_decided, table.support)
        )
        rest = result.track.n_items - decided - support + hit
        yield [label, hit, decided - hit, support - hit, rest]


def _plain(interval: Interval) -> dict[str, float | None]:
    values = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def percent(value: float) -> str:
    """Write a share as per cent."""
    return "–" if math.isnan(value) else f"{value:.1%}".replace("%", " %")


def decimal(value: float) -> str:
    """Write a score with three decimals."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def span(interval: Interval, show: Callable[[float], str]) -> str:
    """Write the ends of an interval, nothing if it has none."""
    if math.isnan(interval.low):
        return ""
    return f"{show(interval.low).removesuffix(' %')}–{show(interval.high)}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "ts-resformer": tsresformer.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime")},
    }
