from pathlib import Path

import pytest

from miniature import FmaTrack, write_fma
from tsresformer.datasets import fma
from tsresformer.errors import ManifestError

TRACKS = (
    FmaTrack(2, "Hip-Hop", "training", "small", 1, "AWOL", "Food", (21,)),
    FmaTrack(3, "", "training", "large", 1, "AWOL", "Two at once", (539, 25, 12), 168),
    FmaTrack(20, "Folk", "test", "medium", 4, "Nicky Cook", "Spiritual Level", (103,), 311),
    FmaTrack(137, "Folk", "validation", "large", 5, 'A, "B" & C', "Où", (103, 130), 61),
    FmaTrack(1482, "", "test", "full", 6, "Nobody", "Untitled", (), 0),
    FmaTrack(155066, "Rock", "training", "small", 7, "Last", "Of All", (), audio="missing"),
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fma") / "data"
    write_fma(root, TRACKS, seconds=0.1)
    return root


@pytest.mark.parametrize(
    ("subset", "ids"),
    [
        ("small", ["2", "155066"]),
        ("medium", ["2", "20", "155066"]),
        ("large", ["2", "3", "20", "137", "155066"]),
        ("full", ["2", "3", "20", "137", "1482", "155066"]),
    ],
)
def test_subsets_are_nested(release: Path, subset: str, ids: list[str]) -> None:
    manifest = fma.read(release / "fma_small", release / "fma_metadata", subset)
    assert [track.track_id for track in manifest.tracks] == ids
    assert {track.dataset for track in manifest.tracks} == {f"fma-{subset}"}


def test_a_row_of_the_release(release: Path) -> None:
    first, *_, last = fma.read(release / "fma_small", release / "fma_metadata").tracks
    assert first.path == str(release / "fma_small" / "000" / "000002.mp3")
    assert (first.label, first.split, first.group) == ("Hip-Hop", "training", "1")
    assert (first.artist, first.title, first.licence) == ("AWOL", "Food", "Attribution")
    assert (first.duration_s, first.protocol, first.status) == (30.0, "official", "")
    assert last.path == str(release / "fma_small" / "155" / "155066.mp3")
    assert (last.status, last.error, last.usable) == ("missing", "no such file", False)


def test_missing_clips_and_missing_genres_are_counted(release: Path) -> None:
    manifest = fma.read(release / "fma_small", release / "fma_metadata", "large")
    assert manifest.notes == (
        f"1 of 5 clips missing below {release / 'fma_small'} (expected as 000/000002.mp3); "
        "each keeps a row",
        "without a genre, so unused: 1 track",
    )


def test_whole_tracks_have_their_own_length(release: Path) -> None:
    manifest = fma.read(release / "fma_small", release / "fma_metadata", "full")
    assert [track.duration_s for track in manifest.tracks] == [30.0, 168.0, 311.0, 61.0, 0.0, 30.0]
    clips = fma.read(release / "fma_small", release / "fma_metadata", "large")
    assert {track.duration_s for track in clips.tracks} == {30.0}


def test_many_labels_are_the_top_level_parents_of_all_genres(release: Path) -> None:
    single = fma.read(release / "fma_small", release / "fma_metadata", "full")
    assert [t.label for t in single.tracks] == ["Hip-Hop", "", "Folk", "Folk", "", "Rock"]
    several = fma.read(release / "fma_small", release / "fma_metadata", "full", multi=True)
    assert [t.labels for t in several.tracks] == [
        ("Hip-Hop",),
        ("Hip-Hop", "Rock"),
        ("Folk",),
        ("Folk", "International"),
        (),
        ("Rock",),
    ]


def test_a_folder_without_a_single_clip_is_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none of the 2 clips.*/tracks\.csv.*/000/000002\.mp3"):
        fma.read(tmp_path, release / "fma_metadata")


def edited(release: Path, tmp_path: Path, old: str, new: str, file: str = "tracks.csv") -> Path:
    for name in ("tracks.csv", "genres.csv"):
        text = (release / "fma_metadata" / name).read_text()
        assert name != file or old in text
        (tmp_path / name).write_text(text.replace(old, new) if name == file else text)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("genre_top", "genre_best", r"tracks\.csv: the column track\.genre_top is missing"),
        ("validation,large", "dev,large", "split 'dev' is none of training, validation, test"),
        ("\n137,", "\nx137,", "track id 'x137' is no number"),
        ("[539, 25, 12]", "[539 25]", r"genres '\[539 25\]' is no list of numbers"),
        ("[539, 25, 12]", "__import__('os')", "is no list of numbers"),
        ("[539, 25, 12]", "[9999]", r"genre 9999 is not in genres\.csv"),
        (",168,", ",long,", "duration_s 'long' is no number"),
        (",Two at once", ",Two,at once", "54 fields, the header 53"),
    ],
)
def test_metadata_unlike_the_release_is_refused(
    release: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    metadata = edited(release, tmp_path, old, new)
    with pytest.raises(ManifestError, match=message):
        fma.read(release / "fma_small", metadata, "full", multi=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("top_level", "level", "expected the columns genre_id, title and top_level"),
        ("25,1,12,Punk,12", "25,1,12,Punk,x", "genre_id and top_level are no numbers"),
        ("25,1,12,Punk,12", "25,1,12,Punk,77", "top level 77 of genre 25 is not in the file"),
    ],
)
def test_genres_unlike_the_release_are_refused(
    release: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    metadata = edited(release, tmp_path, old, new, "genres.csv")
    with pytest.raises(ManifestError, match=message):
        fma.read(release / "fma_small", metadata, "full", multi=True)
    fma.read(release / "fma_small", metadata, "full")  # does not need the genres


def test_a_row_that_is_repeated_is_left_out_and_one_that_contradicts_refused(
    release: Path, tmp_path: Path
) -> None:
    metadata = edited(release, tmp_path, "Food", "Food")
    text = (metadata / "tracks.csv").read_text()
    start = text.index("\n2,") + 1
    first = text[start : text.index("\n3,") + 1]
    (metadata / "tracks.csv").write_text(text[:start] + first + text[start:])
    manifest = fma.read(release / "fma_small", metadata)
    assert manifest == fma.read(release / "fma_small", release / "fma_metadata")
    assert manifest.notes[-1] == "repeated in tracks.csv, so left out: 1 row"
    other = first.replace("Hip-Hop", "Rock")
    (metadata / "tracks.csv").write_text(text[:start] + other + text[start:])
    with pytest.raises(ManifestError, match="track 2 is there with other values"):
        fma.read(release / "fma_small", metadata)


def test_wrong_folders_and_subsets_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="did you mean 'medium'"):
        fma.read(release / "fma_small", release / "fma_metadata", "medum")
    with pytest.raises(ManifestError, match="no such folder; expected the folder that holds 000"):
        fma.read(tmp_path / "none", release / "fma_metadata")
    with pytest.raises(ManifestError, match=r"tracks\.csv: No such file"):
        fma.read(release / "fma_small", tmp_path)
    with pytest.raises(ManifestError, match="is not a folder"):
        fma.read(release / "fma_small", release / "fma_metadata" / "tracks.csv")
