"""Cutting tracks: the same slices whether the track is whole or arrives in chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.config import FeatureConfig, SliceConfig
from tsresformer.errors import ConfigError
from tsresformer.slicing import (
    SliceStream,
    cut,
    n_slice_frames,
    probabilities,
    slice_starts,
)

FEATURES = FeatureConfig(n_mels=2)


def track(n_frames):
    return np.stack([np.arange(n_frames), -np.arange(n_frames)]).astype(np.float32)


slicings = st.builds(
    SliceConfig,
    slice_s=st.floats(0.2, 5),
    slice_hop_s=st.none() | st.floats(0.05, 7),
)


@given(slicings, st.integers(1, 900), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_stream_cuts_what_whole_cutting_cuts(slicing, n_frames, sizes):
    log_mel, length = track(n_frames), n_slice_frames(slicing, FEATURES)
    starts = slice_starts(n_frames, slicing, FEATURES)
    expected = [(int(s), cut(log_mel, int(s), length)) for s in starts]
    stream = SliceStream(slicing, FEATURES)
    found, done, turn = [], 0, 0
    while done < n_frames:
        size = sizes[turn % len(sizes)]
        found += stream.push(log_mel[:, done : done + size])
        done, turn = done + size, turn + 1
    found += stream.finish()
    assert [start for start, _ in found] == [start for start, _ in expected]
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert stream.repeated == (n_frames < length)


@given(slicings, st.integers(1, 3000))
def test_every_slice_is_full_and_none_is_forgotten(slicing, n_frames):
    length = n_slice_frames(slicing, FEATURES)
    starts = slice_starts(n_frames, slicing, FEATURES)
    step = slicing.hop_s * FEATURES.frames_per_second
    if n_frames < length:
        assert starts.tolist() == [0]
        return
    assert starts.tolist() == [round(k * step) for k in range(len(starts))]
    assert starts[-1] + length <= n_frames < round(len(starts) * step) + length


def test_a_short_track_is_repeated():
    pieces = list(SliceStream(SliceConfig(slice_s=0.5), FEATURES).push(track(9)))
    assert pieces == []
    stream = SliceStream(SliceConfig(slice_s=0.5), FEATURES)
    list(stream.push(track(9)))
    ((start, piece),) = stream.finish()
    assert start == 0
    assert piece[0].tolist() == [i % 9 for i in range(22)]


def test_several_steps_at_once_yield_each_slice_once():
    slicing = SliceConfig(slice_s=1.0)
    stream = SliceStream(slicing, FEATURES, (3.0, 2.0))
    starts = [start for start, _ in stream.push(track(450))]
    second = FEATURES.frames_per_second
    assert starts == [round(k * second) for k in (0, 2, 3, 4, 6, 8, 9)]


def test_slices_too_short_for_the_network_are_refused():
    with pytest.raises(ConfigError, match=r"slice_s = 0.1 is 4 frames .* at least 8"):
        n_slice_frames(SliceConfig(slice_s=0.1), FEATURES)


def test_probabilities():
    logits = np.log([[1.0, 3.0], [4.0, 1.0]])
    np.testing.assert_allclose(probabilities(logits, 1.0, "single"), [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_allclose(probabilities(logits, 1.0, "multi"), [[0.5, 0.75], [0.8, 0.5]])
    flat = probabilities(logits, 1e6, "single")
    np.testing.assert_allclose(flat, 0.5, atol=1e-5)
    assert np.isfinite(probabilities(np.array([1e4, -1e4]), 0.05, "single")).all()
