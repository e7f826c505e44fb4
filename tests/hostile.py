"""What the tests give hostile files to, in child processes: it must be importable there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

import tiny
from miniature import FmaTrack, write_fma
from tagged_files import StubClassifier
from tsresformer.audio import open_audio, probe
from tsresformer.catalogue.inputs import tracks
from tsresformer.config import FeatureConfig, load_config, load_features
from tsresformer.datasets import fma
from tsresformer.errors import AudioError, ManifestError, TsResformerError
from tsresformer.extract import log_mel_chunks
from tsresformer.manifest import Manifest, raw_row
from tsresformer.studies.plan import load_study
from tsresformer.tagging.containers import payload
from tsresformer.tagging.fields import Field
from tsresformer.tagging.journal import Journal, read_journal
from tsresformer.tagging.plan import read_map
from tsresformer.tagging.reading import inspect
from tsresformer.tagging.rewrite import Manner, restore, rewrite
from tsresformer.workers import Limits

MAX_SECONDS = 60.0
LIMITS = Limits(memory_bytes=2 * 2**30, stall_s=10.0, decoded_s=MAX_SECONDS)
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


def length(item: str) -> Iterator[tuple[int, float]]:
    """Decode an audio file; yield its samples, and how many seconds they are."""
    with open_audio(item, max_seconds=MAX_SECONDS) as stream:
        n_samples = sum(map(len, stream))
        yield n_samples, stream.seconds


def _tags(item: str) -> None:
    list(inspect(item, field=Field(), only_empty=False))


def retag(item: str) -> Iterator[str]:
    """Do what `tag` does with a file; yield "read" (in a child), then what the process itself did.

    That is "written", then undone, or "left alone".
    """
    path = Path(item)
    old = path.read_bytes()
    (known,) = inspect(item, field=Field(), only_empty=False)
    if not known.format:  # no audio any more
        return
    yield "read"
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        closing(Journal(Path(folder), {})) as journal,
    ):
        given = (item, known.format, Field(), ("Rock",), journal, Manner(), known)
        try:
            rewrite(path.parent, *given)
        except AudioError:
            done = "left alone"
        else:
            done = "written"
            assert payload(item, Field()).audio == known.audio
            (change,) = read_journal(journal.path)
            assert restore(path.parent, change, Manner()) == "restored"
    assert path.read_bytes() == old
    yield done


def read(item: str) -> Iterator[tuple[str, str]]:
    """Read a file of ours, ``<number>-<name>``; yield "read" or "refused", with the reason."""
    try:
        _READERS[Path(item).name.partition("-")[2]](item)
    except TsResformerError as error:
        yield "refused", str(error)
    else:
        yield "read", ""


def _fma(item: str) -> None:
    """Read one of FMA's two tables beside the other as it should be."""
    name = Path(item).name.partition("-")[2]
    with tempfile.TemporaryDirectory() as folder:
        found = write_fma(Path(folder), [FmaTrack(2, "Rock", genres=(12,), audio="empty")])
        shutil.copy(item, found.metadata / name)
        try:
            fma.read(found.audio, found.metadata, multi=True)
        except ManifestError as error:
            raise ManifestError(str(error).replace(name, item)) from error


_READERS: dict[str, Callable[[str], object]] = {
    "m.csv": Manifest.read,
    "m.parquet": Manifest.read,
    "c.toml": load_config,
    "c.features": load_features,
    "j.jsonl": lambda item: list(read_journal(Path(item))),
    "x.npy": lambda item: np.asarray(raw_row(f"{item}#0")).sum(),
    "study.toml": load_study,
    "map.toml": lambda item: read_map(item, StubClassifier().bundle),
    "input.csv": lambda item: list(tracks(item)),
    "input.parquet": lambda item: list(tracks(item)),
    "tracks.csv": _fma,
    "genres.csv": _fma,
}
