"""Teachers: what they say, that it is learned from, and who may not teach."""

import numpy as np
import pytest

from bands import config
from tsresformer.classifier import Classifier
from tsresformer.errors import TrainingError
from tsresformer.export import export
from tsresformer.training.data import SliceBatches
from tsresformer.training.fit import fit
from tsresformer.training.teachers import soft_targets

pytestmark = pytest.mark.torch


def test_teachers_soften_the_labels(bands, first, tmp_path):
    manifest, store = bands
    fit(config("seed=1"), manifest, store, tmp_path / "b", progress=False)
    teachers = [first[1], export(tmp_path / "b", tmp_path / "b.bundle")]
    assert teachers[0].record["training"]["calibrated_on"]
    pupil = fit(
        config("seed=2"),
        manifest,
        store,
        tmp_path / "p",
        teachers=[t.path for t in teachers],
        progress=False,
    )
    alone = fit(config("seed=2"), manifest, store, tmp_path / "alone", progress=False)
    assert pupil.history() != alone.history()
    assert [t["sha256"] for t in pupil.record["teachers"]] == [t.hash for t in teachers]
    bundle = export(pupil, tmp_path / "p.bundle")
    assert [t["name"] for t in bundle.record["training"]["teachers"]] == ["a", "b"]
    assert "heard" not in bundle.record["training"]["teachers"][0]
    assert "| taught by | a (sha256 " in bundle.card()
    assert set(bundle.record["training"]["heard"]) >= set(teachers[0].record["training"]["heard"])
    with pytest.raises(TrainingError, match=r"cannot resume.*teachers"):
        fit(config("seed=2"), manifest, store, tmp_path / "p", resume=True, progress=False)


def test_what_teachers_say_is_the_mean_of_their_probabilities(bands, first):
    (manifest, store), (run, bundle) = bands, first
    tracks = [t for t in manifest.tracks if t.track_id in run.record["training_tracks"]][:5]
    batches = SliceBatches(
        store, manifest, tracks, bundle.labels, run.config, micro_batch=4, training=False
    )
    soft = soft_targets([bundle, bundle], batches, manifest, progress=False)
    classifier = Classifier.load(bundle.path)
    scored = dict(classifier.score_many([str(t.path) for t in tracks]))
    for i, row in enumerate(soft):
        expected = classifier.probabilities(scored[i].mean_logits())
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_a_teacher_that_cannot_teach_here_is_refused(bands, tmp_path):
    manifest, store = bands
    fit(config("train.dev_seed=1"), manifest, store, tmp_path / "t", progress=False)
    other_fold = export(tmp_path / "t", tmp_path / "t.bundle").path
    with pytest.raises(TrainingError, match=r"t\.bundle: was trained on \d+ tracks of this run's"):
        fit(config(), manifest, store, tmp_path / "p", teachers=[other_fold], progress=False)
    with pytest.raises(TrainingError, match="knows other genres"):
        fit(config(), manifest, store, tmp_path / "p", teachers=["fma-small"], progress=False)
    assert not (tmp_path / "p").exists()


def test_the_development_fold_has_a_seed_of_its_own(bands, tmp_path):
    manifest, store = bands
    folds = [
        fit(config(*changes), manifest, store, tmp_path / str(i), progress=False).record[
            "development_tracks"
        ]
        for i, changes in enumerate([(), ("seed=5",), ("train.dev_seed=1",)])
    ]
    assert folds[0] == folds[1] != folds[2]
