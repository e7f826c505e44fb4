"""A library that is tagged, tagged again, and untagged."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import mutagen
import pytest

from tagged_files import StubClassifier, copied, genres, hashes, make, piece
from tsresformer.classifier import Prediction
from tsresformer.errors import TsResformerError
from tsresformer.tagging import library as library_module
from tsresformer.tagging import rewrite as rewrite_module
from tsresformer.tagging.cache import Cache
from tsresformer.tagging.containers import payload
from tsresformer.tagging.fields import Field
from tsresformer.tagging.library import Library, undo
from tsresformer.tagging.plan import Options
from tsresformer.tagging.reading import Known
from tsresformer.tagging.rewrite import Manner


@pytest.fixture(scope="session")
def tunes(piece_path, tmp_path_factory):
    """A tagged and a bare mp3, and a tagged flac: read only."""
    folder = tmp_path_factory.mktemp("tunes")
    samples, rate = piece(piece_path, 0.3)
    return {kind: make(folder, kind, samples, rate) for kind in ("mp3-2.3", "mp3-bare", "flac")}


@pytest.fixture
def root(tmp_path, tunes):
    root = tmp_path / "music"
    copied(tunes["mp3-2.3"], root, "old.mp3")
    copied(tunes["flac"], root, "a/old.flac")
    copied(tunes["mp3-bare"], root, "a/bare.mp3")
    (root / "a" / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    return root


def tag(root, classifier=None, **options):
    """Statuses and errors by name, the journal, and the names that were classified."""
    classifier = classifier or StubClassifier()
    with Library(root, Options(**options)) as library:
        rows = {os.path.relpath(row.path, root): row for row in library.tag(classifier)}
        return rows, library.journal, classifier.asked


def statuses(rows):
    return {name: row.status for name, row in rows.items()}


def test_fill_asks_only_of_empty_fields(root):
    before = hashes(root)
    rows, journal, asked = tag(root)
    assert statuses(rows) == {"a/bare.mp3": "written", "a/old.flac": "kept", "old.mp3": "kept"}
    assert asked == ["bare.mp3"]
    assert rows["a/bare.mp3"].confidence == 0.9
    assert genres(root / "a" / "bare.mp3") == ("Rock",)
    changed = {name for name, now in hashes(root).items() if now != before[name]}
    assert changed == {"a/bare.mp3"}
    assert [row.status for row in undo(journal, Manner())] == ["restored"]
    assert hashes(root) == before


@pytest.mark.parametrize("what", ["tag", "undo"])
def test_ctrl_c_in_the_middle_of_a_change_loses_no_row(root, what, monkeypatch):
    name = {"tag": "rewrite", "undo": "restore"}[what]
    change = getattr(library_module, name)

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return change(*arguments)

    if what == "undo":
        _, journal, _ = tag(root, policy="replace")
    monkeypatch.setattr(library_module, name, interrupted)
    rows = []

    def run():
        if what == "undo":
            yield from undo(journal, Manner())
        else:
            with Library(root, Options(policy="replace")) as library:
                yield from library.tag(StubClassifier())

    with pytest.raises(KeyboardInterrupt):
        rows.extend(run())
    assert [row.status for row in rows] == ["written" if what == "tag" else "restored"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_run_does_nothing(root):
    tag(root, policy="replace")
    after = {p: p.stat() for p in root.rglob("*") if ".tsresformer" not in p.parts and p.is_file()}
    rows, journal, asked = tag(root, policy="replace")
    assert set(statuses(rows).values()) == {"kept"}
    assert (journal, asked) == (None, [])
    assert {p: p.stat() for p in after} == after


def test_a_title_that_was_corrected_does_not_need_the_model_again(root):
    tag(root, policy="replace")
    file = mutagen.File(root / "a" / "old.flac")
    file["title"] = "Corrected " * 1000
    file["genre"] = "Polka"
    file.save()
    rows, _, asked = tag(root, policy="replace")
    assert statuses(rows)["a/old.flac"] == "written"
    assert asked == []
    assert mutagen.File(root / "a" / "old.flac")["title"] == ["Corrected " * 1000]


def test_a_file_that_moved_does_not_need_the_model_again_and_new_audio_does(root, tunes):
    tag(root, policy="replace")
    os.rename(root / "old.mp3", root / "a" / "moved.mp3")
    with open(root / "a" / "bare.mp3", "r+b") as stream:
        stream.seek(2000)
        stream.write(b"other audio")
    rows, _, asked = tag(root, policy="replace")
    assert statuses(rows)["a/moved.mp3"] == "kept"
    assert asked == ["bare.mp3"]


def test_another_model_is_asked_anew(root):
    tag(root, policy="replace")
    other = StubClassifier()
    other.bundle.hash = "1" * 64
    assert len(tag(root, other, policy="replace")[2]) == 3


def test_after_an_undo_everything_can_be_written_again_without_the_model(root):
    before = hashes(root)
    _, journal, _ = tag(root, policy="append")
    after = hashes(root)
    for _ in undo(journal, Manner()):
        pass
    assert hashes(root) == before
    rows, _, asked = tag(root, policy="append")
    assert (hashes(root), asked) == (after, [])
    assert genres(root / "old.mp3") == ("Old Genre", "Rock")
    assert set(statuses(rows).values()) == {"written"}


def test_a_genre_set_by_a_program_that_keeps_size_and_time_is_seen(root):
    path = root / "a" / "old.flac"
    file = mutagen.File(path)
    del file["genre"]
    file.save(padding=lambda _: 4096)
    before = path.stat()
    assert statuses(tag(root, dry_run=True)[0])["a/old.flac"] == "to write"
    file["genre"] = "Zouk"
    file.save()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    rows, _, _ = tag(root)
    assert (rows["a/old.flac"].status, rows["a/old.flac"].before) == ("kept", ("Zouk",))
    assert genres(path) == ("Zouk",)


def test_an_undo_that_keeps_size_and_time_is_seen(root):
    path, manner = root / "a" / "bare.mp3", Manner(keep_times=True)
    file = mutagen.File(path)
    file.add_tags()
    file["TPE1"] = mutagen.id3.TPE1(encoding=3, text="One")
    file.save(padding=lambda _: 2048)
    before = path.stat()
    _, journal, _ = tag(root, manner=manner)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [row.status for row in undo(journal, manner)] == ["restored"]
    assert statuses(tag(root, manner=manner)[0])["a/bare.mp3"] == "written"
    assert genres(path) == ("Rock",)


def test_a_file_that_is_not_what_the_cache_says_is_left_alone_and_read_again(root):
    """As on a file system without times of change."""
    path = root / "a" / "old.flac"
    tag(root, dry_run=True)
    with closing(Cache(root / ".tsresformer" / "cache.sqlite")) as cache:
        known = Known("flac", (), payload(str(path), Field()).audio)
        cache.remember(str(path), "genre", path.stat(), known)
    rows, _, _ = tag(root)
    assert rows["a/old.flac"].status == "changed"
    assert rows["a/old.flac"].error == "it changed since it was read; run again"
    assert genres(path) == ("Old Genre",)
    assert statuses(tag(root)[0])["a/old.flac"] == "kept"


def test_all_names_of_a_file_are_tagged_if_links_may_be_broken(root):
    os.link(root / "old.mp3", root / "linked.mp3")
    rows, _, _ = tag(root, policy="replace", manner=Manner(break_links=True))
    assert set(statuses(rows).values()) == {"written"}
    assert genres(root / "linked.mp3") == genres(root / "old.mp3") == ("Rock",)


def test_files_that_were_changed_since_are_not_undone(root):
    _, journal, _ = tag(root, policy="replace")
    with open(root / "old.mp3", "ab") as stream:
        stream.write(b"mine")
    (root / "a" / "old.flac").unlink()
    mine = (root / "old.mp3").read_bytes()
    rows = {os.path.relpath(row.path, root): row for row in undo(journal, Manner())}
    assert statuses(rows) == {
        "a/bare.mp3": "restored",
        "a/old.flac": "missing",
        "old.mp3": "changed",
    }
    assert rows["old.mp3"].error == "it was changed since it was tagged; left as it is"
    assert (root / "old.mp3").read_bytes() == mine


def test_a_dry_run_changes_no_file_and_spares_the_next_run_the_model(root):
    before = hashes(root)
    rows, journal, asked = tag(root, policy="replace", dry_run=True)
    assert statuses(rows) == dict.fromkeys(rows, "to write")
    assert rows["old.mp3"].after == ("Rock",)
    assert (hashes(root), journal, len(asked)) == (before, None, 3)
    rows, _, asked = tag(root, policy="replace")
    assert (set(statuses(rows).values()), asked) == ({"written"}, [])


def test_a_dry_run_needs_no_permission_to_write(root, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    rows, _, _ = tag(root, dry_run=True)
    assert statuses(rows)["a/bare.mp3"] == "to write"
    assert not (root / ".tsresformer").exists()
    with pytest.raises(TsResformerError, match="no permission"):
        tag(root)


def test_a_field_of_ones_own_is_filled_beside_the_genre(root):
    rows, _, _ = tag(root, field=Field("ai_genre"))
    assert set(statuses(rows).values()) == {"written"}
    assert (genres(root / "old.mp3"), genres(root / "old.mp3", "ai_genre")) == (
        ("Old Genre",),
        ("Rock",),
    )
    assert set(statuses(tag(root, field=Field("ai_genre"))[0]).values()) == {"kept"}


def test_what_the_model_cannot_say_is_told(root, tunes):
    copied(tunes["mp3-bare"], root, "unsure.mp3", "silent.mp3", "broken.mp3")
    before = hashes(root)
    said = {
        "unsure.mp3": {"Rock": 0.4, "Folk": 0.3},
        "silent.mp3": Prediction(str(root / "silent.mp3"), "silent"),
        "broken.mp3": Prediction(str(root / "broken.mp3"), "undecodable", "it is broken"),
    }
    for name in ("unsure.mp3", "silent.mp3", "broken.mp3"):  # each with audio of its own
        with open(root / name, "r+b") as stream:
            stream.seek(1500)
            stream.write(name.encode())
    before |= {name: value for name, value in hashes(root).items() if name in said}
    rows, _, _ = tag(root, StubClassifier(said))
    assert statuses(rows) == {
        "a/bare.mp3": "written",
        "a/old.flac": "kept",
        "old.mp3": "kept",
        "unsure.mp3": "unsure",
        "silent.mp3": "silent",
        "broken.mp3": "undecodable",
    }
    assert rows["broken.mp3"].error == "it is broken"
    assert all(hashes(root)[name] == before[name] for name in said)
    assert tag(root, StubClassifier(said))[2] == ["broken.mp3"]


class Meddler(StubClassifier):
    """Does something to the library before it answers."""

    def __init__(self, meddle):
        super().__init__()
        self.meddle = meddle

    def predict_many(self, paths, *, n_workers=1):
        for said in super().predict_many(paths, n_workers=n_workers):
            self.meddle(said.path)
            yield said


def test_files_that_vanish_or_change_while_they_are_classified(root):
    def meddle(path):
        if path.endswith("old.flac"):
            os.unlink(path)
        elif path.endswith("bare.mp3"):
            with open(path, "ab") as stream:
                stream.write(b"more")

    rows, _, _ = tag(root, Meddler(meddle), policy="replace")
    assert statuses(rows) == {
        "a/bare.mp3": "changed",
        "a/old.flac": "missing",
        "old.mp3": "written",
    }
    assert genres(root / "a" / "bare.mp3") == ()


def test_what_may_not_be_written_is_told(root, tunes):
    os.chmod(root / "old.mp3", 0o444)
    os.link(root / "a" / "old.flac", root / "a" / "linked.flac")
    rows, _, _ = tag(root, policy="replace")
    assert statuses(rows) == {
        "a/bare.mp3": "written",
        "a/linked.flac": "linked",
        "a/old.flac": "linked",
        "old.mp3": "read-only",
    }
    assert rows["old.mp3"].error == "it is read-only; make it writable"
    assert rows["old.mp3"].after == ("Old Genre",)


def test_odd_names_are_written_and_undone(root, tunes):
    odd = os.fsdecode(b"new\nline \xff [red].mp3")
    copied(tunes["mp3-bare"], root, odd)
    before = hashes(root)
    rows, journal, _ = tag(root)
    assert rows[odd].status == "written"
    assert genres(root / odd) == ("Rock",)
    assert {row.status for row in undo(journal, Manner())} == {"restored"}
    assert hashes(root) == before


def test_a_link_within_the_library_stays_one(root):
    (root / "0.mp3").symlink_to("a/bare.mp3")
    rows, journal, _ = tag(root)
    assert statuses(rows)["0.mp3"] == "written"
    assert (root / "0.mp3").is_symlink()
    assert genres(root / "a" / "bare.mp3") == ("Rock",)
    assert {row.status for row in undo(journal, Manner())} == {"restored"}


def test_only_one_process_at_a_time(root):
    with Library(root, Options()), pytest.raises(TsResformerError, match="another process"):
        tag(root)
    _, journal, _ = tag(root)
    with Library(root, Options()), pytest.raises(TsResformerError, match="another process"):
        list(undo(journal, Manner()))


@pytest.mark.parametrize("damage", [b"no data base at all" * 100, b""])
def test_a_damaged_cache_is_begun_anew(root, damage):
    tag(root, policy="replace")
    (root / ".tsresformer" / "cache.sqlite").write_bytes(damage)
    rows, _, asked = tag(root, policy="replace")
    assert (set(statuses(rows).values()), len(asked)) == ({"kept"}, 3)


def test_answers_that_were_changed_in_the_cache_are_not_believed(root):
    tag(root, policy="replace", dry_run=True)
    assert tag(root, policy="replace", dry_run=True)[2] == []
    for table in ("predictions", "files"):
        with sqlite3.connect(root / ".tsresformer" / "cache.sqlite") as data:
            data.execute(f"UPDATE {table} SET said = replace(said, '.9', '.8')")
            data.execute(f"UPDATE {table} SET said = replace(said, 'a', 'b')")
        data.close()
    assert len(tag(root, policy="replace", dry_run=True)[2]) == 3


def test_a_cache_of_another_version_is_begun_anew(root):
    tag(root, policy="replace")
    with sqlite3.connect(root / ".tsresformer" / "cache.sqlite") as data:
        data.execute("PRAGMA user_version = 99")
    data.close()
    assert len(tag(root, policy="replace")[2]) == 3


def test_what_a_killed_run_left_is_removed(root):
    (root / "a" / ".tsresformer-x1.tmp").write_text("half a file")
    tag(root)
    assert not (root / "a" / ".tsresformer-x1.tmp").exists()


def test_a_dry_run_removes_nothing(root):
    (root / "a" / ".tsresformer-x1.tmp").write_text("half a file")
    tag(root, dry_run=True)
    assert (root / "a" / ".tsresformer-x1.tmp").exists()


def test_a_library_around_this_one_leaves_its_copies_alone(root, monkeypatch):
    seen = []

    def meanwhile(*_):
        unsure = StubClassifier({"bare.mp3": {"Rock": 0.1}})
        seen.append(statuses(tag(root, unsure)[0])["a/bare.mp3"])

    monkeypatch.setattr(rewrite_module, "_check_undoable", meanwhile)
    assert statuses(tag(root / "a")[0]) == {"bare.mp3": "written", "old.flac": "kept"}
    assert seen == ["unsure"]
    assert genres(root / "a" / "bare.mp3") == ("Rock",)


def test_a_journal_elsewhere_is_none_of_a_library(root, tmp_path):
    _, journal, _ = tag(root)
    shutil.copy(journal, tmp_path)
    with pytest.raises(TsResformerError, match=r"lies in no folder \.tsresformer"):
        list(undo(tmp_path / journal.name, Manner()))


def test_a_library_that_moved_can_be_undone(root, tmp_path):
    before = hashes(root)
    _, journal, _ = tag(root, policy="replace")
    moved = tmp_path / "moved"
    root.rename(moved)
    assert {r.status for r in undo(moved / ".tsresformer" / journal.name, Manner())} == {"restored"}
    assert hashes(moved) == before


def test_no_folder(tmp_path):
    with pytest.raises(TsResformerError, match="no such folder"):
        Library(tmp_path / "nowhere", Options())


FULL_DISK = """
mount -t tmpfs -o size=300k tmpfs "$1" && cp -r "$2"/. "$1" && cd "$1" || exit 9
sha256sum *.mp3 > /dev/shm/$$
head -c 1000000 /dev/zero > ballast
"$3" "$4" tag . && sha256sum --quiet -c /dev/shm/$$ && echo same && ls -A . .tsresformer
rm ballast && "$3" "$4" tag . && sha256sum --quiet -c /dev/shm/$$
rm /dev/shm/$$
"""


CAN_MOUNT = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False)


@pytest.mark.skipif(CAN_MOUNT.returncode != 0, reason="no mount name spaces here")
def test_a_full_disk_costs_rows_and_nothing_else(root, tmp_path, tunes):
    """A file system that is full, in a mount name space of its own."""
    (tmp_path / "disk").mkdir()
    (music,) = copied(tunes["mp3-2.3"], tmp_path / "few", "a.mp3")
    copied(music, tmp_path / "few", "b.mp3")
    script = os.path.join(os.path.dirname(__file__), "..", "tag_run.py")
    arguments = [str(tmp_path / "disk"), str(tmp_path / "few"), sys.executable, script]
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", FULL_DISK, "bash", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["the disk is full; make room", "the disk is full; make room", "same"]
    assert not any("journal" in line or ".tmp" in line for line in lines)
    assert lines[lines.index("cache.sqlite") + 1 :][:2] == ["written", "written"]
    assert "FAILED" in done.stdout
