"""The journal on disk."""

import errno
import json
import os

import pytest

from tsresformer.errors import TsResformerError
from tsresformer.tagging.delta import Delta
from tsresformer.tagging.journal import Change, Journal, read_journal


def change(path="a/b.mp3", **values):
    defaults = {
        "old_sha256": "0" * 64,
        "new_sha256": "1" * 64,
        "old_mtime_ns": 123456789012345678,
        "before": (),
        "after": ("Rock", "Überrock"),
        "delta": Delta(((0, 5), (-1, 3)), b"abc"),
    }
    return Change(path, **(defaults | values))


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path, {"library": "/music"})
    yield journal
    journal.close()


def test_changes_come_back(journal, tmp_path):
    assert os.listdir(tmp_path) == []
    odd = os.fsdecode(b"new\nline \xff.mp3")
    changes = [change(), change(odd, before=("Pop",))]
    for each in changes:
        journal.append(each)
    assert list(read_journal(journal.path)) == changes
    first = json.loads(journal.path.read_text().splitlines()[0])
    assert first == {"format": 1, "library": "/music"}
    assert journal.path.name.startswith("journal-")


def test_two_runs_in_one_second_have_two_journals(journal, tmp_path):
    other = Journal(tmp_path, {})
    for each in (journal, other):
        each.append(change())
    other.close()
    assert len(os.listdir(tmp_path)) == 2


def test_a_torn_last_line_is_no_change(journal):
    journal.append(change())
    journal.append(change("c.mp3"))
    whole = journal.path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole), 7):
        journal.path.write_bytes(whole[:length])
        n_lines = whole[:length].count(b"\n") - 1
        assert [c.path for c in read_journal(journal.path)] == ["a/b.mp3", "c.mp3"][:n_lines]


def test_a_line_that_cannot_be_written_leaves_none(journal, monkeypatch):
    """As when the disk is full in the middle of a line."""
    journal.append(change())
    write, left = os.write, [40]

    def full(descriptor, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = write(descriptor, data[: left[0]])
        left[0] -= n
        return n

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.append(change("lost.mp3"))
    monkeypatch.undo()
    journal.append(change("c.mp3"))
    assert [c.path for c in read_journal(journal.path)] == ["a/b.mp3", "c.mp3"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "no journal\n", "is no journal"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "of format 2"),
        (lambda text: text.replace('"pieces"', '"places"'), "line 2 is damaged"),
        (lambda text: text.replace("a/b.mp3", "../b.mp3"), "line 2.*out of the library"),
        (lambda text: text.replace("a/b.mp3", "/etc/passwd"), "line 2.*out of the library"),
        (lambda text: text.replace("1" * 64, "x"), "line 2.*hash"),
        (lambda text: text.replace("123456789012345678", "1e999"), "line 2 is damaged"),
        (lambda text: text.replace("123456789012345678", "9" * 30), "line 2.*a time is none"),
        (lambda text: text.replace('"pieces": [', '"pieces": [' + "[" * 100_000), "line 2 is dam"),
    ],
)
def test_damage_is_told(journal, damage, message):
    journal.append(change())
    journal.append(change("c.mp3"))
    journal.path.write_text(damage(journal.path.read_text()))
    with pytest.raises(TsResformerError, match=message):
        list(read_journal(journal.path))


def test_a_journal_that_is_not_there(tmp_path):
    with pytest.raises(TsResformerError, match=r"a\.jsonl: No such file"):
        list(read_journal(tmp_path / "a.jsonl"))
