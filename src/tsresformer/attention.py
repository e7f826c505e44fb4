"""What a bundle's attention looked at while tracks were scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tsresformer.bundle import Bundle
from tsresformer.classifier import TrackScores
from tsresformer.config import FeatureConfig
from tsresformer.extract import log_mel_chunks
from tsresformer.features import mel_filter_bank, reference_to
from tsresformer.metrics import ratio
from tsresformer.report.result import Attention, AttentionExample, TrackResult
from tsresformer.slicing import cut, n_slice_frames
from tsresformer.workers import stream

N_EXAMPLES = 3
FLAT = 1e-6
"""Weights that differ by less are no attention."""


class Looked:
    """Gathers the attention of scored tracks, in their order.

    Parameters
    ----------
    at : ids of the tracks to show in full; without any, the most confident right ones
    """

    def __init__(self, at: Sequence[str] = ()) -> None:
        self._at = at
        self._frequency: list[NDArray[np.float64]] = []
        self._slices: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = []

    def add(self, scores: TrackScores) -> None:
        """Keep the mean over slices, and all of the first slice that is audible."""
        self._frequency.append(scores.attention_frequency.mean(axis=0, dtype=np.float64))
        k = int(scores.audible.argmax())
        time, frequency = scores.attention_time[k], scores.attention_frequency[k]
        self._slices.append((int(scores.starts[k]), time, frequency))

    def attention(self, bundle: Bundle, scored: Sequence[TrackResult]) -> Attention | None:
        """Weights of all tracks, and a few tracks in full; None if the weights are all alike."""
        if all(np.ptp(time) < FLAT and np.ptp(bands) < FLAT for _, time, bands in self._slices):
            return None
        return Attention(
            frequency=np.stack(self._frequency),
            centres_hz=_centres_hz(bundle),
            bright="loud" if bundle.features.scale == "log" else "louder than a moment ago (PCEN)",
            examples=tuple(self._examples(bundle, scored)),
            chosen=bool(self._at),
        )

    def _examples(
        self, bundle: Bundle, scored: Sequence[TrackResult]
    ) -> Iterator[AttentionExample]:
        """The tracks to show in full.

        A file that cannot be decoded again is left out: a picture is not worth the report.
        """
        features, length = bundle.features, n_slice_frames(bundle.slicing, bundle.features)
        second = features.frames_per_second
        if self._at:
            place = {row.track.track_id: i for i, row in enumerate(scored)}
            chosen = [place[track_id] for track_id in self._at if track_id in place]
        else:
            chosen = _most_confident(scored, bundle.labels)
        paths = [scored[i].track.path for i in chosen]
        starts = {path: self._slices[i][0] for path, i in zip(paths, chosen, strict=True)}
        function = partial(_log_mel_of_slice, starts=starts, length=length, features=features)
        with closing(stream(function, paths, n_workers=1)) as events:
            for event in events:
                if event.kind != "chunk":
                    continue
                i = chosen[event.index]
                start, time, frequency = self._slices[i]
                yield AttentionExample(
                    row=scored[i],
                    log_mel=reference_to(event.value, features),
                    start_s=start / second,
                    seconds=length / second,
                    time=time,
                    frequency=frequency,
                )


def _most_confident(scored: Sequence[TrackResult], labels: Sequence[str]) -> list[int]:
    """Places of the most confident right predictions, each of another most probable genre."""
    likely = [
        (float(row.probabilities.max()), i, labels[int(row.probabilities.argmax())])
        for i, row in enumerate(scored)
        if row.probabilities is not None
    ]
    best: dict[str, int] = {}
    for _, i, genre in sorted(likely, key=lambda item: (-item[0], item[1])):
        if genre in scored[i].track.labels:
            best.setdefault(genre, i)
    return list(best.values())[:N_EXAMPLES]


def _log_mel_of_slice(
    path: str, starts: Mapping[str, int], length: int, features: FeatureConfig
) -> Iterator[NDArray[np.float32]]:
    """Yield the log-mel of one slice of a track, for a child process."""
    frames: list[NDArray[np.float32]] = []
    for chunk in log_mel_chunks(path, features):
        frames.append(chunk.log_mel)
        if sum(part.shape[1] for part in frames) >= starts[path] + length:
            break
    yield cut(np.concatenate(frames, axis=1), starts[path], length)


def _centres_hz(bundle: Bundle) -> NDArray[np.float64]:
    bank = mel_filter_bank(bundle.features).astype(np.float64)
    hz = np.linspace(0, bundle.features.sample_rate / 2, bank.shape[1])
    return np.asarray(ratio(bank @ hz, bank.sum(axis=1)))
