"""The files of a library, whatever lies in it."""

import fcntl
import os

import pytest

from tsresformer.tagging.finder import find


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "library"
    for name in ("b/2.mp3", "b/1.mp3", "a.mp3", ".hidden/x.mp3", "b/.x.mp3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def names(root, *places):
    found = list(find(root, list(map(str, places)) or None))
    return [(f.path[len(str(root)) + 1 :], f.error and f.error.reason) for f in found]


def test_each_visible_file_once_and_sorted(root):
    (root / "c").symlink_to("b")
    (root / "b" / "loop").symlink_to(root)
    (root / "z.mp3").symlink_to("a.mp3")
    assert names(root) == [("a.mp3", None), ("b/1.mp3", None), ("b/2.mp3", None)]


def test_the_file_behind_a_link_is_named(root):
    (root / "0.mp3").symlink_to("b/2.mp3")
    found = next(find(root))
    assert (found.path, found.real) == (str(root / "0.mp3"), str(root / "b" / "2.mp3"))


def test_links_that_lead_elsewhere_are_told(root, tmp_path):
    (tmp_path / "library-of-another").mkdir()
    (tmp_path / "library-of-another" / "x.mp3").write_text("x")
    (root / "x").symlink_to(tmp_path / "library-of-another")
    (root / "y.mp3").symlink_to(tmp_path / "library-of-another" / "x.mp3")
    (root / "z.mp3").symlink_to("nowhere")
    (root / "zz.mp3").symlink_to("zz.mp3")
    assert names(root)[3:] == [
        ("x", "the link leads out of the library; tag the files there"),
        ("y.mp3", "the link leads out of the library; tag the files there"),
        ("z.mp3", "the link leads nowhere; check it"),
        ("zz.mp3", "the link leads nowhere; check it"),
    ]


def test_pipes_are_told_and_never_opened(root):
    os.mkfifo(root / "b" / "0.mp3")
    assert names(root)[1] == ("b/0.mp3", "it is no regular file; move it elsewhere")


def test_odd_names(root):
    odd = os.fsdecode(b"new\nline \xff.mp3")
    (root / odd).write_text("x")
    assert (odd, None) in names(root)


def test_places(root):
    assert names(root, root / "b", root / "b" / "1.mp3", root / "gone.mp3") == [
        ("b/1.mp3", None),
        ("b/2.mp3", None),
        ("gone.mp3", "it vanished; check it"),
    ]


def test_what_a_killed_run_left_is_removed_and_nothing_else(root):
    for name in (".tsresformer-ab_c9.tmp", ".tsresformer-notes.txt", ".tsresformer-.tmp"):
        (root / "b" / name).write_text("x")
    names(root)
    assert sorted(os.listdir(root / "b")) == [
        ".tsresformer-.tmp",
        ".tsresformer-notes.txt",
        ".x.mp3",
        "1.mp3",
        "2.mp3",
    ]


def test_what_a_run_is_at_is_not_removed(root):
    """As of a library within this one."""
    copy = root / "b" / ".tsresformer-ab_c9.tmp"
    with open(copy, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        names(root)
        assert copy.exists()
    assert len(list(find(root, clean=False))) == 3
    assert copy.exists()
    names(root)
    assert not copy.exists()


def test_a_folder_that_cannot_be_read_is_told(root, monkeypatch):
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    problem = "the folder cannot be read (permission denied); check it"
    assert names(root) == [("a.mp3", None), ("b", problem)]
