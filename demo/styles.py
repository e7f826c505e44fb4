"""The five styles of the project's own music: what is played, and on what.

A style is a way of playing: metre, tempo, patterns, harmony, the instruments that may be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from synth import Voice

MINOR = (0, 2, 3, 5, 7, 8, 10)
MAJOR = (0, 2, 4, 5, 7, 9, 11)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
PENTATONIC = (0, 2, 4, 7, 9)

VOICES = {
    "strings": Voice("saw", 0.4, 0.25, 8.0, 0.4, 16),
    "choir": Voice("triangle", 0.8, 0.4, 8.0, 0.5, 11),
    "organ": Voice("organ", 0.9, 0.01, 8.0, 0.05),
    "stab": Voice("saw", 0.7, 0.004, 0.16, 0.05, 12),
    "square": Voice("square", 0.9, 0.003, 0.5, 0.02),
    "reed": Voice("pulse", 0.75, 0.01, 1.2, 0.03),
    "flute": Voice("triangle", 0.7, 0.05, 2.5, 0.08),
    "bell": Voice("bell", 0.5, 0.002, 0.5, 0.3),
    "guitar": Voice("pluck", 0.7, 0.002, 0.5, 0.06),
    "muted": Voice("pluck", 0.5, 0.002, 0.12, 0.02),
    "deep": Voice("triangle", 0.8, 0.005, 0.4, 0.03),
    "acid": Voice("saw", 0.6, 0.003, 0.18, 0.02),
    "upright": Voice("pluck", 0.35, 0.003, 0.5, 0.05),
}


@dataclass(frozen=True)
class Style:
    """A way of playing. A pattern is one bar, four steps a beat.

    In drum patterns x is a hit and o a soft one. In the others x is the chord of the bar, a digit
    the note so many scale steps above its root (1 is the root), ? a note of the melody, and -
    holds what sounds.
    """

    beats: int
    tempo: tuple[float, float]
    swing: tuple[float, float]
    scales: tuple[tuple[int, ...], ...]
    progressions: tuple[tuple[int, ...], ...]
    drums: dict[str, tuple[str, ...]]
    bass: tuple[str, ...]
    chords: tuple[str, ...]
    lead: tuple[str, ...]
    voices: dict[str, tuple[str, ...]]
    wet: tuple[float, float]
    hold: tuple[int, ...] = (1,)


STYLES = {
    "ambient": Style(
        beats=4,
        tempo=(64, 100),
        swing=(0.0, 0.0),
        scales=(PENTATONIC, DORIAN, MAJOR),
        progressions=((0, 3), (0, 2), (0, 4, 3), (0,)),
        drums={
            "kick": ("", "", "x...............", "x.......o......."),
            "snare": ("",),
            "hat": ("", "", "....o.......o...", "o..o..o..o..o..."),
        },
        bass=("1---------------", "1-------5-------", ""),
        chords=("x---------------", "x-------x-------"),
        lead=("?-----?---------", "....?-------?---", "?---....?-?-----"),
        voices={
            "bass": ("deep", "upright"),
            "chords": ("strings", "choir", "organ"),
            "lead": ("bell", "flute", "guitar"),
        },
        wet=(0.3, 0.7),
    ),
    "chiptune": Style(
        beats=4,
        tempo=(112, 156),
        swing=(0.0, 0.1),
        scales=(MINOR, MAJOR),
        progressions=((0, 5, 2, 6), (0, 3, 4, 4), (0, 6, 5, 4), (0, 4, 5, 3)),
        drums={
            "kick": ("x.......x.......", "x...x...x...x...", ""),
            "snare": ("....x.......x...", "....x..o....x..o"),
            "hat": ("", "x.x.x.x.x.x.x.x."),
        },
        bass=("1.1.8.1.1.1.8.1.", "1-1.1-5.8-5.1-5.", "1---1---8---5---"),
        chords=("1353135313531353", "1.3.5.8.1.3.5.8.", "1353531313535313"),
        lead=("?-?-?---?-?-?---", "?-??-??-?---?-?-", "?---?-?-?-------"),
        voices={
            "bass": ("deep", "square"),
            "chords": ("square", "reed"),
            "lead": ("square", "reed", "flute"),
        },
        wet=(0.0, 0.12),
        hold=(3, 5, 8),
    ),
    "funk": Style(
        beats=4,
        tempo=(90, 122),
        swing=(0.05, 0.3),
        scales=(DORIAN, MINOR),
        progressions=((0,), (0, 3), (0, 0, 3, 4), (0, 6)),
        drums={
            "kick": ("x..x..x...x..x..", "x.x....x..x.....", "x.....xx..x....."),
            "snare": ("....x..o.o..x...", "....x..o....x..o"),
            "hat": ("xoxoxoxoxoxoxoxo", "x.xxx.xxx.xxx.xx"),
        },
        bass=("1..1..8.1..7.8..", "1.8..1.5..7.8.1.", "1.....1.8.7.5.4."),
        chords=("..x...x..x....x.", "....x.....xx..x.", "..xx..x...xx..x."),
        lead=("........?.??.?..", "?..?............", "......?.?..?.?--"),
        voices={
            "bass": ("muted", "upright", "acid"),
            "chords": ("muted", "stab", "organ"),
            "lead": ("reed", "guitar", "organ"),
        },
        wet=(0.04, 0.2),
    ),
    "techno": Style(
        beats=4,
        tempo=(116, 144),
        swing=(0.0, 0.12),
        scales=(MINOR, DORIAN),
        progressions=((0,), (0, 0, 5, 6), (0, 0, 0, 3)),
        drums={
            "kick": ("x...x...x...x...", "x...x...x...x..x", "x..xx...x...x.x."),
            "snare": ("", "....x.......x...", ".......o........"),
            "hat": ("..x...x...x...x.", "o.x.o.x.o.x.o.x.", "ooxoooxoooxoooxo"),
        },
        bass=("..1...1...1...1.", "1.11..1.1.11..81", ".1.1.1.1.1.1.1.7"),
        chords=("...x......x.....", "x..x..x.........", "x---------------"),
        lead=("", "?..?..?..?..?.?.", "..?...?.....?..."),
        voices={
            "bass": ("acid", "deep"),
            "chords": ("stab", "strings", "organ"),
            "lead": ("square", "acid", "bell"),
        },
        wet=(0.05, 0.35),
        hold=(1, 1, 2),
    ),
    "waltz": Style(
        beats=3,
        tempo=(100, 176),
        swing=(0.0, 0.15),
        scales=(MAJOR, MINOR),
        progressions=((0, 4, 4, 0), (0, 3, 4, 0), (0, 5, 3, 4), (0, 1, 4, 0)),
        drums={
            "kick": ("", "", "x..........."),
            "snare": ("", "....o...o..."),
            "hat": ("", "....x...x...", "x...o...o..."),
        },
        bass=("1---........", "1-------....", "1---....5---"),
        chords=("....x-..x-..", "....x---x---", "....x.x.x.x."),
        lead=("?-------?---", "?---?---?---", "?-----?-?-?-", "?-----------"),
        voices={
            "bass": ("upright", "deep"),
            "chords": ("guitar", "organ", "muted", "strings"),
            "lead": ("flute", "reed", "guitar", "bell"),
        },
        wet=(0.08, 0.4),
    ),
}
