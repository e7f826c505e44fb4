"""Work on Ray: items in, actors of Ray Data that each keep a worker, results out.

Ray runs on this machine, started and ended with the work, or is a cluster that is joined.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from tsresformer.cores import take_cores
from tsresformer.errors import ClusterError, TsResformerError, require

EXTRA = "cluster"

Engine = Literal["ray", "local"]
"""What shares work out: Ray, or the process at hand alone."""

MAX_BLOCKS = 10_000
"""Pieces that the items are handed out in, at most: each costs the driver some work."""

MAX_FAILED_STARTS = 10
"""Workers that may die one after another before they are ready; afterwards Ray tries for ever."""

STARTS = 3
"""Times that a Ray of our own is started, at most: how long it waits for itself is fixed, 30 s."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Shared memory of a Ray that is started here; what passes through it is small, or spilled."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "240",
}

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class Worker(Protocol[_Item, _Result]):
    """Does one item after another; an item may come again after a worker died on it."""

    def do(self, item: _Item, /) -> _Result:
        """Do an item."""


def run_on_ray(
    prepare: Callable[[], Worker[Item, Result]],
    items: Sequence[Item],
    *,
    n_workers: int,
    address: str | None = None,
    pin: bool = False,
) -> Iterator[Result]:
    """Do items by actors of Ray Data, on this machine or on the cluster at `address`.

    Parameters
    ----------
    prepare : makes a worker, once in each actor; it is sent there, like the items
    pin : whether each actor, with its child processes, keeps to a core that no other uses

    Yields
    ------
    result : of an item, in whatever order they are done

    Raises
    ------
    ClusterError : Ray cannot be reached, or gives up
    TsResformerError, OSError : what a worker raised
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _SETTINGS.items()})
    ray, data = require("ray", EXTRA), require("ray.data", EXTRA)
    exceptions = require("ray.exceptions", EXTRA)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    own = not ray.is_initialized()
    try:
        if own:
            ray._private.worker._worker_logs_enabled = False  # else a dead worker is told on stdout
            _connect(ray, n_workers, address)
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True
        context.max_consecutive_actor_init_deaths = MAX_FAILED_STARTS
        context.execution_no_progress_timeout_s = -1  # one item may take hours
        dataset = data.from_arrow(_blocks(items)).map_batches(
            RayWorker,
            fn_constructor_args=(ray.put(prepare), pin),
            batch_size=1,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(
                size=min(n_workers, len(items)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
        )
        for row in dataset.iter_rows():
            result, error = pickle.loads(row["outcome"])
            if error:
                raise error
            yield result
    except exceptions.RayError as error:
        reason = _line(getattr(error, "cause", None) or error)
        raise ClusterError(f"Ray gave up: {reason}; run again to go on") from None
    finally:
        if own:
            ray.shutdown()


class RayWorker:
    """A worker as an actor of Ray Data: pickled items in, pickled results and errors out.

    What is raised on purpose travels as a value: what an actor raises, Ray writes at length.
    """

    def __init__(self, prepare: Any, pin: bool) -> None:
        self._prepare = prepare
        self._cores = take_cores(1) if pin else []
        self._worker: Worker[Any, Any] | None = None

    def __call__(self, batch: Any) -> Any:
        """Do the items of a batch."""
        arrow = require("pyarrow", EXTRA)
        outcomes = [pickle.dumps(self._do(item)) for item in batch.column("item").to_pylist()]
        return arrow.table({"outcome": arrow.array(outcomes, arrow.binary())})

    def _do(self, item: bytes) -> tuple[Any, Exception | None]:
        try:
            if self._worker is None:
                self._worker = require("ray", EXTRA).get(self._prepare)()
            return self._worker.do(pickle.loads(item)), None
        except (TsResformerError, OSError) as error:
            self._worker = None  # it may be in the middle of something
            return None, error


def _blocks(items: Sequence[Any]) -> list[Any]:
    """Tables of pickled items, not too many of them."""
    arrow = require("pyarrow", EXTRA)
    return [
        arrow.table({"item": arrow.array([pickle.dumps(items[i]) for i in block], arrow.binary())})
        for block in np.array_split(np.arange(len(items)), min(len(items), MAX_BLOCKS))
    ]


def _connect(ray: Any, n_workers: int, address: str | None) -> None:
    """Join the cluster at `address`, or start a Ray of our own, more than once if need be."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "num_cpus": n_workers,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    starts_left = 1 if address else STARTS
    while starts_left:
        starts_left -= 1
        try:
            with _hushed():
                ray.init(address or "local", **options)
            return
        except Exception as error:  # Ray's have no common root
            ray.shutdown()
            if not starts_left:
                where = f"at {address}" if address else "on this machine"
                raise ClusterError(
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
