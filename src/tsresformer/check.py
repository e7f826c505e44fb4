"""What is wrong with a data set: every file is decoded, every row compared with the others.

Two tracks are the same audio when the hash of their samples is equal, or when coarse
fingerprints of the whole tracks agree: log-mels averaged to 32 bands by 32 stretches of time,
with the mean of every band and of every stretch removed, so that neither timbre nor loudness
alone makes two tracks alike. Among the 7,194 training and validation clips of FMA-small, 24 pairs
correlate at 0.86 or more, and all are one recording: frame by frame they agree at no lag but
zero. The next pairs are two mixes of one song at 0.79 and different songs at 0.78. The threshold
was set in that gap, on those clips. In a trial with 30 s clips of seven songs, copies in MP3 at
40 kbit/s or Vorbis at 37, and copies that begin 0.25 s later, stayed at 0.89 or more; most copies
at 11 kHz or less, most that lack their last 0.9 s, and some with noise at -50 dB were missed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsresformer._mono import MAX_CHANNELS
from tsresformer._sniff import SUFFIXES
from tsresformer.audio import open_audio
from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError
from tsresformer.features import SILENT_PEAK, LogMelStream
from tsresformer.files import sha256_file
from tsresformer.labels import near_misses
from tsresformer.manifest import Manifest, Track, array_row, counted, raw_row
from tsresformer.splits import count_ungrouped, crossing_groups, crossing_text, parse_protocol
from tsresformer.workers import Limits, alive, stream

INCOMPLETE_S = 1.0
"""A track that is shorter than its nominal length by more than this is incomplete."""

SAME_AUDIO = 0.83
"""Correlation of fingerprints from which on two tracks are the same audio."""

SAME_LENGTH_S = 1.0
"""Tracks whose lengths differ by more than this (or 1 %) are not compared."""

N_BANDS = N_CELLS = 32

LOUD, MAX_LOUD = 0.999, 0.01
"""A track with more than this part of a channel's samples at full scale is called clipped."""

MAX_OFFSET = 0.05
"""A track that has a channel whose mean is further from zero, of full scale, has an offset."""

_FLATTEST_DB = 0.5
"""Fingerprints with less deviation than this are of steady noise and match nothing."""

_COARSE = FeatureConfig(sample_rate=22050, n_fft=2048, hop_length=2048, n_mels=N_BANDS)
_ROWS_AT_ONCE = 256

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd.

    Parameters
    ----------
    kind : a row status, or "damage", "oddity", "label", "group", "unlabelled", "ungrouped"
    fault : whether it should be put right; else it is only to be known
    """

    kind: str
    message: str
    track_ids: tuple[str, ...] = ()
    fault: bool = True


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings, and the manifest with status, error and sha256 filled in."""

    findings: tuple[Finding, ...]
    manifest: Manifest

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that should be put right."""
        return tuple(finding for finding in self.findings if finding.fault)

    def counts(self) -> dict[str, int]:
        """Number of findings of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was learned of one track.

    Parameters
    ----------
    sha256 : of the file's bytes, or of the array's row
    samples_hash : of the decoded samples, or of the array's row; tags do not change it
    fingerprint : shape (N_BANDS * N_CELLS,), unit length; None where it would say nothing
    damage : what is wrong with audio that can be decoded all the same; "" for nothing
    oddities : what is to be known of it
    """

    seconds: float
    silent: bool
    sha256: str
    samples_hash: str
    fingerprint: Array | None
    damage: str = ""
    oddities: tuple[str, ...] = ()


def check(
    manifest: Manifest,
    *,
    n_workers: int,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CheckReport:
    """Decode every track, and compare all tracks, labels and groups with each other.

    Of several tracks with the same audio one stays: before all one that is to be scored, since a
    training copy of it would leak, and among equals the first of the manifest.

    Parameters
    ----------
    progress : called with the numbers of tracks done and of all tracks
    """
    inspections: dict[int, Inspection | AudioError] = {}
    for index, result in _inspect(manifest.tracks, n_workers, limits or Limits()):
        inspections[index] = result
        progress(len(inspections), len(manifest.tracks))
    tracks = [_judged(t, inspections[i]) for i, t in enumerate(manifest.tracks)]
    candidates = {
        i: result
        for i, result in sorted(
            inspections.items(), key=lambda item: (tracks[item[0]].split == "training", item[0])
        )
        if isinstance(result, Inspection) and tracks[i].usable
    }
    findings = [Finding(t.status, f"{t.path}: {t.error}", (t.track_id,)) for t in tracks if t.error]
    findings += _audio_findings(tracks, inspections)
    for index, (first, how) in same_audio(candidates).items():
        message = _same_text(tracks[index], tracks[first], how)
        tracks[index] = dataclasses.replace(tracks[index], status="duplicate", error=message)
        ids = (tracks[index].track_id, tracks[first].track_id)
        findings.append(Finding("duplicate", f"{tracks[index].path}: {message}", ids))
    checked = manifest.replace(tracks)
    return CheckReport((*findings, *_label_findings(checked), *_group_findings(checked)), checked)


def inspect_audio(path: str, max_seconds: float) -> Iterator[Inspection]:
    """Decode one file and yield what was learned; runs in a decoding process.

    Raises
    ------
    AudioError : it does not decode
    """
    digest, peak, n_samples = hashlib.sha256(), 0.0, 0
    mel, frames, levels = LogMelStream(_COARSE), [], _Levels()
    with open_audio(
        path, _COARSE.sample_rate, max_seconds=max_seconds, listener=levels.add
    ) as audio:
        for block in audio:
            alive()
            digest.update(block.tobytes())
            peak = max(peak, float(np.abs(block).max(initial=0)))
            n_samples += block.size
            frames.append(mel.push(block))
        seconds, damage, content = audio.seconds, audio.damage, audio.format
    if n_samples >= _COARSE.n_fft:
        frames.append(mel.finish())
    alive()
    yield Inspection(
        seconds=seconds,
        silent=peak < SILENT_PEAK,
        sha256=sha256_file(path),
        samples_hash=digest.hexdigest(),
        fingerprint=fingerprint(np.concatenate(frames, axis=1), _COARSE.top_db),
        damage=damage,
        oddities=tuple(_oddities(path, content, levels)),
    )


class _Levels:
    """How often each channel is at full scale, and how far from zero it is on average."""

    def __init__(self) -> None:
        self._sums = np.zeros((MAX_CHANNELS, 3))

    def add(self, channel: int, samples: Array) -> None:
        """Count a block of a channel in."""
        n_loud = np.count_nonzero(np.abs(samples) >= LOUD)
        self._sums[channel] += samples.size, n_loud, samples.sum(dtype=np.float64)

    def oddities(self) -> Iterator[str]:
        """What is to be known of the worst channel."""
        n_samples, n_loud, totals = self._sums[self._sums[:, 0] > 0].T
        loud, offset = n_loud / n_samples, totals / n_samples
        loudest, furthest = int(loud.argmax()), int(np.abs(offset).argmax())
        where = [f" in channel {i}" if len(loud) > 1 else "" for i in range(1, len(loud) + 1)]
        if (part := loud[loudest]) > MAX_LOUD:
            yield f"is clipped: {part:.1%} of the samples are at full scale{where[loudest]}"
        if abs(mean := offset[furthest]) > MAX_OFFSET:
            yield f"has an offset of {mean:+.2f} of full scale{where[furthest]}"


def _oddities(path: str, content: str, levels: _Levels) -> Iterator[str]:
    suffix = os.path.splitext(path)[1].lower()
    if suffix and suffix not in SUFFIXES[content]:
        yield f"is named {suffix}, and is {content}"
    yield from levels.oddities()


def fingerprint(log_mel: NDArray[np.generic], top_db: float) -> Array | None:
    """Coarse pattern of a whole track, to be compared by its inner product.

    Parameters
    ----------
    log_mel : shape (n_mels, n_frames), decibels
    top_db : values further below the maximum count as this far below it

    Returns
    -------
    fingerprint : shape (n_bands * N_CELLS,), float32, unit length; None for a track of fewer
        than N_CELLS + 2 frames, or one whose spectrum hardly changes

    Notes
    -----
    The first and the last stretch do not count: there every track meets the padding, and steady
    tones would be alike in that alone.
    """
    if log_mel.shape[1] < N_CELLS + 2:
        return None
    decibels = log_mel.astype(np.float32)
    decibels = np.maximum(decibels, decibels.max() - np.float32(top_db))
    bands = _averaged(decibels, min(N_BANDS, log_mel.shape[0]))
    coarse = _averaged(bands.T, N_CELLS + 2).T[:, 1:-1]
    coarse = coarse - coarse.mean(axis=1, keepdims=True)
    coarse -= coarse.mean(axis=0, keepdims=True)
    deviation = float(np.sqrt(np.mean(coarse**2)))
    if deviation < _FLATTEST_DB:
        return None
    flat: Array = coarse.ravel() / np.float32(deviation * np.sqrt(coarse.size))
    return flat


def same_audio(inspections: dict[int, Inspection]) -> dict[int, tuple[int, str]]:
    """Tracks that repeat an earlier one: index -> (first index, "the same" or "nearly the same").

    Parameters
    ----------
    inspections : by position in the manifest; of equal ones the first of this dict stays
    """
    rank = {i: place for place, i in enumerate(inspections)}
    by_hash: dict[str, int] = {}
    first = {i: by_hash.setdefault(found.samples_hash, i) for i, found in inspections.items()}
    for i, j in _alike({i: inspections[i] for i in inspections if first[i] == i}):
        one, other = sorted((_root(first, i), _root(first, j)), key=rank.__getitem__)
        first[other] = one
    copies = {}
    for i, found in inspections.items():
        if first[i] != i:
            root = _root(first, i)
            equal = found.samples_hash == inspections[root].samples_hash
            copies[i] = (root, "the same" if equal else "nearly the same")
    return copies


def _inspect(
    tracks: Sequence[Track], n_workers: int, limits: Limits
) -> Iterator[tuple[int, Inspection | AudioError]]:
    """Inspect every track, in no particular order."""
    audio = []
    for index, track in enumerate(tracks):
        if array_row(track.path):
            yield index, _inspect_row(track)
        elif not os.path.exists(track.path):
            yield index, AudioError(track.path, "no such file", status="missing")
        else:
            audio.append(index)
    if not audio:
        return
    function = functools.partial(inspect_audio, max_seconds=limits.decoded_s)
    paths = [tracks[index].path for index in audio]
    with closing(stream(function, paths, n_workers=n_workers, limits=limits)) as events:
        for event in events:
            if event.kind != "end":
                yield audio[event.index], event.value


def _inspect_row(track: Track) -> Inspection | AudioError:
    try:
        values = np.ascontiguousarray(raw_row(track.path))
    except AudioError as error:
        return error
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return AudioError(track.path, "holds values that are not finite")
    config = _features(track.features)
    decibels = values * (config.top_db / 255) if values.dtype == np.uint8 else values
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return Inspection(
        seconds=values.shape[1] / config.frames_per_second,
        silent=bool(values.max() == values.min()),
        sha256=digest,
        samples_hash=digest,
        # How alike two tracks are is judged in decibels; with PCEN only equal ones are found.
        fingerprint=fingerprint(decibels, config.top_db) if config.scale == "log" else None,
    )


@functools.lru_cache(maxsize=8)
def _features(text: str) -> FeatureConfig:
    return FeatureConfig(**json.loads(text)) if text else FeatureConfig()


def judge(track: Track, seconds: float, *, silent: bool) -> tuple[str, str]:
    """Status and error of a decoded track: incomplete, silent or ok."""
    if track.duration_s is not None and seconds < track.duration_s - INCOMPLETE_S:
        return "incomplete", f"{seconds:.1f} s of {track.duration_s:.1f} s"
    if silent:
        row = array_row(track.path)
        return "silent", "all values are equal" if row else "nothing is louder than -60 dBFS"
    return "ok", ""


def _judged(track: Track, result: Inspection | AudioError) -> Track:
    """The row with what its own audio says of it."""
    if isinstance(result, AudioError):
        return dataclasses.replace(track, status=result.status, error=result.reason, sha256="")
    status, error = judge(track, result.seconds, silent=result.silent)
    return dataclasses.replace(track, status=status, error=error, sha256=result.sha256)


def _averaged(values: Array, n: int) -> Array:
    """Means of n stretches of the rows, as equal in length as can be."""
    starts = np.arange(n) * len(values) // n
    sums: Array = np.add.reduceat(values, starts, axis=0)
    lengths = np.diff(np.append(starts, len(values))).astype(np.float32)
    return sums / lengths[:, None]


def _alike(inspections: dict[int, Inspection]) -> Iterator[tuple[int, int]]:
    """Pairs of tracks whose fingerprints and lengths agree."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, inspection in inspections.items():
        if inspection.fingerprint is not None:
            by_size[inspection.fingerprint.size].append(i)
    for indices in by_size.values():
        matrix = np.stack([_pattern(inspections[i]) for i in indices])
        for start in range(0, len(indices), _ROWS_AT_ONCE):
            similar = matrix[start : start + _ROWS_AT_ONCE] @ matrix[start:].T
            for a, b in np.argwhere(similar > SAME_AUDIO):
                i, j = indices[start + a], indices[start + b]
                if a < b and _same_length(inspections[i].seconds, inspections[j].seconds):
                    yield i, j


def _pattern(inspection: Inspection) -> Array:
    assert inspection.fingerprint is not None
    return inspection.fingerprint


def _same_length(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= max(SAME_LENGTH_S, 0.01 * max(one_s, other_s))


def _root(first: dict[int, int], i: int) -> int:
    while first[i] != i:
        i = first[i]
    return i


def _same_text(track: Track, first: Track, how: str) -> str:
    text = f"{how} audio as {first.track_id}"
    if track.label != first.label:
        text += f", which is labelled {first.label!r} and not {track.label!r}"
    if track.split != first.split:
        text += f", which is in the split {first.split or 'unused'!r} and not {track.split!r}"
    return text


def _audio_findings(
    tracks: Sequence[Track], inspections: Mapping[int, Inspection | AudioError]
) -> Iterator[Finding]:
    """What is wrong with, or odd about, audio that was decoded."""
    for index, track in enumerate(tracks):
        found = inspections[index]
        if isinstance(found, AudioError):
            continue
        if found.damage:
            yield Finding("damage", f"{track.path}: {found.damage}", (track.track_id,))
        for text in found.oddities:
            yield Finding("oddity", f"{track.path}: {text}", (track.track_id,), fault=False)


def _label_findings(manifest: Manifest) -> Iterator[Finding]:
    ids: dict[str, list[str]] = defaultdict(list)
    for track in manifest.tracks:
        for name in track.labels:
            ids[name].append(track.track_id)
    counts = {name: len(tracks) for name, tracks in ids.items()}
    misses = near_misses(counts)
    for miss in misses:
        yield Finding(
            "label",
            f"label {miss.name!r} ({counted(counts[miss.name], 'track')}) is probably "
            f"{miss.meant!r} ({counted(counts[miss.meant], 'track')})",
            tuple(ids[miss.name]),
        )
    for name in sorted(counts.keys() - {miss.name for miss in misses}):
        if name != name.strip():
            text = f"label {name!r} ({counted(counts[name], 'track')}) has blanks at its ends"
            yield Finding("label", text, tuple(ids[name]))
    unlabelled = tuple(track.track_id for track in manifest.tracks if not track.labels)
    if unlabelled:
        text = f"without a label, so unused: {counted(len(unlabelled), 'track')}"
        yield Finding("unlabelled", text, unlabelled, fault=False)


def _group_findings(manifest: Manifest) -> Iterator[Finding]:
    crossing = crossing_groups(manifest.tracks)
    if crossing:
        honest = parse_protocol(manifest.protocol).honest
        ids = tuple(t.track_id for t in manifest.tracks if t.group in crossing)
        yield Finding("group", crossing_text(manifest, crossing), ids, fault=honest)
    n_ungrouped = count_ungrouped(manifest.tracks)
    if n_ungrouped:
        ids = tuple(track.track_id for track in manifest.tracks if not track.group)
        text = (
            f"without a group, each counts as an artist of its own: {counted(n_ungrouped, 'track')}"
        )
        yield Finding("ungrouped", text, ids, fault=False)
