"""From a track to its log-mel, in chunks: the work of the decoding processes.

A track is an audio file, or one row of an array of log-mels, written ``X.npy#row``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsresformer.audio import open_audio
from tsresformer.config import FeatureConfig
from tsresformer.datasets.arrays import is_row, read_row
from tsresformer.errors import AudioError
from tsresformer.features import SILENT_PEAK, LogMelStream
from tsresformer.workers import alive

CHUNK_FRAMES = 512
"""Frames that travel together between processes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some frames of a track, absolute decibels or PCEN, and what was learned with them.

    `seconds`, `peak` and `warning` describe the track up to this chunk; the last chunk's count.
    """

    log_mel: NDArray[np.float32]
    seconds: float
    peak: float
    warning: str = ""

    @property
    def silent(self) -> bool:
        """Whether nothing above -60 dBFS has been heard so far."""
        return self.peak < SILENT_PEAK


def log_mel_chunks(
    item: str,
    config: FeatureConfig,
    max_seconds: float = 86400.0,
    listen: Callable[[NDArray[np.float32]], object] = lambda waveform: None,
) -> Iterator[Chunk]:
    """Yield the log-mel of one track; at least one chunk, or an AudioError.

    Parameters
    ----------
    item : path of an audio file, or ``X.npy#row``
    listen : called with every block of the waveform, shape (n_samples,)
    """
    if is_row(item):
        log_mel = read_row(item, config)
        seconds = log_mel.shape[1] / config.frames_per_second
        yield Chunk(log_mel, seconds, peak=float(np.ptp(log_mel) > 0))
        return
    held: list[NDArray[np.float32]] = []
    n_held, peak = 0, 0.0
    stream = LogMelStream(config)
    with open_audio(item, config.sample_rate, max_seconds=max_seconds) as audio:
        for waveform in audio:
            alive()
            listen(waveform)
            peak = max(peak, float(np.abs(waveform).max(initial=0)))
            held.append(stream.push(waveform))
            n_held += held[-1].shape[1]
            if n_held >= CHUNK_FRAMES:
                yield Chunk(np.concatenate(held, axis=1), audio.seconds, peak)
                held, n_held = [], 0
        try:
            held.append(stream.finish())
        except AudioError as error:
            raise AudioError(item, error.problem, error.remedy, status=error.status) from None
        yield Chunk(np.concatenate(held, axis=1), audio.seconds, peak, audio.damage)
