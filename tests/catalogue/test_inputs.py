"""What --input names."""

import os

import pyarrow
import pyarrow.parquet
import pytest

from tsresformer.catalogue.inputs import tracks
from tsresformer.errors import CatalogueError, ManifestError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp3", "a.OGG", "sub/c.flac", "sub/deep/d.mp3", ".hidden.mp3", "notes.txt"):
        path = tmp_path / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "m" / "sub" / "loop").symlink_to(tmp_path / "m")
    return tmp_path / "m"


def ids(source):
    return [track_id for track_id, _ in tracks(str(source))]


def test_a_folder_gives_what_is_named_like_audio_each_once(folder):
    assert ids(folder) == ["a.OGG", "b.mp3", "sub/c.flac", "sub/deep/d.mp3"]
    paths = [path for _, path in tracks(f"{folder}/")]
    assert paths == [os.fsencode(folder / name) for name in ids(folder)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.mp3", ["b.mp3"]),
        ("**/*.mp3", ["b.mp3", "sub/deep/d.mp3"]),
        ("*/*", ["sub/c.flac"]),
        ("s?b/**", ["sub/c.flac", "sub/deep/d.mp3"]),
        ("sub/**/[cd].*", ["sub/c.flac", "sub/deep/d.mp3"]),
        ("notes.*", ["notes.txt"]),
        ("*.wav", []),
    ],
)
def test_a_pattern_gives_what_fits_it(folder, pattern, found):
    names = [os.path.relpath(os.fsdecode(p), folder) for _, p in tracks(f"{folder}/{pattern}")]
    assert names == found


def test_a_pattern_may_begin_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert ids("*.mp3") == ["b.mp3"]
    assert ids("sub/*.flac") == ["c.flac"]


def test_a_name_with_brackets_is_a_name_if_it_exists(folder):
    folder.rename(folder.parent / "m [live]")
    assert len(ids(folder.parent / "m [live]")) == 4


def test_names_that_are_no_utf8_survive(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.mp3"
    open(name, "wb").close()
    assert list(tracks(str(tmp_path))) == [("caf\\xe9.mp3", name)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_gives_its_ids_and_paths(tmp_path, kind):
    paths = ["x/1.mp3", "/abs/2.mp3", "s3://b/3 #?.mp3"]
    table = tmp_path / f"t.{kind}"
    if kind == "csv":
        table.write_text(
            "label,track_id,path\n" + "".join(f"r,t{i},{p}\n" for i, p in enumerate(paths))
        )
    else:
        columns = {"track_id": [0, 1, 2], "path": paths, "label": ["r"] * 3}
        pyarrow.parquet.write_table(pyarrow.table(columns), table)
    found = list(tracks(str(table)))
    assert [track_id.removeprefix("t") for track_id, _ in found] == ["0", "1", "2"]
    local = os.fsencode(tmp_path / "x" / "1.mp3")
    assert [path for _, path in found] == [local, b"/abs/2.mp3", b"s3://b/3 #?.mp3"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("track_id,file\n1,a\n", "column path is missing"),
        ("track_id,path\n1,\n", "row 1 has no track_id or no path"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, problem):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError, match=problem):
        list(tracks(str(tmp_path / "t.csv")))


def test_what_cannot_be_listed_is_refused(tmp_path):
    (tmp_path / "one.mp3").write_bytes(b"x")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(CatalogueError, match="nowhere: no such file"):
        list(tracks(str(tmp_path / "nowhere")))
    with pytest.raises(CatalogueError, match=r"one\.mp3: is one file; name its folder"):
        list(tracks(str(tmp_path / "one.mp3")))
    with pytest.raises(ManifestError, match=r"t\.parquet: not a readable Parquet file"):
        list(tracks(str(tmp_path / "t.parquet")))


def test_a_table_with_what_is_no_text_is_refused(tmp_path):
    text = pyarrow.array([b"a\xff.mp3"], pyarrow.binary())
    broken = pyarrow.StringArray.from_buffers(1, *text.buffers()[1:])
    pyarrow.parquet.write_table(
        pyarrow.table({"track_id": ["a"], "path": broken}), tmp_path / "t.parquet"
    )
    with pytest.raises(ManifestError, match=r"t\.parquet: not a readable Parquet file"):
        list(tracks(str(tmp_path / "t.parquet")))


def test_a_bucket_is_listed_like_a_folder(bucket):
    for key in ("a/1 #?.mp3", "a/x/2.flac", "a/x/.hidden.mp3", "a/notes.txt", "b/3.mp3"):
        bucket.put_object(Bucket="music", Key=key, Body=b"x")
    assert list(tracks("s3://music/a")) == [
        ("1 #?.mp3", b"s3://music/a/1 #?.mp3"),
        ("x/2.flac", b"s3://music/a/x/2.flac"),
    ]
    assert ids("s3://music") == ["a/1 #?.mp3", "a/x/2.flac", "b/3.mp3"]
    assert ids("s3://music/*/*.mp3") == ["a/1 #?.mp3", "b/3.mp3"]
    assert ids("s3://music/**/*.flac") == ["a/x/2.flac"]
    with pytest.raises(CatalogueError, match="s3://no-such-bucket: cannot be listed"):
        list(tracks("s3://no-such-bucket"))
