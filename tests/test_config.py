"""Configuration: every shipped file loads, every slip is named."""

import pytest

from tsresformer.config import (
    Config,
    FeatureConfig,
    ModelConfig,
    load_config,
    load_features,
    resolved,
    shipped_configs,
)
from tsresformer.errors import ConfigError


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configs_load_and_survive_a_round_trip(name):
    config = load_config(name)
    assert Config(**resolved(config)) == config


def test_feature_defaults_are_resolved_before_comparison():
    assert FeatureConfig() == FeatureConfig(win_length=2048, f_max=11025.0)
    assert FeatureConfig(n_fft=512).win_length == 512


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"n_mel": 3}, r"unknown key n_mel \(did you mean 'n_mels'\?\)"),
        ({"hop_length": 0}, "hop_length = 0"),
        ({"win_length": 4096}, "win_length 4096 is larger than n_fft 2048"),
        ({"f_min": 9000, "f_max": 300}, "f_min 9000 < f_max 300"),
        ({"f_max": 20000}, "sample_rate / 2"),
        ({"top_db": float("nan")}, "top_db"),
    ],
)
def test_bad_features_are_refused(values, problem):
    with pytest.raises(ConfigError, match=problem):
        FeatureConfig(**values)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["train.epoch=3"], r"train: unknown key epoch \(did you mean 'epochs'\?\)"),
        (["train.batch_size=31"], "batch_size"),
        (["model.left=false", "model.right=false"], "no branch is left"),
        (["model.time_kernels=[4]"], "must be odd"),
        (["model.preset=resnet"], "preset"),
        (["epochs"], "write it as section.key=value"),
        (["seed.a=1"], "seed"),
        (["seed=9223372036854775808"], "seed = 9223372036854775808: input should be less"),
        (["train=3"], "train = 3: is a section, not a value"),
        (["model=3"], "model = 3: is a section, not a value"),
        (["=3"], "--set =3: write it as section.key=value"),
        (["train.=3"], "write it as section.key=value"),
        (["model.d_model=10"], "no multiple"),
    ],
)
def test_bad_overrides_are_refused(overrides, problem):
    with pytest.raises(ConfigError, match=problem):
        load_config("ts_resformer", overrides)


def test_overrides_reach_every_kind_of_value():
    config = load_config(
        "ts_resformer",
        ["train.learning_rate=1e-4", "model.time_kernels=[3, 5]", "slicing.windows=random"],
    )
    assert config.train.learning_rate == 1e-4
    assert config.model.time_kernels == (3, 5)
    assert config.slicing.windows == "random"


def test_presets_can_be_refined():
    assert ModelConfig(preset="resnet_only").right is False
    assert ModelConfig(preset="resnet_only", attention="se").attention == "se"


def test_files(tmp_path):
    path = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match=r"shipped: .*ts_resformer"):
        load_config(path)
    path.write_text("sample_rate = 16000\n")
    assert load_features(path).f_max == 8000
    path.write_text("sample_rate 16000\n")
    with pytest.raises(ConfigError, match=r"a\.toml: not valid TOML"):
        load_features(path)
    path.write_text("[train]\nepochs = 7\n")
    assert load_config(path).train.epochs == 7
