"""What a study is: a TOML file that spans a grid of cells over a configuration.

An axis is a list of values of one configuration key, or a table of named variants, each a table
of keys. Besides the keys of the training configuration there are ``data.fraction`` (part of the
training tracks), ``features.*`` (how log-mels are made) and ``classical.*`` (a classifier without
a network).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from tsresformer.config import (
    Config,
    FeatureConfig,
    Section,
    load_config,
    resolved,
    suggestion,
)
from tsresformer.errors import ConfigError, StudyError
from tsresformer.files import parse_json, parse_toml, sha256_json
from tsresformer.splits import PROTOCOLS, Protocol

N_FOLDS = 5
OVERRIDABLE = ("config", "seeds", "protocols", "folds", "axes")
"""What ``--set study.NAME=...`` may change of a study."""


class ClassicalConfig(Section):
    """A classifier over statistics of the log-mel; what it is given is our choice."""

    model: Literal["svm", "knn", "boosting"]
    statistics: Literal["bands", "mfcc", "both"] = "both"
    penalty: PositiveFloat = Field(1.0, description="C of the support vector machine")
    neighbours: PositiveInt = 15
    learning_rate: PositiveFloat = 0.1


class DataConfig(Section):
    """What part of the training split is learned from."""

    fraction: float = Field(1.0, gt=0, le=1)


class Tuning(Section):
    """The budget that every variant gets: trials on the development fold, of the first seed.

    `space` lists the values of each key; the grid is tried if it has no more than `trials`
    points, otherwise a random choice of it. A variant with a space of its own in `own` is tuned
    in that one, by as many trials.
    """

    trials: PositiveInt
    space: dict[str, tuple[Any, ...]]
    own: dict[str, dict[str, tuple[Any, ...]]] = {}

    def settings(self, variant: str) -> list[dict[str, Any]]:
        """The settings to try for a variant, in a fixed order, the first values first."""
        space = self.own.get(variant, self.space)
        grid = [
            dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())
        ]
        if len(grid) <= self.trials:
            return grid
        rest = random.Random(f"tuning {variant}").sample(grid[1:], self.trials - 1)
        return [grid[0], *rest]


class Plan(Section):
    """A study as its TOML file describes it.

    `folds` are the folds of artist-kfold that are run: all of them give out-of-fold predictions
    of every track. `reference` names the value of one axis (or of ``protocol``) that the others
    are compared with. `x` names an axis of numbers to draw a curve over.
    """

    title: str
    question: str
    config: str = "lean"
    settings: dict[str, Any] = {}
    axes: dict[str, tuple[Any, ...] | dict[str, dict[str, Any]]] = {}
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    protocols: tuple[str, ...] = Field(("artist-kfold",), min_length=1)
    folds: Literal["all"] | tuple[int, ...] = "all"
    reference: dict[str, Any] = Field({}, max_length=1)
    x: str | None = None
    tuning: Tuning | None = None

    @field_validator("axes", mode="before")
    @classmethod
    def _flat_axes(cls, axes: Any) -> Any:
        for name, values in axes.items() if isinstance(axes, dict) else ():
            if not isinstance(values, dict | list | tuple):
                raise ValueError(f"{name} = {values!r}: an axis is a list or a table of variants")
            if isinstance(values, dict) and any(isinstance(v, list) for v in values.values()):
                key = next(k for k, v in values.items() if isinstance(v, list))
                raise ValueError(f'write the key in quotes: "{name}.{key}" = [...]')
        return axes

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise ValueError(
                    f"unknown protocol {name!r}{suggestion(name, PROTOCOLS)}; there are "
                    f"{', '.join(PROTOCOLS)}"
                )
        if self.folds != "all" and not set(self.folds) <= set(range(N_FOLDS)):
            raise ValueError(f"folds = {list(self.folds)}: there are 0 to {N_FOLDS - 1}")
        if not self.folds:
            raise ValueError("folds is empty")
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"axis {name} has no values")
        for axis, label in self.reference_labels.items():
            known = self.labels(axis)
            if not known:
                raise ValueError(f"reference {axis} = {label!r}: {axis} is no axis")
            if label not in known:
                raise ValueError(
                    f"reference {axis} = {label!r} is none of {', '.join(known)}; what all others "
                    "are compared with has to be among them"
                )
        if self.x is not None and self.x not in self.axes:
            raise ValueError(f"x = {self.x!r} is no axis")
        return self

    def labels(self, axis: str) -> list[str]:
        """The values of an axis as tables name them."""
        if axis == "protocol":
            return list(self.protocols)
        return [label_of(value) for value in self.axes.get(axis, ())]

    @property
    def reference_labels(self) -> dict[str, str]:
        """The axis of the reference, and its value as tables name it."""
        return {axis: label_of(value) for axis, value in self.reference.items()}

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The folds of artist-kfold that are run."""
        return tuple(range(N_FOLDS)) if self.folds == "all" else self.folds


@dataclass(frozen=True)
class Spec:
    """What one training is: everything that it depends on besides the data and the split."""

    config: Config
    classical: ClassicalConfig | None
    data: DataConfig
    features: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Plain values, to store and to hash."""
        return {
            "config": resolved(self.config),
            "classical": resolved(self.classical) if self.classical else None,
            "data": resolved(self.data),
            "features": dict(self.features),
        }


@dataclass(frozen=True)
class Cell:
    """One row of the study's table: a point of the grid, a protocol, a seed.

    Attributes
    ----------
    values : axis to label
    settings : dotted keys of all axes
    """

    name: str
    values: Mapping[str, str]
    settings: Mapping[str, Any]
    protocol: str
    seed: int
    folds: tuple[int, ...]

    @property
    def parts(self) -> list[Protocol]:
        """The splits that are trained on one by one; their test parts are scored together."""
        if self.protocol == "artist-kfold":
            return [Protocol(self.protocol, 0, N_FOLDS, fold) for fold in self.folds]
        return [Protocol(self.protocol)]

    @property
    def variant(self) -> str:
        """The point of the grid in words, without protocol and seed."""
        return ", ".join(self.values.values()) or "base"


@dataclass(frozen=True)
class Study:
    """A plan with its name and what the command line changed."""

    name: str
    plan: Plan
    overrides: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """All cells in the order in which they run: whole grids, seed by seed.

        Protocols of one training come before one of several, so that a budget is spent on all seeds
        of the cheap ones first.
        """
        points = list(self._points())
        folds = self.plan.fold_numbers
        cells = [
            Cell(_name([*values.items()], protocol, seed), values, settings, protocol, seed, folds)
            for seed in self.plan.seeds
            for protocol in self.plan.protocols
            for values, settings in points
        ]
        return sorted(cells, key=lambda cell: len(cell.parts))

    def spec(self, cell: Cell, chosen: Mapping[str, Any] | None = None) -> Spec:
        """Everything that a cell's trainings depend on; `chosen` are tuned settings.

        Raises
        ------
        StudyError : a key that does not exist, or a value that it does not take
        """
        settings = {**self.plan.settings, **(chosen or {}), **cell.settings}
        parts: dict[str, dict[str, Any]] = {"data": {}, "features": {}, "classical": {}}
        trained = {}
        for key, value in settings.items():
            section, _, rest = key.partition(".")
            if section in parts:
                parts[section][rest] = value
            else:
                trained[key] = value
        own = {key: v for key, v in trained.items() if key in cell.settings}
        base = {key: v for key, v in trained.items() if key not in own}
        texts = [*_texts(base), *self.overrides, *_texts(own), f"seed={cell.seed}"]
        try:
            if parts["features"]:
                FeatureConfig(**parts["features"])
            return Spec(
                load_config(self.plan.config, texts),
                ClassicalConfig(**parts["classical"]) if parts["classical"] else None,
                DataConfig(**parts["data"]),
                parts["features"],
            )
        except ConfigError as error:
            axes = f"axes {', '.join(self.plan.axes)}" if self.plan.axes else "settings"
            raise StudyError(f"study {self.name}: {axes}: cell {cell.name}: {error}") from None

    def check(self) -> None:
        """Resolve every cell and every trial once, so that no typing error waits for its turn.

        Raises
        ------
        StudyError : a key or value that is not taken, or an override that all trials would share
        """
        for text in self.overrides:
            key = ".".join(part.strip() for part in text.partition("=")[0].split("."))
            if any(f"{tuned}.".startswith(f"{key}.") for tuned in self._tuned_keys()):
                printed = f"'tsresformer study list --toml {self.name}' prints what ships"
                raise StudyError(
                    f"study {self.name}: --set {text}: is tuned by this study, whose trials would "
                    "all have that one value; leave it out, or change the table [tuning] of a copy"
                    f"{f' ({printed})' if self.name in shipped_studies() else ''}"
                )
        for cell in self.cells:
            self.spec(cell)
            if self.plan.tuning:
                for chosen in self.plan.tuning.settings(cell.variant):
                    self.spec(cell, chosen)

    def record(self) -> dict[str, Any]:
        """Plain values of all that makes this study this one."""
        cells = self.cells
        return {
            "name": self.name,
            "plan": resolved(self.plan),
            "overrides": list(self.overrides),
            "specs": sha256_json([self.spec(cell).record() for cell in cells]),
        }

    def _tuned_keys(self) -> set[str]:
        """The keys that trials set."""
        tuning = self.plan.tuning
        spaces = [tuning.space, *tuning.own.values()] if tuning else []
        return {key for space in spaces for key in space}

    def _points(self) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Every point of the grid: label of each axis, and its settings."""
        choices = []
        for axis, values in self.plan.axes.items():
            if isinstance(values, dict):
                choices.append([(axis, name, keys) for name, keys in values.items()])
            else:
                choices.append([(axis, label_of(v), {axis: v}) for v in values])
        for point in itertools.product(*choices):
            yield (
                {axis: label for axis, label, _ in point},
                {key: value for _, _, keys in point for key, value in keys.items()},
            )


def shipped_studies() -> list[str]:
    """Names of the studies in the package."""
    return sorted(f.name[:-5] for f in _shipped().iterdir() if f.name.endswith(".toml"))


def shipped_toml(name: str) -> str:
    """The TOML file of a study in the package, as it is."""
    shipped = shipped_studies()
    if name not in shipped:
        raise StudyError(
            f"{name}: no shipped study{suggestion(name, shipped)}; there are {', '.join(shipped)}"
        )
    return str((_shipped() / f"{name}.toml").read_text(encoding="utf-8"))


def load_study(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study: a path or a shipped name, then ``a.b=value`` for its base configuration.

    ``study.seeds``, ``study.protocols``, ``study.folds``, ``study.axes`` and ``study.config``
    change the study.
    """
    name = str(name_or_path)
    path = Path(str(_shipped() / f"{name}.toml")) if name in shipped_studies() else Path(name)
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except OSError:
        raise StudyError(
            f"{name}: no such file and no shipped study (shipped: {', '.join(shipped_studies())})"
        ) from None
    except ValueError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    own = [text for text in overrides if text.strip().startswith("study.")]
    for text in own:
        key, value = _study_override(text)
        values[key] = value
    try:
        plan = Plan(**values)
    except ConfigError as error:
        raise StudyError(f"{name}: {error}") from None
    study = Study(path.stem, plan, tuple(text for text in overrides if text not in own))
    study.check()
    return study


def _study_override(text: str) -> tuple[str, Any]:
    key, _, value = text.strip().removeprefix("study.").partition("=")
    key = key.strip()
    if key not in OVERRIDABLE:
        raise StudyError(
            f"--set {text}: of a study, {', '.join(OVERRIDABLE)} can be set"
            f"{suggestion(key, OVERRIDABLE)}"
        )
    parsed = _toml_or_json(value.strip())
    if key == "axes" and not isinstance(parsed, dict):
        raise StudyError(
            f"--set {text}: axes is a table; write it as "
            "'study.axes={\"slicing.slice_s\"=[3, 5, 15]}', the key and all of it in quotes"
        )
    return key, parsed


def _toml_or_json(text: str) -> Any:
    """A value in TOML, or JSON, which is how an exported study gives a table; else the text."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        with contextlib.suppress(ValueError):
            return parse_json(text)
        return text


def only(study: Study, **changes: Any) -> Study:
    """The same study with another part of its plan."""
    return replace(study, plan=study.plan.model_copy(update=changes))


def _texts(settings: Mapping[str, Any]) -> list[str]:
    """Settings as ``a.b=value``; JSON is TOML for all values that a configuration has."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def label_of(value: object) -> str:
    """A value of a setting, as names and tables have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "-".join(map(label_of, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(values: Sequence[tuple[str, str]], protocol: str, seed: int) -> str:
    """A file name that tells the cell."""
    words = [f"{axis.rpartition('.')[2]}-{label}" for axis, label in values]
    text = "--".join([*words, protocol, f"seed-{seed}"])
    return re.sub(r"[^\w.=+-]+", "_", text)


def _shipped() -> Any:
    return resources.files("tsresformer") / "studies"
