"""Training that goes wrong, and decoders that are killed: a sentence, and nothing false is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

import tiny
from killing import CLI, finish
from processes import descendants

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "settings",
    [
        ["train.learning_rate=1e30", "train.clip_norm=1e30"],
        ["train.learning_rate=1e38", "train.batch_size=2"],
        ["train.learning_rate=1e38", "train.batch_size=48", "slicing.windows=fixed"],
    ],
    ids=["huge", "at once", "in the last step"],
)
def test_exploding_gradients_stop_it_and_leave_no_epoch_of_no_numbers(
    settings, tiny_run, tmp_path, run, torture
):
    import torch

    data = ["--manifest", tiny_run / "m.csv", "--store", tiny_run / "store"]
    chosen = [p for text in (*tiny.SETTINGS, "train.epochs=3", *settings) for p in ("--set", text)]
    code, _, err = run("train", *data, *chosen, "-o", tmp_path / "run")
    assert code == 2, err
    assert "lower train.learning_rate" in err
    for path in (tmp_path / "run").glob("*.ckpt"):
        for name, value in torch.load(path, weights_only=True)["state_dict"].items():
            assert torch.isfinite(value.float()).all(), (path.name, name)
    assert not (tmp_path / "run" / "result.json").exists()
    torture.counts["trainings that explode"] += 1


def test_a_decoder_that_is_killed_for_memory_costs_no_track(tiny_run, tmp_path, torture):
    """As the kernel does it: SIGKILL to a child, whatever it is at."""
    command = ["features", tiny_run / "m.csv", "--workers", 1, "-o"]
    finish([*command, tmp_path / "whole"])
    generator = torture.random("memory")
    for n in range(torture.amount(1, 5, 50)):
        out = tmp_path / f"killed{n}"
        process = subprocess.Popen([*CLI, *map(str, command), out], stdout=subprocess.DEVNULL)
        killed = []

        def kill(process=process, out=out, killed=killed):
            while process.poll() is None and not killed:
                if (out / "store-begun.json").exists():
                    time.sleep(generator.random() * 0.3)
                    for child in descendants(process.pid):
                        os.kill(child, signal.SIGKILL)
                        killed.append(child)
                time.sleep(0.005)

        killer = threading.Thread(target=kill)
        killer.start()
        assert process.wait() == 0
        killer.join()
        for path in (tmp_path / "whole").glob("shard-*"):
            assert (out / path.name).read_bytes() == path.read_bytes()
        torture.counts["decoders killed in the middle of features"] += len(killed)
