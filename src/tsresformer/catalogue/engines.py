"""What runs the parts: Ray Data, or this process alone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tsresformer.bundle import Bundle
from tsresformer.catalogue.places import EXTRA, is_remote
from tsresformer.catalogue.worker import PartSummary, Settings, Worker, bundle_files
from tsresformer.errors import CatalogueError, TsResformerError, require

MAX_BLOCKS = 10_000
"""Pieces that the parts are handed out in, at most: each costs the driver some work."""

MAX_FAILED_STARTS = 10
"""Workers that may die one after another before they are ready; afterwards Ray tries for ever."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Shared memory of a Ray that is started here; only part numbers and one bundle pass through it."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


def run_locally(
    output: str, bundle: Bundle, parts: Sequence[int], settings: Settings
) -> Iterator[PartSummary]:
    """Compute parts in this process, with `settings.n_children` that decode."""
    with contextlib.closing(Worker(output, bundle_files(bundle), settings)) as worker:
        for part in parts:
            yield worker.do(part)


def run_on_ray(
    output: str,
    bundle: Bundle,
    parts: Sequence[int],
    settings: Settings,
    *,
    n_workers: int,
    address: str | None = None,
) -> Iterator[PartSummary]:
    """Compute parts by actors of Ray Data, on this machine or on the cluster at `address`.

    Raises
    ------
    CatalogueError : Ray cannot be reached, or gives up
    """
    output = output if is_remote(output) else os.path.abspath(output)
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    ray, data = require("ray", EXTRA), require("ray.data", EXTRA)
    exceptions = require("ray.exceptions", EXTRA)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    own = not ray.is_initialized()
    try:
        if own:
            _connect(ray, n_workers, address)
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True
        context.max_consecutive_actor_init_deaths = MAX_FAILED_STARTS
        context.execution_no_progress_timeout_s = -1  # one part may take hours
        arrow = require("pyarrow", EXTRA)
        blocks = np.array_split(np.array(parts), min(len(parts), MAX_BLOCKS))
        dataset = data.from_arrow([arrow.table({"part": block}) for block in blocks]).map_batches(
            RayWorker,
            fn_constructor_args=(output, ray.put(bundle_files(bundle)), settings),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(
                size=min(n_workers, len(parts)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
        )
        for row in dataset.iter_rows():
            if row["error"]:
                raise CatalogueError(row["error"])
            yield PartSummary(**json.loads(row["summary"]))
    except exceptions.RayError as error:
        reason = _line(getattr(error, "cause", None) or error)
        raise CatalogueError(f"Ray gave up: {reason}; run again to go on") from None
    finally:
        if own:
            ray.shutdown()


class RayWorker:
    """A worker as an actor of Ray Data: part numbers in, summaries or an error out.

    What is raised on purpose travels as a value: what an actor raises, Ray writes at length.
    """

    def __init__(self, output: str, bundle: Any, settings: Settings) -> None:
        self._given = output, bundle, settings
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do the parts of a batch."""
        try:
            if self._worker is None:
                output, bundle, settings = self._given
                self._worker = Worker(output, require("ray", EXTRA).get(bundle), settings)
            done = [json.dumps(asdict(self._worker.do(int(part)))) for part in batch["part"]]
        except (TsResformerError, OSError) as error:
            return {"summary": [""], "error": [str(error)]}
        return {"summary": done, "error": [""] * len(done)}


def _connect(ray: Any, n_workers: int, address: str | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "num_cpus": n_workers,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    try:
        with _hushed():
            ray.init(address or "local", **options)
    except Exception as error:  # Ray's have no common root
        where = f"at {address}" if address else "on this machine"
        raise CatalogueError(
            f"no Ray {where}: {_line(error)}; see to it, or use --engine local"
        ) from None


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Ray's C++ from writing to stderr at which level it is going to write there."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
