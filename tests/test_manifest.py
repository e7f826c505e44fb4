import csv
import dataclasses
import os
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError, ManifestError
from tsresformer.manifest import (
    SPLITS,
    STATUSES,
    Manifest,
    Track,
    array_row,
    canonical_features,
    raw_row,
)

HEADER = "track_id,path,label,split,group\n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def track(track_id: str = "a", **values: object) -> Track:
    return Track(**{"track_id": track_id, "path": f"/x/{track_id}.mp3", "label": "Rock", **values})


def test_a_small_manifest(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "track_id,path,label,split,group,duration_s,x_mood\n"
        "7,music/a.mp3,Rock,training,12,30.0,calm\n"
        "\n"
        "8,/abs/b.mp3,Rock|Pop,,,,\n",
    )
    manifest = Manifest.read(path)
    assert manifest.tracks == (
        Track(
            track_id="7",
            path=str(tmp_path / "music" / "a.mp3"),
            label="Rock",
            split="training",
            group="12",
            duration_s=30.0,
            extra={"x_mood": "calm"},
        ),
        Track(track_id="8", path="/abs/b.mp3", label="Rock|Pop"),
    )
    assert manifest.path == path
    assert manifest.vocabulary == ("Pop", "Rock")
    assert manifest.tracks[1].labels == ("Rock", "Pop")


def test_byte_order_mark_crlf_and_quoted_newlines(tmp_path: Path) -> None:
    text = 'track_id,path,label,title\r\n1,a.mp3,Rock,"two\r\nlines, ""quoted"""\r\n'
    manifest = Manifest.read(written(tmp_path, b"\xef\xbb\xbf" + text.encode()))
    assert manifest.tracks[0].track_id == "1"
    assert manifest.tracks[0].title == 'two\r\nlines, "quoted"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace("label", "lable") + "1,a,b,,\n", "'lable' (did you mean 'label'?)"),
        (HEADER.replace("group", "mood") + "1,a,b,,\n", "your own columns start with x_"),
        ("track_id,label\n1,Rock\n", "column path is missing"),
        ("track_id;path;label\n1;a;Rock\n", "other than commas"),
        ("track_id,path,path,label\n1,a,a,Rock\n", "'path' is there twice"),
        (HEADER + "1,a,Rock,training,\n2,b,Rock,train,\n", "line 3: split 'train' is none of"),
        (HEADER + "1,a,Rock,,\n1,b,Rock,,\n2,c,Rock,,\n", "that are there more than once: 1;"),
        (HEADER + "1,a,Rock,training\n", "line 2 has 4 fields, the header 5"),
        (HEADER + ",a,Rock,,\n", "line 2: track_id is empty"),
        (HEADER + "1,,Rock,,\n", "line 2: path is empty"),
        (HEADER + '1,"a,Rock,,\n2,b,Rock,,\n', "not valid CSV"),
        (HEADER, "has no rows"),
        ("", "is empty"),
        ("track_id,path,label,duration_s\n1,a,Rock,long\n", "duration_s 'long' is no number"),
        ("track_id,path,label,duration_s\n1,a,Rock,nan\n", "duration_s 'nan' is no number"),
        ("track_id,path,label,duration_s\n1,a,Rock,-1\n", "duration_s '-1' is no number"),
        ("track_id,path,label,status\n1,a,Rock,fine\n", "line 2: status 'fine' is none of"),
        ("track_id,path,label,features\n1,a,Rock,{}x\n", "line 2: features: "),
        ("track_id,path,label,features\n1,a,Rock,[]\n", "line 2: features: "),
        ('track_id,path,label,features\n1,a,Rock,"{""n_mel"":4}"\n', "did you mean 'n_mels'"),
        ("track_id,path,label\n1,a,Rück\n".encode("latin-1"), "label 'R\\xfcck' is not UTF-8"),
        ("track_id,path,label\n".encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_name(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        Manifest.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1
    assert message in str(caught.value)


def test_a_missing_manifest_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv: No such file"):
        Manifest.read(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="Is a directory"):
        Manifest.read(tmp_path)


def test_repeated_ids_are_named(tmp_path: Path) -> None:
    rows = [track(str(i % 7)) for i in range(14)]
    with pytest.raises(ManifestError, match=r"more than once: 0, 1, 2, 3, 4 and 2 more"):
        Manifest(tuple(rows))


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ManifestError, match=r"m\.parquet: not a readable Parquet file"):
        Manifest.read(path)


def test_paths_are_relative_only_below_the_manifest(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data" / "a.mp3", tmp_path / "datab" / "b.mp3"
    manifest = Manifest((track("a", path=str(inside)), track("b", path=str(outside))))
    manifest.write(tmp_path / "data" / "m.csv")
    with open(tmp_path / "data" / "m.csv", encoding="utf-8") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == ["a.mp3", str(outside)]
    moved = tmp_path / "moved"
    os.rename(tmp_path / "data", moved)
    assert [t.path for t in Manifest.read(moved / "m.csv").tracks] == [
        str(moved / "a.mp3"),
        str(outside),
    ]


def test_a_relative_manifest_path_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, HEADER + "1,X.npy#3,Rock,,\n")
    monkeypatch.chdir(tmp_path)
    assert Manifest.read("m.csv").tracks[0].path == f"{tmp_path}/X.npy#3"


def test_a_file_name_that_is_not_utf8_survives_csv_but_not_parquet(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp3")
    manifest = Manifest((track(path=path),))
    manifest.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv").tracks[0].path == path
    assert len(manifest.key()) == 64
    with pytest.raises(ManifestError, match=r"caf\\xe9\.mp3' is not UTF-8"):
        manifest.write(tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet").exists()


def test_only_columns_with_values_are_written(tmp_path: Path) -> None:
    rows = (track("a", title="T"), track("b", extra={"x_year": "1999"}))
    Manifest(rows).write(tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "track_id,path,label,split,group,title,x_year"
    assert lines[2] == "b,/x/b.mp3,Rock,,,,1999"


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    Manifest((track("a"),)).write(path)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        Manifest((track("b", title="\ud800"),)).write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.csv"]


text = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12
)
names = st.text(string.ascii_letters + string.digits + "é 日-_", min_size=1, max_size=8)
features = st.sampled_from(["", canonical_features(FeatureConfig(n_mels=64))])


@st.composite
def tracks(draw: st.DrawFn) -> tuple[Track, ...]:
    ids = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    rows = []
    for track_id in ids:
        folder = draw(st.sampled_from(["/abs/deep", "/elsewhere"]))
        rows.append(
            Track(
                track_id=track_id,
                path=f"{folder}/{draw(names.filter(lambda n: n.strip('.')))}",
                label=draw(text),
                split=draw(st.sampled_from(SPLITS)),
                group=draw(text),
                fold=draw(text),
                artist=draw(text),
                title=draw(text),
                duration_s=draw(st.none() | st.floats(0, 1e6)),
                sha256=draw(text),
                licence=draw(text),
                features=draw(features),
                status=draw(st.sampled_from(STATUSES)),
                error=draw(text),
                extra=draw(
                    st.dictionaries(names.map("x_{}".format), text.filter(bool), max_size=2)
                ),
            )
        )
    return tuple(rows)


@settings(max_examples=60)
@given(tracks(), st.sampled_from(["m.csv", "m.parquet"]))
def test_writing_and_reading_gives_the_same_tracks(
    tmp_path: Path, rows: tuple[Track, ...], name: str
) -> None:
    stripped = tuple(
        dataclasses.replace(row, extra={k.strip(): v for k, v in row.extra.items()}) for row in rows
    )
    manifest = Manifest(stripped)
    manifest.write(tmp_path / name)
    again = Manifest.read(tmp_path / name)
    assert again == manifest
    assert again.key() == manifest.key()


def test_the_key_follows_what_features_depend_on_and_nothing_else() -> None:
    base = track(duration_s=30.0, sha256="aa")
    key = Manifest((base,)).key()
    for change in ({"label": "Pop"}, {"split": "test"}, {"title": "T"}, {"status": "ok"}):
        assert Manifest((dataclasses.replace(base, **change),)).key() == key
    changes = ({"track_id": "b"}, {"path": "/y"}, {"sha256": "bb"}, {"duration_s": 1.0})
    keys = {Manifest((dataclasses.replace(base, **change),)).key() for change in changes}
    keys.add(
        Manifest((dataclasses.replace(base, features=canonical_features(FeatureConfig())),)).key()
    )
    assert len(keys - {key}) == 5


def test_features_are_compared_after_defaults_are_resolved(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'track_id,path,label,features\n1,X.npy#0,Rock,"{""n_mels"": 64}"\n'
        '2,X.npy#1,Rock,"{""f_min"": 0.0, ""n_mels"": 64, ""win_length"": 2048}"\n',
    )
    assert Manifest.read(path).features == FeatureConfig(n_mels=64)
    assert Manifest((track(),)).features is None


@pytest.mark.parametrize("column", ["features", "protocol"])
def test_rows_that_differ_where_they_must_agree_are_refused(column: str) -> None:
    value = canonical_features(FeatureConfig()) if column == "features" else "official"
    manifest = Manifest((track("a"), track("b", **{column: value})))
    with pytest.raises(ManifestError, match=f"differ in the column {column} "):
        getattr(manifest, column)


def test_a_split_holds_usable_labelled_tracks() -> None:
    rows = [
        track("a", split="test"),
        track("b", split="test", status="ok"),
        track("c", split="test", status="short"),
        track("d", split="test", status="silent"),
        track("e", split="test", label=""),
        track("f", split="training"),
        track("g", label="Jazz", status="missing"),
    ]
    manifest = Manifest(tuple(rows))
    assert [t.track_id for t in manifest.in_split("test")] == ["a", "b", "c"]
    assert manifest.vocabulary == ("Rock",)
    assert manifest.counts() == {
        "split": {"test": 5, "training": 1, "unused": 1},
        "status": {"not checked": 4, "ok": 1, "short": 1, "silent": 1, "missing": 1}
        | {"not checked": 3},
        "label": {"": 1, "Jazz": 1, "Rock": 5},
        "group": {"groups": 0, "tracks without a group": 7},
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/d/X.npy#12", ("/d/X.npy", 12)),
        ("/d/a#b/X.npy#0", ("/d/a#b/X.npy", 0)),
        ("/d/C#4.mp3", None),
        ("/d/X.npy", None),
        ("/d/X.npy#", None),
        ("/d/X.npy#-1", None),
        ("/d/song.mp3#3", None),
        ("/d/X.npy#³", None),
    ],
)
def test_rows_of_arrays_are_told_from_files(path: str, expected: tuple[str, int] | None) -> None:
    assert array_row(path) == expected


def test_raw_rows_come_as_stored(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "X.npy", array)
    row = raw_row(f"{tmp_path}/X.npy#1")
    assert row.dtype == np.uint8
    np.testing.assert_array_equal(row, array[1])


def test_unusable_rows_of_arrays_are_audio_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((2, 3, 4), dtype=np.uint8))
    np.save(tmp_path / "flat.npy", np.zeros((2, 3), dtype=np.uint8))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(AudioError, match="no such row"):
        raw_row(f"{tmp_path}/X.npy#2")
    with pytest.raises(AudioError, match="no such row"):
        raw_row(f"{tmp_path}/flat.npy#0")
    for name in ("pickle", "text"):
        with pytest.raises(AudioError, match=r"not a readable \.npy"):
            raw_row(f"{tmp_path}/{name}.npy#0")
    with pytest.raises(AudioError) as caught:
        raw_row(f"{tmp_path}/none.npy#0")
    assert caught.value.status == "missing"
