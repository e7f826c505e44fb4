"""Tracks are cut into slices; one definition for training, evaluation and inference.

Slice k of a track starts at frame ``round(k * hop_s * frames_per_second)``; a last slice that
is not full is discarded, as the paper discards incomplete audio. A track shorter than one slice
is repeated until it fills it (our choice: padding with zeros would look like silence).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import FeatureConfig, SliceConfig
from tsresformer.errors import ConfigError

Array = NDArray[np.float32]

MIN_FRAMES = 8
"""The network's shortest input."""


def n_slice_frames(slicing: SliceConfig, features: FeatureConfig) -> int:
    """Length of a slice in frames.

    >>> n_slice_frames(SliceConfig(slice_s=3.0), FeatureConfig())
    129
    """
    n_frames = round(slicing.slice_s * features.frames_per_second)
    if n_frames < MIN_FRAMES:
        raise ConfigError(
            f"slice_s = {slicing.slice_s:g} is {n_frames} frames of these features; "
            f"the network needs at least {MIN_FRAMES}: use a longer slice or a smaller hop_length"
        )
    return n_frames


def slice_starts(
    n_frames: int, slicing: SliceConfig, features: FeatureConfig, hop_s: float | None = None
) -> NDArray[np.int64]:
    """First frames of all full slices of a track; ``[0]`` for a track shorter than a slice."""
    length = n_slice_frames(slicing, features)
    step = (slicing.hop_s if hop_s is None else hop_s) * features.frames_per_second
    if n_frames <= length:
        return np.zeros(1, dtype=np.int64)
    count = int((n_frames - length + 0.5) // step) + 1
    starts = np.round(np.arange(count + 1) * step).astype(np.int64)
    return starts[starts + length <= n_frames]


def cut(log_mel: Array, start: int, length: int) -> Array:
    """One slice (n_mels, length) of a track (n_mels, n_frames), repeated if it is too short."""
    if start + length <= log_mel.shape[1]:
        return log_mel[:, start : start + length]
    return log_mel[:, np.arange(start, start + length) % log_mel.shape[1]]


def probabilities(
    logits: NDArray[np.floating], temperature: float, task: str
) -> NDArray[np.float64]:
    """Calibrated probabilities (..., n_classes) of logits.

    The logits of a track are the mean over its slices; this turns either into probabilities.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if task == "multi":
        return np.asarray(0.5 * (1 + np.tanh(scaled / 2)))
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


class SliceStream:
    """Cut slices from log-mel frames that arrive in chunks, holding one slice at most.

    Parameters
    ----------
    hops_s : steps between slices in seconds, by default the slicing's own; each slice is yielded
        once, whatever number of steps it belongs to
    """

    def __init__(
        self, slicing: SliceConfig, features: FeatureConfig, hops_s: tuple[float, ...] = ()
    ) -> None:
        self._length = n_slice_frames(slicing, features)
        self._steps = [h * features.frames_per_second for h in hops_s or (slicing.hop_s,)]
        self._held = np.empty((features.n_mels, 0), dtype=np.float32)
        self._first = 0  # frame number of the first frame held
        self._next = [0] * len(self._steps)  # index of the next slice of each step
        self.n_frames = 0

    def push(self, frames: Array) -> Iterator[tuple[int, Array]]:
        """Yield (start frame, slice) for every slice that these frames complete."""
        self._held = np.concatenate([self._held, frames], axis=1)
        self.n_frames += frames.shape[1]
        while (start := self._next_start()) + self._length <= self.n_frames:
            yield start, cut(self._held, start - self._first, self._length)
            self._next = [
                k + (round(k * step) == start)
                for k, step in zip(self._next, self._steps, strict=True)
            ]
        drop = min(max(0, self._next_start() - self._first), self._held.shape[1])
        self._held = self._held[:, drop:].copy()
        self._first += drop

    def finish(self) -> Iterator[tuple[int, Array]]:
        """Yield the one repeated slice of a track shorter than a slice."""
        if 0 < self.n_frames < self._length:
            yield 0, cut(self._held, 0, self._length)

    @property
    def repeated(self) -> bool:
        """Whether the track seen so far is shorter than one slice."""
        return self.n_frames < self._length

    def _next_start(self) -> int:
        return min(round(k * step) for k, step in zip(self._next, self._steps, strict=True))
