"""Log-mel spectra in NumPy: the only implementation, for training and inference alike.

Framing, windowing, STFT, mel filter bank, and compression: by the logarithm, or by PCEN. A stream
yields absolute decibels; `reference_to` then refers a track or a slice to its own maximum and
clips it at `top_db`. The exported network applies the same definition to each slice. With PCEN a
stream yields its values, and `reference_to` clips them at `top`.

References
----------
Stevens, Volkmann & Newman 1937 (the mel scale, in Slaney's variant as librosa has it).
Wang et al. 2017, Lostanlen et al. 2019 (PCEN, per-channel energy normalisation).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError

Array = NDArray[np.float32]

MIN_POWER = 1e-10
"""Power floor before the logarithm, as in librosa's `power_to_db`."""

PCEN_POWER = 2.0**30
"""Mel power of full scale, before PCEN: of samples as 16-bit integers, which its constants suit."""

SILENT_PEAK = 1e-3
"""A track whose samples all stay below this (-60 dBFS) is silent."""

FRAMES_PER_BLOCK = 32
"""Frames that are transformed together: their spectra fit a core's second-level cache."""

FILTER_GROUPS = 4
"""Groups of mel filters, each applied to its own range of the spectrum: most of a bank is zeros."""


def log_mel(waveform: NDArray[np.floating], config: FeatureConfig) -> Array:
    """Log-mel spectrogram of one track.

    Parameters
    ----------
    waveform : shape (n_samples,), mono, in [-1, 1]
    config : FeatureConfig

    Returns
    -------
    log_mel : shape (n_mels, n_frames), float32; with `reference="max"`, dB relative to the
        track's maximum, in [-top_db, 0]; with PCEN, in [0, top]

    Raises
    ------
    AudioError : the waveform is shorter than one window, or not finite

    Examples
    --------
    >>> tone = np.sin(np.arange(22050) * 2 * np.pi * 440 / 22050)
    >>> log_mel(tone, FeatureConfig()).shape
    (128, 44)
    """
    stream = LogMelStream(config)
    return reference_to(np.concatenate([stream.push(waveform), stream.finish()], axis=1), config)


def reference_to(log_mel_db: Array, config: FeatureConfig) -> Array:
    """Refer absolute decibels to the maximum (or a fixed power) and clip at `top_db`.

    Values of PCEN are relative already, to what each band did before; they are clipped at `top`.

    Parameters
    ----------
    log_mel_db : shape (..., n_mels, n_frames); the maximum is taken over the last two axes
    """
    if config.scale == "pcen":
        return np.minimum(log_mel_db, np.float32(config.pcen.top))
    loudest = log_mel_db.max(axis=(-2, -1), keepdims=True)
    clipped: Array = np.maximum(log_mel_db - loudest, np.float32(-config.top_db))
    if config.reference != "max":
        clipped += loudest - fixed_reference_db(config)
    return clipped


def from_bytes(values: NDArray[np.uint8], config: FeatureConfig) -> Array:
    """Values of a log-mel that is kept as bytes: 255 is 0 dB, 0 is -top_db; PCEN: top and 0."""
    lowest, width = _byte_range(config)
    return np.asarray(values * np.float32(width / 255) + np.float32(lowest))


def to_bytes(values: Array, config: FeatureConfig) -> NDArray[np.uint8]:
    """Keep a referenced log-mel as bytes; what lies outside their range counts as its end."""
    lowest, width = _byte_range(config)
    steps = np.rint((values - lowest) * (255 / width))
    return np.asarray(np.clip(steps, 0, 255).astype(np.uint8))


def _byte_range(config: FeatureConfig) -> tuple[float, float]:
    """What the byte 0 stands for, and how much further up 255 lies."""
    if config.scale == "pcen":
        return 0.0, config.pcen.top
    return -config.top_db, config.top_db


def fixed_reference_db(config: FeatureConfig) -> np.float32:
    """Decibels of a fixed reference power."""
    return np.float32(10 * np.log10(max(MIN_POWER, float(config.reference))))


class LogMelStream:
    """Log-mel frames of a waveform that arrives in blocks of any size.

    Frames are always computed in the same groups of `FRAMES_PER_BLOCK`, so the values do not
    depend, to the bit, on how the waveform was divided.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._window, self._filters = _window(config), _filter_groups(config)
        self._windowed = np.empty((FRAMES_PER_BLOCK, config.n_fft))
        self._spectrum: Any = np.empty((FRAMES_PER_BLOCK, config.n_fft // 2 + 1), np.complex64)
        self._power = np.empty(self._spectrum.shape, np.float32)
        # The samples of one group of frames, without those that no frame looks at.
        self._step = min(config.hop_length, config.n_fft)
        self._held = np.zeros((FRAMES_PER_BLOCK - 1) * self._step + config.n_fft, dtype=np.float32)
        self._frames = np.lib.stride_tricks.sliding_window_view(self._held, config.n_fft)
        self._frames = self._frames[:: self._step]
        self._n_held = self._margin = config.n_fft // 2
        self._skip = 0  # samples to come that no frame looks at
        self._n_samples = self._n_frames = 0
        self._compress: Callable[[Array], None] = _to_decibels
        if config.scale == "pcen":
            self._compress = _Pcen(config)

    def push(self, waveform: NDArray[np.floating]) -> Array:
        """Take the next samples; return the frames (n_mels, n) that they complete."""
        waveform = np.asarray(waveform, dtype=np.float32)
        if waveform.ndim != 1:
            raise AudioError("waveform", f"has shape {waveform.shape}", "pass one mono channel")
        if not np.isfinite(waveform).all():
            raise AudioError("waveform", "holds values that are not finite", "replace them first")
        self._n_samples += waveform.size
        n_frames = self._n_complete(self._margin + self._n_samples)
        return self._emit(waveform, n_frames - n_frames % FRAMES_PER_BLOCK)

    def finish(self) -> Array:
        """Return the last frames (n_mels, n), which reach into the padding at the end."""
        assert self.config.win_length is not None
        if self._n_samples < self.config.win_length:
            raise AudioError(
                "waveform",
                f"{self._n_samples} samples are less than one window ({self.config.win_length})",
                "use a longer recording",
                status="incomplete",
            )
        n_frames = self._n_complete(self._n_samples + 2 * self._margin)
        return self._emit(np.zeros(self._margin, dtype=np.float32), n_frames)

    def _n_complete(self, n_samples: int) -> int:
        return max(0, 1 + (n_samples - self.config.n_fft) // self.config.hop_length)

    def _emit(self, waveform: Array, n_frames: int) -> Array:
        """Take samples; return what lacks of the first `n_frames` frames of the track."""
        out = np.empty((self.config.n_mels, n_frames - self._n_frames), dtype=np.float32)
        first = self._n_frames
        while waveform.size:
            waveform = waveform[self._hold(waveform) :]
            if self._n_held == self._held.size:
                self._transform(FRAMES_PER_BLOCK, out[:, self._n_frames - first :])
                n_kept = self._held.size - FRAMES_PER_BLOCK * self._step
                self._held[:n_kept] = self._held[self._held.size - n_kept :]
                self._n_held = n_kept
        self._transform(n_frames - self._n_frames, out[:, self._n_frames - first :])
        self._compress(out)
        return out

    def _hold(self, waveform: Array) -> int:
        """Keep samples for the frames of the next group; return how many are dealt with."""
        if self._skip:
            n_skipped = min(self._skip, waveform.size)
            self._skip -= n_skipped
            return n_skipped
        room, n_unseen = self._held.size - self._n_held, self.config.hop_length - self._step
        if n_unseen:  # only to the end of this frame
            room = self.config.n_fft - self._n_held % self.config.n_fft
        taken = waveform[:room]
        self._held[self._n_held : self._n_held + taken.size] = taken
        self._n_held += taken.size
        if taken.size == room:
            self._skip = n_unseen
        return taken.size

    def _transform(self, n_frames: int, out: Array) -> None:
        """Write the mel power of the first frames that are held."""
        if not n_frames:
            return
        # In double precision NumPy transforms twice as fast, and where a spectrum is 100 dB below
        # its maximum, single precision would be 0.02 dB off.
        windowed, spectrum = self._windowed[:n_frames], self._spectrum[:n_frames]
        np.multiply(self._frames[:n_frames], self._window, out=windowed)
        parts = np.fft.rfft(windowed, out=spectrum).view(np.float32)
        np.multiply(parts, parts, out=parts)
        power = np.add(parts[:, ::2], parts[:, 1::2], out=self._power[:n_frames])
        for rows, bins, filters in self._filters:
            out[rows, :n_frames] = (power[:, bins] @ filters).T
        self._n_frames += n_frames


def _to_decibels(power: Array) -> None:
    """Turn mel power into absolute decibels, in place."""
    np.maximum(power, np.float32(MIN_POWER), out=power)
    np.log(power, out=power)  # which NumPy computes three times as fast as log10
    power *= np.float32(10 / np.log(10))


class _Pcen:
    """Per-channel energy normalisation of frames that arrive in blocks, in place.

    Each band has a mean of its own that follows it as a filter of first order does; it starts at
    1, as librosa's does, and goes on from block to block.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self._pcen = config.pcen
        n_frames = config.pcen.time_constant * config.frames_per_second
        self._rate = (np.sqrt(1 + 4 * n_frames**2) - 1) / (2 * n_frames**2)
        self._mean = np.ones(config.n_mels)

    def __call__(self, power: Array) -> None:
        """Compress the next frames, mel power of shape (n_mels, n_frames)."""
        gain, bias, root = self._pcen.gain, self._pcen.bias, self._pcen.power
        energy = power.T.astype(np.float64) * PCEN_POWER
        means = self._rate * energy
        before = self._mean
        for mean in means:
            mean += (1 - self._rate) * before
            before = mean
        self._mean = before.copy()
        # The mean to the power of -gain, in logarithms, so that eps is not lost beside it.
        eps = self._pcen.eps
        energy *= np.exp(-gain * (np.log(eps) + np.log1p(means / eps)))
        power[:] = (bias**root * np.expm1(root * np.log1p(energy / bias))).T


@functools.lru_cache(maxsize=8)
def _filter_groups(config: FeatureConfig) -> list[tuple[slice, slice, Array]]:
    """Neighbouring filters, with the range of bins that is not zero in all of them."""
    bank = mel_filter_bank(config)
    groups = []
    for rows in np.array_split(np.arange(config.n_mels), min(FILTER_GROUPS, config.n_mels)):
        group = slice(int(rows[0]), int(rows[-1]) + 1)
        used = np.flatnonzero(bank[group].any(axis=0))
        bins = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        groups.append((group, bins, np.ascontiguousarray(bank[group, bins].T)))
    return groups


@functools.lru_cache(maxsize=8)
def mel_filter_bank(config: FeatureConfig) -> Array:
    """Triangular mel filters of equal area (Slaney), shape (n_mels, n_fft // 2 + 1)."""
    edges = mel_edges(config)
    bins = np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    bank = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return bank.astype(np.float32)


def mel_edges(config: FeatureConfig) -> NDArray[np.float64]:
    """Hertz where the mel bands begin, peak and end, shape (n_mels + 2,): band m peaks at m + 1."""
    assert config.f_max is not None
    mels = np.linspace(_hz_to_mel(config.f_min), _hz_to_mel(config.f_max), config.n_mels + 2)
    return _mel_to_hz(mels)


@functools.lru_cache(maxsize=8)
def _window(config: FeatureConfig) -> NDArray[np.float64]:
    """Periodic Hann window, centred in n_fft samples."""
    assert config.win_length is not None
    length = config.win_length
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    left = (config.n_fft - length) // 2
    return np.pad(hann, (left, config.n_fft - length - left))


# Slaney's mel scale: linear up to 1 kHz (15 mel), then 27 mel for each factor of 6.4.
_LINEAR_HZ_PER_MEL, _BREAK_HZ, _BREAK_MEL = 200 / 3, 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    exponential = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, exponential)
