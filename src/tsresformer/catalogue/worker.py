"""A worker: one ONNX session, and a child process that fetches and decodes for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tsresformer.bundle import CARD, GRAPH, RECORD, WEIGHTS, Bundle
from tsresformer.catalogue.fetch import UNREADABLE, fetched_chunks
from tsresformer.catalogue.job import Job, part_name
from tsresformer.catalogue.places import parquet_bytes
from tsresformer.classifier import Classifier, TrackScores
from tsresformer.cluster import EXTRA
from tsresformer.errors import AudioError, CatalogueError, ChildDiedError, require
from tsresformer.files import SEAL, is_intact, parse_json, sealed
from tsresformer.manifest import printable
from tsresformer.workers import Children, Limits

SUMMARY_KEY = b"tsresformer"
MAX_BYTES = 2 * 2**30
"""Largest file that is fetched."""


@dataclass(frozen=True)
class PartSummary:
    """What a part holds, kept in the footer of its file.

    Parameters
    ----------
    status : number of tracks by status
    audio_s : seconds of audio that were decoded
    """

    part: int
    n_tracks: int
    status: Mapping[str, int]
    audio_s: float


@dataclass(frozen=True)
class Settings:
    """How a worker works; nothing of it changes what it writes.

    Parameters
    ----------
    n_children : processes that decode, and threads of the network
    """

    n_children: int = 1
    limits: Limits = field(default_factory=Limits)
    max_bytes: int = MAX_BYTES


class Worker:
    """Computes parts, one after another, and writes them."""

    def __init__(self, output: str, bundle: Mapping[str, bytes], settings: Settings) -> None:
        self._job = Job.open(output)
        self._classifier = _unpack(bundle, settings.n_children)
        if self._classifier.bundle.hash != self._job.record.model_sha256:
            raise CatalogueError(f"{output}: holds a run of another model; name a new folder")
        limits = settings.limits
        function = partial(
            fetched_chunks,
            config=self._classifier.bundle.features,
            max_seconds=limits.decoded_s,
            max_bytes=settings.max_bytes,
        )
        self._children = Children(function, n_workers=settings.n_children, limits=limits)

    def do(self, part: int) -> PartSummary:
        """Compute a part and write it, unless it is there already.

        Raises
        ------
        CatalogueError : most of its files could not be fetched
        """
        if done := read_summary(self._job, part):
            return done
        tracks = [(track_id, os.fsdecode(path)) for track_id, path in self._job.rows(part)]
        rows = self._classify(tracks)
        _refuse_if_unreadable(part, rows)
        summary = _summarise(part, rows)
        record = self._job.record
        table = require("pyarrow", EXTRA).Table.from_pylist(rows, schema(record.labels, summary))
        self._job.output.write(part_name(part), parquet_bytes(table))
        return summary

    def close(self) -> None:
        """End the child processes."""
        self._children.close()

    def _classify(self, tracks: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Rows of tracks, in their order; a file on which a child died has a second chance."""
        rows: list[dict[str, Any]] = [{}] * len(tracks)
        places, retry = list(range(len(tracks))), True
        while places:
            died = []
            events = self._children.stream(tracks[i][1] for i in places)
            for index, scores in self._classifier.score_events(events):
                place = places[index]
                if retry and isinstance(scores, ChildDiedError):
                    died.append(place)
                else:
                    rows[place] = self._row(*tracks[place], scores)
            places, retry = sorted(died), False
        return rows

    def _row(self, track_id: str, path: str, scores: TrackScores | AudioError) -> dict[str, Any]:
        row: dict[str, Any] = {
            "track_id": track_id,
            "path": printable(path),
            "model_sha256": self._job.record.model_sha256,
        }
        if isinstance(scores, AudioError):
            return row | {"status": scores.status, "error": scores.reason}
        prediction = self._classifier.conclude(path, scores)
        row |= {"status": prediction.status, "audio_s": prediction.seconds}
        row |= {"warning": prediction.warning or None}
        if prediction.label is None:
            return row
        return row | {
            "labels": prediction.label.split("|"),
            "unsure": prediction.unsure,
            "probabilities": prediction.probabilities,
            "embedding": scores.embedding.tolist(),
        }


def n_failed(status: Mapping[str, int]) -> int:
    """Tracks that could not be classified, of counts by status; silent ones could."""
    return sum(n for name, n in status.items() if name not in ("ok", "silent"))


def bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """Content of a bundle, to be sent to where it is needed."""
    return {name: (bundle.path / name).read_bytes() for name in (RECORD, GRAPH, WEIGHTS, CARD)}


def read_summary(job: Job, part: int) -> PartSummary | None:
    """Summary of a part that is there, None for one that is not."""
    arrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    name = part_name(part)
    try:
        with job.output.open(name) as file:
            values = parse_json(parquet.read_metadata(file).metadata[SUMMARY_KEY])
        if not is_intact(values):
            raise ValueError("its summary has changed since it was written")
        values.pop(SEAL)
        return PartSummary(**values)
    except FileNotFoundError:
        return None
    except (arrow.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise CatalogueError(
            f"{job.output.uri}/{name}: cannot be read ({e}); if that stays so, delete it and run "
            "again"
        ) from None


def schema(labels: Sequence[str], summary: PartSummary) -> Any:
    """Columns of a part."""
    arrow = require("pyarrow", EXTRA)
    numbers = arrow.float32()
    columns = {
        "track_id": arrow.string(),
        "path": arrow.string(),
        "status": arrow.string(),
        "error": arrow.string(),
        "warning": arrow.string(),
        "labels": arrow.list_(arrow.string()),
        "unsure": arrow.bool_(),
        "probabilities": arrow.struct([(label, numbers) for label in labels]),
        "embedding": arrow.list_(numbers),
        "audio_s": arrow.float64(),
        "model_sha256": arrow.string(),
    }
    return arrow.schema(columns.items(), {SUMMARY_KEY: json.dumps(sealed(asdict(summary)))})


def _unpack(files: Mapping[str, bytes], threads: int) -> Classifier:
    with TemporaryDirectory(prefix="tsresformer-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return Classifier.load(folder, threads=threads)


def _summarise(part: int, rows: Sequence[Mapping[str, Any]]) -> PartSummary:
    names = [row["status"] for row in rows]
    status = {name: names.count(name) for name in sorted(set(names))}
    audio_s = sum(row.get("audio_s", 0.0) for row in rows)
    return PartSummary(part, len(rows), status, round(audio_s, 3))


def _refuse_if_unreadable(part: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stop where it is not the files that are at fault, rather than write that they are."""
    lost = [row for row in rows if row["status"] == UNREADABLE]
    if 2 * len(lost) > len(rows):
        raise CatalogueError(
            f"part {part}: {len(lost)} of its {len(rows)} files could not be fetched, the first: "
            f"{lost[0]['path']}: {lost[0]['error']}; see to credentials and network, then run again"
        )
