"""PCEN instead of the logarithm: against librosa, in streams, bytes, stores, and a bundle."""

import json

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsresformer.config import FeatureConfig, PcenConfig, load_config, load_features, resolved
from tsresformer.datasets import arrays, folder
from tsresformer.errors import ConfigError
from tsresformer.features import (
    PCEN_POWER,
    LogMelStream,
    from_bytes,
    log_mel,
    reference_to,
    to_bytes,
)
from tsresformer.manifest import Manifest
from tsresformer.splits import split
from tsresformer.store import FeatureStore, build_store

PCEN = FeatureConfig(scale="pcen")
SMALL = FeatureConfig(sample_rate=16000, n_fft=1024, hop_length=512, n_mels=32, scale="pcen")


def sound(n_samples, seed=0):
    """Noise bursts with digital silence between them, and a tone that fades."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 22050
    bursts = 0.3 * rng.standard_normal(n_samples) * (np.sin(5 * t) > 0.6)
    return (bursts + 0.5 * np.sin(2 * np.pi * 440 * t) * np.exp(-t)).astype(np.float32)


def streamed(wave, config, edges=()):
    stream = LogMelStream(config)
    pieces = [stream.push(piece) for piece in np.split(wave, edges)]
    return np.concatenate([*pieces, stream.finish()], axis=1)


@given(
    st.floats(0.5, 1),
    st.floats(0.1, 10),
    st.floats(0.05, 1),
    st.floats(0.02, 2),
    st.sampled_from([128, 512, 2048]),
    st.integers(0, 99),
)
@settings(max_examples=12)
def test_equals_librosa_from_the_same_mel_power(gain, bias, power, time_constant, hop, seed):
    pcen = PcenConfig(gain=gain, bias=bias, power=power, time_constant=time_constant)
    config = FeatureConfig(scale="pcen", pcen=pcen, hop_length=hop)
    wave = sound(30000, seed)
    power_stream = LogMelStream(config)
    power_stream._compress = lambda mel: None
    mel = np.concatenate([power_stream.push(wave), power_stream.finish()], axis=1)
    expected = librosa.pcen(
        mel.astype(np.float64) * PCEN_POWER,
        sr=22050,
        hop_length=hop,
        gain=gain,
        bias=bias,
        power=power,
        time_constant=time_constant,
    )
    found = streamed(wave, config)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_equals_librosa_from_the_waveform():
    wave = sound(60000)
    power = librosa.feature.melspectrogram(y=wave, sr=22050)
    expected = librosa.pcen(power * PCEN_POWER, sr=22050, hop_length=512)
    loud = power > 1e-6 * power.max()
    assert loud.mean() > 0.3
    np.testing.assert_allclose(streamed(wave, PCEN)[loud], expected[loud], rtol=2e-3)
    np.testing.assert_allclose(streamed(wave, PCEN)[:, 0], expected[:, 0], rtol=2e-3, atol=1e-3)


@given(st.lists(st.integers(0, 80_000), max_size=30), st.sampled_from([100, 512, 10336]))
@settings(max_examples=20)
def test_the_mean_goes_on_from_block_to_block(cuts, hop_length):
    config = FeatureConfig(scale="pcen", hop_length=hop_length)
    wave = sound(80_000)
    whole = streamed(wave, config)
    np.testing.assert_array_equal(streamed(wave, config, sorted(cuts)), whole)
    np.testing.assert_array_equal(log_mel(wave, config), np.minimum(whole, np.float32(5)))


def test_silence_is_zero_and_a_constant_gain_hardly_shows():
    assert streamed(np.zeros(30000, np.float32), PCEN).max() == 0
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * 22050).astype(np.float32)
    loud, quiet = streamed(noise, PCEN)[:, 60:], streamed(noise / 100, PCEN)[:, 60:]
    # 40 dB between them; what AGC leaves of a factor of 1e4 in power is 1e4 ** (1 - gain) = 1.2.
    assert 1 < (loud / quiet).min() <= (loud / quiet).max() < 1e4**0.02
    attack = np.where(np.arange(3 * 22050) < 30000, 0, np.sign(noise)).astype(np.float32)
    assert 3 < streamed(attack, PCEN).max() < PCEN.pcen.top


def test_bytes_span_zero_to_the_top():
    config = FeatureConfig(scale="pcen", pcen=PcenConfig(top=2.55))
    values = np.array([[0, 0.01, 1.284, 2.55, 9]], np.float32)
    np.testing.assert_array_equal(to_bytes(values, config), [[0, 1, 128, 255, 255]])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(from_bytes(every, config), every / 100, atol=1e-6)
    np.testing.assert_array_equal(to_bytes(from_bytes(every, config), config), every)
    np.testing.assert_array_equal(
        to_bytes(from_bytes(every, FeatureConfig()), FeatureConfig()), every
    )


def test_logarithmic_features_say_what_they_said_before_there_was_a_choice():
    assert resolved(FeatureConfig()) == {
        "sample_rate": 22050, "n_fft": 2048, "win_length": 2048, "hop_length": 512,
        "n_mels": 128, "f_min": 0.0, "f_max": 11025.0, "reference": "max", "top_db": 80.0,
    }  # fmt: skip
    values = resolved(PCEN)
    assert (values["scale"], values["pcen"]["time_constant"]) == ("pcen", 0.4)
    assert FeatureConfig(**json.loads(json.dumps(values))) == PCEN


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"scale": "cube"}, "scale = 'cube'"),
        ({"pcen": {"gain": 0.5}}, 'pcen is for scale = "pcen"'),
        ({"scale": "pcen", "reference": 1.0}, "reference is for decibels"),
        ({"scale": "pcen", "pcen": {"gain": 1.5}}, r"pcen: gain = 1\.5"),
        ({"scale": "pcen", "pcen": {"bais": 1}}, r"unknown key .*bais"),
    ],
)
def test_bad_settings_are_refused(values, problem):
    with pytest.raises(ConfigError, match=problem):
        FeatureConfig(**values)


def test_a_toml_file_and_a_manifest_carry_it(tmp_path):
    (tmp_path / "f.toml").write_text('scale = "pcen"\nn_mels = 4\n[pcen]\ntop = 2.55\n')
    config = load_features(tmp_path / "f.toml")
    assert config.pcen == PcenConfig(top=2.55)
    values = np.arange(120, dtype=np.uint8).reshape(2, 4, 15)
    np.save(tmp_path / "x.npy", values)
    (tmp_path / "t.csv").write_text("track_id,genre\na,Pop\nb,Rock\n")
    arrays.read(tmp_path / "x.npy", tmp_path / "t.csv", config).write(tmp_path / "m.csv")
    manifest = Manifest.read(tmp_path / "m.csv")
    assert manifest.features == config
    store = build_store(manifest, config, tmp_path / "s")
    np.testing.assert_array_equal(store.log_mel("b"), values[1])
    assert store.log_mel("b").dtype == np.uint8
    np.testing.assert_allclose(store.to_decibels(store.log_mel("b")), values[1] / 100, atol=1e-6)


@pytest.fixture(scope="module")
def learned(tiny_music, tmp_path_factory):
    """A manifest, a store of PCEN, a finished run and its bundle over the tiny music."""
    from tsresformer.export import export
    from tsresformer.training.fit import fit

    home = tmp_path_factory.mktemp("pcen")
    manifest = split(folder.read(tiny_music), "artist-kfold", n_folds=4)
    manifest.write(home / "m.csv")
    build_store(manifest, SMALL, home / "store", n_workers=2)
    small = [
        "slicing.slice_s=1.0", "model.front_channels=2", "model.residual_widths=[8, 16]",
        "model.residual_depths=[1, 1]", "model.d_model=16", "model.n_layers=1",
        "model.d_feedforward=16", "train.batch_size=8", "train.epochs=6",
        "train.ema_decay=0.9", "train.dev_fraction=0.3", "seed=1",
    ]  # fmt: skip
    config = load_config("ts_resformer", small)
    fit(config, home / "m.csv", home / "store", home / "run", progress=False)
    export(home / "run", home / "pcen.bundle")
    return home


@pytest.mark.torch
def test_a_bundle_of_pcen_hears_audio_as_training_did(learned):
    import torch

    from tsresformer.classifier import Classifier
    from tsresformer.export import _network
    from tsresformer.extract import log_mel_chunks
    from tsresformer.training.run import Run

    classifier = Classifier.load(learned / "pcen.bundle")
    assert classifier.bundle.features == SMALL
    assert "PCEN, gain 0.98, bias 2, power 0.5" in classifier.bundle.card()
    run = Run.load(learned / "run")
    losses = [epoch["train_loss"] for epoch in run.history()]
    assert losses[-1] < losses[0] - 0.1
    network, store = _network(run), FeatureStore.open(learned / "store")
    length = 31  # frames of a slice of 1 s
    for track in Manifest.read(learned / "m.csv").tracks[::5]:
        stored = store.to_decibels(store.log_mel(track.track_id))
        starts = [round(k * SMALL.frames_per_second) for k in range(4)]
        slices = np.stack(
            [stored[:, s : s + length] for s in starts if s + length <= stored.shape[1]]
        )
        with torch.no_grad():
            expected = network(torch.from_numpy(slices)).logits.mean(0)
        found = classifier.score(log_mel_chunks(track.path, SMALL)).mean_logits()
        np.testing.assert_allclose(found, expected, atol=5e-3)  # the store keeps half precision
        assert classifier.predict(track.path, timeline=True).timeline


@pytest.mark.torch
def test_the_graph_clips_and_standardises_as_training_did(learned):
    import torch

    from tsresformer.export import _network
    from tsresformer.training.run import Run

    run, store = Run.load(learned / "run"), FeatureStore.open(learned / "store")
    normalise = _network(run).normalise
    slices = [store.to_decibels(store.log_mel(i))[:, :31] for i in run.record["training_tracks"]]
    values = torch.from_numpy(np.stack(slices))
    x = normalise(values)
    assert float(x.mean((0, 2)).abs().max()) < 1e-3
    assert float(x.var((0, 2), correction=0).mean()) == pytest.approx(1, abs=1e-3)
    values[0, 0, 0] = 99
    expected = reference_to(values.numpy(), SMALL)
    assert expected.max() == 5
    np.testing.assert_array_equal(normalise.reference(values), expected)


@pytest.mark.torch
def test_an_equaliser_does_not_move_pcen():
    import random

    import torch

    from tsresformer.models.ts_resformer import Normalise
    from tsresformer.training.augment import augment, draw_augmentation, stack_draws

    config = load_config("ts_resformer", ["augment.gain_db=6"]).augment
    config = config.model_copy(update={"time_masks": 0, "frequency_masks": 0, "mixup_alpha": 0.0})
    draws = stack_draws([draw_augmentation(config, 32, 20, random.Random(0))] * 2)
    x, target = torch.randn(2, 32, 20), torch.eye(2)
    same, _ = augment(x, target, draws, Normalise(SMALL).decibels_per_unit)
    torch.testing.assert_close(same, x)
    moved, _ = augment(x, target, draws, Normalise(FeatureConfig(n_mels=32)).decibels_per_unit)
    assert float((moved - x).abs().max()) > 0.1
