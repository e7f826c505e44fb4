"""The project's own piece of music: "Seven Lanterns", eleven bars in D minor, 96 beats a minute.

It was composed for this project and is under the project's licence. `compose.py piece` writes
it to `demo/piece.ogg`, which is what `make demo` and the tests classify.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from synth import DRUMS, Kit, Mixer, Voice, equalise, fade, frequency_hz, master, play, room

SAMPLE_RATE = 44_100
BEATS_A_MINUTE = 96
STEPS_A_BAR = 16
RMS_DBFS = -18.0
SEED = 7

STEP_S = 60 / BEATS_A_MINUTE / 4
N_BARS = 11

# One chord a bar, as MIDI pitches, the bass first.
D_MINOR = (38, 53, 57, 60, 64)
B_FLAT = (34, 53, 57, 62, 65)
F_MAJOR = (41, 53, 57, 60, 67)
C_MAJOR = (36, 52, 55, 60, 67)
G_MINOR = (31, 53, 58, 62, 65)
A_SEVENTH = (33, 52, 55, 61, 64)
CHORDS = (
    D_MINOR,
    B_FLAT,
    *(D_MINOR, B_FLAT, F_MAJOR, C_MAJOR),
    *(D_MINOR, B_FLAT, G_MINOR, A_SEVENTH),
    D_MINOR,
)

# (bar, step, pitch, length in steps)
MELODY = (
    *((2, 0, 69, 3), (2, 3, 72, 3), (2, 6, 74, 6), (2, 12, 72, 4)),
    *((3, 0, 70, 3), (3, 3, 69, 3), (3, 6, 65, 8)),
    *((4, 0, 67, 3), (4, 3, 69, 3), (4, 6, 72, 6), (4, 12, 74, 2), (4, 14, 72, 2)),
    *((5, 0, 67, 6), (5, 6, 64, 8)),
    *((6, 0, 69, 3), (6, 3, 72, 3), (6, 6, 77, 6), (6, 12, 76, 4)),
    *((7, 0, 74, 3), (7, 3, 72, 3), (7, 6, 70, 8)),
    *((8, 0, 70, 3), (8, 3, 72, 3), (8, 6, 74, 4), (8, 10, 70, 4)),
    *((9, 0, 69, 6), (9, 6, 73, 4), (9, 10, 76, 6)),
    *((10, 0, 74, 12),),
)

# x a hit, o a soft one; one bar.
GROOVE = {
    "kick": "x.....x.x.....o.",
    "snare": "....x..o....x..o",
    "hat": "x.o.x.oox.o.x.o.",
}
BASS = "x..x....x.x...x."
ARPEGGIO = (1, 2, 3, 4, 3, 2, 4, 3)
DRUM_BARS = range(2, 10)
DRUM_LEVELS = {"kick": 0.55, "snare": 0.32, "hat": 0.2}

LEAD = Voice("square", brightness=0.55, attack_s=0.02, decay_s=1.2, release_s=0.09, detune_cents=9)
STRING = Voice("pluck", brightness=0.75, decay_s=0.9, release_s=0.15)
DEEP = Voice("triangle", brightness=0.8, attack_s=0.006, decay_s=0.5, release_s=0.05)
PAD = Voice("saw", brightness=0.35, attack_s=0.35, decay_s=6.0, release_s=0.3, detune_cents=14)


def render(sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Render the piece.

    Returns
    -------
    waveform : shape (n_samples, 2), float32, below full scale
    """
    rng = np.random.default_rng(SEED)
    desk = Mixer(N_BARS * STEPS_A_BAR * STEP_S, sample_rate, 2)
    for bar, chord in enumerate(CHORDS):
        _harmony(desk, bar, chord, rng)
        if bar in DRUM_BARS:
            _rhythm(desk, bar, chord, rng)
    for bar, step, pitch, length in MELODY:
        sound = play(LEAD, frequency_hz(pitch), 0.95 * length * STEP_S, sample_rate, rng)
        desk.add(sound, _time_s(bar, step), 0.4, pan=0.15)
    wet = room(desk.mix, sample_rate, decay_s=0.45, wet=0.22, seed=SEED)
    clean = equalise(wet, sample_rate, tilt_db=0.0, cutoff_hz=14_000)
    return master(fade(clean, sample_rate, 0.01, 1.0), RMS_DBFS)


def write(path: str | Path) -> None:
    """Render the piece into an Ogg Vorbis file with its tags."""
    waveform = render()
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, 2, format="OGG", subtype="VORBIS", compression_level=0.55
    ) as file:
        file.title = "Seven Lanterns"
        file.artist = "ts-resformer"
        file.genre = "Electronic"
        file.license = "Apache-2.0"
        for start in range(0, len(waveform), SAMPLE_RATE):
            file.write(waveform[start : start + SAMPLE_RATE])


def _time_s(bar: int, step: int) -> float:
    return (bar * STEPS_A_BAR + step) * STEP_S


def _harmony(desk: Mixer, bar: int, chord: tuple[int, ...], rng: np.random.Generator) -> None:
    """The pad of a bar and the plucked arpeggio over it."""
    for number, pitch in enumerate(chord[1:]):
        sound = play(PAD, frequency_hz(pitch), STEPS_A_BAR * STEP_S, desk.sample_rate, rng)
        desk.add(sound, _time_s(bar, 0), 0.13, pan=(-0.6, 0.6, -0.3, 0.3)[number])
    for number, tone in enumerate(ARPEGGIO[:1] if bar == N_BARS - 1 else ARPEGGIO):
        pitch = chord[tone] + 12
        sound = play(STRING, frequency_hz(pitch), 2 * STEP_S, desk.sample_rate, rng)
        desk.add(sound, _time_s(bar, 2 * number), 0.5, pan=-0.35)


def _rhythm(desk: Mixer, bar: int, chord: tuple[int, ...], rng: np.random.Generator) -> None:
    """Bass and drums of a bar."""
    for step, mark in enumerate(BASS):
        if mark == "x":
            sound = play(DEEP, frequency_hz(chord[0]), 1.8 * STEP_S, desk.sample_rate, rng)
            desk.add(sound, _time_s(bar, step), 0.4)
    for name, pattern in GROOVE.items():
        for step, mark in enumerate(pattern):
            if mark != ".":
                level = DRUM_LEVELS[name] * (1.0 if mark == "x" else 0.45)
                sound = DRUMS[name](Kit(), desk.sample_rate, rng)
                desk.add(sound, _time_s(bar, step), level, pan=0.25 if name == "hat" else 0.0)
