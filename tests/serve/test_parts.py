"""The parts of the service by themselves: decoders, batches, pictures, settings."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import worker_functions
from processes import wait_for
from tsresformer.classifier import BATCH_SLICES, Classifier
from tsresformer.commands.serve import serve as serve_command
from tsresformer.config import FeatureConfig, SliceConfig
from tsresformer.errors import (
    AudioError,
    ConfigError,
    NotAudioError,
    StalledError,
    TooLongError,
    TsResformerError,
)
from tsresformer.serve.batching import BatchingClassifier
from tsresformer.serve.decoding import Deadline, Decoders
from tsresformer.serve.pictures import (
    Picture,
    RunningMaximum,
    attention_by_band,
    attention_by_column,
)
from tsresformer.serve.problems import problem_of
from tsresformer.serve.settings import PREFIX, Settings, key_from
from tsresformer.workers import Limits

# Decoders


@pytest.fixture
def decoders() -> Any:
    lost: list[None] = []
    pool: Decoders[str, Any] = Decoders(
        worker_functions.act, 2, Limits(stall_s=1.0), lambda: lost.append(None)
    )
    pool.warm()
    yield SimpleNamespace(pool=pool, lost=lost, run=lambda item, s=20.0: run(pool, item, s))
    pool.close()


def run(pool: Decoders[str, Any], item: str, seconds: float) -> list[Any]:
    return list(pool.run(item, Deadline(seconds)))


def test_children_stay_for_the_next_item(decoders: Any) -> None:
    pids = {decoders.run("a")[0] for _ in range(10)}
    assert len(pids) == 1  # the one that was used last is the warmest
    one, two = (decoders.pool.run("a", Deadline(20)) for _ in range(2))
    assert len({next(one), next(two)}) == 2
    assert [*one, *two] == ["done"] * 2
    assert not decoders.lost


def test_error_leaves_a_child_and_death_replaces_it(decoders: Any) -> None:
    (first, _) = decoders.run("a")
    with pytest.raises(AudioError, match="it is cut") as raised:
        decoders.run("refuse")
    assert raised.value.status == "incomplete"
    assert decoders.run("a")[0] == first
    assert not decoders.lost
    with pytest.raises(AudioError, match="signal 11"):
        decoders.run("segfault")
    assert decoders.run("a")[0] != first
    assert len(decoders.lost) == 1


def test_child_that_was_killed_while_idle_costs_nobody_anything(decoders: Any) -> None:
    pid = decoders.run("a")[0]
    os.kill(pid, signal.SIGKILL)
    stat = Path(f"/proc/{pid}/stat")
    wait_for(lambda: not stat.exists() or " Z " in stat.read_text())
    found = decoders.run("a")
    assert found[1] == "done"
    assert found[0] != pid
    assert len(decoders.lost) == 1


def test_child_that_could_not_start_is_started_later(
    decoders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoders.pool, "_start", lambda: os.stat("/nothing/there"))
        with pytest.raises(AudioError, match="signal 11"):
            decoders.run("segfault")
        with pytest.raises(OSError, match="nothing"):
            decoders.run("a")
    one, two = (decoders.pool.run("a", Deadline(20)) for _ in range(2))
    assert len({next(one), next(two)}) == 2
    assert [*one, *two] == ["done"] * 2


def test_deadline_ends_a_child_that_makes_progress(decoders: Any) -> None:
    started = time.monotonic()
    with pytest.raises(StalledError, match="longer than a request may"):
        decoders.run("work 100", 1.0)
    assert time.monotonic() - started < 3
    assert decoders.run("a")[1] == "done"


def test_abandoned_item_frees_its_child(decoders: Any) -> None:
    deadline = Deadline(60)
    threading.Timer(0.3, deadline.cancel).start()
    started = time.monotonic()
    with pytest.raises(StalledError):
        list(decoders.pool.run("work 100", deadline))
    assert time.monotonic() - started < 2


def test_waiting_for_a_child_ends_with_the_deadline(decoders: Any) -> None:
    one, two = (decoders.pool.run("a", Deadline(20)) for _ in range(2))
    next(one), next(two)
    with pytest.raises(StalledError, match="no decoder became free"):
        decoders.run("a", 0.3)
    assert [*one, *two] == ["done"] * 2


def test_child_that_cannot_import_its_function_says_so() -> None:
    pool: Decoders[str, Any] = Decoders(_Vanishing(), 1, Limits())
    try:
        with pytest.raises(TsResformerError, match="cannot import its function"):
            pool.warm()
    finally:
        pool.close()


class _Vanishing:
    """Pickles as a function that no module has."""

    def __call__(self, item: str) -> list[str]:
        return [item]

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (_Vanishing, "nothing_of_that_name"))


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (NotAudioError("a", "x"), "not-audio", 415),
        (TooLongError("a", "x"), "too-long", 413),
        (StalledError("a", "x"), "timeout", 504),
        (AudioError("a", "x", status="incomplete"), "incomplete", 422),
        (AudioError("a", "x"), "undecodable", 422),
    ],
)
def test_errors_of_files_become_problems(error: AudioError, kind: str, status: int) -> None:
    found = problem_of(error)
    assert (found.kind, found.status, found.detail) == (kind, status, "x")


# Batches


def slices(n: int, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return list(generator.normal(-40, 20, (n, 128, 128)).astype(np.float32))


def test_shared_runs_give_everyone_its_own_results(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, shared = Classifier.load("fma-small"), BatchingClassifier.load("fma-small")
    sizes: list[int] = []
    shared.on_run = sizes.append
    gathered = threading.Barrier(9)
    inner = Classifier.run

    def slow(self: Classifier, pieces: Any) -> Any:
        time.sleep(0.05)
        return inner(self, pieces)

    monkeypatch.setattr(Classifier, "run", slow)
    work = [slices(1 + k % 3, k) for k in range(9)]

    def ask(pieces: list[np.ndarray]) -> Any:
        gathered.wait()
        return shared.run(pieces)

    with ThreadPoolExecutor(9) as threads:
        found = list(threads.map(ask, work))
    for pieces, outputs in zip(work, found, strict=True):
        alone = plain.run(pieces)
        assert outputs.keys() == alone.keys()
        for name, values in outputs.items():
            np.testing.assert_allclose(values, alone[name], atol=2e-4)
    assert sum(sizes) == 18
    assert len(sizes) < 9
    assert max(sizes) <= BATCH_SLICES


def test_failure_of_a_run_reaches_all_who_share_it_and_nobody_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = BatchingClassifier.load("fma-small")
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shared.run(slices(1, 0))
    assert shared.run(slices(1, 0))["logits"].shape == (1, 8)


# Pictures


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    most=st.integers(2, 9),
    stretch=st.integers(1, 5),
)
def test_running_maximum_is_that_of_the_whole_series(
    sizes: list[int], most: int, stretch: int
) -> None:
    series = np.random.default_rng(sum(sizes)).normal(size=(2, sum(sizes))).astype(np.float32)
    running = RunningMaximum(2, most, stretch)
    for piece in np.split(series, np.cumsum(sizes)[:-1], axis=1):
        running.push(piece)
    step = running.stretch
    expected = [series[:, k : k + step].max(axis=1) for k in range(0, series.shape[1], step)]
    np.testing.assert_array_equal(running.values.T, np.reshape(expected, (-1, 2)))
    assert running.values.shape[1] <= most
    assert step == stretch or running.values.shape[1] > most / 2 - 1


def test_attention_is_laid_over_the_columns_of_the_slices() -> None:
    features = FeatureConfig(sample_rate=1000, n_fft=100, hop_length=100, n_mels=4)  # 10 a second
    bundle: Any = SimpleNamespace(
        features=features, slicing=SliceConfig(slice_s=1.0, slice_hop_s=0.5)
    )
    scores: Any = SimpleNamespace(
        starts=np.array([0, 5]),
        attention_time=np.array([[0.2, 0.4], [0.6, 0.8]], np.float32),  # 5 frames each
        attention_frequency=np.array([[0.1, 0.3], [0.3, 0.5]], np.float32),
    )
    empty: Any = np.empty(0)
    picture = Picture(empty, empty, 1.0, empty, frames_per_column=5, n_frames=18)
    assert attention_by_column(bundle, scores, picture) == pytest.approx(
        [0.2, 0.5, 0.8, np.nan], nan_ok=True
    )
    assert attention_by_band(bundle, scores) == pytest.approx([0.2, 0.2, 0.4, 0.4])


def test_attention_of_a_repeated_track_ends_with_the_track() -> None:
    features = FeatureConfig(sample_rate=1000, n_fft=100, hop_length=100, n_mels=4)
    bundle: Any = SimpleNamespace(features=features, slicing=SliceConfig(slice_s=1.0))
    scores: Any = SimpleNamespace(
        starts=np.array([0]), attention_time=np.array([[0.2, 0.4, 0.6, 0.8, 1.0]], np.float32)
    )
    empty: Any = np.empty(0)
    picture = Picture(empty, empty, 1.0, empty, frames_per_column=1, n_frames=4)
    assert attention_by_column(bundle, scores, picture) == pytest.approx([0.2, 0.2, 0.4, 0.4])


# Settings


def given_settings(monkeypatch: pytest.MonkeyPatch, *options: str, **env: str) -> Settings:
    """The settings that the command line makes of options and environment."""
    seen: list[Settings] = []

    def stop(settings: Settings) -> None:
        seen.append(settings)
        raise TsResformerError("stop")

    monkeypatch.setattr("tsresformer.serve.service.Service", stop)
    CliRunner().invoke(serve_command, options, env=env)
    return seen[0]


def test_options_and_environment_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_settings(monkeypatch) == Settings()
    env = {f"{PREFIX}QUEUE": "7", f"{PREFIX}MODEL": "a b", f"{PREFIX}API_KEY": "k"}
    found = given_settings(monkeypatch, "--stall-s", "2.5", "--fetch-host", "x:81", **env)
    expected = {"queue": 7, "models": ("a", "b"), "stall_s": 2.5, "fetch_hosts": ("x:81",)}
    assert found == Settings(**expected, api_key="k")
    assert "'k'" not in repr(found)
    assert given_settings(monkeypatch, "--queue", "9", **env).queue == 9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"queue": 0}, "queue = 0: must be 1 or more"),
        ({"stall_s": float("nan")}, "stall_s = nan"),
        ({"port": 65536}, "port = 65536"),
        ({"models": ()}, "name at least one bundle"),
        ({"api_key": "a\nb"}, "printable ASCII"),
    ],
)
def test_setting_out_of_range_is_an_error(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Settings(**values)


def test_key_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    assert key_from(str(path)) == "s3cret"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="holds no bearer key"):
        key_from(str(path))


def test_every_setting_is_documented(project_root: Path) -> None:
    text = (project_root / "docs" / "service.md").read_text()
    for option in serve_command.params:
        assert f"`{option.opts[0]}`" in text, option.opts[0]
