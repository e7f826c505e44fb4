"""Audio files to mono float32 waveforms, in blocks, at any sample rate.

The decoder is chosen by content, never by suffix: libsndfile for the formats that it reads well,
FFmpeg for the others, for what libsndfile refuses, and from where libsndfile gives up. What a
header claims about the length is a claim: blocks of one size are read until the data end, so a
header that lies costs no memory, and a file that was cut gives what is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import soundfile
import soxr

from tsresformer._headers import claimed_seconds, ogg_links
from tsresformer._mono import (
    BLOCK_SAMPLES,
    REMEDY_DAMAGED,
    Listener,
    Waveform,
    is_sane,
    let_hear,
    mean_of_channels,
    silence_nonfinite,
)
from tsresformer._sniff import AUDIO_SUFFIXES, CONTAINERS
from tsresformer._source import SourceFile
from tsresformer.errors import AudioError, NotAudioError, TooLongError

if TYPE_CHECKING:
    from tsresformer._pyav import PyavDecoder

Backend = Literal["soundfile", "pyav"]
Block = tuple[int, Waveform]
Window = tuple[int, int]

DAY_S = 86_400.0
MAX_CLAIM_S = 1e7
CUT_SHORT_S = 1.0
MAX_UNREAD_BYTES, MAX_MISSING_S, MAX_GAP_S = 512, 0.1, 0.01
MAX_TAGS, MAX_TAG_CHARACTERS = 256, 1000

_UNKNOWN_LENGTH = 2**62
_NO_HEADER = frozenset({"aac", "ac3", "eac3", "mp3"})
"""Formats whose length decoders guess from the bit rate, unless a Xing header claims it."""
_LENGTH_IS_TRUSTED = frozenset({"flac", "mp3"})
"""Formats in which libsndfile stops at the claimed length, whatever follows."""
_TAG_NAMES = {"album_artist": "albumartist", "album artist": "albumartist"}


@dataclass(frozen=True)
class AudioInfo:
    """What the headers of an audio file say.

    Parameters
    ----------
    duration_s : the length that the header claims, None where it claims none
    sample_rate : Hz, as stored
    n_channels : as stored
    format : by content, such as "wav", "flac", "ogg", "mp3", "mp4"
    backend : the decoder that opens it
    tags : lower-case names (artist, albumartist, album, title, genre, date, ...) to text
    """

    duration_s: float | None
    sample_rate: int
    n_channels: int
    format: str
    backend: Backend
    tags: Mapping[str, str] = field(default_factory=dict)


def probe(path: str | Path) -> AudioInfo:
    """Read the headers of an audio file, without decoding it.

    Raises
    ------
    AudioError : it is no audio, or no decoder opens it
    """
    with AudioStream(path) as stream:
        return AudioInfo(
            duration_s=stream.claimed_s,
            sample_rate=stream.native_rate,
            n_channels=stream.n_channels,
            format=stream.format,
            backend=stream.backend,
            tags=stream.tags(),
        )


def looks_like_audio(path: str | Path) -> bool:
    """Whether a file is audio by its content, or is called so; no promise that it can be decoded.

    A container that FFmpeg cannot open counts as audio: its header was cut or damaged, and nobody
    knows what it held. FFmpeg opens what may hold pictures only: ask in a child process about
    files of strangers.
    """
    try:
        with SourceFile(path) as source:
            return source.format not in CONTAINERS or _may_hold_audio(source)
    except AudioError:
        return _is_called_audio(path)


def _may_hold_audio(source: SourceFile) -> bool:
    try:
        source.open_pyav().close()
    except NotAudioError:
        return _is_called_audio(source.path)
    except AudioError:
        pass
    return True


def _is_called_audio(path: str | Path) -> bool:
    return os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES


def audio_by_head(path: str | Path) -> bool | None:
    """What `looks_like_audio` says where bytes and name tell; None where FFmpeg has to."""
    try:
        with SourceFile(path) as source:
            return None if source.format in CONTAINERS else True
    except AudioError:
        return _is_called_audio(path)


def audio_by_ffmpeg(path: str) -> Iterator[bool]:
    """Yield what `looks_like_audio` says, for a child process."""
    yield looks_like_audio(path)


def open_audio(
    path: str | Path,
    sample_rate: int | None = None,
    *,
    max_seconds: float = DAY_S,
    listener: Listener | None = None,
) -> AudioStream:
    """Open an audio file as a stream of mono blocks; see `AudioStream`."""
    return AudioStream(path, sample_rate, max_seconds=max_seconds, listener=listener)


def load(
    path: str | Path, sample_rate: int | None = None, *, max_seconds: float = DAY_S
) -> Waveform:
    """Decode a whole file.

    Returns
    -------
    waveform : shape (n_samples,), the mean of the channels at `sample_rate`, or at the file's own

    Raises
    ------
    AudioError : it is no audio, has no sample, or is longer than `max_seconds`
    """
    with AudioStream(path, sample_rate, max_seconds=max_seconds) as stream:
        blocks = list(stream)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


class AudioStream:
    """One pass over an audio file, as mono blocks at one sample rate.

    Parameters
    ----------
    path : the file
    sample_rate : of the blocks in Hz; None keeps the file's own
    max_seconds : longer files raise, once that much is decoded
    listener : called with each channel of each block, at the file's own rate; where libsndfile
        gives up, FFmpeg starts over, and what was decoded by then is heard twice

    Attributes
    ----------
    claimed_s : the length in seconds that the header claims, or None
    seconds : the length that was decoded so far, before resampling
    n_nonfinite : samples so far that were no numbers, and are zeros now

    Raises
    ------
    AudioError : it is no audio, or no decoder opens it; while iterating: it has no sample, no
        sample that is a number, or is longer than `max_seconds`
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int | None = None,
        *,
        max_seconds: float = DAY_S,
        listener: Listener | None = None,
    ) -> None:
        self._listener = listener
        self.max_seconds, self.seconds, self.n_nonfinite = max_seconds, 0.0, 0
        self._n_gaps, self._gave_up = 0, False
        self._decoders: list[PyavDecoder] = []
        self._sound: soundfile.SoundFile | None = None
        self._source = SourceFile(path)
        self.path, self.format = self._source.path, self._source.format
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self.sample_rate = sample_rate or self.native_rate

    def _open(self) -> None:
        """Open the file with libsndfile, else with FFmpeg."""
        source = self._source
        self.claimed_s = claimed_seconds(source.format, source.start, source.read_at)
        self._sound = source.open_soundfile()
        if self._sound:
            self.native_rate, self.n_channels = self._sound.samplerate, self._sound.channels
            if self.claimed_s is None and self.format not in _NO_HEADER:
                self.claimed_s = self._sound.frames / self.native_rate
            self._drop_absurd_claim()
            return
        decoder = source.open_pyav()
        self._decoders.append(decoder)
        self.native_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        if self.claimed_s is None and self.format not in _NO_HEADER:
            self.claimed_s = decoder.duration_s
        self._drop_absurd_claim()
        if not is_sane(self.native_rate, self.n_channels):
            claims = f"{self.native_rate} Hz, {self.n_channels} channels"
            raise source.error(f"its header makes no sense ({claims})", REMEDY_DAMAGED)

    def _drop_absurd_claim(self) -> None:
        """Forget a claim that means "unknown": nothing, or the largest number of some width."""
        if not 0 < (self.claimed_s or 0) < MAX_CLAIM_S:
            self.claimed_s = None

    @property
    def backend(self) -> Backend:
        """The decoder in use; it may change on the way."""
        return "pyav" if self._decoders else "soundfile"

    @property
    def n_bad_packets(self) -> int:
        """Damaged places that were skipped so far."""
        return self._n_gaps + sum(decoder.n_bad_packets for decoder in self._decoders)

    @property
    def damage(self) -> str:
        """What is wrong with the audio that was decoded, once it is, in words; "" for nothing."""
        problems = []
        if self.claimed_s and self.claimed_s - self.seconds > CUT_SHORT_S:
            problems.append(f"cut short: {self.seconds:.1f} of {self.claimed_s:.1f} s")
        if self.n_bad_packets:
            problems.append(f"damaged places skipped: {self.n_bad_packets}")
        if self.n_nonfinite:
            problems.append(f"samples that were no numbers: {self.n_nonfinite}")
        return "; ".join(problems)

    def tags(self) -> dict[str, str]:
        """Text tags by lower-case names such as artist, albumartist, album, title, genre, date."""
        tags = self._sound.copy_metadata() if self._sound else {}
        try:
            decoder = self._source.open_pyav((0, self._source.size))
            tags |= decoder.tags
            decoder.close()
        except AudioError:
            pass
        return _tidy(tags)

    def __iter__(self) -> Iterator[Waveform]:
        resampler, resampler_rate, n_samples, n_yielded = None, 0, 0, 0
        block = np.empty(0, np.float32)
        for rate, block in self._native_blocks():
            self._count(rate, block)
            n_samples += len(block)
            if rate != resampler_rate:
                yield from _flush(resampler)
                resampler_rate, resampler = rate, _resampler(rate, self.sample_rate)
            resampled = resampler.resample_chunk(block) if resampler else block
            n_yielded += len(resampled)
            if len(resampled):
                yield resampled
        for resampled in _flush(resampler):
            n_yielded += len(resampled)
            yield resampled
        if not n_samples:
            raise self._source.error("no sample can be decoded", REMEDY_DAMAGED)
        if n_samples == self.n_nonfinite:
            raise self._source.error("none of its samples is a sensible number", REMEDY_DAMAGED)
        if not n_yielded:  # shorter than one sample at the new rate
            yield block[:1]

    def _count(self, rate: int, block: Waveform) -> None:
        self.n_nonfinite += silence_nonfinite(block)
        self.seconds += len(block) / rate
        if self.seconds > self.max_seconds:
            problem = f"it is longer than {self.max_seconds:g} s"
            raise TooLongError(self.path, problem, "cut it into parts, or raise the limit")

    def _native_blocks(self) -> Iterator[Block]:
        """Blocks as stored: from libsndfile, and from FFmpeg where libsndfile leaves off."""
        n_samples = 0
        if self._sound:
            for block in self._sound_blocks(self._sound):
                n_samples += len(block)
                yield self.native_rate, block
        windows, skip_s = self._left_over(n_samples)
        for number, window in enumerate(windows):
            try:
                decoder = self._decoder(window)
            except AudioError:
                if not n_samples and number == 0:
                    raise
                self._n_gaps += 1
                continue
            yield from _skip(decoder.blocks(self._listener), skip_s if number == 0 else 0.0)
            decoder.close()
        if self._gave_up and MAX_GAP_S < (self.claimed_s or 0) - self.seconds <= CUT_SHORT_S:
            self._n_gaps += 1

    def _sound_blocks(self, sound: soundfile.SoundFile) -> Iterator[Waveform]:
        buffer, n_samples = np.empty((BLOCK_SAMPLES, sound.channels), np.float32), 0
        try:
            while n_read := sound.buffer_read_into(buffer, "float32"):
                n_samples += n_read
                channels = list(buffer[:n_read].T)
                if self._listener:
                    let_hear(self._listener, channels)
                yield mean_of_channels(channels)
        except soundfile.SoundFileError:
            self._gave_up = True
        n_missing = sound.frames - n_samples
        if sound.frames < _UNKNOWN_LENGTH and n_missing > MAX_MISSING_S * sound.samplerate:
            self._gave_up = True

    def _left_over(self, n_samples: int) -> tuple[list[Window], float]:
        """Find the parts of the file for FFmpeg, and the seconds to skip in the first."""
        source, skip_s = self._source, n_samples / self.native_rate
        whole = [(source.start, source.size)]
        if self.format == "ogg":
            links = ogg_links(source.read_at, source.start, source.size)
            return (links, skip_s) if self._gave_up or not n_samples else (links[1:], 0.0)
        if self._gave_up or not n_samples:
            return whole, skip_s
        cut = self.format in _LENGTH_IS_TRUSTED and source.n_unread() > MAX_UNREAD_BYTES
        return (whole, skip_s) if cut else ([], 0.0)

    def _decoder(self, window: Window) -> PyavDecoder:
        if not (self._decoders and self._decoders[0].window == window):
            self._decoders.append(self._source.open_pyav(window))
        return self._decoders[-1]

    def close(self) -> None:
        """Close the file and its decoders."""
        for decoder in self._decoders:
            decoder.close()
        if self._sound:
            self._sound.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _skip(blocks: Iterator[Block], skip_s: float) -> Iterator[Block]:
    """Drop what comes before `skip_s` seconds."""
    for rate, block in blocks:
        n_skipped = min(round(skip_s * rate), len(block))
        skip_s -= n_skipped / rate
        if n_skipped < len(block):
            yield rate, block[n_skipped:]


def _resampler(rate: int, new_rate: int) -> soxr.ResampleStream | None:
    return None if rate == new_rate else soxr.ResampleStream(rate, new_rate, 1, "float32", "HQ")


def _flush(resampler: soxr.ResampleStream | None) -> Iterator[Waveform]:
    """Whatever a resampler still holds."""
    if resampler:
        rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        if len(rest):
            yield rest


def _tidy(tags: Mapping[str, str]) -> dict[str, str]:
    """Lower-case names, no empty or endless values, no control characters at the ends."""
    tidy = {}
    for name, value in list(tags.items())[:MAX_TAGS]:
        name = name.lower()
        value = value.replace("\0", " ").strip()[:MAX_TAG_CHARACTERS]
        if value:
            tidy[_TAG_NAMES.get(name, name)] = value
    return tidy
