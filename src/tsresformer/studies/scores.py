"""What one training said of its test tracks, in a file, and several of them as one evaluation."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tsresformer.bootstrap import Shares, share_interval, summarise
from tsresformer.errors import StudyError
from tsresformer.files import atomic_write
from tsresformer.manifest import Manifest
from tsresformer.report import EvaluationResult, TrackResult
from tsresformer.splits import Protocol, group_of

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Test tracks of one training, scored or not; NaN where one was not scored.

    Attributes
    ----------
    labels : the classifier's genres, in the order of the probabilities
    probabilities : shape (n_tracks, n_classes)
    slices : shape (sum of n_slices, n_classes), track after track
    """

    labels: tuple[str, ...]
    track_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    errors: tuple[str, ...]
    failed: NDArray[np.bool_]
    unsure: NDArray[np.bool_]
    probabilities: Float
    n_slices: NDArray[np.int64]
    slices: Float

    @classmethod
    def of(cls, result: EvaluationResult) -> Self:
        """Take the rows of an evaluation."""
        unknown = np.full(len(result.labels), np.nan)
        rows = result.rows
        return cls(
            labels=result.labels,
            track_ids=tuple(row.track.track_id for row in rows),
            statuses=tuple(row.status for row in rows),
            errors=tuple(row.error for row in rows),
            failed=np.array([row.failed for row in rows]),
            unsure=np.array([row.unsure for row in rows]),
            probabilities=np.stack(
                [unknown if row.probabilities is None else row.probabilities for row in rows]
            ),
            n_slices=np.array([row.n_slices for row in rows]),
            slices=np.concatenate([row.slices for row in rows if row.slices is not None]),
        )

    def write(self, path: Path) -> None:
        """Write everything as one file of arrays."""
        buffer = io.BytesIO()
        arrays = {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        with atomic_write(path, "wb") as stream:
            stream.write(buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values: dict[str, Any] = {name: arrays[name] for name in cls.__dataclass_fields__}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StudyError(f"{path}: damaged ({error}); delete it and resume") from None
        for name in ("labels", "track_ids", "statuses", "errors"):
            values[name] = tuple(values[name].tolist())
        return cls(**values)

    def rows(self, manifest: Manifest, labels: Sequence[str]) -> list[TrackResult]:
        """One row a track, with the probabilities in the order of `labels`."""
        tracks = {track.track_id: track for track in manifest.tracks}
        column = [labels.index(label) for label in self.labels]
        ends = np.cumsum(self.n_slices)
        rows = []
        for i, track_id in enumerate(self.track_ids):
            row: dict[str, Any] = {
                "track": tracks[track_id],
                "status": self.statuses[i],
                "error": self.errors[i],
                "failed": bool(self.failed[i]),
            }
            if not np.isnan(self.probabilities[i, 0]):
                every = np.zeros(len(labels))
                every[column] = self.probabilities[i]
                slices = np.zeros((self.n_slices[i], len(labels)))
                slices[:, column] = self.slices[ends[i] - self.n_slices[i] : ends[i]]
                row |= {
                    "predicted": labels[int(every.argmax())],
                    "unsure": bool(self.unsure[i]),
                    "probabilities": every,
                    "slices": slices,
                }
            rows.append(TrackResult(**row))
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(EvaluationResult):
    """Test parts of several folds, each scored by the training that did not see it."""

    folds: tuple[int, ...]

    @property
    def title(self) -> str:
        """Split and protocol in words."""
        n_folds = self.protocol.n_folds
        which = f"all {n_folds} folds"
        if len(self.folds) < n_folds:
            which = f"folds {', '.join(map(str, self.folds))} of {n_folds}"
        return (
            f"out-of-fold predictions of {which} of the artist-grouped split (no artist on both "
            f"sides), seed {self.protocol.seed}"
        )


def join(
    parts: Mapping[Protocol, Scores],
    manifest: Manifest,
    *,
    name: str,
    split: str,
    n_bootstrap: int = 1000,
) -> EvaluationResult:
    """One evaluation of the test tracks of all parts, in the manifest's order.

    Of parts that list a track that could not be tried, the first one's row is kept.
    """
    labels = tuple(sorted({label for scores in parts.values() for label in scores.labels}))
    found: dict[str, TrackResult] = {}
    for scores in parts.values():
        for row in scores.rows(manifest, labels):
            if row.probabilities is not None or row.track.track_id not in found:
                found[row.track.track_id] = row
    rows = [found[t.track_id] for t in manifest.tracks if t.track_id in found]
    scored = [row for row in rows if row.probabilities is not None]
    known = np.array([labels.index(row.track.labels[0]) for row in scored])
    groups = [group_of(row.track) for row in scored]
    each = np.repeat(np.arange(len(scored)), [row.n_slices for row in scored])
    values = np.stack([row.probabilities for row in scored if row.probabilities is not None])
    slices = np.concatenate([row.slices for row in scored if row.slices is not None])
    track = summarise(known, values, groups, n_bootstrap=n_bootstrap)
    slice_groups = [groups[i] for i in each]
    slice_ = summarise(known[each], slices, slice_groups, n_bootstrap=0)
    right = (slices.argmax(axis=1) == known[each]).astype(np.float64)
    shares = Shares(right, np.ones(len(right)), tuple(slice_groups))
    accuracy = share_interval(shares, n_bootstrap=n_bootstrap)
    make: Callable[..., EvaluationResult] = EvaluationResult
    if len(parts) > 1:
        make = partial(Joined, folds=tuple(protocol.fold for protocol in parts))
    return make(
        bundle=name,
        bundle_hash="",
        manifest=manifest.path.name if manifest.path else "a manifest in memory",
        manifest_hash="",
        task="single",
        labels=labels,
        temperature=1.0,
        unsure_below=0.0,
        protocol=next(iter(parts)),
        split=split,
        n_heard=0,
        unit="artists" if any(row.track.group for row in scored) else "tracks",
        n_bootstrap=n_bootstrap,
        seed=0,
        rows=tuple(rows),
        known=known,
        embeddings=np.zeros((len(scored), 0)),
        track=track,
        # Intervals of all metrics of all slices would take longer than some trainings.
        slice=replace(slice_, overall={**slice_.overall, "accuracy": accuracy}),
    )
