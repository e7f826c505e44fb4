"""A classifier that answers with prepared logits, and manifests to score it on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.classifier import Classifier, TrackScores
from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError
from tsresformer.manifest import Manifest, Track

GENRES = ("Folk", "Hip-Hop", "Rock")


class FakeClassifier:
    """Has the interface of Classifier that evaluation uses; answers in reverse order.

    Attributes
    ----------
    asked : the items of the last call
    """

    def __init__(
        self,
        outcomes: Mapping[str, TrackScores | AudioError],
        labels: Sequence[str] = GENRES,
        *,
        task: str = "single",
        features: FeatureConfig | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.outcomes, self.asked = outcomes, []
        self.bundle = SimpleNamespace(
            name="fake-1",
            hash="0123456789abcdef" * 4,
            task=task,
            labels=tuple(labels),
            features=features or FeatureConfig(),
            temperature=1.5,
            unsure_below=0.5,
            record={"training": dict(training or {})},
        )

    probabilities = Classifier.probabilities
    decide = Classifier.decide

    def score_many(
        self, items: Iterable[str], *, n_workers: int = 1
    ) -> Iterator[tuple[int, TrackScores | AudioError]]:
        assert n_workers > 0
        self.asked = list(items)
        for index in reversed(range(len(self.asked))):
            yield index, self.outcomes[self.asked[index]]


def scores(logits: NDArray[np.floating] | Sequence[Sequence[float]], **values: Any) -> TrackScores:
    """Scores of one track with the given logits (n_slices, n_classes)."""
    logits = np.asarray(logits, dtype=np.float32)
    n_slices = len(logits)
    defaults: dict[str, Any] = {
        "fine_logits": logits[:0],
        "fine_starts": np.zeros(0, dtype=np.int64),
        "fine_audible": np.zeros(0, dtype=bool),
        "starts": np.arange(n_slices) * 129,
        "audible": np.ones(n_slices, dtype=bool),
        "seconds": 3.0 * n_slices,
        "silent": False,
        "repeated": False,
        "embedding": np.concatenate([logits.mean(axis=0), logits.max(axis=0) ** 2]),
        "attention_time": np.zeros((n_slices, 4), dtype=np.float32),
        "attention_frequency": np.zeros((n_slices, 4), dtype=np.float32),
    }
    return TrackScores(logits=logits, **(defaults | values))


def case(
    n_tracks: int = 60,
    *,
    labels: Sequence[str] = GENRES,
    n_slices: int = 4,
    n_groups: int = 25,
    task: str = "single",
    split: str = "test",
    protocol: str = "official",
    seed: int = 0,
) -> tuple[FakeClassifier, Manifest]:
    """Draw a classifier that is right more often than not, and the manifest that it is right on.

    Without groups (`n_groups` = 0), tracks have none.
    """
    generator = np.random.default_rng(seed)
    n_classes = len(labels)
    truth = np.arange(n_tracks)[:, None] % n_classes == np.arange(n_classes)
    if task == "multi":
        truth = truth | (generator.random(truth.shape) < 0.2)
    logits = (
        generator.normal(size=(n_tracks, 1, n_classes)) + 2 * truth[:, None] - (task == "multi")
    )
    logits = logits + generator.normal(size=(n_tracks, n_slices, n_classes))
    tracks = [
        Track(
            track_id=f"t{i}",
            path=f"/music/{i}.mp3",
            label="|".join(np.asarray(labels)[row]),
            split=split,
            group=f"artist {generator.integers(n_groups)}" if n_groups else "",
            artist=f"Artist of {i}",
            title=f"Title {i}",
            protocol=protocol,
        )
        for i, row in enumerate(truth)
    ]
    outcomes = {t.path: scores(rows) for t, rows in zip(tracks, logits, strict=True)}
    return FakeClassifier(outcomes, labels, task=task), Manifest(tuple(tracks))
