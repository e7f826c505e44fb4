"""Old bytes out of new ones."""

import hashlib
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.tagging import delta as module
from tsresformer.tagging.delta import MIN_COPY_BYTES, Delta, delta


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


@given(
    old=st.binary(min_size=100, max_size=300),
    changes=st.lists(st.tuples(st.integers(0, 299), st.sampled_from(b"ab")), max_size=12),
    shift=st.integers(-40, 40),
    gap=st.tuples(st.integers(0, 150), st.integers(150, 300)),
    block=st.integers(1, 80),
)
def test_equal_runs_are_those_of_a_walk_byte_by_byte(
    tmp_path_factory, old, changes, shift, gap, block
):
    new = bytearray(bytes(max(shift, 0)) + old[max(-shift, 0) :])
    for at, value in changes:
        if at < len(new):
            new[at] = value
    start, end = max(gap[0], -shift), min(gap[1], len(old), len(new) - shift)
    runs, begun = [], start
    for at in range(start, end + 1):
        if at == end or old[at] != new[at + shift]:
            if at - begun >= MIN_COPY_BYTES:
                runs.append((begun, at))
            begun = at + 1
    path = tmp_path_factory.mktemp("delta") / "old"
    path.write_bytes(old)
    with open(path, "rb") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BYTES", block)
        span = (gap[0], min(gap[1], len(old)))
        file = module._OldFile(stream.fileno())
        array = np.frombuffer(bytes(new), np.uint8)
        assert list(module._equal_runs(file, array, span, shift)) == runs


def test_a_file_of_which_nothing_is_found_costs_little_memory(tmp_path):
    """As an mp3 without padding at the distance 0."""
    tracemalloc.start()
    try:
        between(tmp_path, noise(2**23), noise(2**23, 1))
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()


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
