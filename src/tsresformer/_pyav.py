"""Decoding by FFmpeg through PyAV: what libsndfile cannot read, or loses midway."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.stream import Discard, Disposition

from tsresformer._mono import (
    BLOCK_SAMPLES,
    REMEDY_DAMAGED,
    Listener,
    Waveform,
    is_sane,
    let_hear,
    mean_of_channels,
)
from tsresformer.errors import AudioError, NotAudioError

_Channels: TypeAlias = list[npt.NDArray[Any]]

_MAX_DEMUX_ERRORS = 100
_MAX_PARTS = 4096
_MAX_FRUITLESS_BYTES = 512 * 2**20
_BUFFER_BYTES = 64 * 1024
_DTYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}
_SCALES = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "flt": 1.0, "dbl": 1.0}


class PyavDecoder:
    """The audio stream of one file; damaged packets are skipped and counted.

    Parameters
    ----------
    path : the file's name, for messages only
    descriptor : the open file; its offset is neither used nor moved
    demuxer : FFmpeg's name of the container format, which is never guessed
    window : offsets of the first byte that is read and of the byte behind the last

    Raises
    ------
    AudioError : the file is not of that format, or has no audio stream that can be decoded
    """

    def __init__(self, path: str, descriptor: int, demuxer: str, window: tuple[int, int]) -> None:
        self.path, self.window, self.n_bad_packets = path, window, 0
        self._reader = _Reader(descriptor, *window)
        # The whitelists keep FFmpeg from opening anything but the bytes it is given.
        options = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
        try:
            self._container = av.open(
                self._reader,
                "r",
                format=demuxer,
                options=options,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
            )
        except (av.FFmpegError, ValueError) as error:
            self._raise_read_error()
            raise self._error(f"its header cannot be read ({_reason(error)})") from None
        try:
            self._stream = self._choose_stream()
        except AudioError:
            self._container.close()
            raise

    def _choose_stream(self) -> Any:
        audio = self._container.streams.audio
        decodable = [stream for stream in audio if stream.codec_context is not None]
        if not audio:
            raise NotAudioError(self.path, "it holds no audio")
        if not decodable:
            raise AudioError(self.path, "its codec is unknown", "convert it to WAV or FLAC")
        stream = max(decodable, key=lambda stream: Disposition.default in stream.disposition)
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all
        return stream

    @property
    def sample_rate(self) -> int:
        return int(self._stream.codec_context.sample_rate or 0)

    @property
    def n_channels(self) -> int:
        return int(self._stream.codec_context.layout.nb_channels)

    @property
    def duration_s(self) -> float | None:
        """Length that the container claims or that FFmpeg estimates."""
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / av.time_base if self._container.duration else None

    @property
    def tags(self) -> dict[str, str]:
        return {**self._stream.metadata, **self._container.metadata}

    def blocks(self, listener: Listener | None = None) -> Iterator[tuple[int, Waveform]]:
        """Decode to the end.

        Parameters
        ----------
        listener : called with each channel of each block

        Yields
        ------
        sample_rate : Hz, of this block; it may change where streams are chained
        waveform : shape (n_samples,), the mean of the channels
        """
        kind, parts, n_samples = ("", 0, 0), list[_Channels](), 0
        for frame in self._frames():
            kind_here = frame.format.name, frame.layout.nb_channels, frame.sample_rate
            try:
                channels = _channels(frame, *kind_here)
            except (ValueError, KeyError):
                self.n_bad_packets += 1
                continue
            if parts and (
                kind_here != kind or n_samples >= BLOCK_SAMPLES or len(parts) >= _MAX_PARTS
            ):
                yield kind[2], _mix(parts, kind[0], listener)
                parts, n_samples = [], 0
            kind, n_samples = kind_here, n_samples + frame.samples
            parts.append(channels)
        if parts:
            yield kind[2], _mix(parts, kind[0], listener)
        self._raise_read_error()

    def _frames(self) -> Iterator[Any]:
        for _ in range(_MAX_DEMUX_ERRORS):
            try:
                for packet in self._container.demux(self._stream):
                    yield from self._decode(packet)
                return
            except av.FFmpegError:
                self.n_bad_packets += 1
        yield from self._decode(None)

    def _decode(self, packet: Any) -> list[Any]:
        try:
            frames: list[Any] = self._stream.decode(packet)
        except av.EOFError:
            return []
        except (av.FFmpegError, ValueError):
            self.n_bad_packets += 1
            return []
        if frames:
            self._reader.n_fruitless_bytes = 0
        return frames

    def close(self) -> None:
        """Close the container, not the file."""
        self._container.close()

    def _raise_read_error(self) -> None:
        """Tell a disk error from the end of the file, which it is for FFmpeg."""
        if self._reader.error:
            raise self._error(f"it cannot be read ({_reason(self._reader.error)})") from None

    def _error(self, problem: str) -> AudioError:
        return AudioError(self.path, problem, REMEDY_DAMAGED)


class _Reader:
    """A window of a file as FFmpeg reads it; ends early if nothing comes of what is read."""

    name = "audio"

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, end - start
        self._position = self.n_fruitless_bytes = 0
        self.error: OSError | None = None

    def read(self, n_bytes: int) -> bytes:
        n_bytes = min(n_bytes, self._size - self._position)
        if n_bytes <= 0 or self.n_fruitless_bytes > _MAX_FRUITLESS_BYTES:
            return b""
        try:
            data = os.pread(self._descriptor, n_bytes, self._start + self._position)
        except OSError as error:
            self.error = error
            return b""
        self._position += len(data)
        self.n_fruitless_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            return -errno.EINVAL
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _channels(frame: Any, kind: str, n_channels: int, sample_rate: int) -> _Channels:
    """Give the samples of each channel, as stored, without a copy."""
    if not is_sane(sample_rate, n_channels):
        raise ValueError("sample rate or number of channels out of range")
    dtype, planes, n_samples = _DTYPES[kind.removesuffix("p")], frame.planes, frame.samples
    if kind.endswith("p") or n_channels == 1:
        return [np.frombuffer(planes[c], dtype, n_samples) for c in range(n_channels)]
    samples = np.frombuffer(planes[0], dtype, n_samples * n_channels)
    return list(samples.reshape(n_samples, n_channels).T)


def _mix(parts: list[_Channels], kind: str, listener: Listener | None) -> Waveform:
    """Join pieces of one kind and mix them down."""
    channels = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
    kind = kind.removesuffix("p")
    scale, shift = _SCALES[kind], -1.0 if kind == "u8" else 0.0
    if listener:
        let_hear(listener, channels, scale, shift)
    mono = mean_of_channels(channels, scale)
    if shift:
        mono += np.float32(shift)
    return mono


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
