"""Miniature data sets, synthesised in the exact layout of the releases."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 22050

FMA_COLUMNS = {
    "album": "comments date_created date_released engineer favorites id information listens "
    "producer tags title tracks type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created "
    "favorites id latitude location longitude members name related_projects tags website "
    "wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top "
    "genres genres_all information interest language_code license listens lyricist number "
    "publisher tags title",
}
"""The 52 columns of the release's tracks.csv, by their first header row."""

FMA_GENRES = (
    (2, 0, "International", 2),
    (10, 0, "Pop", 10),
    (12, 0, "Rock", 12),
    (15, 0, "Electronic", 15),
    (17, 0, "Folk", 17),
    (21, 0, "Hip-Hop", 21),
    (25, 12, "Punk", 12),
    (38, 0, "Experimental", 38),
    (103, 17, "Singer-Songwriter", 17),
    (130, 2, "Europe", 2),
    (539, 21, "Alternative Hip-Hop", 21),
    (1235, 0, "Instrumental", 1235),
)
"""Some genres of the release: genre_id, parent, title, top_level."""

FMA_IDS = {title: genre_id for genre_id, parent, title, _ in FMA_GENRES if not parent}


@dataclass(frozen=True)
class FmaTrack:
    """One row of a miniature tracks.csv, and what its mp3 holds."""

    track_id: int
    genre_top: str
    split: str = "training"
    subset: str = "small"
    artist_id: int = 1
    artist: str = "Somebody"
    title: str = "A Song"
    genres: Sequence[int] = ()
    duration: int = 30
    licence: str = "Attribution"
    audio: str = field(default="music", kw_only=True)
    """"music", "missing", "short" (1.6 s of music), "empty" (no bytes) or "silent"."""


@dataclass(frozen=True)
class Fma:
    """The two folders of a miniature FMA."""

    audio: Path
    metadata: Path


def music(seed: int, seconds: float, pitch: float = 220.0) -> NDArray[np.float32]:
    """A tune that only this seed has: decaying notes with overtones, and some noise."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * SAMPLE_RATE)
    waveform = rng.normal(0, 1e-3, n_samples)
    start = 0
    while start < n_samples:
        length = int(rng.integers(SAMPLE_RATE // 8, SAMPLE_RATE))
        t = np.arange(min(2 * length, n_samples - start)) / SAMPLE_RATE
        hz = pitch * 2 ** (rng.integers(-12, 25) / 12)
        loudness = 10 ** rng.uniform(-1.5, -0.7)
        for overtone in range(1, int(rng.integers(2, 7))):
            decay = np.exp(-t * overtone * rng.uniform(1, 6))
            waveform[start : start + t.size] += (
                loudness / overtone * decay * np.sin(2 * np.pi * hz * overtone * t)
            )
        start += length
    return np.clip(waveform, -1, 1).astype(np.float32)


def write_audio(path: Path, waveform: NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> Path:
    """Write a mono file in the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, sample_rate)
    return path


def fma_tracks(
    n_per_genre: int = 2, genres: Sequence[str] = tuple(sorted(FMA_IDS))
) -> list[FmaTrack]:
    """Tracks of subset small, one artist each, ids from 2; every fourth validates or tests."""
    splits = ("training", "training", "validation", "training", "training", "training", "test")
    tracks = []
    for index in range(n_per_genre * len(genres)):
        genre = genres[index % len(genres)]
        split = splits[index // len(genres) % len(splits)]
        artist = f"Artist {index}"
        tracks.append(
            FmaTrack(
                2 + 3 * index,
                genre,
                split,
                artist_id=100 + index,
                artist=artist,
                title=f"Song {index}",
                genres=(FMA_IDS[genre],),
            )
        )
    return tracks


def write_fma(root: Path, tracks: Sequence[FmaTrack], seconds: float = 30.0) -> Fma:
    """Write ``fma_small/000/000002.mp3`` and ``fma_metadata/{tracks,genres}.csv`` below `root`."""
    audio, metadata = root / "fma_small", root / "fma_metadata"
    metadata.mkdir(parents=True)
    audio.mkdir()
    for track in tracks:
        _write_clip(audio, track, seconds)
    top = [name for name, below in FMA_COLUMNS.items() for _ in below.split()]
    below = [name for names in FMA_COLUMNS.values() for name in names.split()]
    with open(metadata / "tracks.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["", *top])
        writer.writerow(["", *below])
        writer.writerow(["track_id", *[""] * len(top)])
        for track in tracks:
            values = _fma_values(track)
            cells = [values.get(pair, "") for pair in zip(top, below, strict=True)]
            writer.writerow([track.track_id, *cells])
    with open(metadata / "genres.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["genre_id", "#tracks", "parent", "title", "top_level"])
        writer.writerows([genre, 1, parent, title, top] for genre, parent, title, top in FMA_GENRES)
    return Fma(audio, metadata)


def write_gtzan(
    root: Path,
    names: Sequence[str],
    *,
    layout: str = "genres_original",
    suffix: str = ".wav",
    seconds: float = 30.0,
) -> Path:
    """Write ``<layout>/<genre>/<genre>.00000.wav`` with an AppleDouble file beside each clip."""
    for index, name in enumerate(names):
        folder = root / layout / name.partition(".")[0]
        write_audio(folder / f"{name}{suffix}", music(1000 + index, seconds))
        (folder / f"._{name}{suffix}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    return root / layout


def _write_clip(audio: Path, track: FmaTrack, seconds: float) -> None:
    name = f"{track.track_id:06d}"
    path = audio / name[:3] / f"{name}.mp3"
    pitch = 110 * 2 ** (sorted(FMA_IDS).index(track.genre_top) / 3 if track.genre_top else 0)
    path.parent.mkdir(exist_ok=True)
    if track.audio == "empty":
        path.write_bytes(b"")
    elif track.audio == "silent":
        write_audio(path, np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32))
    elif track.audio != "missing":
        length = 1.6 if track.audio == "short" else seconds
        write_audio(path, music(track.track_id, length, pitch))


def _fma_values(track: FmaTrack) -> dict[tuple[str, str], str]:
    genres = list(track.genres)
    return {
        ("album", "tags"): "[]",
        ("artist", "bio"): '<p>Quoted "text",\nover two lines</p>',
        ("artist", "id"): str(track.artist_id),
        ("artist", "name"): track.artist,
        ("artist", "tags"): "['a', 'b']",
        ("set", "split"): track.split,
        ("set", "subset"): track.subset,
        ("track", "duration"): str(track.duration),
        ("track", "genre_top"): track.genre_top,
        ("track", "genres"): str(genres),
        ("track", "genres_all"): str(genres),
        ("track", "license"): track.licence,
        ("track", "tags"): "[]",
        ("track", "title"): track.title,
    }
