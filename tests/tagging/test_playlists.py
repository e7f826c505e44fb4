"""Playlists by genre."""

import os

import pytest

from tsresformer.tagging.playlists import write_playlists


def write(folder, *tracks):
    return list(write_playlists(folder, tracks))


def contents(folder):
    return {p.name: p.read_text(encoding="utf-8").splitlines() for p in folder.iterdir()}


HEAD = ["#EXTM3U", "# written by tsresformer"]


def test_one_playlist_a_genre_with_relative_paths(tmp_path):
    lists = tmp_path / "lists"
    tracks = [
        (str(tmp_path / "music" / "ü.mp3"), ("Rock", "Hip-Hop")),
        (str(tmp_path / "music" / "a.mp3"), ("rock",)),
        (str(lists / "#1.mp3"), ("R&B/Soul",)),
    ]
    assert write(lists, *tracks) == []
    assert contents(lists) == {
        "Rock.m3u8": [*HEAD, "../music/a.mp3", "../music/ü.mp3"],
        "Hip-Hop.m3u8": [*HEAD, "../music/ü.mp3"],
        "R&B_Soul.m3u8": [*HEAD, "./#1.mp3"],
    }
    for name in os.listdir(lists):
        for line in contents(lists)[name][2:]:
            assert os.path.normpath(lists / line) in [path for path, _ in tracks]


def test_playlists_of_others_stay(tmp_path):
    (tmp_path / "Rock.m3u8").write_text("#EXTM3U\nmine.mp3\n")
    (tmp_path / "mine.m3u8").write_text("#EXTM3U\nmine.mp3\n")
    problems = write(tmp_path, ("/a.mp3", ("Rock",)), ("/b.mp3", ("Folk",)))
    assert problems == [
        f"{tmp_path}/Rock.m3u8: left alone, tsresformer did not write it; rename it"
    ]
    assert contents(tmp_path)["Rock.m3u8"] == ["#EXTM3U", "mine.mp3"]
    assert set(contents(tmp_path)) == {"Rock.m3u8", "mine.m3u8", "Folk.m3u8"}


def test_a_genre_without_tracks_has_no_playlist_any_more(tmp_path):
    write(tmp_path, ("/a.mp3", ("Rock",)), ("/b.mp3", ("Folk",)))
    write(tmp_path, ("/a.mp3", ("Folk",)))
    assert list(contents(tmp_path)) == ["Folk.m3u8"]


@pytest.mark.parametrize("name", [b"new\nline.mp3", b"\xff.mp3"])
def test_names_that_a_playlist_cannot_hold(tmp_path, name):
    problems = write(tmp_path, (f"/{os.fsdecode(name)}", ("Rock",)), ("/a.mp3", ("Rock",)))
    assert len(problems) == 1
    assert "cannot stand in a playlist" in problems[0]
    assert contents(tmp_path)["Rock.m3u8"] == [*HEAD, os.path.relpath("/a.mp3", tmp_path)]


@pytest.mark.parametrize("genre", ["..", "///", "a" * 400])
def test_names_of_genres_that_no_file_can_have(tmp_path, genre):
    folder = tmp_path / "lists"
    write(folder, ("/a.mp3", (genre,)))
    (name,) = os.listdir(folder)
    assert os.listdir(tmp_path) == ["lists"]
    assert name.endswith(".m3u8")
