"""Teachers: bundles whose view of the training tracks softens their labels.

A network that learns from the mean probabilities of several others comes close to the whole
ensemble at the cost of one (Hinton, Vinyals & Dean 2015, arXiv 1503.02531). Our choice: one
opinion a track, the mean over the teachers of their calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tsresformer.bundle import Bundle, track_mark
from tsresformer.errors import TrainingError
from tsresformer.manifest import Manifest, Track
from tsresformer.progress import meter
from tsresformer.slicing import probabilities
from tsresformer.store import FeatureStore
from tsresformer.training.data import SliceBatches

BATCH_SLICES = 16
"""Slices that a network scores at once."""


def check_teachers(
    teachers: Sequence[Bundle],
    store: FeatureStore,
    vocabulary: Sequence[str],
    task: str,
    development: Sequence[Track],
) -> None:
    """Refuse a bundle that cannot teach here.

    Raises
    ------
    TrainingError : it has other genres, features or another task, or it was trained on tracks of
        the development fold, which would then flatter its pupil
    """
    for teacher in teachers:
        if teacher.labels != tuple(vocabulary) or teacher.task != task:
            raise TrainingError(
                f"{teacher.path}: knows other genres than the training split has, or another "
                "task; a teacher must have the same"
            )
        if teacher.features != store.features:
            raise TrainingError(
                f"{teacher.path}: was trained on other features than the store holds; name "
                "teachers that were trained on this store"
            )
        if known := n_learned(teacher, development):
            raise TrainingError(
                f"{teacher.path}: was trained on {known} tracks of this run's development fold; "
                "train it with the same manifest, train.dev_fraction and train.dev_seed"
            )


def n_learned(bundle: Bundle, tracks: Sequence[Track]) -> int:
    """Number of tracks that a bundle's weights were fitted to, not only its calibration."""
    training = bundle.record["training"]
    learned = set(training.get("heard", ())) - set(training.get("calibrated_on", ()))
    return sum(track_mark(track.track_id, track.group) in learned for track in tracks)


def soft_targets(
    teachers: Sequence[Bundle], batches: SliceBatches, manifest: Manifest, *, progress: bool
) -> NDArray[np.float32]:
    """Mean probabilities (n_tracks, n_classes) that the teachers give to each track."""
    total = np.zeros(batches.targets.shape)
    with meter("asking the teachers", len(teachers), show=progress) as bar:
        for teacher in teachers:
            config = batches.config.model_copy(update={"slicing": teacher.slicing})
            slices = SliceBatches(
                batches.store,
                manifest,
                batches.tracks,
                teacher.labels,
                config,
                micro_batch=BATCH_SLICES,
                training=False,
            )
            logits, _ = track_logits(teacher.graph.read_bytes(), slices)
            total += probabilities(logits, teacher.temperature, teacher.task)
            bar.advance()
    return (total / len(teachers)).astype(np.float32)


def track_logits(
    graph: bytes, batches: SliceBatches
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean logits of each track by an exported network, and whether the track has a slice.

    Returns
    -------
    logits : shape (n_tracks, n_classes); 0 where there is no slice
    scored : shape (n_tracks,)
    """
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    total = np.zeros(batches.targets.shape)
    count = np.zeros((len(batches.tracks), 1))
    for batch in batches:
        (logits,) = session.run(["logits"], {"log_mel": batch.log_mel.numpy()})
        np.add.at(total, batch.track.numpy(), logits)
        np.add.at(count, batch.track.numpy(), 1)
    return total / np.maximum(count, 1), count[:, 0] > 0
