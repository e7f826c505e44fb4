"""What the tests give hostile files to, in child processes: it must be importable there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import tiny
from tsresformer.audio import probe
from tsresformer.config import FeatureConfig, load_config, load_features
from tsresformer.errors import AudioError, TsResformerError
from tsresformer.extract import log_mel_chunks
from tsresformer.manifest import Manifest, raw_row
from tsresformer.tagging.fields import Field
from tsresformer.tagging.journal import read_journal
from tsresformer.tagging.reading import inspect

MAX_SECONDS = 60.0
_FEATURES = FeatureConfig(**tiny.FEATURES)


def decode(item: str) -> Iterator[float]:
    """Do with an audio file all that is ever done: headers, tags, samples; yield its seconds."""
    for read in (probe, _tags):
        with contextlib.suppress(AudioError):
            read(item)
    for chunk in log_mel_chunks(item, _FEATURES, MAX_SECONDS):
        if not np.isfinite(chunk.log_mel).all():
            raise ArithmeticError("log-mels that are no numbers")
        yield chunk.seconds


def _tags(item: str) -> None:
    list(inspect(item, field=Field(), only_empty=False))


def read(item: str) -> Iterator[tuple[str, str]]:
    """Read a file of ours by its suffix; yield "read" or "refused", with the reason."""
    try:
        _READERS[Path(item).suffix](item)
    except TsResformerError as error:
        yield "refused", str(error)
    else:
        yield "read", ""


_READERS: dict[str, Callable[[str], object]] = {
    ".csv": Manifest.read,
    ".parquet": Manifest.read,
    ".toml": load_config,
    ".features": load_features,
    ".jsonl": lambda item: list(read_journal(Path(item))),
    ".npy": lambda item: np.asarray(raw_row(f"{item}#0")).sum(),
}
