"""Old bytes out of new ones."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.tagging.delta import Delta, delta


def noise(n, seed=0):
    return np.random.default_rng(seed).bytes(n)


def restored(found, new):
    out = io.BytesIO()
    found.restore(io.BytesIO(new), out.write)
    return out.getvalue()


def between(folder, old, new):
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    return delta(folder / "old", folder / "new")


@given(
    old=st.lists(st.sampled_from([b"a" * 40, b"bc" * 70, noise(3000), b"x", bytes(100)])),
    new=st.lists(st.sampled_from([b"a" * 40, b"bc" * 70, noise(3000), b"y", bytes(100)])),
)
def test_anything_is_restored(tmp_path_factory, old, new):
    old, new = b"o" + b"".join(old), b"n" + b"".join(new)
    found = between(tmp_path_factory.mktemp("delta"), old, new)
    assert restored(found, new) == old
    assert restored(Delta.from_json(**found.as_json()), new) == old


def test_a_longer_head_costs_the_old_head(tmp_path):
    head, audio = noise(700, 1), noise(5_000_000)
    found = between(tmp_path, head + audio, noise(900, 2) + audio)
    assert found.pieces == ((-1, 700), (900, 5_000_000))
    assert found.literals == head


def test_parts_that_changed_places_cost_nothing(tmp_path):
    one, two, audio = noise(60_000, 1), noise(90_000, 2), noise(500_000)
    found = between(tmp_path, one + two + audio, two + b"more" + one + audio)
    assert restored(found, two + b"more" + one + audio) == one + two + audio
    assert len(found.literals) < 1200


def test_renumbered_pages_cost_their_numbers(tmp_path):
    pages = [noise(4000, i) for i in range(200)]
    old = b"".join(bytes([i, 0, 0, 0]) + page for i, page in enumerate(pages))
    new = noise(4004, 999) + b"".join(bytes([i, 1, 0, 0]) + page for i, page in enumerate(pages))
    found = between(tmp_path, old, new)
    assert restored(found, new) == old
    assert len(found.literals) < 200 * 8


def test_a_new_file_that_is_too_short_is_noticed(tmp_path):
    old, new = noise(10_000), noise(10_000) + b"x"
    found = between(tmp_path, old, new)
    digest = hashlib.sha256()
    with pytest.raises(ValueError, match="too short"):
        found.restore(io.BytesIO(new[:5000]), digest.update)


@pytest.mark.parametrize("literals", ["no base 64!", "AAAA"])
def test_damaged_literals_are_noticed(literals):
    with pytest.raises(ValueError, match=r"."):
        Delta.from_json([[-1, 5]], literals)


def test_an_interrupt_is_not_hidden_by_the_files_that_are_open(tmp_path, monkeypatch):
    def interrupted(*_):
        yield 0, 5000
        raise KeyboardInterrupt

    monkeypatch.setattr("tsresformer.tagging.delta._equal_runs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        between(tmp_path, noise(10_000), noise(10_000) + b"x")
