"""The worker pool: one poisoned item costs one item, and no child outlives its parent."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worker_functions
from processes import descriptors, wait_for
from tsresformer.errors import AudioError, ChildDiedError, TsResformerError
from tsresformer.workers import Children, Event, Limits, alive, n_cores, n_threads, stream

TESTS = Path(__file__).parent


def final(events: Iterator[Event]) -> dict[str, AudioError | None]:
    """The error of each item, None for those that ended well."""
    return {event.item: event.value for event in events if event.kind != "chunk"}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


# Order and completeness


@given(
    counts=st.lists(st.integers(0, 5), max_size=25),
    n_workers=st.integers(1, 3),
    ahead=st.integers(1, 4),
)
@settings(max_examples=12)
def test_each_item_gives_its_chunks_in_order_and_ends_once(
    counts: list[int], n_workers: int, ahead: int
) -> None:
    items = [str(n) for n in counts]
    taken: dict[int, list[Event]] = defaultdict(list)
    for event in stream(worker_functions.count, iter(items), n_workers=n_workers, in_flight=ahead):
        taken[event.index].append(event)
    assert sorted(taken) == list(range(len(items)))
    for index, events in taken.items():
        assert {event.item for event in events} == {items[index]}
        assert [event.value for event in events[:-1]] == [
            (items[index], k) for k in range(counts[index])
        ]
        assert [event.kind for event in events] == ["chunk"] * counts[index] + ["end"]


def test_items_are_taken_little_ahead_of_the_work() -> None:
    n_taken = 0

    def items() -> Iterator[str]:
        nonlocal n_taken
        while True:
            n_taken += 1
            yield "1"

    events = stream(worker_functions.count, items(), n_workers=2)
    for _ in range(20):
        next(events)
    events.close()
    assert n_taken <= 10 + 2 * 2 + 3


def test_a_long_item_holds_up_no_other_at_the_end() -> None:
    started = time.monotonic()
    ends = [
        e.item
        for e in stream(worker_functions.act, ["sleep 5", "a", "b", "c"], n_workers=2)
        if e.kind == "end"
    ]
    assert ends == ["a", "b", "c", "sleep 5"]
    assert time.monotonic() - started < 8


# Poison


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_kill_for_memory_costs_no_item(n_workers: int, tmp_path: Path) -> None:
    items = [f"{tmp_path / 'killed'} {number}" for number in range(5)]
    events = list(stream(worker_functions.stumble, items, n_workers=n_workers))
    assert [event for event in events if event.kind == "error"] == []
    found: dict[str, list[int]] = {}
    for number, n in (event.value for event in events if event.kind == "chunk"):
        found.setdefault(number, []).append(n)
    assert found == {str(number): [0, 1, 2, 3] for number in range(5)}
    assert (tmp_path / "killed").exists()


def test_every_poison_costs_its_item_only() -> None:
    poisons = {
        "sleep 60": "made no progress for 1 s",
        "hold-the-gil 60": "made no progress for 1 s",
        "segfault": "crashed (signal 11)",
        "signal SIGKILL": "was killed (signal 9)",
        "signal SIGABRT": "crashed (signal 6)",
        "exit 3": "ended (exit status 3)",
        f"allocate {2**33}": "needs more than 1 GiB",
        "raise ValueError": "decoding it failed (ValueError: no good)",
        "raise SystemExit": "decoding it failed (SystemExit: no good)",
        "unpicklable": "decoding it failed",
        "refuse": "it is cut; get it again",
    }
    items = [item for poison in poisons for item in (poison, f"fine {poison}")]
    limits = Limits(memory_bytes=2**30, stall_s=1.0)
    started = time.monotonic()
    errors = final(stream(worker_functions.act, items, n_workers=2, limits=limits))
    assert time.monotonic() - started < 20
    assert set(errors) == set(items)
    for poison, message in poisons.items():
        error = errors[poison]
        assert isinstance(error, AudioError) and error.path == poison and message in error.reason
        assert errors[f"fine {poison}"] is None
    refused = errors["refuse"]
    assert refused is not None and refused.status == "incomplete"


def test_progress_is_a_chunk_or_a_sign_of_life() -> None:
    errors = final(
        stream(worker_functions.act, ["work 15"], n_workers=1, limits=Limits(stall_s=1.0))
    )
    assert errors == {"work 15": None}
    before = signal.getitimer(signal.ITIMER_REAL)
    alive()  # means nothing outside a worker
    assert signal.getitimer(signal.ITIMER_REAL) == pytest.approx(before, abs=0.1)


def test_a_slow_consumer_is_no_stall_and_memory_stays_bounded(tmp_path: Path) -> None:
    progress = tmp_path / "n"
    events = stream(
        worker_functions.megabytes, [f"{progress}#40"], n_workers=1, limits=Limits(stall_s=1.5)
    )
    next(events)
    time.sleep(4)
    assert int(progress.read_text()) <= 3
    assert sum(len(event.value) for event in events if event.kind == "chunk") == 39 * 2**20


def test_an_item_longer_than_a_pipe_is_an_error_and_no_deadlock() -> None:
    items = ["x" * 300_000, "2", "y" * 300_000, "1"]
    errors = final(stream(worker_functions.count, items, n_workers=1))
    assert [errors[item] is None for item in items] == [False, True, False, True]


# Children


def test_children_start_light_single_threaded_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    (event, _) = stream(worker_functions.heavy_modules, ["OPENBLAS_NUM_THREADS"], n_workers=1)
    assert event.value == ([], {"OPENBLAS_NUM_THREADS": "1"})
    assert final(stream(worker_functions.act, ["print"], n_workers=1)) == {"print": None}
    assert capfd.readouterr() == ("", "")


def test_a_function_that_children_cannot_import_is_no_item_error(tmp_path: Path) -> None:
    class Missing:
        def __reduce__(self) -> tuple[object, ...]:
            return __import__, ("no_such_module",)

        def __call__(self, item: str) -> list[str]:
            return [item]

    with pytest.raises(TsResformerError, match="No module named 'no_such_module'") as caught:
        list(stream(Missing(), ["a"], n_workers=2))
    assert not isinstance(caught.value, AudioError)


def test_a_child_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TsResformerError, match=r"cannot start: .* \(exit status 1\)"):
        list(stream(worker_functions.count, ["1", "2", "3"], n_workers=2))


def test_closing_ends_the_children_at_once() -> None:
    events = stream(worker_functions.act, ["sleep 60", "hold-the-gil 60"], n_workers=2)
    pids = [next(events).value, next(events).value]
    assert all(map(is_alive, pids))
    started = time.monotonic()
    events.close()
    assert time.monotonic() - started < 2
    assert not any(map(is_alive, pids))


def test_children_outlive_the_thread_that_started_them() -> None:
    started: list[Iterator[Event]] = []

    def start() -> None:
        started.append(stream(worker_functions.count, iter("123"), n_workers=2))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert final(started[0]) == {"1": None, "2": None, "3": None}


def test_a_stream_that_nobody_reads_leaves_no_child_and_no_descriptor() -> None:
    before = descriptors()
    events = stream(worker_functions.act, ["sleep 60"] * 4, n_workers=2)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    assert len(children.read_text().split()) >= 2
    del events
    wait_for(lambda: descriptors() <= before, 20)


PARENT = """
import worker_functions
from tsresformer.workers import stream
events = stream(worker_functions.act, ["sleep 60", "hold-the-gil 60"], n_workers=2)
print(next(events).value, next(events).value, flush=True)
for event in events:
    print(event, flush=True)
"""


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process with two busy children, and their ids."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.communicate()


def test_children_die_with_a_killed_parent(parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = parent
    assert len(pids) == 2 and all(map(is_alive, pids))
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_alive, pids)), 20)


def test_interrupt_ends_everything_with_one_traceback(
    parent: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, pids = parent
    for pid in pids:
        os.kill(pid, signal.SIGINT)  # as a shell would do to the whole group; children do not care
    time.sleep(0.1)
    assert all(map(is_alive, pids))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    assert not any(map(is_alive, pids))


def test_events_and_limits_travel() -> None:
    event = Event(0, "x", "error", AudioError("x", "p", "r", status="missing"))
    copy = pickle.loads(pickle.dumps(event))
    assert (copy.index, copy.value.reason, copy.value.status) == (0, "p; r", "missing")
    assert Limits() == Limits(memory_bytes=4 * 2**30, stall_s=20.0, decoded_s=86_400.0)


def test_children_stay_from_one_stream_to_the_next() -> None:
    children = Children(worker_functions.act, n_workers=1)
    try:
        ((pid, _), (again, _)) = [chunks(children.stream([item])) for item in ("one", "two")]
        assert pid == again
        events = list(children.stream(["exit 3", "three"]))
        (error,) = [event.value for event in events if event.kind == "error"]
        assert isinstance(error, ChildDiedError)
        assert error.reason.startswith("the decoder ended (exit status 3)")
        (another, done) = chunks(children.stream(["four"]))
        assert done == "done"
        os.kill(another, signal.SIGKILL)  # while it has nothing to do
        wait_for(lambda: not is_alive(another), 20)
        assert chunks(children.stream(["five"]))[1] == "done"
        assert list(children.stream([])) == []
    finally:
        children.close()
    wait_for(lambda: not is_alive(pid), 20)


def test_threads_are_the_first_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, n in (("4,2", 4), ("3", 3), ("", n_cores())):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert n_threads() == n


def chunks(events: Iterator[Event]) -> list[Any]:
    return [event.value for event in events if event.kind == "chunk"]
