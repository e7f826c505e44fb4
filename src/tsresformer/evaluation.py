"""Score a bundle on one split of a manifest: the only way to a published number.

The bundle's own front end and network are used, as in `predict`, so a number describes what
ships. No feature store is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer import report
from tsresformer.attention import Looked
from tsresformer.bootstrap import summarise
from tsresformer.bundle import Bundle, track_mark
from tsresformer.classifier import Classifier, TrackScores
from tsresformer.config import suggestion
from tsresformer.errors import AudioError, BundleError, ManifestError
from tsresformer.files import check_writable, sha256_json
from tsresformer.manifest import Manifest, Track, listed, printable
from tsresformer.report import EvaluationResult, TrackResult
from tsresformer.splits import (
    OWN_SPLIT,
    Protocol,
    check_groups,
    group_of,
    parse_protocol,
    slice_split,
)
from tsresformer.workers import n_cores

__all__ = ["EvaluationResult", "TrackResult", "evaluate"]

Progress = Callable[[int, int], None]
"""Called with the number of tracks done and their total."""


def evaluate(
    bundle: str | Path | Classifier,
    manifest: str | Path | Manifest,
    *,
    split: str = "test",
    out: str | Path | None = None,
    n_workers: int | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    look_at: Sequence[str] = (),
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score every usable track of a split, and write the report.

    Parameters
    ----------
    bundle : path, shipped name, or a classifier that is already loaded
    split : training, validation or test. Under the protocol `slice` it picks slices, and a track
        is scored by its slices of that split
    out : folder of the report; None writes nothing
    n_workers : decoding processes; None takes one a core
    n_bootstrap : resamples behind the intervals, drawn with `seed`
    look_at : ids of the tracks whose attention the report shows; else it chooses some

    Returns
    -------
    result : metrics, and one row a track; a track that fails is a row with its reason

    Raises
    ------
    BundleError : a label that the bundle does not know, or precomputed features that are not its
    ManifestError : nothing to score, a track of `look_at` is not among it, or (SplitError) artists
        on both sides of an honest split
    """
    if out is not None:
        report.check_extras()
        check_writable(out, folder=True)
    manifest = manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)
    check_groups(manifest)
    candidates = _rows_of_split(manifest, split)
    tracks = [t for t in candidates if t.usable and t.labels]
    if not tracks:
        raise ManifestError(_nothing_to_score(manifest, split))
    if unknown := [name for name in look_at if name not in {t.track_id for t in tracks}]:
        raise ManifestError(
            f"{manifest.path or 'the manifest'}: no track {listed(unknown)} to score in its "
            f"{split} part, so its attention cannot be shown"
        )
    classifier = Classifier.load(bundle) if isinstance(bundle, str | Path) else bundle
    _check_features(classifier.bundle, manifest)
    _check_labels(classifier.bundle, manifest, tracks)
    outcomes = _score(classifier, tracks, n_workers, progress)
    protocol = parse_protocol(manifest.protocol)
    scored = _Scored(classifier, protocol, split, look_at, pictures=out is not None)
    for track in candidates:
        scored.add(track, outcomes.get(track.track_id))
    result = scored.result(manifest, n_bootstrap=n_bootstrap, seed=seed)
    if out is not None:
        report.write(result, out)
    return result


def _rows_of_split(manifest: Manifest, split: str) -> list[Track]:
    """Every row that is in the split, or would be if it were usable.

    Splitting gives unusable rows no split; where the data set's own split is not at hand
    either, they are listed with every split.
    """
    protocol = parse_protocol(manifest.protocol)

    def belongs(track: Track) -> bool:
        own = track.split
        if not own and protocol.name == "official":
            own = track.extra.get(OWN_SPLIT, "")
        if not track.usable:
            return own in (split, "") or protocol.leaks
        return own == split or (protocol.leaks and bool(own))

    return [track for track in manifest.tracks if belongs(track)]


def _nothing_to_score(manifest: Manifest, split: str) -> str:
    counts = Counter(t.split for t in manifest.tracks if t.split and t.usable and t.labels)
    found = ", ".join(f"{name} ({n:,})" for name, n in sorted(counts.items()))
    remedy = "name one of them" if found else "run 'tsresformer data split' first"
    return (
        f"{manifest.path or 'the manifest'}: no usable, labelled track in the split {split!r}; "
        f"splits with such tracks: {found or 'none'}; {remedy}"
    )


def _check_features(bundle: Bundle, manifest: Manifest) -> None:
    """Refuse precomputed log-mels that were not made as the bundle's network expects them."""
    if manifest.features is None or manifest.features == bundle.features:
        return
    theirs, ours = dict(manifest.features), dict(bundle.features)
    differing = [
        f"{key} {theirs[key]} in the manifest, {ours[key]} in the bundle"
        for key in ours
        if theirs[key] != ours[key]
    ]
    raise BundleError(
        f"{bundle.name}: the precomputed features of {manifest.path or 'the manifest'} are not "
        f"the bundle's ({'; '.join(differing)}); evaluate on audio, or train on these features"
    )


def _check_labels(bundle: Bundle, manifest: Manifest, tracks: Sequence[Track]) -> None:
    unknown = sorted({name for t in tracks for name in t.labels} - set(bundle.labels))
    if unknown:
        hint = suggestion(unknown[0], bundle.labels)
        raise BundleError(
            f"{bundle.name}: does not know the {'label' if len(unknown) == 1 else 'labels'} "
            f"{listed([repr(name) for name in unknown])} of {manifest.path or 'the manifest'}"
            f"{hint}; it knows {', '.join(bundle.labels)}"
        )
    several = [t for t in tracks if len(t.labels) > 1]
    if several and bundle.task == "single":
        raise BundleError(
            f"{bundle.name}: gives one genre a track, but {len(several):,} tracks have several "
            f"labels (the first is {several[0].track_id}: {several[0].label}); "
            "evaluate a bundle that was trained with task = 'multi'"
        )


def _score(
    classifier: Classifier,
    tracks: Sequence[Track],
    n_workers: int | None,
    progress: Progress | None,
) -> dict[str, TrackScores | AudioError]:
    """Outcome of every track, by its id."""
    outcomes: dict[str, TrackScores | AudioError] = {}
    n_workers = n_workers or n_cores()
    paths = (track.path for track in tracks)
    for index, outcome in classifier.score_many(paths, n_workers=n_workers):
        outcomes[tracks[index].track_id] = outcome
        if progress is not None:
            progress(len(outcomes), len(tracks))
    return outcomes


class _Scored:
    """Gathers the outcomes of a split, track by track in the manifest's order."""

    def __init__(
        self,
        classifier: Classifier,
        protocol: Protocol,
        split: str,
        look_at: Sequence[str],
        *,
        pictures: bool,
    ) -> None:
        self._classifier, self._protocol, self._split = classifier, protocol, split
        self._pictures = pictures
        self._rows: list[TrackResult] = []
        self._values: list[NDArray[np.float64]] = []  # probabilities of each scored track
        self._slices: list[NDArray[np.float32]] = []  # logits of its slices
        self._embeddings: list[NDArray[np.float32]] = []
        self._looked = Looked(look_at)

    def add(self, track: Track, outcome: TrackScores | AudioError | None) -> None:
        """Turn one outcome into a row; None is a track that was not tried."""
        if outcome is None:
            status = "no label" if track.usable else track.status
            self._rows.append(TrackResult(track=track, status=status, error=track.error))
        elif isinstance(outcome, AudioError):
            self._fail(track, outcome.status, outcome.reason)
        elif not np.isfinite(outcome.logits).all():
            self._fail(track, "not finite", "the network's output is not finite")
        else:
            chosen = self._in_split(track, len(outcome.logits))
            if chosen.any():
                self._take(track, outcome, chosen)

    def result(self, manifest: Manifest, *, n_bootstrap: int, seed: int) -> EvaluationResult:
        """Compute the metrics of what was gathered."""
        if not self._slices:
            raise ManifestError(self._nothing(manifest))
        bundle = self._classifier.bundle
        scored = [row for row in self._rows if row.probabilities is not None]
        known = self._known([row.track for row in scored])
        groups = [group_of(row.track) for row in scored]
        each = np.repeat(np.arange(len(scored)), [len(logits) for logits in self._slices])
        settings: dict[str, int] = {"n_bootstrap": n_bootstrap, "seed": seed}
        return EvaluationResult(
            bundle=bundle.name,
            bundle_hash=bundle.hash,
            manifest=printable(manifest.path.name) if manifest.path else "a manifest in memory",
            manifest_hash=_hash(manifest),
            task=bundle.task,
            labels=bundle.labels,
            temperature=bundle.temperature,
            unsure_below=bundle.unsure_below,
            protocol=self._protocol,
            split=self._split,
            n_heard=_n_heard(bundle, [row.track for row in scored]),
            unit="artists" if any(row.track.group for row in scored) else "tracks",
            n_bootstrap=n_bootstrap,
            seed=seed,
            rows=tuple(self._rows),
            known=known,
            embeddings=np.stack(self._embeddings).astype(np.float64),
            track=summarise(known, np.stack(self._values), groups, **settings),
            slice=summarise(
                known[each],
                self._classifier.probabilities(np.concatenate(self._slices)),
                [groups[i] for i in each],
                **settings,
            ),
            attention=self._looked.attention(bundle, scored) if self._pictures else None,
            history=_history(bundle),
        )

    def _take(self, track: Track, scores: TrackScores, chosen: NDArray[np.bool_]) -> None:
        values = self._classifier.probabilities(scores.mean_logits(chosen))
        logits = scores.logits[chosen]
        predicted, unsure = self._classifier.decide(values)
        odd = "silent" if scores.silent else "short" if scores.repeated else "ok"
        self._rows.append(
            TrackResult(
                track=track,
                status=odd,
                error=scores.warning,
                predicted=predicted,
                unsure=unsure,
                probabilities=values,
                slices=self._classifier.probabilities(logits),
            )
        )
        self._values.append(values)
        self._slices.append(logits)
        self._embeddings.append(scores.embedding)
        self._looked.add(scores)

    def _fail(self, track: Track, status: str, reason: str) -> None:
        row = TrackResult(track=track, status=status, error=printable(reason), failed=True)
        self._rows.append(row)

    def _in_split(self, track: Track, n_slices: int) -> NDArray[np.bool_]:
        if not self._protocol.leaks:
            return np.ones(n_slices, dtype=bool)
        seed = self._protocol.seed
        splits = [slice_split(seed, track.track_id, k) for k in range(n_slices)]
        return np.array([name == self._split for name in splits], dtype=bool)

    def _known(self, tracks: Sequence[Track]) -> NDArray[Any]:
        labels = self._classifier.bundle.labels
        if self._classifier.bundle.task == "single":
            return np.array([labels.index(track.labels[0]) for track in tracks])
        return np.array([[name in track.labels for name in labels] for track in tracks])

    def _nothing(self, manifest: Manifest) -> str:
        source = manifest.path or "the manifest"
        failed = [row for row in self._rows if row.failed]
        if not failed:
            return f"{source}: no slice of its tracks is in the split {self._split!r}"
        first = f"{failed[0].track.track_id}: {failed[0].error}"
        return f"{source}: none of {len(failed):,} tracks could be scored (the first is {first})"


def _n_heard(bundle: Bundle, tracks: Sequence[Track]) -> int:
    """Number of tracks that the bundle was fitted to."""
    heard = set(bundle.record["training"].get("heard", ()))
    return sum(track_mark(track.track_id, track.group) in heard for track in tracks)


def _history(bundle: Bundle) -> tuple[Mapping[str, float], ...]:
    """The epochs of the training; none where the record has none, or something else."""
    try:
        return tuple(
            {name: float(value) for name, value in epoch.items()}
            for epoch in bundle.record["training"].get("history", ())
        )
    except (AttributeError, TypeError, ValueError):
        return ()


def _hash(manifest: Manifest) -> str:
    """Hash of what the numbers depend on besides the audio; paths do not matter."""
    return sha256_json([[t.track_id, t.label, t.group, t.split] for t in manifest.tracks])
