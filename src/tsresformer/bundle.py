"""The bundle: a folder with all that inference needs, and nothing that could run code.

``bundle.json`` names the genres, the features, the slicing, the calibration, where the weights
come from and the hashes of the other files: ``model.onnx`` (inference), ``model.safetensors``
(to fine-tune) and ``README.md`` (the model card).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PositiveFloat, model_validator

from tsresformer.config import FeatureConfig, ModelConfig, Section, SliceConfig, resolved
from tsresformer.errors import BundleError, ConfigError, require
from tsresformer.files import (
    fsync_folder,
    is_intact,
    read_json,
    sha256_file,
    sha256_json,
    write_sealed,
)
from tsresformer.slicing import n_slice_frames

FORMAT = 1
SUFFIX = ".bundle"
RECORD, GRAPH, WEIGHTS, CARD = "bundle.json", "model.onnx", "model.safetensors", "README.md"
EXTERNAL = b"location"
"""Key that every tensor of a graph has whose values lie in another file, wherever that is."""

Text = Annotated[str, Field(min_length=1)]


class _Record(Section):
    """What ``bundle.json`` must say besides its format and hash."""

    model_config = ConfigDict(extra="ignore")

    name: Text
    task: Literal["single", "multi"]
    labels: tuple[Text, ...] = Field(min_length=1)
    features: FeatureConfig
    slicing: SliceConfig
    model: ModelConfig
    aggregation: Text
    temperature: PositiveFloat
    unsure_below: float = Field(ge=0, le=1)
    training: dict[str, Any]
    metrics: dict[str, Any]
    cost: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]

    @model_validator(mode="after")
    def _check(self) -> Self:
        repeated = [name for name in self.labels if self.labels.count(name) > 1]
        if repeated:
            raise ValueError(f"labels has {repeated[0]!r} twice")
        n_slice_frames(self.slicing, self.features)
        if self.slicing.hop_s * self.features.frames_per_second < 1:
            raise ValueError(f"slicing.slice_hop_s = {self.slicing.hop_s:g} is below one frame")
        return self


KEYS = {"format", *_Record.model_fields}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose hashes were checked."""

    path: Path
    record: Mapping[str, Any]
    labels: tuple[str, ...]
    features: FeatureConfig
    slicing: SliceConfig
    model: ModelConfig

    @classmethod
    def load(cls, name_or_path: str | Path) -> Bundle:
        """Open a bundle by path or shipped name; refuse one with a changed byte.

        Raises
        ------
        BundleError : no such bundle, damaged, or of a future version
        """
        path = _find(name_or_path)
        try:
            record = read_json(path / RECORD)
            if not isinstance(record, dict) or "format" not in record:
                raise ValueError("no format number")
            intact = is_intact(record)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path / RECORD}: unreadable ({error}); export it again") from None
        if record["format"] != FORMAT:
            raise BundleError(
                f"{path}: bundle format {record['format']}, this version reads {FORMAT}; "
                "upgrade ts-resformer"
            )
        if missing := KEYS - record.keys():
            raise BundleError(f"{path / RECORD}: lacks {', '.join(sorted(missing))}; export again")
        if not intact:
            raise BundleError(f"{path / RECORD}: changed since its export; export it again")
        try:
            known = _Record(**record)
        except ConfigError as error:
            raise BundleError(f"{path / RECORD}: {error}; export it again") from None
        if known.files.keys() != {GRAPH, WEIGHTS, CARD}:
            named = ", ".join(map(repr, known.files))
            raise BundleError(
                f"{path / RECORD}: names the files {named}, a bundle has others; export it again"
            )
        for file, sha256 in known.files.items():
            if not (path / file).is_file() or sha256_file(path / file) != sha256:
                raise BundleError(f"{path / file}: damaged or missing; export or download it again")
        if EXTERNAL in (path / GRAPH).read_bytes():
            raise BundleError(f"{path / GRAPH}: keeps weights in other files; export it again")
        return cls(path, record, known.labels, known.features, known.slicing, known.model)

    @property
    def name(self) -> str:
        """The name that outputs carry."""
        return str(self.record["name"])

    @property
    def hash(self) -> str:
        """Hash of the whole bundle."""
        return str(self.record["sha256"])

    @property
    def task(self) -> str:
        """``single`` or ``multi``."""
        return str(self.record["task"])

    @property
    def temperature(self) -> float:
        """Divisor of the logits that calibrates the probabilities."""
        return float(self.record["temperature"])

    @property
    def unsure_below(self) -> float:
        """Confidence below which a prediction is called unsure."""
        return float(self.record["unsure_below"])

    @property
    def protocol(self) -> str:
        """Split protocol of the training, as the manifest records it; empty if it is not known."""
        return str(self.record["training"].get("protocol", ""))

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.path / GRAPH

    def weights(self) -> dict[str, Any]:
        """PyTorch tensors by the network's names, in single precision, to fine-tune from."""
        unreadable = require("safetensors", "train").SafetensorError
        try:
            tensors = require("safetensors.torch", "train").load_file(self.path / WEIGHTS)
        except (unreadable, OSError, ValueError) as error:
            raise BundleError(
                f"{self.path / WEIGHTS}: not loadable ({error}); export or download it again"
            ) from None
        return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}

    def card(self) -> str:
        """The model card, Markdown."""
        return (self.path / CARD).read_text(encoding="utf-8")


def track_mark(track_id: str, group: str) -> str:
    """Short hash by which a bundle knows a track that it was trained on, without naming it."""
    return sha256_json([track_id, group])[:12]


def shipped_bundles() -> list[str]:
    """Names of the bundles in the package."""
    folder = _shipped_folder()
    if not folder.is_dir():
        return []
    return sorted(p.name.removesuffix(SUFFIX) for p in folder.iterdir() if p.suffix == SUFFIX)


def write_bundle(
    path: str | Path, record: Mapping[str, Any], graph: bytes, weights: bytes, card: str
) -> Bundle:
    """Write a bundle folder whole: into a temporary folder beside it, then renamed."""
    path = Path(path)
    if path.exists():
        raise BundleError(f"{path}: exists already; delete it or name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        contents = {GRAPH: graph, WEIGHTS: weights, CARD: card.encode()}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        files = {name: sha256_file(folder / name) for name in contents}
        write_sealed(folder / RECORD, {"format": FORMAT, **record, "files": files})
        fsync_folder(folder)
        try:
            folder.rename(path)
        except OSError:
            if path.exists():  # another process was faster
                raise BundleError(f"{path}: exists already; delete it or name another") from None
            raise
    fsync_folder(path.parent)
    return Bundle.load(path)


def bundle_record(
    *,
    name: str,
    task: str,
    labels: tuple[str, ...],
    features: FeatureConfig,
    slicing: SliceConfig,
    model: ModelConfig,
    **rest: Any,
) -> dict[str, Any]:
    """Arrange what ``bundle.json`` says."""
    return {
        "name": name,
        "task": task,
        "labels": list(labels),
        "features": resolved(features),
        "slicing": resolved(slicing),
        "model": resolved(model),
        "aggregation": "mean of the slices' logits",
        **rest,
    }


def _shipped_folder() -> Path:
    return Path(str(resources.files("tsresformer") / "bundles"))


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_bundles():
        return _shipped_folder() / f"{name_or_path}{SUFFIX}"
    path = Path(name_or_path)
    if not (path / RECORD).is_file():
        raise BundleError(
            f"{name_or_path}: no such bundle (shipped: {', '.join(shipped_bundles()) or 'none'}; "
            "otherwise name the folder that 'tsresformer export' wrote)"
        )
    return path
