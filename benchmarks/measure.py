"""Time two things side by side, round after round, so that a busy machine slows down both."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyperf

Work = Callable[[], object]
Clock = Callable[[], float]
WARMUPS = 1


@dataclass(frozen=True)
class Case:
    """Something of ours, and what it is compared with.

    Parameters
    ----------
    name : what of ours is timed
    peer : what it is compared with
    ours, theirs : one run of each
    bar : what the ratio should be; text, for the table
    units : units of work (files, frames) in one run of each; the seconds are those of one
    missing : why the peer cannot be measured here; nothing is timed then
    scale : seconds of the peer are multiplied by this, for a limit that is a part of a measurement
    rounds : at most so many, for work that takes long
    threads : processes times threads of each
    """

    name: str
    peer: str
    ours: Work
    theirs: Work
    bar: str = ""
    units: float = 1.0
    missing: str = ""
    scale: float = 1.0
    rounds: int = 1000
    threads: int = 1


@dataclass(frozen=True)
class Row:
    """One line of `latest.json`; `ratio` and `spread` are over rounds, the medians of both."""

    name: str
    value_s: float | None
    peer: str
    peer_s: float | None
    ratio: float | None
    spread: float | None
    threads: int
    bar: str = field(default="")
    note: str = field(default="")


def measure(case: Case, rounds: int, clock: Clock = time.perf_counter) -> Row:
    """Median seconds of one unit, median ratio ours / theirs, and its relative spread."""
    if case.missing:
        return Row(
            case.name, None, case.peer, None, None, None, case.threads, case.bar, case.missing
        )
    ours, theirs = [], []
    for number in range(-WARMUPS, min(rounds, case.rounds)):
        pair = (_seconds(case.ours, clock), _seconds(case.theirs, clock) * case.scale)
        if number >= 0:
            ours.append(pair[0] / case.units)
            theirs.append(pair[1] / case.units)
    ratios = _benchmark([a / b for a, b in zip(ours, theirs, strict=True)])
    spread = ratios.median_abs_dev() / ratios.median() if len(ours) > 1 else 0.0
    return Row(
        case.name,
        _benchmark(ours).median(),
        case.peer,
        _benchmark(theirs).median(),
        ratios.median(),
        spread,
        case.threads,
        case.bar,
    )


def processor_time() -> float:
    """Seconds that this process and its finished children have computed."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _seconds(work: Work, clock: Clock) -> float:
    begun = clock()
    work()
    return clock() - begun


def _benchmark(values: list[float]) -> pyperf.Benchmark:
    return pyperf.Benchmark([pyperf.Run(values, collect_metadata=False, metadata={"name": "x"})])
