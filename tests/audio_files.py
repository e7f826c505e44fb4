"""Audio files for the tests: tones in every format, and the bytes of headers that lie."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]

SOUNDFILE_SUBTYPES = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
PYAV_CODECS = {
    "m4a": ("mp4", "aac"),
    "aac": ("adts", "aac"),
    "oga": ("ogg", "flac"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "flac"),
    "wma": ("asf", "wmav2"),
}
LOSSLESS = ("wav", "flac", "aiff", "au", "caf", "w64", "oga", "mka")


def tone(
    seconds: float, hz: float = 440.0, sample_rate: int = 48000, n_channels: int = 2
) -> Samples:
    """A tone whose loudness falls over the channels and rises over time; shape (n, n_channels)."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = np.sin(2 * np.pi * hz * time_s) * (0.2 + 0.6 * time_s / max(seconds, 1e-9))
    return np.stack([wave / (c + 1) for c in range(n_channels)], axis=1).astype(np.float32)


def write(path: Path, samples: Samples, sample_rate: int = 48000, kind: str = "") -> Path:
    """Write samples of shape (n, n_channels) in the format named by `kind`, or by the suffix."""
    kind = kind or path.suffix[1:]
    if kind in SOUNDFILE_SUBTYPES:
        container, subtype = SOUNDFILE_SUBTYPES[kind]
        soundfile.write(path, samples, sample_rate, format=container, subtype=subtype)
        return path
    container, codec = PYAV_CODECS[kind]
    write_pyav(path, samples, sample_rate, container, codec)
    return path


def write_pyav(
    path: Path,
    samples: Samples,
    sample_rate: int,
    container: str,
    codec: str,
    tags: dict[str, str] | None = None,
) -> None:
    """Encode with FFmpeg."""
    layout = "stereo" if samples.shape[1] == 2 else "mono"
    integers = np.round(samples * 32767).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(integers, format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(tags or {})
        stream: Any = output.add_stream(codec, rate=sample_rate, layout=layout)
        if codec == "wmav2":
            stream.format, stream.bit_rate = "fltp", 128_000
        stream.codec_context.open()
        resampler = av.AudioResampler(stream.format, layout, sample_rate, stream.frame_size or 4096)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))


def wav_header(
    *,
    n_bytes: int,
    n_channels: int = 1,
    sample_rate: int = 8000,
    bits: int = 16,
    kind: int = 1,
) -> bytes:
    """A WAV header that claims what it is told to."""
    align = n_channels * bits // 8
    average = sample_rate * align & 0xFFFFFFFF
    fields = (kind, n_channels, sample_rate, average, align & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, *fields)
    riff = b"RIFF" + struct.pack("<I", min(n_bytes + 36, 0xFFFFFFFF))
    return riff + body + b"data" + struct.pack("<I", n_bytes)


def without_frame(flac: bytes, at: float) -> bytes:
    """A FLAC file with 64 bytes zeroed at a fraction of its length."""
    damaged = bytearray(flac)
    start = int(len(damaged) * at)
    damaged[start : start + 64] = bytes(64)
    return bytes(damaged)


def m4a_that_claims(n_samples: int) -> bytes:
    """An MP4 of two kilobytes whose tables claim so many samples; FFmpeg makes an entry of each."""

    def box(name: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), name) + body

    def words(*values: int) -> bytes:
        return struct.pack(f">{len(values)}I", *values)

    codec = bytes(16) + struct.pack(">HHI", 2, 16, 0) + words(44100 << 16)
    tables = (
        box(b"stsd", words(0, 1), box(b"mp4a", codec)),
        box(b"stts", words(0, 1, n_samples, 1024)),
        box(b"stsc", words(0, 1, 1, n_samples, 1)),
        box(b"stsz", words(0, 1, n_samples)),
        box(b"stco", words(0, 1, 0)),
    )
    about = box(b"mdhd", words(0, 0, 0, 44100, 44100, 0)) + box(b"hdlr", words(0, 0), b"soun")
    media = box(b"mdia", about, box(b"minf", box(b"stbl", *tables)))
    file = box(b"ftyp", b"M4A ", words(0)) + box(b"moov", box(b"trak", media))
    return file + box(b"mdat", bytes(2000))


def half_copied(folder: Path) -> list[str]:
    """Files whose copying broke off, one before it began; gives their names, sorted."""
    files = {
        "half.m4a": ("m4a", 0.5),
        "none.wav": ("wav", 0),
        "stub.bin": ("ogg", 0.02),
        "stub.ogg": ("ogg", 0.02),
    }
    for name, (kind, part) in files.items():
        content = write(folder / name, tone(2.0), kind=kind).read_bytes()
        (folder / name).write_bytes(content[: int(part * len(content))])
    return list(files)


def film_without_sound(path: Path) -> Path:
    """An MP4 that holds one picture and no audio."""
    with av.open(str(path), "w", format="mp4") as output:
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    return path
