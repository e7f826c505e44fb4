"""What holds for every adapter, checked on a miniature of each data set."""

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from miniature import FmaTrack, fma_tracks, music, write_audio, write_fma, write_gtzan
from tsresformer.config import FeatureConfig
from tsresformer.datasets import arrays, fma, folder, gtzan
from tsresformer.errors import ManifestError
from tsresformer.manifest import SPLITS, Manifest, array_row

GTZAN_NAMES = ("blues.00000", "blues.00001", "hiphop.00000", "jazz.00054", "rock.00010")


@dataclass(frozen=True)
class Case:
    """How to read a miniature, and what must come out."""

    read: Callable[[Path], Manifest]
    root: Path
    n_tracks: int
    n_missing: int
    vocabulary: tuple[str, ...]
    dataset: str
    duration_s: float | None


def make_fma(root: Path) -> Case:
    tracks = fma_tracks(1)
    tracks.append(FmaTrack(99134, "Rock", audio="missing"))
    write_fma(root, tracks, seconds=0.2)
    labels = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International")

    def read(base: Path) -> Manifest:
        return fma.read(base / "fma_small", base / "fma_metadata")

    return Case(read, root, 9, 1, (*labels, "Pop", "Rock"), "fma-small", 30.0)


def make_gtzan(root: Path) -> Case:
    write_gtzan(root, GTZAN_NAMES, layout="Data/genres_original", seconds=0.1)
    (root / "list.csv").write_text(
        "track,genre,split\nblues.00000,blues,training\nrock.00010,rock,test\n"
        "metal.00001,metal,validation\n"
    )

    def read(base: Path) -> Manifest:
        return gtzan.read(base, base / "list.csv")

    return Case(read, root, 6, 1, ("blues", "hiphop", "jazz", "rock"), "gtzan", 30.0)


def make_folder(root: Path) -> Case:
    for seed, name in enumerate(("Rock/One/a.wav", "Rock/One/b.flac", "Pop/c.ogg")):
        write_audio(root / "my_music" / name, music(seed, 0.3))
    (root / "my_music" / "Rock" / "One" / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0 no music")

    def read(base: Path) -> Manifest:
        return folder.read(base / "my_music")

    return Case(read, root, 3, 0, ("Pop", "Rock"), "my_music", None)


def make_arrays(root: Path) -> Case:
    base = root / "coarse"
    base.mkdir(parents=True)
    log_mel = np.random.default_rng(0).integers(0, 256, (4, 16, 20), dtype=np.uint8)
    np.save(base / "X.npy", log_mel)
    (base / "t.csv").write_text(
        "track_id,genre,split,artist_id,artist,title,mood\n"
        "2,Hip-Hop,training,1,AWOL,Food,calm\n"
        "5,Hip-Hop,training,1,AWOL,This World,\n"
        '10,Pop,validation,6,Kurt Vile,"Free\nway",glad\n'
        "12,Rock,,,,,\n"
    )

    def read(at: Path) -> Manifest:
        coarse = at / "coarse"
        return arrays.read(coarse / "X.npy", coarse / "t.csv", FeatureConfig(n_mels=16))

    return Case(read, root, 4, 0, ("Hip-Hop", "Pop", "Rock"), "coarse", None)


MAKERS = {"fma": make_fma, "gtzan": make_gtzan, "folder": make_folder, "arrays": make_arrays}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp(request.param) / "data"
    return MAKERS[request.param](root)


def test_every_track_is_there_once_with_an_absolute_path(case: Case) -> None:
    manifest = case.read(case.root)
    assert len({track.track_id for track in manifest.tracks}) == case.n_tracks
    assert len(manifest.tracks) == case.n_tracks
    for track in manifest.tracks:
        assert os.path.isabs(track.path)
        row = array_row(track.path)
        exists = os.path.isfile(row[0] if row else track.path)
        assert exists == (track.status != "missing")
        assert bool(track.error) == (track.status != "")
    assert sum(track.status == "missing" for track in manifest.tracks) == case.n_missing


def test_columns_hold_what_they_should(case: Case) -> None:
    manifest = case.read(case.root)
    assert manifest.vocabulary == case.vocabulary
    for track in manifest.tracks:
        assert track.dataset == case.dataset
        assert track.duration_s == case.duration_s
        assert track.split in SPLITS
        assert track.label == track.label.strip() != ""
        assert all(name.startswith("x_") for name in track.extra)
    has_split = any(track.split for track in manifest.tracks)
    assert manifest.protocol == ("official" if has_split else "")


def test_reading_twice_gives_the_same_rows(case: Case) -> None:
    assert case.read(case.root) == case.read(case.root)


def test_reading_by_a_relative_path_gives_the_same_rows(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case.root.parent)
    assert case.read(Path(case.root.name)) == case.read(case.root)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_the_manifest_survives_writing(case: Case, name: str) -> None:
    manifest = case.read(case.root)
    path = case.root.parent / name
    manifest.write(path)
    assert Manifest.read(path) == manifest


def test_written_paths_are_relative_to_the_manifest(case: Case) -> None:
    case.read(case.root).write(case.root.parent / "m.csv")
    with open(case.root.parent / "m.csv", encoding="utf-8", newline="") as stream:
        paths = [row["path"] for row in csv.DictReader(stream)]
    assert all(path.startswith("data/") for path in paths)


def test_a_folder_that_is_not_there_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere"):
        case.read(tmp_path / "nowhere")
