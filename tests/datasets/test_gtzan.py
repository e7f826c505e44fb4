from pathlib import Path

import pytest

from miniature import write_gtzan
from tsresformer.datasets import gtzan
from tsresformer.errors import ManifestError

NAMES = ("blues.00000", "disco.00099", "hiphop.00003")


@pytest.mark.parametrize("suffix", [".wav", ".au"])
@pytest.mark.parametrize("layout", ["genres", "genres_original", "Data/genres_original", "."])
def test_every_usual_layout(tmp_path: Path, layout: str, suffix: str) -> None:
    write_gtzan(tmp_path, NAMES, layout=layout, suffix=suffix, seconds=0.05)
    manifest = gtzan.read(tmp_path)
    assert [track.track_id for track in manifest.tracks] == list(NAMES)
    assert [track.label for track in manifest.tracks] == ["blues", "disco", "hiphop"]
    first = manifest.tracks[0]
    assert first.path == str(tmp_path / layout / "blues" / f"blues.00000{suffix}")
    assert (first.group, first.split, first.protocol) == ("", "", "")
    assert manifest.notes == (
        "found 3 of GTZAN's 1,000 clips",
        "GTZAN names no artists: every track counts as an artist of its own",
    )


def test_only_clips_of_the_release_are_taken(tmp_path: Path) -> None:
    root = write_gtzan(tmp_path, NAMES, seconds=0.05)
    for name in ("blues/blues.0.wav", "blues/rock.00000.wav", "polka/polka.00000.wav"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"RIFF")
    (root / "__MACOSX" / "blues").mkdir(parents=True)
    (root / "__MACOSX" / "blues" / "._blues.00001.wav").write_bytes(b"\x00\x05\x16\x07")
    assert [track.track_id for track in gtzan.read(tmp_path).tracks] == list(NAMES)


def test_a_second_copy_is_counted_and_not_used(tmp_path: Path) -> None:
    write_gtzan(tmp_path, NAMES, layout="genres", suffix=".au", seconds=0.05)
    write_gtzan(tmp_path, NAMES[:2], layout="genres_original", seconds=0.05)
    manifest = gtzan.read(tmp_path)
    assert {Path(track.path).suffix for track in manifest.tracks} == {".au"}
    assert manifest.notes[0] == "there more than once, the first copy is used: 2 clips"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "valid", "test"), ["training", "validation", "test"]),
        (("training", "Validation", " TEST "), ["training", "validation", "test"]),
        (("train_filtered", "valid_filtered", "test_filtered"), ["training", "validation", "test"]),
    ],
)
def test_the_lists_splits_under_any_of_their_names(
    tmp_path: Path, words: tuple[str, ...], expected: list[str]
) -> None:
    write_gtzan(tmp_path, NAMES, seconds=0.05)
    rows = [f"{n},{n.partition('.')[0]},{word}\n" for n, word in zip(NAMES, words, strict=True)]
    (tmp_path / "list.csv").write_text("track,genre,split\n" + "".join(rows))
    manifest = gtzan.read(tmp_path, tmp_path / "list.csv")
    assert [track.split for track in manifest.tracks] == expected
    assert manifest.protocol == "official"


def test_tracks_off_the_list_are_unused_and_tracks_without_a_file_missing(tmp_path: Path) -> None:
    root = write_gtzan(tmp_path, NAMES, suffix=".au", seconds=0.05)
    (tmp_path / "list.csv").write_text(
        "track,split\nblues/blues.00000.wav,train\njazz.00054,test\n"
    )
    manifest = gtzan.read(tmp_path, tmp_path / "list.csv")
    rows = {track.track_id: track for track in manifest.tracks}
    assert list(rows) == sorted([*NAMES, "jazz.00054"])
    assert [rows[name].split for name in NAMES] == ["training", "", ""]
    missing = rows["jazz.00054"]
    assert (missing.split, missing.status, missing.label) == ("test", "missing", "jazz")
    assert missing.path == str(root / "jazz" / "jazz.00054.au")
    assert "not on the list, so unused: 2 clips" in manifest.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\nblues.00000,train\n", "expected the columns track, genre and split"),
        ("track,split\nblues.00000,dev\n", "line 2: split 'dev' is none of train, valid, test"),
        ("track,split\npolka.00000,train\n", "line 2: 'polka.00000' is no track of GTZAN"),
        ("track,genre,split\nblues.00000,rock,train\n", "line 2: 'blues.00000' is no track"),
        ("track,split\njazz.00001,test\njazz.00001,test\n", "line 3: jazz.00001 is on the list"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_gtzan(tmp_path, NAMES, seconds=0.05)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ManifestError, match=message.replace(".", r"\.")):
        gtzan.read(tmp_path, tmp_path / "list.csv")


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has no GTZAN clips; expected <genre>/<genre>\.00000"):
        gtzan.read(tmp_path)
