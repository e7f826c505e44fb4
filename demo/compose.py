"""The project's own music: its short piece, a medley of its styles, and a labelled set to train on.

python demo/compose.py piece demo/piece.ogg
python demo/compose.py medley src/tsresformer/serve/music/medley.ogg
python demo/compose.py set demo-out/my_music

A style is a way of playing (see `styles.py`). An artist is a set of habits within a
style: instruments and their timbre, drum kit, tempo, tuning, swing, and the sound of the room and
of the mixing desk. A track is one sketch in those habits. Since artists differ by more than the
tracks of one artist do, a model that has heard an artist has an easier task than one that has
not, as with real music.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

import piece
import synth
from styles import STYLES, VOICES
from synth import Kit, Mixer, Sound, Voice

Item = TypeVar("Item")

SAMPLE_RATE = 22_050
N_ARTISTS, N_TRACKS, SECONDS = 10, 4, 10.0
MEDLEY_SECONDS = 30.0
STEPS_A_BEAT = 4
LOWEST_ROOT, N_ROOTS = 36, 12
RMS_DBFS = (-21.0, -15.0)

FIRST = ("Amber", "Brass", "Copper", "Distant", "Eleven", "Foxglove", "Granite", "Hollow", "Ivory")
SECOND = ("Arcade", "Bridge", "Cartel", "Dynamo", "Estuary", "Foundry", "Garden", "Harbour")
TITLES = ("Daybreak", "Low Tide", "Paper Maps", "Second Floor", "Snowfall", "Tin Roof", "Undertow")


@dataclass(frozen=True)
class Artist:
    """The habits of one artist; levels are linear, by layer of the mix."""

    name: str
    album: str
    style: str
    voices: dict[str, Voice]
    kit: Kit
    patterns: dict[str, str]
    levels: dict[str, float]
    scale: tuple[int, ...]
    tempo: float
    swing: float
    tuning_cents: float
    room_s: float
    wet: float
    tilt_db: float
    cutoff_hz: float
    hiss: float
    rms_dbfs: float


def make_artist(style: str, number: int, seed: int = 0) -> Artist:
    """Draw the habits of the artist with this number within a style."""
    way = STYLES[style]
    rng = _rng(seed, style, number)
    # Artists of all styles are numbered through, so that no two names are the same.
    names = [" ".join(pair) for pair in itertools.product(FIRST, SECOND)]
    place = number * len(STYLES) + sorted(STYLES).index(style)
    name = names[(place * 31) % len(names)]
    if place >= len(names):
        name += f" {1 + place // len(names)}"
    levels = {"bass": 0.5, "chords": 0.3, "lead": 0.35, "kick": 0.7, "snare": 0.4, "hat": 0.3}
    pools = {**way.drums, "bass": way.bass, "chords": way.chords, "lead": way.lead}
    return Artist(
        name=name,
        album=f"{_pick(rng, TITLES)} Sessions",
        style=style,
        voices={part: _own(VOICES[_pick(rng, pool)], rng) for part, pool in way.voices.items()},
        kit=Kit(
            kick_hz=rng.uniform(42, 68),
            kick_decay_s=rng.uniform(0.07, 0.25),
            snare_hz=rng.uniform(150, 260),
            snare_decay_s=rng.uniform(0.05, 0.18),
            hat_decay_s=rng.uniform(0.015, 0.08),
            hold=_pick(rng, way.hold),
        ),
        patterns={part: _pick(rng, pool) for part, pool in pools.items()},
        levels={part: level * 10 ** (rng.uniform(-5, 5) / 20) for part, level in levels.items()},
        scale=_pick(rng, way.scales),
        tempo=rng.uniform(*way.tempo),
        swing=rng.uniform(*way.swing),
        tuning_cents=rng.uniform(-45, 45),
        room_s=rng.uniform(0.12, 0.7),
        wet=rng.uniform(*way.wet),
        tilt_db=rng.uniform(-2.5, 2.5),
        cutoff_hz=float(np.exp(rng.uniform(np.log(2500), np.log(10_000)))),
        hiss=10 ** (rng.uniform(-75, -42) / 20),
        rms_dbfs=rng.uniform(*RMS_DBFS),
    )


def render_track(
    artist: Artist, number: int, seconds: float = SECONDS, sample_rate: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """Render one track of an artist.

    Returns
    -------
    waveform : shape (n_samples,), float32, mono, below full scale
    """
    rng = _rng(artist.name, artist.style, number)
    sketch = _Sketch(artist, seconds, sample_rate, rng)
    mix = synth.room(
        sketch.play(), sample_rate, artist.room_s, artist.wet, zlib.crc32(artist.name.encode())
    )
    mix = synth.equalise(mix, sample_rate, artist.tilt_db, artist.cutoff_hz)
    loudness = np.sqrt(np.mean(mix**2))
    mix += artist.hiss * loudness * 3 * rng.standard_normal(mix.shape)
    mix = synth.fade(mix, sample_rate, 0.005, 0.02)
    return synth.master(mix, artist.rms_dbfs)[:, 0]


def write_medley(path: str | Path, seconds: float = MEDLEY_SECONDS) -> None:
    """Write one track of each style, one after the other, as Ogg Vorbis with its tags."""
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS", compression_level=0.7
    ) as file:
        file.title = "Medley of five styles"
        file.artist = "ts-resformer"
        file.license = "Apache-2.0"
        for style in STYLES:
            waveform = render_track(make_artist(style, 0), 0, seconds)
            for start in range(0, len(waveform), SAMPLE_RATE):
                file.write(waveform[start : start + SAMPLE_RATE])


def compose_set(
    folder: str | Path,
    *,
    styles: Sequence[str] = tuple(STYLES),
    n_artists: int = N_ARTISTS,
    n_tracks: int = N_TRACKS,
    seconds: float = SECONDS,
    sample_rate: int = SAMPLE_RATE,
    seed: int = 0,
) -> Iterator[Path]:
    """Write a labelled set as `folder/style/artist - album/title.flac`, with tags.

    The same arguments give the same bytes. The set is written as the iterator is read.
    """
    for style, number in itertools.product(styles, range(n_artists)):
        artist = make_artist(style, number, seed)
        home = Path(folder) / style / f"{artist.name} - {artist.album}"
        home.mkdir(parents=True, exist_ok=True)
        titles = _rng(seed, artist.name).permutation(TITLES)
        for track in range(n_tracks):
            title = f"{titles[track % len(titles)]}{' II' * (track // len(titles))}"
            path = home / f"{title}.flac"
            waveform = render_track(artist, track, seconds, sample_rate)
            with soundfile.SoundFile(path, "w", sample_rate, 1, subtype="PCM_16") as file:
                file.title, file.artist, file.album = title, artist.name, artist.album
                file.genre = style
                file.write(waveform)
            yield path


class _Sketch:
    """One track while it is being played."""

    def __init__(
        self, artist: Artist, seconds: float, sample_rate: int, rng: np.random.Generator
    ) -> None:
        self.artist, self.style, self.rng = artist, STYLES[artist.style], rng
        self.desk = Mixer(seconds, sample_rate)
        self.step_s = 60 / (artist.tempo * rng.uniform(0.96, 1.04)) / STEPS_A_BEAT
        self.n_steps = self.style.beats * STEPS_A_BEAT
        self.n_bars = int(np.ceil(seconds / (self.step_s * self.n_steps)))
        self.root = LOWEST_ROOT + int(rng.integers(N_ROOTS))
        self.progression = _pick(rng, self.style.progressions)
        # Two habits of the artist, and one pattern of the day.
        self.patterns = dict(artist.patterns)
        part = _pick(rng, ("bass", "chords", "lead"))
        self.patterns[part] = _pick(rng, getattr(self.style, part))
        self.entry = {"lead": _pick(rng, (0, 1, 2)), "snare": _pick(rng, (0, 0, 1))}
        self.motif = rng.integers(-2, 3, size=2 * self.n_steps)
        self.sounds: dict[tuple[str, int, int], Sound] = {}

    def play(self) -> Sound:
        """Play every bar; returns the dry mix, shape (n_samples, 1)."""
        for bar in range(self.n_bars):
            for part in synth.DRUMS:
                self._drum(part, bar)
            for part in ("bass", "chords", "lead"):
                self._pitched(part, bar)
        return self.desk.mix

    def _pattern(self, part: str, bar: int) -> str:
        return self.patterns[part] if bar >= self.entry.get(part, 0) else ""

    def _time_s(self, bar: int, step: int) -> float:
        late = self.artist.swing if step % 2 else 0.0
        return (bar * self.n_steps + step + late) * self.step_s

    def _drum(self, part: str, bar: int) -> None:
        for step, mark in enumerate(self._pattern(part, bar)):
            if mark in "xo":
                key = (part, 0, 0)
                if key not in self.sounds:
                    drum = synth.DRUMS[part]
                    self.sounds[key] = drum(self.artist.kit, self.desk.sample_rate, self.rng)
                accent = self.rng.uniform(0.85, 1.0) * (1.0 if mark == "x" else 0.4)
                level = accent * self.artist.levels[part]
                self.desk.add(self.sounds[key], self._time_s(bar, step), level)

    def _pitched(self, part: str, bar: int) -> None:
        pattern = self._pattern(part, bar)
        chord = self.progression[bar % len(self.progression)]
        octave = {"bass": 0, "chords": 1, "lead": 2}[part]
        walk = chord
        for step, mark in enumerate(pattern):
            if mark in ".-":
                continue
            n_held = 1 + len(pattern[step + 1 :]) - len(pattern[step + 1 :].lstrip("-"))
            if mark == "x":
                degrees = [chord, chord + 2, chord + 4]
            elif mark == "?":
                walk += int(self.motif[bar % 2 * self.n_steps + step])
                walk = min(max(walk, chord - 4), chord + 7)
                degrees = [walk]
            else:
                degrees = [chord + int(mark) - 1]
            level = self.artist.levels[part] * self.rng.uniform(0.85, 1.0) / len(degrees) ** 0.5
            for degree in degrees:
                sound = self._note(part, self._pitch(degree) + 12 * octave, n_held)
                self.desk.add(sound, self._time_s(bar, step), level)

    def _pitch(self, degree: int) -> int:
        octave, place = divmod(degree, len(self.artist.scale))
        return self.root + 12 * octave + self.artist.scale[place]

    def _note(self, part: str, pitch: int, n_held: int) -> Sound:
        key = (part, pitch, n_held)
        if key not in self.sounds:
            self.sounds[key] = synth.play(
                self.artist.voices[part],
                synth.frequency_hz(pitch, self.artist.tuning_cents),
                0.92 * n_held * self.step_s,
                self.desk.sample_rate,
                self.rng,
            )
        return self.sounds[key]


def _own(voice: Voice, rng: np.random.Generator) -> Voice:
    """An artist's own version of an instrument."""
    return dataclasses.replace(
        voice,
        brightness=float(np.clip(voice.brightness + rng.uniform(-0.3, 0.25), 0.1, 1)),
        attack_s=voice.attack_s * 2 ** rng.uniform(-1, 1),
        decay_s=voice.decay_s * 2 ** rng.uniform(-1, 1),
        detune_cents=voice.detune_cents * rng.uniform(0, 1.5),
    )


def _pick(rng: np.random.Generator, pool: Sequence[Item]) -> Item:
    return pool[int(rng.integers(len(pool)))]


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in key])


def main() -> int:
    """Write the piece, the medley or the set, as the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("piece", "medley", "set"))
    parser.add_argument("path", type=Path, help="the file, or the set's folder")
    arguments = parser.parse_args()
    if arguments.what == "piece":
        piece.write(arguments.path)
        return 0
    if arguments.what == "medley":
        write_medley(arguments.path)
        return 0
    from rich.progress import track

    total = len(STYLES) * N_ARTISTS * N_TRACKS
    written = list(track(compose_set(arguments.path), "Composing", total))
    print(f"{len(written)} tracks of {len(STYLES)} styles in {arguments.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
