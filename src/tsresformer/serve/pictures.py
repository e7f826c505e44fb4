"""What a picture of a track needs, from a pass over it in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import FeatureConfig
from tsresformer.extract import Chunk, log_mel_chunks
from tsresformer.slicing import n_slice_frames

if TYPE_CHECKING:  # decoding processes import this module, and need no network
    from tsresformer.bundle import Bundle
    from tsresformer.classifier import TrackScores

MAX_POINTS = 2000
"""Stretches of a waveform that are drawn."""

MAX_COLUMNS = 1500
"""Columns of a log-mel that are drawn."""

FIRST_STRETCH = 32
"""Samples in a stretch of the shortest waveforms."""


@dataclass(frozen=True)
class Job:
    """One file for a decoding process.

    Parameters
    ----------
    path : the file
    draw : whether a `Picture` follows the chunks
    """

    path: str
    features: FeatureConfig
    max_seconds: float
    draw: bool

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Picture:
    """A track, small enough to draw.

    Parameters
    ----------
    low, high : shape (n_points,), least and greatest sample of stretches of `seconds_per_point`
    log_mel : shape (n_columns, n_mels), 255 is the track's maximum, 0 is `top_db` below it; with
        PCEN, 0 is 0
    frames_per_column : frames of the log-mel in each column but the last
    n_frames : frames of the whole log-mel
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    seconds_per_point: float
    log_mel: NDArray[np.uint8]
    frames_per_column: int
    n_frames: int


class RunningMaximum:
    """Maxima of equal stretches of a series, in stretches that double when there are too many.

    Parameters
    ----------
    most : stretches, at most
    stretch : items in each, at first
    """

    def __init__(self, n_rows: int, most: int, stretch: int = 1) -> None:
        self.values = np.empty((n_rows, 0), dtype=np.float32)
        self.stretch, self.n_items, self._most = stretch, 0, most

    def push(self, items: NDArray[np.float32]) -> None:
        """Take the next items, shape (n_rows, n)."""
        n_open = -self.n_items % self.stretch  # places left in the last stretch
        head, rest = items[:, :n_open], items[:, n_open:]
        if head.shape[1]:
            np.maximum(self.values[:, -1], head.max(axis=1), out=self.values[:, -1])
        self.n_items += items.shape[1]
        self.values = np.concatenate([self.values, _maxima(rest, self.stretch)], axis=1)
        while self.values.shape[1] > self._most:
            self.values = _maxima(self.values, 2)
            self.stretch *= 2


def _maxima(items: NDArray[np.float32], stretch: int) -> NDArray[np.float32]:
    if not items.shape[1]:
        return items
    starts = np.arange(0, items.shape[1], stretch)
    maxima: NDArray[np.float32] = np.maximum.reduceat(items, starts, axis=1)
    return maxima


def decode(job: Job) -> Iterator[Chunk | Picture]:
    """Run in a decoding process: the log-mel of a file in chunks, and then its picture."""
    if not job.draw:
        yield from log_mel_chunks(job.path, job.features, job.max_seconds)
        return
    wave = RunningMaximum(2, MAX_POINTS, FIRST_STRETCH)
    mel = RunningMaximum(job.features.n_mels, MAX_COLUMNS)

    def listen(waveform: NDArray[np.float32]) -> None:
        wave.push(np.stack([-waveform, waveform]))

    for chunk in log_mel_chunks(job.path, job.features, job.max_seconds, listen):
        mel.push(chunk.log_mel)
        yield chunk
    yield Picture(
        low=-wave.values[0],
        high=wave.values[1],
        seconds_per_point=wave.stretch / job.features.sample_rate,
        log_mel=_as_bytes(mel.values, job.features).T.copy(),
        frames_per_column=mel.stretch,
        n_frames=mel.n_items,
    )


def _as_bytes(log_mel: NDArray[np.float32], features: FeatureConfig) -> NDArray[np.uint8]:
    width = features.top_db if features.scale == "log" else max(float(log_mel.max()), 1e-6)
    below = np.clip((log_mel - log_mel.max()) / width + 1, 0, 1)
    values: NDArray[np.uint8] = np.round(255 * below).astype(np.uint8)
    return values


def attention_by_column(
    bundle: Bundle, scores: TrackScores, picture: Picture
) -> NDArray[np.float64]:
    """Attention to each column of a picture's log-mel; nan where no slice covers it."""
    length = n_slice_frames(bundle.slicing, bundle.features)
    total, n_slices = np.zeros(picture.n_frames), np.zeros(picture.n_frames)
    for start, curve in zip(scores.starts, scores.attention_time, strict=True):
        heard = min(length, picture.n_frames - start)  # less only of a track that is repeated
        places = (np.arange(heard) * len(curve)) // length
        total[start : start + heard] += curve[places]
        n_slices[start : start + heard] += 1
    columns = np.arange(0, picture.n_frames, picture.frames_per_column)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.add.reduceat(total, columns) / np.add.reduceat(n_slices, columns))


def attention_by_band(bundle: Bundle, scores: TrackScores) -> NDArray[np.float64]:
    """Attention to each mel band, the mean over the slices."""
    curve = scores.attention_frequency.mean(axis=0, dtype=np.float64)
    n_mels = bundle.features.n_mels
    return np.asarray(curve[(np.arange(n_mels) * len(curve)) // n_mels])
