"""Typed, validated configuration: built-in defaults <- TOML <- ``--set section.key=value``."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from tsresformer.errors import ConfigError
from tsresformer.files import parse_toml

AnySection = TypeVar("AnySection", bound="Section")


class Section(BaseModel):
    """Base of every configuration class: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_sentence(type(self), error)) from None


class PcenConfig(Section):
    """Per-channel energy normalisation; the defaults are librosa's, as published, but for `top`.

    Each mel band is divided by its own recent mean, to the power of `gain`, and compressed. `top`
    is for PCEN what `top_db` is for decibels: larger values count as this one, for which the byte
    255 stands.

    References
    ----------
    Wang et al. 2017, Trainable frontend for robust and far-field keyword spotting.
    """

    gain: float = Field(0.98, ge=0, le=1, description="power of the mean that is divided by")
    bias: PositiveFloat = Field(2.0, description="added before the compression")
    power: float = Field(0.5, gt=0, le=1, description="of the compression")
    time_constant: PositiveFloat = Field(0.4, description="seconds that the mean looks back")
    eps: PositiveFloat = Field(1e-6, description="added to the mean, against division by zero")
    top: PositiveFloat = Field(5.0, description="our choice; a full-scale attack gives about 4")


class FeatureConfig(Section):
    """How audio becomes a log-mel spectrum; framing as in librosa (centred, zero-padded, Hann).

    The defaults are our choice: 22,050 Hz and a hop of 512 give 43 frames a second, enough for
    beats, at a cost that two cores can train on. With `scale = "pcen"` the mel power is compressed
    by PCEN instead of the logarithm, and `reference` and `top_db`, which are about decibels, say
    nothing. The plain values of a logarithmic configuration have no `scale` and no `pcen`, as
    before there was a choice, so that stores, bundles and their hashes stay what they were.
    """

    sample_rate: PositiveInt = Field(22050, description="samples in a second")
    n_fft: int = Field(2048, ge=16, description="samples of a Fourier transform")
    win_length: PositiveInt | None = Field(None, description="samples of the window; n_fft")
    hop_length: PositiveInt = Field(512, description="samples from frame to frame")
    n_mels: PositiveInt = Field(128, description="mel bands")
    f_min: float = Field(0.0, ge=0, description="lowest frequency, in hertz")
    f_max: PositiveFloat | None = Field(None, description="highest; half the sample rate")
    reference: Literal["max"] | PositiveFloat = Field(
        "max", description="what 0 dB is: the loudest value, or a power"
    )
    top_db: PositiveFloat = Field(80.0, description="what is further below the loudest is clipped")
    scale: Literal["log", "pcen"] = Field("log", description="what compresses the mel power")
    pcen: PcenConfig = Field(PcenConfig(), description="of PCEN")

    @model_validator(mode="before")
    @classmethod
    def _resolve_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("win_length") is None:
            values["win_length"] = values.get("n_fft", 2048)
        if values.get("f_max") is None:
            rate = values.get("sample_rate", 22050)
            values["f_max"] = rate / 2 if isinstance(rate, int | float) and rate > 0 else None
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        assert self.win_length is not None and self.f_max is not None
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is larger than n_fft {self.n_fft}")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"f_min {self.f_min:g} < f_max {self.f_max:g} <= sample_rate / 2 "
                f"({self.sample_rate / 2:g}) does not hold"
            )
        if self.scale == "log" and self.pcen != PcenConfig():
            raise ValueError('pcen is for scale = "pcen"')
        if self.scale == "pcen" and self.reference != "max":
            raise ValueError('reference is for decibels; with scale = "pcen" leave it out')
        return self

    @model_serializer(mode="wrap")
    def _without_a_choice(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.scale == "log":
            del values["scale"], values["pcen"]
        return values

    @property
    def frames_per_second(self) -> float:
        """Frames in one second of audio."""
        return self.sample_rate / self.hop_length


class SliceConfig(Section):
    """How a track is cut. Fixed cutting is the paper's; random windows are our choice.

    `slice_hop_s` is the step of fixed cutting, in training and in inference; None means no
    overlap. With `windows = "random"`, training draws one window a track and epoch instead.
    """

    slice_s: PositiveFloat = Field(3.0, description="seconds of a slice")
    slice_hop_s: PositiveFloat | None = Field(None, description="seconds from slice to slice")
    windows: Literal["fixed", "random"] = Field("fixed", description="of training")

    @property
    def hop_s(self) -> float:
        """The step between slices in seconds."""
        return self.slice_s if self.slice_hop_s is None else self.slice_hop_s


Attention = Literal["time_frequency", "time", "frequency", "se", "cbam", "eca", "none"]
Architecture = Literal[
    "ts_resformer", "vgg", "crnn", "gru", "resnet18", "resnet18_narrow", "patch_transformer"
]

PRESETS: dict[str, dict[str, Any]] = {
    "ts_resformer": {},
    "res_transformer": {"attention": "none"},
    "resnet_only": {"attention": "none", "right": False},
    "transformer_only": {"attention": "none", "left": False},
}


class ModelConfig(Section):
    """The network (see `tsresformer.models`); widths and depths are our choice.

    `preset` names one of the paper's four architectures; every other key refines it.
    `front_stride` is in bands and in frames; one number stands for both.
    `architecture` names a network to compare with instead (see `tsresformer.models.baselines`),
    which takes of the other keys `head_dropout` and, if it is a Transformer, the encoder's.
    """

    architecture: Architecture = Field("ts_resformer", description="the network")
    preset: Literal["ts_resformer", "res_transformer", "resnet_only", "transformer_only"] = Field(
        "ts_resformer", description="which of the paper's four"
    )
    attention: Attention = Field("time_frequency", description="of the front end")
    left: bool = Field(True, description="the residual branch")
    right: bool = Field(True, description="the encoder branch")
    front_channels: PositiveInt = Field(8, description="filters of each kernel")
    front_stride: tuple[PositiveInt, PositiveInt] = Field((2, 2), description="bands and frames")
    time_kernels: tuple[PositiveInt, ...] = Field(
        (3, 7, 15), min_length=1, description="lengths of the filters along time, in frames"
    )
    frequency_kernels: tuple[PositiveInt, ...] = Field(
        (3, 7, 15), min_length=1, description="heights of those along frequency, in bands"
    )
    learned_fusion: bool = Field(True, description="learn how to weigh both paths and the input")
    residual_widths: tuple[PositiveInt, ...] = Field(
        (32, 64, 128, 256), min_length=1, description="channels of each stage"
    )
    residual_depths: tuple[PositiveInt, ...] = Field(
        (1, 1, 1, 1), min_length=1, description="blocks of each stage"
    )
    d_model: PositiveInt = Field(96, description="width of a token")
    n_heads: PositiveInt = Field(4, description="heads of an encoder layer")
    n_layers: PositiveInt = Field(4, description="encoder layers")
    d_feedforward: PositiveInt = Field(192, description="hidden width of an encoder layer")
    token_stride: PositiveInt = Field(1, description="frames that are averaged to a token")
    encoder_dropout: float = Field(0.1, ge=0, lt=1, description="of what each layer adds")
    head_dropout: float = Field(0.3, ge=0, lt=1, description="before the last layer")

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = {**PRESETS.get(str(values.get("preset", "ts_resformer")), {}), **values}
        stride = values.get("front_stride")
        if isinstance(stride, int):
            values["front_stride"] = (stride, stride)
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.left or self.right):
            raise ValueError("left and right are both false, so no branch is left")
        if len(self.residual_widths) != len(self.residual_depths):
            raise ValueError("residual_widths and residual_depths differ in length")
        if self.d_model % (2 * self.n_heads):
            raise ValueError(f"d_model {self.d_model} is no multiple of 2 * n_heads")
        if any(k % 2 == 0 for k in self.time_kernels + self.frequency_kernels):
            raise ValueError("time_kernels and frequency_kernels must be odd")
        return self


class AugmentConfig(Section):
    """Training-time augmentation of log-mel slices; our choice throughout."""

    time_masks: int = Field(2, ge=0, description="stretches of a slice that are hidden")
    time_mask_fraction: float = Field(0.15, ge=0, le=1, description="longest, of the slice")
    frequency_masks: int = Field(2, ge=0, description="ranges of bands that are hidden")
    frequency_mask_fraction: float = Field(0.12, ge=0, le=1, description="widest, of the bands")
    mixup_alpha: float = Field(0.3, ge=0, description="how evenly two slices are mixed; 0: never")
    time_shift: bool = Field(False, description="rotate the slice in time")
    gain_db: float = Field(3.0, ge=0, description="deviation of a random equalisation")


class TrainConfig(Section):
    """Optimisation; our choice throughout."""

    epochs: PositiveInt = Field(20, description="passes over the training tracks")
    epoch_slices: PositiveInt = Field(
        1, description="an epoch over fewer slices repeats them, drawn anew, to about this number"
    )
    batch_size: int = Field(32, ge=2, multiple_of=2, description="slices in one step")
    learning_rate: PositiveFloat = Field(2e-3, description="the highest; AdamW")
    weight_decay: float = Field(0.02, ge=0, description="of matrices and filters")
    schedule: Literal["one_cycle", "cosine"] = Field("one_cycle", description="of the rate")
    warmup_fraction: float = Field(0.25, gt=0, lt=1, description="first part, with a rising rate")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share spread over all genres")
    averaging: Literal["none", "ema", "swa"] = Field("ema", description="of the weights")
    ema_decay: float = Field(0.998, gt=0, lt=1, description="of the average, from step to step")
    swa_fraction: float = Field(0.25, gt=0, le=1, description="last part of the epochs")
    clip_norm: PositiveFloat = Field(1.0, description="longest gradient")
    frozen_norms: bool = Field(False, description="keep the batch norms' statistics as they are")
    class_weights: bool = Field(False, description="let rare genres count for more")
    patience: PositiveInt | None = Field(None, description="epochs without gain; None: all")
    dev_fraction: float = Field(0.1, gt=0, lt=1, description="of the training artists")
    dev_seed: int = Field(0, ge=0, lt=2**63, description="which artists; apart from the run's seed")
    teacher_weight: float = Field(0.7, gt=0, le=1, description="of the teachers against the label")

    def n_repeats(self, n_slices: int) -> int:
        """How often an epoch passes over `n_slices`."""
        return max(1, round(self.epoch_slices / max(1, n_slices)))


class Config(Section):
    """Everything that one training run depends on besides the manifest and the store."""

    task: Literal["single", "multi"] = Field("single", description="one genre a track, or several")
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, order, windows, augmentation")
    slicing: SliceConfig = SliceConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()


def shipped_configs() -> list[str]:
    """Names of the training configurations in the package."""
    folder = resources.files("tsresformer") / "configs"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def load_config(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a training configuration: a path or a shipped name, then ``a.b=value`` overrides.

    >>> load_config("ts_resformer", ["train.epochs=3"]).train.epochs
    3
    """
    values = read_toml(_find(name_or_path))
    for text in overrides:
        _override(values, text)
    return _build(Config, values, str(name_or_path))


def load_features(path: str | Path) -> FeatureConfig:
    """Read a FeatureConfig from a TOML file with its keys at top level."""
    return _build(FeatureConfig, read_toml(Path(path)), str(path))


def _build(section: type[AnySection], values: dict[str, Any], source: str) -> AnySection:
    try:
        return section(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _find(name_or_path: str | Path) -> Path:
    shipped = shipped_configs()
    if str(name_or_path) in shipped:
        return Path(str(resources.files("tsresformer") / "configs" / f"{name_or_path}.toml"))
    if not Path(name_or_path).is_file():
        raise ConfigError(
            f"{name_or_path}: no such file and no shipped configuration"
            f"{suggestion(str(name_or_path), shipped)} (shipped: {', '.join(shipped)})"
        )
    return Path(name_or_path)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError if it cannot be read."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"--set {text}: write it as section.key=value")
    try:
        parsed = parse_toml(f"value = {value}")["value"]
    except ValueError:
        parsed = value.strip()
    *sections, last = (part.strip() for part in key.split("."))
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {text}: {section} is no section")
    values[last] = parsed


def _sentence(section: type[Section], error: ValidationError) -> str:
    """Every problem of a pydantic error in one readable sentence."""
    problems = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {where}{suggestion(where, section.model_fields)}")
        elif item["type"] == "value_error":
            problems.append(": ".join(filter(None, [where, str(item["ctx"]["error"])])))
        elif item["type"] == "model_type":
            problems.append(f"{where} = {reprlib.repr(item['input'])}: is a section, not a value")
        else:
            given = reprlib.repr(item["input"])
            problems.append(f"{where} = {given}: {item['msg'].lower()}")
    return "; ".join(problems)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` when a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def resolved(section: Section) -> Mapping[str, Any]:
    """Plain JSON-compatible values of a configuration, defaults included."""
    return section.model_dump(mode="json")
