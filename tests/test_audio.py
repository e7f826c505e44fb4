"""Decoding: values, formats, lies, damage, and what must be refused."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_files import (
    LOSSLESS,
    PYAV_CODECS,
    SOUNDFILE_SUBTYPES,
    film_without_sound,
    half_copied,
    tone,
    wav_header,
    without_frame,
    write,
    write_pyav,
)
from processes import descriptors
from tsresformer import audio
from tsresformer.audio import audio_by_head, load, looks_like_audio, open_audio, probe
from tsresformer.errors import AudioError

ALL_FORMATS = [*SOUNDFILE_SUBTYPES, *PYAV_CODECS]


def peak_hz(waveform: np.ndarray, sample_rate: int) -> float:
    """Frequency of the strongest component."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * sample_rate / len(waveform))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seconds of 440 Hz, 48 kHz, stereo, in every format."""
    folder = tmp_path_factory.mktemp("tones")
    return {kind: write(folder / f"tone.{kind}", tone(2.0)) for kind in ALL_FORMATS}


# Values


def test_free_format_mp3_decodes_like_its_twin(tmp_path: Path) -> None:
    """At 48 kHz a frame of 128 kbit/s has 384 bytes; without its bit rate it is free format."""
    write_pyav(tmp_path / "twin.mp3", tone(2.0), 48000, "mp3", "libmp3lame")
    content = (tmp_path / "twin.mp3").read_bytes()
    frames = content[content.index(b"\xff\xfb", content.index(b"Info")) :]
    (tmp_path / "twin.mp3").write_bytes(frames)
    free = bytearray(frames)
    for at in range(0, len(frames), 384):
        assert frames[at : at + 2] == b"\xff\xfb" and frames[at + 2] >> 4 == 9
        free[at + 2] &= 0x0F
    (tmp_path / "free.mp3").write_bytes(free)
    assert looks_like_audio(tmp_path / "free.mp3")
    np.testing.assert_array_equal(load(tmp_path / "free.mp3"), load(tmp_path / "twin.mp3"))


@pytest.mark.parametrize("kind", ALL_FORMATS)
def test_every_format_decodes_to_the_mean_of_its_channels(
    tones: dict[str, Path], kind: str
) -> None:
    expected = tone(2.0).mean(axis=1)
    with open_audio(tones[kind]) as stream:
        waveform = np.concatenate(list(stream))
    assert (stream.sample_rate, stream.n_channels, stream.damage) == (48000, 2, "")
    assert stream.seconds == pytest.approx(2.0, abs=0.1)
    assert stream.backend == ("soundfile" if kind in SOUNDFILE_SUBTYPES else "pyav")
    if kind in LOSSLESS:
        assert len(waveform) == len(expected)
        assert np.abs(waveform - expected).max() <= 2**-15
    else:
        middle = waveform[48000:72000]
        assert peak_hz(middle, 48000) == pytest.approx(440, abs=2)
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(
            np.sqrt(np.mean(expected[48000:72000] ** 2)), rel=0.05
        )


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 8])
def test_mono_is_the_mean(tmp_path: Path, n_channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, n_channels)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 22050, subtype="FLOAT")
    np.testing.assert_allclose(load(tmp_path / "x.wav"), samples.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_both_decoders_agree_on_the_scale_of_every_number_type(
    tmp_path: Path, subtype: str
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(0.5, n_channels=1), 48000, subtype=subtype)
    heard: list[np.ndarray] = []

    def listener(channel: int, samples: np.ndarray) -> None:
        assert channel == 0
        heard.append(samples)

    with open_audio(path, listener=listener) as stream:
        expected = np.concatenate(list(stream))
        ours = np.concatenate([b for _, b in stream._source.open_pyav().blocks(listener)])
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(heard), np.tile(expected, 2), atol=1e-6)


@given(
    n_samples=st.integers(1, 300_000),
    rates=st.sampled_from(
        [(44100, 22050), (48000, 22050), (8000, 22050), (96000, 16000), (22050, 22050)]
    ),
)
@settings(max_examples=25)
def test_streamed_resampling_equals_soxr_in_one_piece(
    tmp_path: Path, n_samples: int, rates: tuple[int, int]
) -> None:
    rate, new_rate = rates
    samples = np.random.default_rng(n_samples).uniform(-0.5, 0.5, n_samples).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples, rate, new_rate, quality="HQ") if rate != new_rate else samples
    waveform = load(tmp_path / "x.wav", new_rate)
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, expected if len(expected) else samples[:1])


def test_one_sample_stays_one_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.5]), 96000, subtype="FLOAT")
    np.testing.assert_array_equal(load(tmp_path / "x.wav", 8000), [0.5])


def test_blocks_are_bounded_and_contiguous(tmp_path: Path) -> None:
    write(tmp_path / "x.flac", tone(10.0, sample_rate=44100), 44100)
    with open_audio(tmp_path / "x.flac", 22050) as stream:
        blocks = list(stream)
    assert sum(map(len, blocks)) == 220_500
    assert max(map(len, blocks)) <= audio.BLOCK_SAMPLES
    assert all(b.flags.c_contiguous and b.dtype == np.float32 and b.ndim == 1 for b in blocks)


# Formats by content


@pytest.mark.parametrize("kind", ALL_FORMATS)
def test_the_suffix_means_nothing(tones: dict[str, Path], tmp_path: Path, kind: str) -> None:
    disguised = tmp_path / ("x.flac" if kind != "flac" else "x.mp3")
    disguised.write_bytes(tones[kind].read_bytes())
    np.testing.assert_array_equal(load(disguised), load(tones[kind]))
    assert looks_like_audio(disguised)


def test_probe_reads_headers_and_tags(tmp_path: Path) -> None:
    tags = {"title": "T", "artist": "A", "album": "L", "genre": "Rock", "album_artist": "AA"}
    for container, codec, kind, backend in (
        ("mp3", "libmp3lame", "mp3", "soundfile"),
        ("flac", "flac", "flac", "soundfile"),
        ("mp4", "aac", "mp4", "pyav"),
    ):
        path = tmp_path / f"x.{container}"
        write_pyav(path, tone(3.0, sample_rate=44100), 44100, container, codec, tags)
        info = probe(path)
        assert (info.sample_rate, info.n_channels, info.format) == (44100, 2, kind)
        assert info.backend == backend
        assert info.duration_s == pytest.approx(3.0, abs=0.1)
        expected = {"title": "T", "artist": "A", "album": "L", "genre": "Rock", "albumartist": "AA"}
        assert expected.items() <= info.tags.items()


def test_looks_like_audio_tells_audio_from_its_neighbours(tmp_path: Path) -> None:
    write_pyav(tmp_path / "x.mp3", tone(1.0), 48000, "mp3", "libmp3lame")
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        archive.write(tmp_path / "x.mp3")
    film_without_sound(tmp_path / "film.mp4")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40)
    (tmp_path / "list.m3u").write_text("#EXTM3U\nx.mp3\n")
    (tmp_path / "utf16.txt").write_bytes("Träume, laut und leise\n".encode("utf-16"))
    (tmp_path / "notes.txt").write_text("not music\n" * 100)
    (tmp_path / "notes.mp3").write_text("not music\n" * 100)
    (tmp_path / "empty.jpg").touch()
    broken = half_copied(tmp_path)
    found = {path.name for path in tmp_path.iterdir() if looks_like_audio(path)}
    assert found == {"x.mp3", "notes.mp3", *broken}
    assert not looks_like_audio(tmp_path) and not looks_like_audio(tmp_path / "missing.jpg")


@pytest.mark.parametrize("kind", ALL_FORMATS)
def test_the_head_says_what_ffmpeg_would_or_leaves_it_open(
    tones: dict[str, Path], kind: str, no_decoder_here: None
) -> None:
    is_container = tones[kind].suffix in (".m4a", ".ogg", ".oga", ".opus", ".webm", ".mka", ".wma")
    assert audio_by_head(tones[kind]) is (None if is_container else True)


def test_the_head_tells_what_is_no_audio(tmp_path: Path, no_decoder_here: None) -> None:
    (tmp_path / "notes.txt").write_text("not music\n" * 100)
    assert audio_by_head(film_without_sound(tmp_path / "film.mp4")) is None
    assert audio_by_head(tmp_path / "notes.txt") is False
    assert audio_by_head(tmp_path / "missing.txt") is False
    assert audio_by_head((tmp_path / "notes.txt").rename(tmp_path / "notes.mp3")) is True


# Headers that lie


def test_wav_that_claims_no_data_or_four_gigabytes(tmp_path: Path) -> None:
    samples = (tone(1.0, sample_rate=8000, n_channels=1) * 32767).astype("<i2")
    for n_bytes, backend in ((0, "pyav"), (0xFFFFFFFF, "soundfile")):
        (tmp_path / "x.wav").write_bytes(wav_header(n_bytes=n_bytes) + samples.tobytes())
        tracemalloc.start()
        with open_audio(tmp_path / "x.wav") as stream:
            waveform = np.concatenate(list(stream))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert stream.backend == backend
        np.testing.assert_array_equal(waveform, samples[:, 0] / np.float32(32768))
        assert peak < 20e6


@pytest.mark.parametrize(
    "header",
    [
        wav_header(n_bytes=800, sample_rate=1),
        wav_header(n_bytes=800, sample_rate=0),
        wav_header(n_bytes=800, sample_rate=4_000_000_000),
        wav_header(n_bytes=800, n_channels=0),
        wav_header(n_bytes=800, n_channels=65535),
        wav_header(n_bytes=800, n_channels=65),
        wav_header(n_bytes=800, bits=255),
        wav_header(n_bytes=800, kind=0x7ABC),
        wav_header(n_bytes=0),
    ],
    ids=["1-hz", "0-hz", "4-ghz", "0-ch", "65535-ch", "65-ch", "255-bit", "unknown-codec", "empty"],
)
def test_absurd_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    data = bytes(800) if header != wav_header(n_bytes=0) else b""
    (tmp_path / "x.wav").write_bytes(header + data)
    with pytest.raises(AudioError, match=r"x\.wav: .+; "):
        load(tmp_path / "x.wav", 22050)


def test_flac_that_claims_one_sample(tones: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(tones["flac"].read_bytes())
    total = int.from_bytes(content[18:26], "big") >> 36 << 36 | 1
    content[18:26] = total.to_bytes(8, "big")
    (tmp_path / "x.flac").write_bytes(content + content[42:])  # enough to be more than a tail
    with open_audio(tmp_path / "x.flac") as stream:
        waveform = np.concatenate(list(stream))
    assert stream.claimed_s == pytest.approx(1 / 48000)
    np.testing.assert_array_equal(waveform[:96000], load(tones["flac"]))


def test_mp3_whose_length_is_guessed_too_short(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 44100)
    samples = np.concatenate([noise, np.zeros(9 * 44100), noise])
    path = tmp_path / "x.mp3"
    soundfile.write(path, samples, 44100, bitrate_mode="VARIABLE", compression_level=0.0)
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\xff\xfb", 4) :])  # less the frame that tells it
    assert soundfile.info(path).duration < 8
    with open_audio(path) as stream:
        waveform = np.concatenate(list(stream))
    assert stream.claimed_s is None and stream.damage == ""
    assert stream.seconds == pytest.approx(11, abs=0.1)
    assert np.sqrt(np.mean(waveform[-40000:] ** 2)) == pytest.approx(0.52, abs=0.05)


@pytest.mark.parametrize("kind", ["wav", "aiff", "au", "mp3", "flac"])
def test_cut_files_give_what_is_there_and_what_was_claimed(tmp_path: Path, kind: str) -> None:
    whole = write(tmp_path / f"x.{kind}", tone(4.0))
    expected = load(whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with open_audio(whole) as stream:
        waveform = np.concatenate(list(stream))
    assert stream.claimed_s == pytest.approx(4.0, abs=0.01)
    assert 1.0 < stream.seconds < 3.0
    assert stream.damage.startswith(f"cut short: {stream.seconds:.1f} of 4.0 s")
    assert len(waveform) == pytest.approx(stream.seconds * 48000)
    np.testing.assert_allclose(waveform[:40000], expected[:40000], atol=1e-6)


def test_longer_than_the_limit(tones: dict[str, Path]) -> None:
    with pytest.raises(AudioError, match=r"longer than 1\.5 s; cut it"):
        load(tones["ogg"], max_seconds=1.5)
    assert len(load(tones["wav"], max_seconds=2.0)) == 96000


# Damage


def test_damaged_flac_frame_costs_that_frame(tmp_path: Path) -> None:
    samples = tone(8.0, sample_rate=44100)
    path = write(tmp_path / "x.flac", samples, 44100)
    path.write_bytes(without_frame(path.read_bytes(), at=0.5))
    with soundfile.SoundFile(path) as sound, pytest.raises(soundfile.LibsndfileError):
        sound.read()
    with open_audio(path) as stream:
        waveform = np.concatenate(list(stream))
    expected = samples.mean(axis=1)
    n_lost = len(expected) - len(waveform)
    assert 0 < n_lost <= 3 * 4096 and stream.n_bad_packets >= 1
    same = np.abs(waveform - expected[: len(waveform)]) <= 2**-15
    n_before = int(np.argmin(same))
    assert 100_000 < n_before < 250_000
    np.testing.assert_allclose(
        waveform[n_before + 4096 :], expected[n_before + n_lost + 4096 :], atol=2**-15
    )


def test_damaged_packets_are_skipped_and_counted(tones: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(tones["aac"].read_bytes())
    for start in range(len(content) // 3, len(content) // 2, 500):
        content[start : start + 20] = b"\x55" * 20
    (tmp_path / "x.aac").write_bytes(content)
    with open_audio(tmp_path / "x.aac") as stream:
        waveform = np.concatenate(list(stream))
    assert stream.damage == f"damaged places skipped: {stream.n_bad_packets}"
    assert stream.n_bad_packets > 0 and np.isfinite(waveform).all()
    assert 1.0 < stream.seconds <= 2.2


def test_chained_ogg_decodes_every_link(tmp_path: Path) -> None:
    links = [
        write(tmp_path / "a.ogg", tone(2.0, hz=500, sample_rate=44100), 44100),
        write(tmp_path / "b.ogg", tone(1.5, hz=1000, sample_rate=16000, n_channels=1), 16000),
        write(tmp_path / "c.opus", tone(1.0, hz=2000)),
    ]
    (tmp_path / "x.ogg").write_bytes(b"".join(link.read_bytes() for link in links))
    waveform = load(tmp_path / "x.ogg", 22050)
    assert len(waveform) == pytest.approx(4.5 * 22050, abs=0.05 * 22050)
    for start_s, hz in ((0.5, 500), (2.5, 1000), (3.8, 2000)):
        piece = waveform[int(start_s * 22050) :][:11025]
        assert peak_hz(piece, 22050) == pytest.approx(hz, abs=5)


def test_garbage_and_lying_tags_before_the_first_mp3_frame(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.mp3", tone(2.0))
    expected, content = load(whole), whole.read_bytes()
    garbage = np.random.default_rng(1).bytes(4096)
    huge_tag = b"ID3\x03\x00\x00\x7f\x7f\x7f\x7f"
    many_tags = b"ID3\x03\x00\x00\x00\x00\x00\x00" * 10_000
    for prefix in (garbage, huge_tag, many_tags):
        whole.write_bytes(prefix + content)
        np.testing.assert_allclose(load(whole), expected, atol=1e-4)


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    samples = tone(1.0, n_channels=1)[:, 0]
    bad = samples.copy()
    bad[[10, 500, 40000]] = [np.nan, np.inf, -1e30]
    soundfile.write(tmp_path / "x.wav", bad, 48000, subtype="FLOAT")
    with open_audio(tmp_path / "x.wav") as stream:
        waveform = np.concatenate(list(stream))
    assert (stream.n_nonfinite, stream.damage) == (3, "samples that were no numbers: 3")
    samples[[10, 500, 40000]] = 0
    np.testing.assert_array_equal(waveform, samples)
    soundfile.write(tmp_path / "x.wav", np.full(1000, np.nan), 48000, subtype="FLOAT")
    with pytest.raises(AudioError, match="sensible number"):
        load(tmp_path / "x.wav")


def test_disk_errors_are_not_taken_for_the_end(
    tones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread

    def failing(descriptor: int, n_bytes: int, offset: int) -> bytes:
        if offset > 16_000:
            raise OSError(5, "Input/output error")
        return pread(descriptor, min(n_bytes, 16_001 - offset), offset)

    monkeypatch.setattr(os, "pread", failing)
    for kind in ("m4a", "aac"):  # while opening, and while decoding
        with pytest.raises(AudioError, match=r"cannot be read \(input/output error\)"):
            load(tones[kind])


# Anything at all


@given(
    content=st.binary(max_size=3000),
    prefix=st.sampled_from([b"", b"ID3\x04\0\0\0\0\0\x7f", b"\xff\xfb\x90d"]),
)
@settings(max_examples=150)
def test_random_bytes_end_in_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, prefix: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.mp3"
    path.write_bytes(prefix + content)
    with pytest.raises(AudioError):
        load(path)


@given(data=st.data())
@settings(max_examples=150)
def test_mutated_files_end_in_audio_or_an_error(
    tones: dict[str, Path], data: st.DataObject
) -> None:
    content = bytearray(tones[data.draw(st.sampled_from(ALL_FORMATS))].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(content), 600) - 1))
        content[position : position + 4] = data.draw(st.binary(min_size=0, max_size=8))
    path = tones["wav"].with_name("mutant")
    path.write_bytes(content)
    try:
        waveform = load(path, 22050)
    except AudioError:
        return
    assert len(waveform) > 0 and np.isfinite(waveform).all()


def test_no_descriptor_is_left_open(tones: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.m4a").write_bytes(tones["m4a"].read_bytes()[:1000])
    load(tones["m4a"])
    before = descriptors()
    for _ in range(5):
        for path in tones.values():
            load(path)
            probe(path)
            looks_like_audio(path)
        with pytest.raises(AudioError):
            load(tmp_path / "cut.m4a")
    assert descriptors() <= before
