"""Log-mels against librosa, and streams against whole files."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsresformer.config import FeatureConfig
from tsresformer.errors import AudioError
from tsresformer.features import LogMelStream, log_mel, mel_filter_bank, reference_to


@st.composite
def feature_configs(draw):
    sample_rate = draw(st.sampled_from([8000, 16000, 22050, 44100, 48000]))
    n_fft = draw(st.sampled_from([441, 512, 1000, 1024, 2048, 4096]))
    return FeatureConfig(
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=draw(st.integers(n_fft // 2, n_fft)),
        hop_length=draw(st.integers(64, 3 * n_fft)),
        n_mels=draw(st.sampled_from([20, 40, 64, 96, 128, 229])),
        f_min=draw(st.sampled_from([0.0, 20.0, 300.0])),
        f_max=sample_rate * draw(st.sampled_from([0.25, 0.4, 0.5])),
        top_db=draw(st.sampled_from([60.0, 80.0, 100.0])),
    )


def sound(kind, n_samples, sample_rate, seed):
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / sample_rate
    if kind == "noise":
        wave = 0.1 * rng.standard_normal(n_samples)
    elif kind == "tone":
        wave = np.sin(2 * np.pi * 440 * t)
    elif kind == "decay":
        wave = np.sin(2 * np.pi * (100 + 500 * t) * t) * np.exp(-3 * t)
    else:  # quiet clicks, with digital silence between them
        wave = 1e-3 * rng.standard_normal(n_samples) * (rng.random(n_samples) > 0.99)
    return wave.astype(np.float32)


@given(
    feature_configs(),
    st.sampled_from(["noise", "tone", "decay", "clicks"]),
    st.floats(0.6, 4),
    st.integers(0, 99),
)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_equals_librosa(config, kind, seconds, seed):
    wave = sound(kind, int(seconds * config.sample_rate), config.sample_rate, seed)
    power = librosa.feature.melspectrogram(
        y=wave,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
    )
    expected = librosa.power_to_db(power, ref=np.max, top_db=config.top_db)
    found = log_mel(wave, config)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    loud = expected > -60
    assert np.abs(found - expected)[loud].max() <= 1e-3
    assert np.abs(found - expected).max() <= 1e-2
    assert found.max() == 0
    assert found.min() >= -config.top_db


def test_fixed_reference_equals_librosa():
    config = FeatureConfig(reference=0.5, top_db=70)
    wave = sound("decay", 40000, 22050, 1)
    power = librosa.feature.melspectrogram(y=wave, sr=22050)
    expected = librosa.power_to_db(power, ref=0.5, top_db=70)
    np.testing.assert_allclose(log_mel(wave, config), expected, atol=1e-2)


def test_filter_bank_equals_librosa():
    config = FeatureConfig(n_mels=96, f_min=30, f_max=10000)
    expected = librosa.filters.mel(sr=22050, n_fft=2048, n_mels=96, fmin=30, fmax=10000)
    np.testing.assert_allclose(mel_filter_bank(config), expected, atol=1e-8)


@given(
    st.lists(st.integers(0, 120_000), max_size=60),
    st.integers(2048, 120_000),
    st.sampled_from([100, 512, 2047, 2048, 2049, 10336]),
)
@settings(max_examples=80)
def test_stream_is_identical_to_whole_file_however_it_is_divided(cuts, n_samples, hop_length):
    config = FeatureConfig(hop_length=hop_length)
    wave = sound("noise", n_samples, 22050, 3)
    stream = LogMelStream(config)
    edges = sorted(min(c, n_samples) for c in cuts)
    pieces = [stream.push(piece) for piece in np.split(wave, edges)] + [stream.finish()]
    streamed = reference_to(np.concatenate(pieces, axis=1), config)
    assert streamed.shape[1] == 1 + n_samples // hop_length
    np.testing.assert_array_equal(streamed, log_mel(wave, config))


def test_stream_yields_absolute_decibels():
    wave = sound("noise", 30000, 22050, 4)
    stream = LogMelStream(FeatureConfig())
    absolute = np.concatenate([stream.push(wave), stream.finish()], axis=1)
    power = librosa.feature.melspectrogram(y=wave, sr=22050)
    expected = librosa.power_to_db(power, ref=1.0, top_db=None)
    np.testing.assert_allclose(absolute, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("wave", "problem"),
    [
        (np.zeros(2047, np.float32), "2047 samples are less than one window"),
        (np.full(4000, np.nan, np.float32), "not finite"),
        (np.zeros((2, 4000), np.float32), "one mono channel"),
    ],
)
def test_what_is_no_waveform_is_refused(wave, problem):
    with pytest.raises(AudioError, match=problem):
        log_mel(wave, FeatureConfig())
