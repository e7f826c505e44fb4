"""The project's own music: in tune, at sane levels, the same on every machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

import piece
import synth
from compose import N_ARTISTS, compose_set, make_artist, render_track, write_medley
from styles import STYLES, VOICES

RATE = 22_050


def rms_dbfs(waveform: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt(np.mean(np.square(waveform, dtype=float))))


def fundamental_hz(sound: np.ndarray, near_hz: float) -> float:
    """Frequency of the highest spectral peak within a semitone, to a fraction of a bin."""
    size = 1 << 18
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    close = np.abs(np.log2(frequency[1:] / near_hz)) < 1 / 12
    return float(frequency[1:][close][np.argmax(spectrum[1:][close])])


@pytest.mark.parametrize("name", sorted(VOICES))
@pytest.mark.parametrize("pitch", [38, 57, 76])
def test_every_voice_is_in_tune(name: str, pitch: int) -> None:
    wanted = synth.frequency_hz(pitch)
    voice = VOICES[name]
    sound = synth.play(voice, wanted, 1.5, RATE, np.random.default_rng(3))
    # Two detuned copies beat around the pitch, so their distance is allowed.
    cents = 1200 * np.log2(fundamental_hz(sound, wanted) / wanted)
    assert abs(cents) < 3 + voice.detune_cents / 2


def test_midi_pitch_has_its_closed_form() -> None:
    assert synth.frequency_hz(69) == pytest.approx(440.0)
    assert synth.frequency_hz(57) == pytest.approx(220.0)
    assert synth.frequency_hz(60) == pytest.approx(261.6256, abs=1e-4)
    assert synth.frequency_hz(68, tuning_cents=100) == pytest.approx(440.0)


def test_wave_has_no_partial_above_nyquist() -> None:
    wanted = 3000.0
    sound = synth.play(synth.Voice("saw", 1.0), wanted, 1.0, RATE, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    harmonic = np.zeros(len(frequency), bool)
    for number in (1, 2, 3):
        harmonic |= np.abs(frequency - number * wanted) < 60
    assert spectrum[harmonic].sum() > 0.999 * spectrum.sum()


def test_committed_piece_is_what_the_source_renders(piece_path: Path) -> None:
    stored, sample_rate = soundfile.read(piece_path)
    rendered = piece.render()
    assert sample_rate == piece.SAMPLE_RATE
    assert stored.shape == rendered.shape
    assert np.corrcoef(stored.ravel(), rendered.ravel())[0, 1] > 0.99
    assert rms_dbfs(rendered) == pytest.approx(piece.RMS_DBFS, abs=1)
    assert np.abs(stored).max() < 0.95
    assert piece_path.stat().st_size <= 600_000


def test_same_seed_same_bytes_and_other_seed_other_music(tmp_path: Path) -> None:
    def render(folder: str, seed: int) -> list[bytes]:
        options = {"styles": ("funk",), "n_artists": 1, "n_tracks": 2, "seconds": 2.0}
        return [path.read_bytes() for path in compose_set(tmp_path / folder, seed=seed, **options)]

    first = render("a", 0)
    assert render("b", 0) == first
    assert len({*first, *render("c", 1)}) == 4


def test_set_is_laid_out_and_tagged_by_style_and_artist(tiny_music: Path) -> None:
    paths = sorted(tiny_music.rglob("*.flac"))
    assert len(paths) == 3 * 4 * 2
    for path in paths:
        style, home = path.relative_to(tiny_music).parts[:2]
        with soundfile.SoundFile(path) as file:
            assert (file.samplerate, file.channels, file.frames) == (RATE, 1, 4 * RATE)
            assert file.genre == style
            assert f"{file.artist} - {file.album}" == home
            assert file.title == path.stem


@pytest.mark.parametrize("style", sorted(STYLES))
def test_tracks_have_sane_levels_and_are_not_copies(style: str) -> None:
    artists = [make_artist(style, number) for number in range(2)]
    tracks = [render_track(a, n, seconds=4.0) for a, n in itertools.product(artists, range(2))]
    for artist, track in zip(np.repeat(artists, 2), tracks, strict=True):
        assert track.dtype == np.float32
        assert np.abs(track).max() < 0.95
        assert rms_dbfs(track) == pytest.approx(artist.rms_dbfs, abs=1.5)
    for one, other in itertools.combinations(tracks, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.9


def test_artists_have_names_of_their_own_and_levels_tell_no_style() -> None:
    artists = {s: [make_artist(s, n) for n in range(N_ARTISTS)] for s in STYLES}
    names = [artist.name for style in artists.values() for artist in style]
    assert len(set(names)) == len(names) == len(STYLES) * N_ARTISTS
    levels = [[artist.rms_dbfs for artist in style] for style in artists.values()]
    for one, other in itertools.combinations(levels, 2):
        assert min(one) < max(other)
        assert min(other) < max(one)


@pytest.mark.parametrize(("name", "style"), STYLES.items())
def test_patterns_are_one_bar_long(name: str, style: object) -> None:
    n_steps = 4 * style.beats
    parts = {**style.drums, "bass": style.bass, "chords": style.chords, "lead": style.lead}
    for part, patterns in parts.items():
        for pattern in patterns:
            assert len(pattern) in (0, n_steps), (name, part, pattern)
    assert {voice for pool in style.voices.values() for voice in pool} <= set(VOICES)


def test_medley_is_one_track_of_each_style(tmp_path: Path) -> None:
    write_medley(tmp_path / "medley.ogg", seconds=2.0)
    medley, rate = soundfile.read(tmp_path / "medley.ogg")
    assert (len(medley), rate) == (len(STYLES) * 2 * RATE, RATE)
    for number, style in enumerate(STYLES):
        track = render_track(make_artist(style, 0), 0, 2.0)
        heard = medley[number * 2 * RATE : (number + 1) * 2 * RATE]
        assert np.corrcoef(track, heard)[0, 1] > 0.95, style
