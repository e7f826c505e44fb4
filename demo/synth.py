"""A small synthesiser in NumPy: oscillators, a plucked string, drums, a room, a mixing desk.

Sounds are float64 arrays of shape (n_samples,); every function that draws noise takes the
generator that it draws from, so the same seed gives the same samples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]

TABLE_SIZE = 4096
MAX_PARTIALS = 64
ORGAN_PARTIALS = (1.0, 0.7, 0.4, 0.35, 0.0, 0.2, 0.0, 0.15)
BELL_RATIOS = (1.0, 2.0, 2.76, 5.40)


@dataclass(frozen=True)
class Voice:
    """A pitched instrument.

    Parameters
    ----------
    wave : the kind of source
    brightness : 0 (dull) to 1 (all of the wave's partials)
    attack_s, decay_s, release_s : time constants of the envelope in seconds
    detune_cents : distance between two copies of the oscillator; 0 means one
    """

    wave: Literal["sine", "triangle", "square", "pulse", "saw", "organ", "bell", "pluck"]
    brightness: float = 0.7
    attack_s: float = 0.004
    decay_s: float = 0.6
    release_s: float = 0.04
    detune_cents: float = 0.0


@dataclass(frozen=True)
class Kit:
    """A drum kit; `hold` > 1 repeats noise samples, as the first game consoles did."""

    kick_hz: float = 50.0
    kick_decay_s: float = 0.16
    snare_hz: float = 185.0
    snare_decay_s: float = 0.11
    hat_decay_s: float = 0.03
    hold: int = 1


def frequency_hz(pitch: float, tuning_cents: float = 0.0) -> float:
    """Frequency of a MIDI pitch (69 is A4, 440 Hz)."""
    return float(440.0 * 2 ** ((pitch - 69 + tuning_cents / 100) / 12))


def play(
    voice: Voice, frequency: float, seconds: float, sample_rate: int, rng: np.random.Generator
) -> Sound:
    """One note held for `seconds`, with its release after that."""
    n_samples = int((seconds + 5 * voice.release_s) * sample_rate)
    time_s = np.arange(n_samples) / sample_rate
    if voice.wave == "pluck":
        sound = _pluck(voice, frequency, n_samples, sample_rate, rng)
    elif voice.wave == "bell":
        sound = _bell(voice, frequency, time_s)
    else:
        sound = _oscillator(voice, frequency, time_s, sample_rate)
    envelope = 1 - np.exp(-time_s / voice.attack_s)
    if voice.wave not in ("pluck", "bell"):
        envelope *= np.exp(-time_s / voice.decay_s)
    envelope *= np.exp(-np.maximum(0, time_s - seconds) / voice.release_s)
    note: Sound = sound * envelope
    return note


def _oscillator(voice: Voice, frequency: float, time_s: Sound, sample_rate: int) -> Sound:
    n_partials = max(1, min(MAX_PARTIALS, int(0.45 * sample_rate / frequency)))
    table = _wavetable(voice.wave, round(voice.brightness, 2), n_partials)
    detunes = (-0.5, 0.5) if voice.detune_cents else (0.0,)
    sound = np.zeros_like(time_s)
    for number, detune in enumerate(detunes):
        cycles = frequency * 2 ** (detune * voice.detune_cents / 1200) * time_s + 0.37 * number
        sound += table[(cycles * TABLE_SIZE).astype(np.int64) % TABLE_SIZE]
    return sound / len(detunes)


@functools.lru_cache(maxsize=512)
def _wavetable(wave: str, brightness: float, n_partials: int) -> Sound:
    """One cycle of a wave with no partial above the limit, scaled to unit energy."""
    number = np.arange(1, n_partials + 1)
    odd = number % 2
    if wave == "saw":
        amplitude = 1 / number
    elif wave == "square":
        amplitude = odd / number
    elif wave == "triangle":
        amplitude = odd * (-1.0) ** (number // 2) / number**2
    elif wave == "pulse":
        amplitude = np.sin(np.pi * number / 4) / number
    elif wave == "organ":
        amplitude = np.zeros(n_partials)
        kept = min(n_partials, len(ORGAN_PARTIALS))
        amplitude[:kept] = ORGAN_PARTIALS[:kept]
    else:
        amplitude = (number == 1).astype(float)
    amplitude = amplitude * np.exp(-0.6 * (1 - brightness) * (number - 1))
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : n_partials + 1] = -1j * amplitude
    table = np.fft.irfft(spectrum)
    scaled: Sound = table * (0.5 / np.sqrt(np.mean(table**2)))
    return scaled


def _pluck(
    voice: Voice, frequency: float, n_samples: int, sample_rate: int, rng: np.random.Generator
) -> Sound:
    """Karplus-Strong: a burst of noise goes round a delay line that averages neighbours.

    The line is a whole number of samples long, so the string is rendered slightly sharp or
    flat and then read at the speed that puts it in tune.
    """
    length = max(2, int(sample_rate / frequency - 0.5))
    speed = frequency * (length + 0.5) / sample_rate
    n_periods = int(n_samples * speed / length) + 2
    loss = np.exp(-1 / (frequency * voice.decay_s))
    burst = rng.uniform(-1, 1, length)
    width = 1 + round((1 - voice.brightness) * length / 6)
    burst = _smooth_circle(burst, width)
    string = np.empty((n_periods, length))
    string[0] = burst
    last = 0.0
    for period in range(1, n_periods):
        before = string[period - 1]
        string[period, 1:] = before[1:] + before[:-1]
        string[period, 0] = before[0] + last
        string[period] *= 0.5 * loss
        last = before[-1]
    sound: Sound = np.interp(
        np.arange(n_samples) * speed, np.arange(string.size), string.ravel(), right=0.0
    )
    return sound * (0.5 / max(float(np.sqrt(np.mean(burst**2))), 1e-9)) * 0.8


def _smooth_circle(burst: Sound, width: int) -> Sound:
    """Moving average over a circle of samples, without its mean."""
    wrapped = np.concatenate([burst, burst[: width - 1]])
    smooth = np.convolve(wrapped, np.ones(width) / width, mode="valid")
    centred: Sound = smooth - smooth.mean()
    return centred


def _bell(voice: Voice, frequency: float, time_s: Sound) -> Sound:
    """A struck bar: a few inharmonic partials, the higher ones shorter."""
    sound = np.zeros_like(time_s)
    for number, ratio in enumerate(BELL_RATIOS):
        level = (0.3 + 0.6 * voice.brightness) ** number
        fall = np.exp(-time_s * (1 + number) / voice.decay_s)
        sound += level * fall * np.sin(2 * np.pi * frequency * ratio * time_s)
    return 0.5 * sound


def kick(kit: Kit, sample_rate: int, rng: np.random.Generator) -> Sound:
    """Bass drum: a sine that falls in pitch, with a click at its start."""
    time_s = np.arange(int(6 * kit.kick_decay_s * sample_rate)) / sample_rate
    sweep = 4 * 0.025 * (1 - np.exp(-time_s / 0.025))
    body = np.sin(2 * np.pi * kit.kick_hz * (time_s + sweep)) * np.exp(-time_s / kit.kick_decay_s)
    return body + 0.2 * rng.uniform(-1, 1, time_s.size) * np.exp(-time_s / 0.003)


def snare(kit: Kit, sample_rate: int, rng: np.random.Generator) -> Sound:
    """Snare drum: a short tone under noise."""
    time_s = np.arange(int(6 * kit.snare_decay_s * sample_rate)) / sample_rate
    tone = np.sin(2 * np.pi * kit.snare_hz * time_s) * np.exp(-time_s / 0.05)
    noise = _noise(time_s.size, kit.hold, rng) * np.exp(-time_s / kit.snare_decay_s)
    return 0.45 * tone + 0.55 * noise


def hat(kit: Kit, sample_rate: int, rng: np.random.Generator) -> Sound:
    """Hi-hat: noise without its lower half."""
    time_s = np.arange(int(6 * kit.hat_decay_s * sample_rate)) / sample_rate
    noise = _noise(time_s.size, kit.hold, rng)
    bright = np.diff(noise, n=2, prepend=[0.0, 0.0])
    return 0.3 * bright * np.exp(-time_s / kit.hat_decay_s)


def _noise(n_samples: int, hold: int, rng: np.random.Generator) -> Sound:
    return np.repeat(rng.uniform(-1, 1, n_samples // hold + 1), hold)[:n_samples]


DRUMS: dict[str, Callable[[Kit, int, np.random.Generator], Sound]] = {
    "kick": kick,
    "snare": snare,
    "hat": hat,
}


class Mixer:
    """A stereo or mono desk that sounds are added to.

    Parameters
    ----------
    seconds : length of the recording; what rings on after it is cut
    sample_rate : Hz
    n_channels : 1 or 2
    """

    def __init__(self, seconds: float, sample_rate: int, n_channels: int = 1) -> None:
        self.sample_rate = sample_rate
        self.mix = np.zeros((int(seconds * sample_rate), n_channels))

    def add(self, sound: Sound, start_s: float, level: float = 1.0, pan: float = 0.0) -> None:
        """Add a sound at a time, at a level, between left (-1) and right (1)."""
        start = int(start_s * self.sample_rate)
        sound = sound[: max(0, len(self.mix) - start)]
        target = self.mix[start : start + len(sound)]
        if self.mix.shape[1] == 1:
            target[:, 0] += level * sound
            return
        angle = (pan + 1) * np.pi / 4
        target[:, 0] += level * np.cos(angle) * sound
        target[:, 1] += level * np.sin(angle) * sound


def room(mix: Sound, sample_rate: int, decay_s: float, wet: float, seed: int) -> Sound:
    """Add the echo of a room: convolution with noise that dies away, darker than the sound."""
    rng = np.random.default_rng(seed)
    n_tail = int(3 * decay_s * sample_rate)
    fall = np.exp(-np.arange(n_tail) / (decay_s * sample_rate))[:, None]
    tail = rng.standard_normal((n_tail, mix.shape[1])) * fall
    tail[1:] = 0.5 * (tail[1:] + tail[:-1])
    tail /= np.sqrt(np.sum(tail**2, axis=0))
    size = 1 << (len(mix) + n_tail - 1).bit_length()
    echo = np.fft.irfft(np.fft.rfft(mix, size, axis=0) * np.fft.rfft(tail, size, axis=0), axis=0)
    result: Sound = mix + wet * echo[: len(mix)]
    return result


def equalise(mix: Sound, sample_rate: int, tilt_db: float, cutoff_hz: float) -> Sound:
    """Tilt the spectrum by `tilt_db` an octave around 1 kHz; roll off above `cutoff_hz`."""
    size = 1 << (len(mix) - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    octaves = np.log2(np.maximum(frequency, 30) / 1000)
    gain = 10 ** (tilt_db * octaves / 20) / np.sqrt(1 + (frequency / cutoff_hz) ** 6)
    gain[frequency < 20] = 0
    result: Sound = np.fft.irfft(np.fft.rfft(mix, size, axis=0) * gain[:, None], axis=0)
    return result[: len(mix)]


def master(mix: Sound, rms_dbfs: float, ceiling: float = 0.9) -> NDArray[np.float32]:
    """Bring the mix to a level, and round off what would pass the ceiling (full scale is 1)."""
    loudness = np.sqrt(np.mean(mix**2))
    scaled = mix * (10 ** (rms_dbfs / 20) / max(float(loudness), 1e-9))
    return (ceiling * np.tanh(scaled / ceiling)).astype(np.float32)


def fade(mix: Sound, sample_rate: int, in_s: float, out_s: float) -> Sound:
    """Fade in and out linearly."""
    n_in, n_out = int(in_s * sample_rate), int(out_s * sample_rate)
    mix = mix.copy()
    mix[:n_in] *= np.linspace(0, 1, n_in)[:, None]
    mix[len(mix) - n_out :] *= np.linspace(1, 0, n_out)[:, None]
    return mix
