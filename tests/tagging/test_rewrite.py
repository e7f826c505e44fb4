"""One field changes, and nothing else, in every format; and back."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import zlib

import mutagen
import pytest
from mutagen import apev2, id3, wave

from tagged_files import FORMATS, PICTURE, genres, make, packets, piece
from tsresformer.errors import AudioError
from tsresformer.files import sha256_file
from tsresformer.tagging.containers import payload, taggable_format
from tsresformer.tagging.delta import Delta
from tsresformer.tagging.fields import Field, open_tag
from tsresformer.tagging.journal import Journal, read_journal
from tsresformer.tagging.reading import Known
from tsresformer.tagging.rewrite import Manner, restore, rewrite

GENRE = Field()


@pytest.fixture(scope="session")
def originals(piece_path, tmp_path_factory):
    """A file of each format: read only."""
    folder = tmp_path_factory.mktemp("originals")
    samples, rate = piece(piece_path)
    return {name: make(folder, name, samples, rate) for name in FORMATS}


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    (folder / ".tsresformer").mkdir(parents=True)
    return folder


@pytest.fixture
def journal(library):
    journal = Journal(library / ".tsresformer", {})
    yield journal
    journal.close()


def everything_else(path, field=GENRE):
    return open_tag(str(path), taggable_format(str(path)), field).others()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("values", [("Rock",), ("Old Genre", "Überlanges " * 40)], ids=len)
def test_only_the_genre_changes_and_can_be_undone(name, values, originals, library, journal):
    values = tuple(value.strip() for value in values)
    path = library / originals[name].name
    shutil.copy2(originals[name], path)
    os.chmod(path, 0o640)
    os.setxattr(path, "user.rating", b"5")
    before = payload(str(path), GENRE)
    old = (sha256_file(path), packets(path), everything_else(path), path.stat())

    format = taggable_format(str(path))
    rewrite(library, str(path), format, GENRE, values, journal, Manner())

    assert genres(path) == values
    assert payload(str(path), GENRE).audio == before.audio
    assert (packets(path), everything_else(path)) == old[1:3]
    assert sha256_file(path) != old[0]
    assert path.stat().st_mode == old[3].st_mode
    assert os.getxattr(path, "user.rating") == b"5"
    assert sorted(os.listdir(library)) == [".tsresformer", path.name]

    (change,) = read_journal(journal.path)
    assert change.before == genres(originals[name])
    assert len(change.delta.literals) < path.stat().st_size / 10
    assert restore(library, change, Manner()) == "restored"
    assert sha256_file(path) == old[0]
    assert path.stat().st_mtime_ns == old[3].st_mtime_ns
    assert restore(library, change, Manner()) == "unchanged"


@pytest.mark.parametrize("name", FORMATS)
def test_a_field_of_ones_own(name, originals, library, journal):
    path = library / originals[name].name
    shutil.copy(originals[name], path)
    field = Field("model_genre")
    old = everything_else(path, field)
    rewrite(library, str(path), taggable_format(str(path)), field, ("Rock",), journal, Manner())
    assert genres(path, "model_genre") == ("Rock",)
    assert genres(path) == genres(originals[name])
    assert everything_else(path, field) == old


@pytest.mark.parametrize(
    ("name", "version"), [("mp3-2.3", 3), ("mp3-2.4", 4), ("mp3-2.3-v1", 3), ("wav-2.3", 3)]
)
def test_the_version_of_an_id3_tag_stays(name, version, originals, library, journal):
    path = library / originals[name].name
    shutil.copy(originals[name], path)
    rewrite(library, str(path), taggable_format(str(path)), GENRE, ("Rock",), journal, Manner())
    load = (lambda *a, **k: wave.WAVE(*a, **k).tags) if name.startswith("wav") else id3.ID3
    tags = load(path, translate=False, load_v1=False)
    assert tags.version == (2, version, 0)
    year, people = ("TYER", "IPLS") if version == 3 else ("TDRC", "TIPL")
    assert (str(tags[year]), tags[people].people) == (
        "1999" if version == 3 else "1999-02-03",
        [["producer", "Three"]],
    )
    assert tags["TPE1"].text == ["One", "Two"]
    assert tags["APIC:cover"].data == PICTURE


def test_id3v1_is_neither_made_nor_dropped(originals, library, journal):
    """Its other fields stay as they are, and its number follows the genre."""
    for name, number in (("mp3-2.3-v1", 17), ("mp3-v1", 17), ("wv-v1", 17), ("mp3-2.4", None)):
        path = library / originals[name].name
        shutil.copy(originals[name], path)
        rewrite(library, str(path), taggable_format(str(path)), GENRE, ("Rock",), journal, Manner())
        old, new = originals[name].read_bytes()[-128:], path.read_bytes()[-128:]
        if number is None:
            assert not new.startswith(b"TAG")
        else:
            assert new == old[:-1] + bytes([number])


def test_a_genre_that_id3v1_has_no_number_for(originals, library, journal):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3-v1"], path)
    rewrite(library, str(path), "mp3", GENRE, ("International",), journal, Manner())
    assert path.read_bytes()[-1] == 255


@pytest.mark.parametrize("name", ["mp3-2.3", "tta", "wv"])
def test_an_apev2_tag_is_not_taken_for_id3v1(name, originals, library, journal):
    """Of 131 bytes, it has the letters TAG where those of ID3v1 would be."""
    path = library / originals[name].name
    shutil.copy(originals[name], path)
    apev2.delete(path)
    without = path.stat().st_size
    tags = apev2.APEv2()
    tags["MP3GAIN_MINMAX"], tags["REPLAYGAIN_ALBUM"] = "000,255", "-6.500000 dB"
    tags.save(path)
    old = path.read_bytes()
    assert len(old) - without == 131
    rewrite(library, str(path), taggable_format(str(path)), GENRE, ("Rock",), journal, Manner())
    if name == "wv":  # the genre goes into this tag
        assert dict(apev2.APEv2(path)) == {**tags, "Genre": "Rock"}
    else:
        assert path.read_bytes()[-131:] == old[-131:]
    restore(library, *read_journal(journal.path), Manner())
    assert path.read_bytes() == old


def test_the_genre_of_a_lonely_id3v1_tag_counts(originals):
    assert genres(originals["mp3-v1"]) == ("Jazz",)
    assert genres(originals["mp3-2.3-v1"]) == ("Old Genre",)


def test_numbers_for_genres_are_read_as_names(originals, library):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    tags = id3.ID3(path)
    tags.add(id3.TCON(encoding=0, text="(17)(51)"))
    tags.save(path, v2_version=3)
    assert genres(path) == ("Rock", "Techno-Industrial")


def test_times_of_modification_are_kept_if_wanted(originals, library, journal):
    path = library / "a.flac"
    shutil.copy(originals["flac"], path)
    os.utime(path, ns=(10**18, 10**18 + 7))
    rewrite(library, str(path), "flac", GENRE, ("Rock",), journal, Manner(keep_times=True))
    assert path.stat().st_mtime_ns == 10**18 + 7
    rewrite(library, str(path), "flac", GENRE, ("Folk",), journal, Manner())
    assert path.stat().st_mtime_ns > 1.5 * 10**18


def test_hard_links_are_broken_only_if_wanted(originals, library, journal):
    path, other = library / "a.flac", library / "b.flac"
    shutil.copy(originals["flac"], path)
    os.link(path, other)
    with pytest.raises(AudioError, match=r"it has 2 hard links.*use --break-links"):
        rewrite(library, str(path), "flac", GENRE, ("Rock",), journal, Manner())
    assert os.path.samefile(path, other)
    manner = Manner(break_links=True)
    rewrite(library, str(path), "flac", GENRE, ("Rock",), journal, manner)
    assert (genres(path), genres(other)) == (("Rock",), ("Old Genre",))
    (change,) = read_journal(journal.path)
    assert restore(library, change, Manner()) == "restored"
    assert path.read_bytes() == other.read_bytes()


def damaged_v22(data):
    return b"ID3\x02\x00" + data[5:]


def with_broken_comment(data):
    return data.replace("Überraschung".encode(), b"\xff\xfeberraschung"[:13], 1)


def synchsafe(number):
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def with_frame(data, frame):
    at = data.index(b"TALB")
    body = data[:at] + frame + data[at:]
    length = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(reversed(data[6:10]))) + len(frame)
    return body[:6] + synchsafe(length) + body[10:]


def with_two_titles(data):
    """The second one is joined to the first by mutagen, which is a change."""
    return with_frame(data, b"TIT2" + (3).to_bytes(4, "big") + b"\0\0" + b"\0AB")


def with_a_compressed_frame(data):
    """mutagen would write it unpacked, a thousand times as long."""
    content = b"own\0" + bytes(100_000)
    packed = zlib.compress(content)
    plain = data[3] == 3
    number = (lambda n: n.to_bytes(4, "big")) if plain else synchsafe
    packed = number(len(content)) + packed
    flags = b"\0\x80" if plain else b"\0\x09"
    return with_frame(data, b"PRIV" + number(len(packed)) + flags + packed)


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("mp3-2.3", damaged_v22, r"ID3v2\.2, which cannot be written"),
        ("mp3-2.3", with_two_titles, r"not keep everything \(ID3 frames\)"),
        ("mp3-2.3", with_a_compressed_frame, "is compressed"),
        ("mp3-2.4", with_a_compressed_frame, "is compressed"),
        ("flac", with_broken_comment, r"not keep everything \(comments\)"),
        ("ogg", with_broken_comment, r"damaged|not keep everything"),
        ("m4a", lambda data: data.replace(b"moov", b"moof", 1), "fragmented|cannot be read"),
        ("wav", lambda data: data[:-200], "more bytes than there are"),
        ("wma", lambda data: data[:2000], "more bytes than there are"),
        ("mp3-2.4", lambda data: data[:6] + b"\x7f\x7f\x7f\x7f" + data[10:], "more bytes"),
        ("flac", lambda data: data[:3000], "do not end"),
        ("ogg", lambda data: data[:-100], "cut off"),
    ],
)
def test_what_could_be_harmed_is_left_alone(name, damage, problem, originals, library, journal):
    path = library / originals[name].name
    path.write_bytes(damage(originals[name].read_bytes()))
    old = sha256_file(path)
    with pytest.raises(AudioError, match=problem) as caught:
        rewrite(library, str(path), taggable_format(str(path)), GENRE, ("Rock",), journal, Manner())
    assert caught.value.status == "untaggable"
    assert sha256_file(path) == old
    assert len(os.listdir(library)) == 2
    assert journal.path is None


def test_a_tag_library_that_harms_the_audio_is_caught(originals, library, journal, monkeypatch):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    old, save = sha256_file(path), id3.ID3.save

    def harmful(self, copy, **arguments):
        save(self, copy, **arguments)
        with open(copy, "r+b") as stream:
            stream.seek(-2000, os.SEEK_END)
            stream.write(b"\0")

    monkeypatch.setattr(id3.ID3, "save", harmful)
    with pytest.raises(AudioError, match=r"not keep everything \(audio\)"):
        rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner())
    assert sha256_file(path) == old


def test_a_tag_library_that_drops_a_field_is_caught(originals, library, journal, monkeypatch):
    path = library / "a.m4a"
    shutil.copy(originals["m4a"], path)
    old, write = sha256_file(path), mutagen.mp4.MP4Tags.save

    def forgetful(self, *arguments, **options):
        del self["covr"]
        write(self, *arguments, **options)

    monkeypatch.setattr(mutagen.mp4.MP4Tags, "save", forgetful)
    with pytest.raises(AudioError, match=r"not keep everything \(atoms\)"):
        rewrite(library, str(path), "mp4", GENRE, ("Rock",), journal, Manner())
    assert sha256_file(path) == old


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_disk_that_fills_up_while_the_tag_is_saved(
    wrapped, originals, library, journal, monkeypatch
):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(self, copy, **arguments):
        raise mutagen.MutagenError(full) if wrapped else full

    monkeypatch.setattr(id3.ID3, "save", fail)
    with pytest.raises(AudioError, match="the disk is full; make room"):
        rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner())
    assert path.read_bytes() == originals["mp3-2.3"].read_bytes()
    assert len(os.listdir(library)) == 2


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        ("user.rating", errno.ENOSPC, "the disk is full; make room"),
        ("user.rating", errno.EPERM, "it may not be written"),
        ("system.posix_acl_access", errno.EPERM, "it may not be written"),
        ("security.label", errno.EDQUOT, "the disk quota is used up"),
        ("security.label", errno.EPERM, None),
    ],
)
@pytest.mark.parametrize("what", ["rewrite", "restore"])
def test_attributes_that_cannot_be_copied(
    what, name, code, problem, originals, library, journal, monkeypatch
):
    path = library / "a.flac"
    shutil.copy(originals["flac"], path)

    def change():
        if what == "rewrite" or journal.path is None:
            rewrite(library, str(path), "flac", GENRE, ("Rock",), journal, Manner())
        else:
            restore(library, *read_journal(journal.path), Manner())

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    if what == "restore":
        change()
    before = sha256_file(path)
    monkeypatch.setattr(os, "listxattr", lambda _: [name])
    monkeypatch.setattr(os, "getxattr", lambda *_: b"5")
    monkeypatch.setattr(os, "setxattr", refuse)
    if problem:
        with pytest.raises(AudioError, match=problem):
            change()
    else:
        change()
    assert (sha256_file(path) == before) is bool(problem)
    assert len(os.listdir(library)) == 2


def test_a_file_that_changes_meanwhile_is_left_alone(originals, library, journal, monkeypatch):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    append = Journal.append

    def interfere(self, change):
        append(self, change)
        with open(path, "ab") as stream:
            stream.write(b"x")

    monkeypatch.setattr(Journal, "append", interfere)
    with pytest.raises(AudioError, match="changed while it was tagged"):
        rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner())
    assert path.read_bytes() == originals["mp3-2.3"].read_bytes() + b"x"
    (change,) = read_journal(journal.path)
    with pytest.raises(AudioError, match="changed since it was tagged"):
        restore(library, change, Manner())


CUT_MEANWHILE = """
import os, sys
from pathlib import Path
from tsresformer.errors import AudioError
from tsresformer.tagging import delta
from tsresformer.tagging.fields import Field
from tsresformer.tagging.journal import Journal
from tsresformer.tagging.rewrite import Manner, rewrite

shifts = delta._shifts

def cut(*arguments):
    os.truncate(sys.argv[1], 1000)
    return shifts(*arguments)

delta._shifts = cut
library = Path(sys.argv[1]).parent
journal = Journal(library / ".tsresformer", {})
try:
    rewrite(library, sys.argv[1], "mp3", Field(), ("Rock",), journal, Manner())
except AudioError as error:
    print(error.status, error.reason)
"""


def test_a_file_that_is_cut_short_meanwhile_is_a_row(originals, library):
    """In a process of its own, which a file that is mapped would end with SIGBUS."""
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    command = [sys.executable, "-c", CUT_MEANWHILE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    told = "changed it changed while it was tagged; run again when it is at rest\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
    assert path.read_bytes() == originals["mp3-2.3"].read_bytes()[:1000]
    assert len(os.listdir(library)) == 2


@pytest.mark.parametrize("what", ["values", "audio"])
def test_a_file_that_is_not_what_was_decided_on_is_left_alone(what, originals, library, journal):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    known = Known("mp3", ("Old Genre",), payload(str(path), GENRE).audio)
    other = dataclasses.replace(known, **{what: {"values": (), "audio": "0" * 64}[what]})
    with pytest.raises(AudioError, match="changed since it was read") as caught:
        rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner(), other)
    assert caught.value.status == "changed"
    assert path.read_bytes() == originals["mp3-2.3"].read_bytes()
    assert len(os.listdir(library)) == 2
    assert journal.path is None
    rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner(), known)
    assert genres(path) == ("Rock",)


@pytest.mark.parametrize("pieces", [((0, 100),), ((0, 10**9),), ((-1, 5),)])
def test_a_journal_that_does_not_give_the_old_file_changes_nothing(
    pieces, originals, library, journal
):
    path = library / "a.mp3"
    shutil.copy(originals["mp3-2.3"], path)
    rewrite(library, str(path), "mp3", GENRE, ("Rock",), journal, Manner())
    new = sha256_file(path)
    (change,) = read_journal(journal.path)
    change = dataclasses.replace(change, delta=Delta(pieces, b"wrong"))
    with pytest.raises(AudioError, match="does not give its old content"):
        restore(library, change, Manner())
    assert sha256_file(path) == new
    assert len(os.listdir(library)) == 2


def test_formats_without_a_safe_tag(library, piece_path):
    from audio_files import write

    samples, rate = piece(piece_path, 0.5)
    path = write(library / "a.mka", samples, rate)
    with pytest.raises(AudioError, match="matroska files carry no tag") as caught:
        taggable_format(str(path))
    assert caught.value.status == "untaggable"


def test_an_ogg_whose_pages_are_renumbered_is_undone_from_few_bytes(
    originals, library, journal, piece_path
):
    """A comment that needs another page renumbers all that follow."""
    path = library / "a.ogg"
    shutil.copy(piece_path, path)
    old = sha256_file(path)
    values = tuple(f"Genre {i:06}" for i in range(6000))
    rewrite(library, str(path), "ogg", GENRE, values, journal, Manner())
    (change,) = read_journal(journal.path)
    assert sum(offset < 0 for offset, _ in change.delta.pieces) > 50
    assert len(change.delta.literals) < path.stat().st_size / 20
    restore(library, change, Manner())
    assert sha256_file(path) == old
