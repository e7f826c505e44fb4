"""What is to become of a file's field, given what it holds and what the model says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tsresformer.config import read_toml, suggestion
from tsresformer.errors import ConfigError
from tsresformer.labels import fold
from tsresformer.tagging import Policy
from tsresformer.tagging.fields import Field
from tsresformer.tagging.rewrite import Manner

if TYPE_CHECKING:
    from tsresformer.classifier import Prediction

GenreMap = Mapping[str, tuple[str, ...]]
"""The model's genre -> what is written for it, nothing included."""


class Model(Protocol):
    """What tagging asks of a bundle."""

    @property
    def name(self) -> str:
        """Name for people."""

    @property
    def hash(self) -> str:
        """Hash that tells models apart."""

    @property
    def labels(self) -> Sequence[str]:
        """The genres that it knows."""

    @property
    def unsure_below(self) -> float:
        """Probability under which a genre is unsure."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a library is tagged.

    Parameters
    ----------
    policy : ``fill`` only empty fields, ``replace`` what is there, or ``append`` to it
    min_confidence : probability that a genre needs; None for the model's own threshold
    genres : other names for the model's genres
    """

    field: Field = dataclasses.field(default_factory=Field)
    policy: Policy = "fill"
    min_confidence: float | None = None
    genres: GenreMap = dataclasses.field(default_factory=dict)
    manner: Manner = dataclasses.field(default_factory=Manner)
    dry_run: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of a file, or would.

    Parameters
    ----------
    status : ``written`` (in a dry run ``to write``), ``kept``, ``unsure``, ``silent``,
        ``not mapped``, or what went wrong
    before : values of the field
    proposed : what the model says, renamed
    confidence : its probability, None where the model was not asked
    after : values of the field now, or after a run that is not dry
    """

    path: str
    status: str
    before: tuple[str, ...] = ()
    proposed: tuple[str, ...] = ()
    confidence: float | None = None
    after: tuple[str, ...] = ()
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Arrange it as a row of `tag`'s JSON, schema 1."""
        return {
            "path": self.path,
            "status": self.status,
            "error": self.error,
            "before": list(self.before),
            "proposed": list(self.proposed),
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "after": list(self.after),
        }


def needs_model(values: Sequence[str], options: Options) -> bool:
    """Whether the model is to be asked of a file whose field has these values."""
    return options.policy != "fill" or not values


def decide(
    path: str, before: tuple[str, ...], said: Prediction, options: Options, model: Model
) -> Row:
    """Decide what a file's field becomes; the status is ``to write`` if it changes."""
    if said.error or said.label is None:
        return Row(path, said.status, before, after=before, error=said.error)
    least = model.unsure_below if options.min_confidence is None else options.min_confidence
    labels = said.label.split("|")
    sure = [label for label in labels if said.probabilities[label] >= least]
    confidence = min(said.probabilities[label] for label in sure or labels)
    proposed = _unique(
        name for label in sure or labels for name in options.genres.get(label, (label,))
    )
    after = proposed
    if options.policy == "append":
        after = (*before, *_unique(proposed, before))
    if not sure:
        status, after = "unsure", before
    elif not proposed:
        status, after = "not mapped", before
    else:
        status = "kept" if after == before else "to write"
    return Row(path, status, before, proposed, confidence, after)


def _unique(names: Iterable[str], known: Iterable[str] = ()) -> tuple[str, ...]:
    """Names that differ from the known ones, and from each other, in more than spelling."""
    kept: dict[str, str] = {}
    taken = {fold(name) for name in known}
    for name in names:
        if fold(name) not in taken:
            kept.setdefault(fold(name), name)
    return tuple(kept.values())


def read_map(path: str | Path, model: Model) -> GenreMap:
    """Read a table ``[genres]`` of the model's genres and what to write for them.

    Raises
    ------
    ConfigError : it is no such table
    """
    table = read_toml(Path(path))
    genres = table.get("genres")
    if set(table) != {"genres"} or not isinstance(genres, dict):
        raise ConfigError(f'{path}: it needs one table [genres], as in Hip-Hop = "Rap"')
    for label, names in genres.items():
        if label not in model.labels:
            raise ConfigError(
                f"{path}: {label} is no genre of {model.name}{suggestion(label, model.labels)}; "
                f"there are {', '.join(model.labels)}"
            )
        listed = [names] if isinstance(names, str) else names
        if not isinstance(listed, list) or not all(
            isinstance(name, str) and (name == "" or (name.strip() == name and name.isprintable()))
            for name in listed
        ):
            raise ConfigError(f'{path}: {label}: write a name, a list of names, or "" for none')
        genres[label] = tuple(filter(None, listed))
    return genres
