"""A settled recipe, trained once more on the whole training split."""

import copy

import pytest

from bands import config
from tsresformer.bundle import GRAPH, WEIGHTS, write_bundle
from tsresformer.errors import TrainingError
from tsresformer.export import export
from tsresformer.training.fit import fit

pytestmark = pytest.mark.torch


def test_a_refit_learns_from_the_development_fold_and_keeps_the_recipes_calibration(
    bands, first, tmp_path
):
    (manifest, store), (first_run, recipe) = bands, first
    run = fit(config(), manifest, store, tmp_path / "b", refit=recipe.path, progress=False)
    held_out = first_run.record["development_tracks"]
    assert held_out and not run.record["development_tracks"]
    assert set(run.record["training_tracks"]) == {*first_run.record["training_tracks"], *held_out}
    assert all("dev_score" not in row for row in run.history())
    assert run.result["best_epoch"] == run.result["epochs"] - 1 and run.result["dev_score"] is None
    bundle = export(run, tmp_path / "b.bundle")
    assert bundle.hash != recipe.hash and bundle.weights().keys() == recipe.weights().keys()
    assert any((bundle.weights()[k] != v).any() for k, v in recipe.weights().items())
    assert (bundle.temperature, bundle.unsure_below) == (recipe.temperature, recipe.unsure_below)
    assert bundle.record["metrics"] == recipe.record["metrics"]
    assert set(bundle.record["training"]["heard"]) == set(recipe.record["training"]["heard"])
    assert not bundle.record["training"]["calibrated_on"]  # so it may teach none that hold them out
    assert (
        f"| refit of | a (sha256 {recipe.hash[:12]}), on the whole training split |"
        in bundle.card()
    )
    assert "of the model that the recipe gave without these tracks" in bundle.card()
    with pytest.raises(TrainingError, match="was trained on"):
        fit(config(), manifest, store, tmp_path / "c", teachers=[bundle.path], progress=False)


def test_a_bundle_of_before_a_key_was_known_can_be_refitted(bands, first, tmp_path):
    (manifest, store), (_, recipe) = bands, first
    made_up = ("format", "files", "sha256")
    record = copy.deepcopy({k: v for k, v in recipe.record.items() if k not in made_up})
    del record["training"]["config"]["model"]["architecture"]
    graph, weights = ((recipe.path / name).read_bytes() for name in (GRAPH, WEIGHTS))
    old = write_bundle(tmp_path / "old.bundle", record, graph, weights, "card")
    again = fit(config(), manifest, store, tmp_path / "b", refit=old.path, progress=False)
    assert again.finished and again.record["refit"]["sha256"] == old.hash


def test_a_refit_repeats_its_recipe(bands, first, tmp_path):
    (manifest, store), (_, recipe) = bands, first
    for changed, what in [
        ({"config": config("seed=1")}, "configuration"),
        ({"teachers": [recipe.path]}, "teachers"),
        ({"init": recipe.path}, "bundle to start from"),
    ]:
        given = {"config": config(), **changed}
        with pytest.raises(TrainingError, match=rf"a\.bundle: was trained with .*{what}"):
            fit(given.pop("config"), manifest, store, tmp_path / "b", refit=recipe.path, **given)
    assert not (tmp_path / "b").exists()


def test_an_interrupted_refit_is_not_resumed_as_something_else(bands, first, tmp_path):
    (manifest, store), (_, recipe) = bands, first
    fit(config(), manifest, store, tmp_path / "b", refit=recipe.path, progress=False)
    again = fit(config(), manifest, store, tmp_path / "b", refit=recipe.path, resume=True)
    assert again.finished
    with pytest.raises(TrainingError, match=r"cannot resume.*bundle to refit"):
        fit(config(), manifest, store, tmp_path / "b", resume=True, progress=False)
