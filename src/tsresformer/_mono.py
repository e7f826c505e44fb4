"""What both decoders share: the limits on a sane file, and samples to clean mono."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Waveform: TypeAlias = npt.NDArray[np.float32]
Listener: TypeAlias = Callable[[int, Waveform], object]
"""Called with the number of a channel, and a block of its samples before they are mixed."""

BLOCK_SAMPLES = 65_536
SAMPLE_RATES_HZ = range(1_000, 768_001)
MAX_CHANNELS = 64
MAX_AMPLITUDE = 1e10
REMEDY_DAMAGED = "copy or download it again"


def is_sane(sample_rate: int, n_channels: int) -> bool:
    """Whether a file with these properties is decoded at all."""
    return sample_rate in SAMPLE_RATES_HZ and 1 <= n_channels <= MAX_CHANNELS


def mean_of_channels(channels: Sequence[npt.NDArray[Any]], scale: float = 1.0) -> Waveform:
    """Mix down to mono.

    Parameters
    ----------
    channels : arrays of shape (n_samples,), of any strides and number type
    scale : factor that brings the samples to [-1, 1]

    Returns
    -------
    waveform : shape (n_samples,), a new array
    """
    if len(channels) == 1:
        mono: Waveform = channels[0].astype(np.float32)
    else:
        mono = np.add(channels[0], channels[1], dtype=np.float32)
        for channel in channels[2:]:
            mono += channel
    if scale != len(channels):
        mono *= np.float32(scale / len(channels))
    return mono


def let_hear(
    listener: Listener,
    channels: Sequence[npt.NDArray[Any]],
    scale: float = 1.0,
    shift: float = 0.0,
) -> None:
    """Call a listener with each channel, brought to [-1, 1] by a factor and a summand."""
    for number, channel in enumerate(channels):
        samples = channel.astype(np.float32)
        samples *= np.float32(scale)
        samples += np.float32(shift)
        silence_nonfinite(samples)
        listener(number, samples)


def silence_nonfinite(waveform: Waveform) -> int:
    """Set NaN, infinite and absurdly large samples to zero, in place, and count them."""
    if not len(waveform) or (
        waveform.max() <= MAX_AMPLITUDE and waveform.min() >= -MAX_AMPLITUDE
    ):  # False for NaN
        return 0
    bad = ~(np.abs(waveform) <= MAX_AMPLITUDE)
    waveform[bad] = 0.0
    return int(np.count_nonzero(bad))
