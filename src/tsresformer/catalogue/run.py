"""Run a catalogue from its inputs to its parts, and say how far it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from tsresformer.bundle import Bundle
from tsresformer.catalogue.job import Job, begin
from tsresformer.catalogue.places import is_remote, place
from tsresformer.catalogue.worker import (
    PartSummary,
    Settings,
    Worker,
    bundle_files,
    n_failed,
    read_summary,
)
from tsresformer.cluster import Engine, run_on_ray
from tsresformer.cores import take_cores
from tsresformer.errors import CatalogueError

_READERS = 16
"""Threads that read the parts' footers, which in an object store are requests."""


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Parameters
    ----------
    n_done, n_done_parts : tracks and parts whose rows are there
    status : number of tracks by status, of those
    audio_s : seconds of audio that were decoded for them
    """

    job: Job
    n_done: int
    n_done_parts: int
    status: dict[str, int]
    audio_s: float

    @property
    def n_failed(self) -> int:
        """Tracks that could not be classified."""
        return n_failed(self.status)

    @property
    def complete(self) -> bool:
        """Whether every track has its row."""
        return self.n_done == self.job.record.n_tracks

    def as_json(self) -> dict[str, Any]:
        """Arrange the status for machines, schema 1."""
        record = self.job.record
        return {
            "schema": 1,
            "output": self.job.output.uri,
            "input": record.input,
            "model": record.model,
            "model_sha256": record.model_sha256,
            "complete": self.complete,
            "tracks": record.n_tracks,
            "tracks_done": self.n_done,
            "parts": record.n_parts,
            "parts_done": self.n_done_parts,
            "status": self.status,
            "audio_hours": round(self.audio_s / 3600, 4),
        }


def status(output: str) -> Status:
    """Read how far the run in a place is, from the parts that are there."""
    job = Job.open(output)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda part: read_summary(job, part), sorted(job.finished()))
        return _add_up(job, (summary for summary in found if summary))


def run(
    source: str,
    output: str,
    model: str = "fma-small",
    *,
    engine: Engine = "ray",
    n_workers: int = 1,
    address: str | None = None,
    pin: bool = False,
    part_tracks: int | None = None,
    settings: Settings | None = None,
    on_start: Callable[[Job, int], None] = lambda job, n_done: None,
    on_part: Callable[[PartSummary], None] = lambda summary: None,
) -> Status:
    """Classify what `source` names; parts that are in `output` already are not computed again.

    Parameters
    ----------
    source, output, model : as the options ``--input``, ``--output``, ``--model`` take them
    address : of a Ray cluster; None starts a Ray on this machine
    pin : whether the workers keep to as many cores, and no other worker uses them
    part_tracks : tracks in a part; None for the default
    on_start : called once with the run and the number of tracks that are done
    on_part : called for each part that is finished now

    Raises
    ------
    ClusterError : Ray cannot be reached, or gives up
    CatalogueError : `output` holds something else or is in use, or the inputs cannot be listed
    BundleError : no such model
    """
    bundle, settings = Bundle.load(model), settings or Settings()
    busy = CatalogueError(f"{output}: another process runs this catalogue; wait for it")
    with place(output).hold(busy):
        job = begin(source, output, bundle, part_tracks)
        finished = job.finished()
        parts = [part for part in range(job.record.n_parts) if part not in finished]
        on_start(job, sum(map(job.record.n_tracks_of, finished)))
        if parts and engine == "local":
            computed = _run_locally(output, bundle, parts, settings, n_workers, pin)
        elif parts:
            where = output if is_remote(output) else os.path.abspath(output)
            prepare = partial(Worker, where, bundle_files(bundle), settings)
            computed = run_on_ray(prepare, parts, n_workers=n_workers, address=address, pin=pin)
        else:
            computed = iter(())
        for summary in computed:
            on_part(summary)
    return status(output)


def _run_locally(
    output: str,
    bundle: Bundle,
    parts: Sequence[int],
    settings: Settings,
    n_children: int,
    pin: bool,
) -> Iterator[PartSummary]:
    """Compute parts in this process, with `n_children` that decode."""
    settings = dataclasses.replace(settings, n_children=n_children)
    with contextlib.ExitStack() as held:
        for core in take_cores(n_children) if pin else []:
            held.enter_context(core)
        worker = Worker(output, bundle_files(bundle), settings)
        held.callback(worker.close)
        for part in parts:
            yield worker.do(part)


def _add_up(job: Job, summaries: Iterable[PartSummary]) -> Status:
    names: Counter[str] = Counter()
    n_tracks = n_parts = 0
    audio_s = 0.0
    for summary in summaries:
        names.update(summary.status)
        n_tracks, n_parts = n_tracks + summary.n_tracks, n_parts + 1
        audio_s += summary.audio_s
    return Status(job, n_tracks, n_parts, dict(sorted(names.items())), audio_s)
