"""What is kept beside a library of music, damaged: no file is changed to what nobody asked for."""

from __future__ import annotations

import shutil

import pytest

from mutants import cut, flipped, mutated
from tagged_files import StubClassifier, fill, hashes, journals, leftovers
from tsresformer.errors import TsResformerError
from tsresformer.tagging.library import Library, undo
from tsresformer.tagging.plan import Options
from tsresformer.tagging.rewrite import Manner

pytestmark = pytest.mark.timeout(36_000)


@pytest.fixture
def library(piece_path, tmp_path):
    place = tmp_path / "library"
    fill(place, piece_path, 9)
    return place


def tag(place, **options):
    with Library(place, Options(policy="replace", **options)) as held:
        return {row.path: (row.status, row.after) for row in held.tag(StubClassifier())}


def test_a_damaged_cache_changes_no_answer(library, torture):
    expected = tag(library, dry_run=True)
    assert {status for status, _ in expected.values()} == {"to write"}
    cache, generator = library / ".tsresformer" / "cache.sqlite", torture.random("cache")
    content = cache.read_bytes()
    for n in range(amount := torture.amount(12, 300, 3000)):
        cache.write_bytes((flipped, cut, damaged)[n % 3](content, generator))
        assert tag(library, dry_run=True) == expected, n
    torture.counts["damaged caches of a library"] += amount


def damaged(content, generator):
    return mutated(content, [content], generator)


def test_a_damaged_journal_makes_no_third_file(library, tmp_path, torture):
    old = hashes(library)
    tag(library)
    new = hashes(library)
    assert not set(old.values()) & set(new.values())
    (journal,) = journals(library)
    content, generator = journal.read_bytes(), torture.random("journal")
    n_told = 0
    for n in range(amount := torture.amount(12, 300, 3000)):
        copy = shutil.copytree(library, tmp_path / "copy")
        (copy / journal.relative_to(library)).write_bytes(
            (flipped, cut, damaged)[n % 3](content, generator)
        )
        try:
            n_told += any(row.error for row in undo(copy / journal.relative_to(library), Manner()))
        except TsResformerError as error:
            assert journal.name in str(error)
            n_told += 1
        now = hashes(copy)
        assert now.keys() == old.keys()
        assert all(now[name] in (old[name], new[name]) for name in now), n
        assert leftovers(copy) == []
        shutil.rmtree(copy)
    torture.counts["damaged journals of a library"] += amount
    assert n_told > amount // 3
