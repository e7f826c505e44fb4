"""Classifiers without a network: statistics of the log-mel, and scikit-learn's SVM, k-NN, trees.

Statistics of a track, our choice: mean, deviation, and three percentiles of each band over time,
and mean and deviation of the change from frame to frame; the same of 20 MFCC, which are the
cosine transform of the bands.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.bootstrap import summarise
from tsresformer.errors import StudyError, require
from tsresformer.features import reference_to
from tsresformer.manifest import Manifest, Track
from tsresformer.report import EvaluationResult, TrackResult
from tsresformer.splits import development_fold, group_of, parse_protocol
from tsresformer.store import FeatureStore
from tsresformer.studies.plan import ClassicalConfig, Spec

Float = NDArray[np.float64]

N_MFCC = 20
PERCENTILES = (10, 50, 90)
CALIBRATION_FOLDS = 5


def statistics(log_mel: NDArray[np.float32], kind: str) -> Float:
    """Statistics (d,) of a track's referenced log-mel (n_mels, n_frames)."""
    bands = log_mel.astype(np.float64)
    parts = []
    if kind in ("bands", "both"):
        parts.append(_summary(bands))
    if kind in ("mfcc", "both"):
        parts.append(_summary(cosine_transform(len(bands), N_MFCC) @ bands))
    return np.concatenate(parts)


def cosine_transform(n_bands: int, n_coefficients: int) -> Float:
    """Orthonormal DCT-II matrix (n_coefficients, n_bands), as it makes MFCC of log-mels."""
    k, n = np.arange(n_coefficients)[:, None], np.arange(n_bands)[None]
    matrix = np.sqrt(2 / n_bands) * np.cos(np.pi * k * (2 * n + 1) / (2 * n_bands))
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix)


def _summary(curves: Float) -> Float:
    """Mean, deviation, percentiles, and mean and deviation of the absolute change, of each row."""
    change = np.abs(np.diff(curves, axis=1)) if curves.shape[1] > 1 else np.zeros_like(curves)
    return np.concatenate(
        [
            curves.mean(1),
            curves.std(1),
            *np.percentile(curves, PERCENTILES, axis=1),
            change.mean(1),
            change.std(1),
        ]
    )


class Fold:
    """The training, development and test tracks of one part, and their statistics.

    Parameters
    ----------
    like : a fold of which statistics are taken over, if they are of the same kind and store
    """

    def __init__(
        self,
        spec: Spec,
        manifest: Manifest,
        store: FeatureStore,
        split: str,
        like: Fold | None = None,
    ) -> None:
        if parse_protocol(manifest.protocol).leaks:
            raise StudyError(
                "a classical model sees whole tracks, so a split of slices says nothing of it"
            )
        assert spec.classical is not None
        self.store, self.split = store, split
        self.kind = spec.classical.statistics
        self.vocabulary = manifest.vocabulary
        usable = {track.track_id for track in store.serve(manifest)}
        learned = [t for t in manifest.in_split("training") if t.track_id in usable]
        self.training, self.development = development_fold(
            learned, spec.config.train.dev_fraction, spec.config.train.dev_seed
        )
        self.test = [t for t in manifest.in_split(split) if t.track_id in usable]
        self._known: dict[str, Float] = {}
        if like is not None and (like.kind, like.store) == (self.kind, store):
            self._known = like._known

    def matrix(self, tracks: Sequence[Track]) -> Float:
        """Statistics (n_tracks, d)."""
        for track in tracks:
            if track.track_id not in self._known:
                stored = self.store.to_decibels(self.store.log_mel(track.track_id))
                log_mel = reference_to(stored, self.store.features)
                self._known[track.track_id] = statistics(log_mel, self.kind)
        return np.stack([self._known[track.track_id] for track in tracks])

    def classes(self, tracks: Sequence[Track]) -> NDArray[np.int64]:
        """Class numbers (n_tracks,)."""
        return np.array([self.vocabulary.index(track.labels[0]) for track in tracks])

    def probabilities(self, model: Any, tracks: Sequence[Track]) -> Float:
        """Probabilities (n_tracks, n_classes); 0 for a class that was not learned."""
        values = np.zeros((len(tracks), len(self.vocabulary)))
        values[:, model.classes_] = model.predict_proba(self.matrix(tracks))
        return values


def fit(fold: Fold, config: ClassicalConfig, seed: int) -> Any:
    """Train on the fold's training tracks; the development fold is left for choices."""
    classes = fold.classes(fold.training)
    smallest = int(np.unique(classes, return_counts=True)[1].min())
    model = _pipeline(config, seed, n_folds=min(CALIBRATION_FOLDS, smallest))
    model.fit(fold.matrix(fold.training), classes)
    return model


def development_accuracy(fold: Fold, config: ClassicalConfig, seed: int) -> float:
    """Accuracy on the development fold."""
    values = fold.probabilities(fit(fold, config, seed), fold.development)
    return float((values.argmax(1) == fold.classes(fold.development)).mean())


def score(
    fold: Fold, config: ClassicalConfig, seed: int, manifest: Manifest
) -> tuple[EvaluationResult, dict[str, Any]]:
    """Train and score the test tracks, whole: a track is its own only slice."""
    begun = time.monotonic()
    model = fit(fold, config, seed)
    train_s = round(time.monotonic() - begun, 1)
    values = fold.probabilities(model, fold.test)
    known = fold.classes(fold.test)
    rows = [
        TrackResult(
            track=track,
            status="ok",
            predicted=fold.vocabulary[int(row.argmax())],
            probabilities=row,
            slices=row[None],
        )
        for track, row in zip(fold.test, values, strict=True)
    ]
    summary = summarise(known, values, [group_of(t) for t in fold.test], n_bootstrap=0)
    result = EvaluationResult(
        bundle=config.model,
        bundle_hash="",
        manifest="",
        manifest_hash="",
        task="single",
        labels=fold.vocabulary,
        temperature=1.0,
        unsure_below=0.0,
        protocol=parse_protocol(manifest.protocol),
        split=fold.split,
        n_heard=0,
        unit="artists",
        n_bootstrap=0,
        seed=0,
        rows=tuple(rows),
        known=known,
        embeddings=np.zeros((len(rows), 0)),
        track=summary,
        slice=summary,
    )
    return result, {"train_s": train_s, "params": None, "macs": None}


def _pipeline(config: ClassicalConfig, seed: int, n_folds: int) -> Any:
    """The classifier behind a scaler; probabilities of the SVM come by cross-validation."""
    pipeline = require("sklearn.pipeline", "study")
    scaler = require("sklearn.preprocessing", "study").StandardScaler()
    if config.model == "svm":
        svm = require("sklearn.svm", "study")
        calibration = require("sklearn.calibration", "study")
        model = calibration.CalibratedClassifierCV(
            svm.SVC(C=config.penalty, random_state=seed), cv=max(2, n_folds), ensemble=False
        )
    elif config.model == "knn":
        neighbours = require("sklearn.neighbors", "study")
        model = neighbours.KNeighborsClassifier(config.neighbours, weights="distance")
    else:
        ensemble = require("sklearn.ensemble", "study")
        model = ensemble.HistGradientBoostingClassifier(
            learning_rate=config.learning_rate, early_stopping=False, random_state=seed
        )
    return pipeline.make_pipeline(scaler, model)
