import os
from pathlib import Path

import pytest
import soundfile

from audio_files import film_without_sound, half_copied, m4a_that_claims, tone, write
from miniature import SAMPLE_RATE, music, write_audio
from tsresformer.datasets import folder, walk
from tsresformer.errors import ManifestError


def tagged(path: Path, **tags: str) -> Path:
    """A short FLAC with tags; libsndfile writes title, artist, album and genre."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(music(1, 0.2))
    return path


def test_labels_from_folders_and_groups_from_tags_or_albums(tmp_path: Path) -> None:
    tagged(tmp_path / "Rock" / "Album" / "a.flac", artist="Kurt Vile", title="Freeway")
    tagged(tmp_path / "Rock" / "Other" / "b.flac", artist="kurt vile ")
    tagged(tmp_path / "Rock" / "Sampler" / "c.flac", artist="Various Artists")
    tagged(tmp_path / "Rock" / "d.flac")
    tagged(tmp_path / "e.flac", artist="Nobody")
    manifest = folder.read(tmp_path)
    rows = {track.track_id: track for track in manifest.tracks}
    assert {name: (row.label, row.group) for name, row in rows.items()} == {
        "Rock/Album/a.flac": ("Rock", "Kurt Vile"),
        "Rock/Other/b.flac": ("Rock", "Kurt Vile"),
        "Rock/Sampler/c.flac": ("Rock", "Rock/Sampler"),
        "Rock/d.flac": ("Rock", ""),
        "e.flac": ("", "Nobody"),
    }
    assert rows["Rock/Album/a.flac"].title == "Freeway"
    assert rows["Rock/Album/a.flac"].artist == "Kurt Vile"
    assert manifest.notes == (
        "in no genre folder, so unused: 1 file",
        "without an artist, each counts as one of its own: 1 file",
    )


def test_labels_from_tags(tmp_path: Path) -> None:
    tagged(tmp_path / "x" / "a.flac", genre="Hip-Hop", artist="A")
    tagged(tmp_path / "x" / "b.flac", artist="B")
    manifest = folder.read(tmp_path, "tag")
    assert [track.label for track in manifest.tracks] == ["Hip-Hop", ""]
    assert manifest.notes == ("without a genre tag, so unused: 1 file",)


def test_what_neither_is_nor_is_called_audio_is_counted(tmp_path: Path) -> None:
    write_audio(tmp_path / "Pop" / "song.wav", music(1, 0.2)).rename(tmp_path / "Pop" / "song.jpg")
    (tmp_path / "Pop" / "text.txt").write_text("these are only words\n" * 100)
    (tmp_path / "Pop" / "list.m3u").write_text("song.jpg\n")
    for name in (".hidden.wav", "._song.mp3"):
        (tmp_path / "Pop" / name).write_bytes((tmp_path / "Pop" / "song.jpg").read_bytes())
    manifest = folder.read(tmp_path)
    assert [track.track_id for track in manifest.tracks] == ["Pop/song.jpg"]
    assert manifest.notes[0] == "no audio, so left out: 2 files"


def test_audio_that_cannot_be_opened_keeps_a_row(tmp_path: Path) -> None:
    write_audio(tmp_path / "Pop" / "a.wav", music(1, 0.2))
    whole = write_audio(tmp_path / "Pop" / "b.flac", music(2, 0.2)).read_bytes()
    (tmp_path / "Pop" / "b.flac").write_bytes(whole[:20])
    broken = half_copied(tmp_path / "Pop")
    (tmp_path / "Pop" / "text.mp3").write_text("these are only words\n" * 100)
    manifest = folder.read(tmp_path)
    good, *bad = manifest.tracks
    assert (good.status, good.error) == ("", "")
    assert [t.track_id for t in bad] == [f"Pop/{n}" for n in ("b.flac", *broken, "text.mp3")]
    assert all(track.status == "undecodable" and track.error for track in bad)
    assert manifest.notes[0] == "not to be opened, each keeps a row with its error: 6 files"


def test_only_children_open_the_files(tmp_path: Path, no_decoder_here: None) -> None:
    (tmp_path / "Pop").mkdir()
    write(tmp_path / "Pop" / "a.wav", tone(0.2))
    write(tmp_path / "Pop" / "b.m4a", tone(0.2))
    film_without_sound(tmp_path / "Pop" / "film.mp4")
    (tmp_path / "Pop" / "bomb.m4a").write_bytes(m4a_that_claims(1000))
    steps: list[tuple[int, int]] = []
    manifest = folder.read(tmp_path, n_workers=2, progress=lambda *step: steps.append(step))
    assert [t.track_id for t in manifest.tracks] == ["Pop/a.wav", "Pop/b.m4a", "Pop/bomb.m4a"]
    assert manifest.notes[0] == "no audio, so left out: 1 file"
    assert steps == [(n, 4) for n in range(1, 5)]


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    with pytest.raises(ManifestError, match="music: has no audio files; expected audio files in"):
        folder.read(tmp_path / "music")
    (tmp_path / "music" / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ManifestError, match=r"\(only 1 other file\)"):
        folder.read(tmp_path / "music")
    with pytest.raises(ManifestError, match="none: no such folder"):
        folder.read(tmp_path / "none")
    with pytest.raises(ManifestError, match="there are folder and tag"):
        folder.read(tmp_path / "music", "name")


def test_names_that_are_not_utf8_are_spelt_out(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    os.rename(write_audio(tmp_path / "Pop" / "a.wav", music(1, 0.2)), tmp_path / "Pop" / name)
    manifest = folder.read(tmp_path)
    assert manifest.tracks[0].track_id == "Pop/caf\\xe9.wav"
    assert os.path.isfile(manifest.tracks[0].path)


def test_walking_is_sorted_and_safe(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "z.mp3").touch()
    root = tmp_path / "root"
    for name in ("b/2.mp3", "a/1.mp3", "a/.hidden/3.mp3", "c.mp3", "._c.mp3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "b" / "loop").symlink_to(root)
    (root / "b" / "linked").symlink_to(outside)
    (root / "b" / "again").symlink_to(outside)
    (root / "broken").symlink_to(root / "nowhere")
    (root / "self").symlink_to(root / "self")
    os.mkfifo(root / "pipe")
    assert [str(path.relative_to(root)) for path in walk(root)] == [
        "c.mp3",
        "a/1.mp3",
        "b/2.mp3",
        "b/again/z.mp3",
    ]
