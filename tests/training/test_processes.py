"""Several processes: they train as one does with the same batch, and divide its steps."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bands import TINY
from tsresformer.errors import ConfigError
from tsresformer.training.processes import Processes
from tsresformer.training.run import Run

pytestmark = pytest.mark.torch

# What depends on how a batch is divided: statistics of batches, and draws of dropout.
ALIKE = ["train.frozen_norms=true", "model.encoder_dropout=0.0", "model.head_dropout=0.0"]


def train(manifest, store, out, *options, launcher=("-m", "tsresformer.cli"), settings=()):
    sets = [f"--set={text}" for text in [*TINY, *ALIKE, "train.epochs=2", *settings]]
    command = [sys.executable, *launcher, "train", "--manifest", manifest.path, *sets]
    command += ["--store", store.folder, "-o", out, *options]
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE")}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=250
    )


@pytest.fixture(scope="module")
def alone(bands, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    done = train(*bands, out)
    assert done.returncode == 0, done.stderr
    return Run.load(out)


def assert_alike(one, two):
    for before, after in zip(one.history(), two.history(), strict=True):
        assert before["train_loss"] == pytest.approx(after["train_loss"], abs=1e-4)
        assert before["dev_loss"] == pytest.approx(after["dev_loss"], abs=1e-4)
    theirs = two.weights()
    for name, value in one.weights().items():
        np.testing.assert_allclose(value, theirs[name], atol=2e-4, err_msg=name)


def test_two_processes_train_as_one(bands, alone, tmp_path):
    done = train(*bands, tmp_path / "run", "--devices", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 epochs in") == 1  # one of them speaks
    run = Run.load(tmp_path / "run")
    assert run.finished
    assert run.record["micro_batch"] == alone.record["micro_batch"] // 2
    assert_alike(alone, run)
    resumed = train(*bands, tmp_path / "run", "--devices", "2", "--resume")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.slow  # as two processes that the command starts itself
def test_torchrun_trains_as_one(bands, alone, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = train(
        *bands,
        tmp_path / "run",
        "--devices",
        "2",
        launcher=(*launcher, "-m", "tsresformer.cli"),
    )
    assert done.returncode == 0, done.stderr
    assert_alike(alone, Run.load(tmp_path / "run"))


def test_a_batch_that_does_not_divide_is_refused(bands, tmp_path):
    done = train(*bands, tmp_path / "run", "--devices", "3")
    assert done.returncode == 2
    assert "train.batch_size = 8 does not divide into even parts for 3 processes" in done.stderr
    assert not (tmp_path / "run").exists()


def test_ranks_count_over_machines(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Processes(2, 3).rank == 0
    monkeypatch.setenv("NODE_RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(2, 3).rank == 5
    assert Processes().rank == 0  # one process needs no environment
    monkeypatch.setenv("RANK", "3")
    assert Processes(2, 3).rank == 3
    with pytest.raises(ConfigError, match="1 or more"):
        Processes(0, 1)
