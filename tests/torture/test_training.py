"""Training that goes wrong, and decoders that are killed: a sentence, and nothing false is kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time

import pytest

import tiny
from killing import CLI, finish
from processes import descendants, wait_for

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


@pytest.mark.parametrize("name", ["features", "predict"])
def test_a_decoder_that_is_killed_for_memory_costs_no_track(
    name, tiny_run, tiny_music, tiny_bundle, tmp_path, torture
):
    """As the kernel does it: SIGKILL to a child, whatever it is at."""
    command, output, files = {
        "features": (["features", tiny_run / "m.csv", "-o"], "store", "store/shard-*"),
        "predict": (
            ["predict", tiny_music, "--model", tiny_bundle, "--json"],
            "out.json",
            "out.json",
        ),
    }[name]

    def arguments(folder: str) -> list[object]:
        return [*command, tmp_path / folder / output, "--workers", 1]

    def written(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / folder).glob(files)}

    finish(arguments("whole"))
    generator = torture.random(f"memory {name}")
    n_killed = 0
    for n in itertools.count():
        command_line = [*CLI, *map(str, arguments(f"killed{n}"))]
        process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL)
        wait_for(lambda process=process: descendants(process.pid))
        time.sleep(generator.random() * 0.3)
        for child in list(descendants(process.pid)):  # none where all is decoded already
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
                n_killed += 1
        assert process.wait() == 0
        assert written(f"killed{n}") == written("whole") != {}
        if n_killed >= torture.amount(1, 5, 50):
            break
    torture.counts[f"decoders killed in the middle of {name}"] += n_killed
