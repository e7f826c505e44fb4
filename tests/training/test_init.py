"""Starting from a bundle: the tracks that it has heard are not forgotten."""

import dataclasses
import json

import pytest

from bands import config
from tsresformer.bundle import track_mark
from tsresformer.evaluation import evaluate
from tsresformer.export import export
from tsresformer.files import write_sealed
from tsresformer.report.result import warnings_of
from tsresformer.splits import split
from tsresformer.training import fit as fit_module
from tsresformer.training.fit import fit

pytestmark = pytest.mark.torch

QUICK = config("train.epochs=1")


@pytest.fixture(scope="module")
def otherwise(bands, tmp_path_factory):
    """`bands` under another split, whose test tracks the bundle of `first` has learned from."""
    manifest, store = bands
    path = tmp_path_factory.mktemp("otherwise") / "m.csv"
    manifest = split(manifest, "artist-kfold", seed=1, n_folds=4)
    manifest.write(path)
    return dataclasses.replace(manifest, path=path), store


def test_what_the_first_bundle_has_heard_is_known_of_the_second(otherwise, first, tmp_path):
    (manifest, store), (_, initial) = otherwise, first
    said = []
    run = fit(
        QUICK, manifest, store, tmp_path / "b", init=initial.path, say=said.append, progress=False
    )
    learned = set(initial.record["training"]["heard"])
    calibrated_on = set(initial.record["training"]["calibrated_on"])
    marks = {t.track_id: track_mark(t.track_id, t.group) for t in manifest.tracks}
    held_out = run.record["development_tracks"]
    n_known = sum(marks[track] in learned - calibrated_on for track in held_out)
    assert n_known
    (text,) = said
    assert f"has learned from {n_known} of the {len(held_out)} tracks of the development" in text

    bundle = export(run, tmp_path / "b.bundle")
    assert set(bundle.record["training"]["heard"]) > learned
    assert "heard" not in bundle.record["training"]["init"]
    result = evaluate(bundle.path, manifest, n_workers=1, n_bootstrap=10)
    tests = manifest.in_split("test")
    assert result.n_heard == sum(marks[track.track_id] in learned for track in tests) > 0
    assert f"was trained on {result.n_heard} of these" in str(warnings_of(result))

    again = fit_module._plan(run.config, manifest, store, initial, [], recipe=bundle)
    assert again.record["refit"]["sha256"] == bundle.hash


def test_a_bundle_with_the_same_development_fold_is_no_cause_for_caution(bands, first):
    plan = fit_module._plan(QUICK, *bands, first[1], [])
    assert not list(fit_module._cautions(plan, first[1], at_once=8))


def test_a_run_that_an_older_version_began_is_gone_on_with(otherwise, first, tmp_path):
    (manifest, store), (_, initial) = otherwise, first
    run = fit(QUICK, manifest, store, tmp_path / "b", init=initial.path, progress=False)
    record = json.loads((run.folder / "run.json").read_text())
    del record["init"]["heard"], record["sha256"]
    write_sealed(run.folder / "run.json", record)
    (run.folder / "result.json").unlink()
    again = fit(QUICK, manifest, store, run.folder, init=initial.path, resume=True, progress=False)
    assert again.finished
    assert export(again, tmp_path / "b.bundle").record["training"]["init"] == record["init"]
