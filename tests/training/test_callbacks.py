"""What happens around the epochs: the averaged weights are those that are scored and shipped."""

import pytest
import torch

from bands import config
from tsresformer.export import export
from tsresformer.training.callbacks import AtomicCheckpoints
from tsresformer.training.fit import fit
from tsresformer.training.run import read_checkpoint

pytestmark = pytest.mark.torch


def test_swa_ships_the_mean_of_the_last_epochs_and_scores_what_it_ships(
    bands, tmp_path, monkeypatch
):
    ends = {}
    save = AtomicCheckpoints.save_checkpoint

    def kept(self, checkpoint, path, storage_options=None):
        state = checkpoint["current_model_state"]
        ends[checkpoint["epoch"]] = {name: value.clone() for name, value in state.items()}
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", kept)
    settings = config("train.averaging=swa", "train.epochs=8", "train.swa_fraction=0.5")
    run = fit(settings, *bands, tmp_path / "run", progress=False)
    assert run.result["dev_score"] == 1.0
    assert sorted(ends) == list(range(8))
    averaged = read_checkpoint(run.last)["state_dict"]
    for name, value in averaged.items():
        if value.is_floating_point():
            mean = torch.stack([ends[epoch][name] for epoch in (4, 5, 6, 7)]).mean(0)
            torch.testing.assert_close(value, mean)
    best = run.history()[run.result["best_epoch"]]
    shipped = export(run, tmp_path / "a.bundle").record["metrics"]["development"]
    assert shipped["nll_uncalibrated"] == pytest.approx(best["dev_loss"], abs=1e-5)


def test_swa_follows_the_weights_until_it_averages(bands, tmp_path):
    settings = ("train.epochs=4", "train.swa_fraction=0.25")
    plain, averaged = (
        fit(config(f"train.averaging={name}", *settings), *bands, tmp_path / name, progress=False)
        for name in ("none", "swa")
    )
    for one, two in zip(plain.history(), averaged.history(), strict=True):
        assert (one["dev_score"], one["dev_loss"]) == (two["dev_score"], two["dev_loss"])
