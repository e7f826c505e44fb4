"""Running studies: resumes, failures, budgets, tuning; and real trainings that repeat exactly."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from studies_of import TINY, toml
from tsresformer.bootstrap import summarise
from tsresformer.cli import run as command_line
from tsresformer.config import FeatureConfig, load_config
from tsresformer.errors import SplitError, StudyError, TrainingError
from tsresformer.files import write_sealed
from tsresformer.manifest import Manifest
from tsresformer.models import timing
from tsresformer.report import EvaluationResult, TrackResult
from tsresformer.splits import Protocol, development_fold, group_of, parse_protocol
from tsresformer.store import FeatureStore
from tsresformer.studies import budget, classical, deep, runner
from tsresformer.studies.budget import Clock
from tsresformer.studies.data import Data
from tsresformer.studies.page import write_page
from tsresformer.studies.plan import load_study
from tsresformer.studies.results import Results
from tsresformer.studies.runner import estimate, run_study
from tsresformer.studies.tables import points, write_tables

pytestmark = pytest.mark.torch


def rows(folder):
    """results.csv without the times."""
    with open(folder / "results.csv", newline="") as stream:
        return [{k: v for k, v in row.items() if k != "train_s"} for row in csv.DictReader(stream)]


class Fake:
    """Stands for training and scoring; gets each fifth track wrong, or as many as it is told.

    `seconds` is how long a training takes, by a clock on which nothing else takes any time.
    """

    def __init__(self):
        self.trained, self.scored, self.fail, self.seconds, self.now = [], [], "", 0.0, 0.0

    def train(self, config, manifest, store, work):
        self.trained.append((config, manifest))
        self.now += self.seconds
        return work / f"{config.seed}-{config.train.learning_rate}-{len(self.trained)}"

    def development_score(self, folder):
        return 1.0 if "0.001" in folder.name else 0.5

    def score(self, folder, manifest, store, split, n_workers):
        config, _ = self.trained[-1]
        self.scored.append((config, split, str(manifest.protocol)))
        if self.fail and self.fail == config.model.attention:
            raise TrainingError("the loss is nan;\n lower train.learning_rate")
        labels = manifest.vocabulary
        found = []
        for track in manifest.in_split(split):
            right = labels.index(track.labels[0])
            shift = int(track.track_id[1:]) % 5 == 0
            p = np.full(3, 0.1)
            p[(right + shift) % 3] = 0.8
            found.append(
                TrackResult(
                    track=track,
                    status="ok",
                    predicted=labels[int(p.argmax())],
                    probabilities=p,
                    slices=np.stack([p, np.roll(p, 1)]),
                )
            )
        known = np.array([labels.index(r.track.labels[0]) for r in found])
        summary = summarise(
            known,
            np.stack([r.probabilities for r in found]),
            [group_of(r.track) for r in found],
            n_bootstrap=0,
        )
        result = EvaluationResult(
            bundle="b", bundle_hash="", manifest="", manifest_hash="", task="single",
            labels=labels, temperature=1.0, unsure_below=0.0,
            protocol=parse_protocol(manifest.protocol), split=split, n_heard=0, unit="artists",
            n_bootstrap=0, seed=0, rows=tuple(found), known=known,
            embeddings=np.zeros((len(found), 0)), track=summary, slice=summary,
        )  # fmt: skip
        return result, {"train_s": 1.5, "params": 10, "macs": 20, "history": []}


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    for name in ("train", "score", "development_score"):
        monkeypatch.setattr(deep, name, getattr(fake, name))
    monkeypatch.setattr(deep, "estimated_seconds", lambda *_: 100.0)
    for module in (budget, runner):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: fake.now))
    return fake


def start(noisy, path, out, *overrides, **options):
    study = load_study(path, overrides)
    return run_study(study, noisy / "m.csv", noisy / "store", out, n_workers=1, **options)


def test_an_estimate_counts_the_passes_of_an_epoch(monkeypatch):
    monkeypatch.setattr(timing, "step_seconds", lambda *_, **__: 0.1)
    windows = ["slicing.slice_s=10", 'slicing.windows="random"', "train.epochs=4"]

    def seconds(*settings):
        config = load_config("ts_resformer", [*windows, *settings])
        return deep.estimated_seconds(config, FeatureConfig(), [1300] * 400, 8) - deep.EXPORT_S

    once = seconds()
    assert once == pytest.approx(4 * 0.1 * (360 / 32 + 40 * 3 / 32 / 3), rel=0.02)
    assert seconds("train.epoch_slices=100") == once
    assert seconds("train.epoch_slices=1080") == pytest.approx(once * (3 * 9 + 1) / 10)


TWO = '[axes]\n"model.attention" = ["none", "se"]\n'


def test_folds_are_joined_into_one_evaluation_of_every_track(noisy, study_file, tmp_path, fake):
    outcome = start(noisy, study_file("seeds = [0, 1]"), tmp_path / "r")
    assert (outcome.n_done, outcome.n_failed, outcome.complete) == (2, 0, True)
    assert len(fake.scored) == 2 * 5
    assert len({protocol for _, _, protocol in fake.scored}) == 5
    (first, _) = outcome.results.cells()
    assert first["metrics"]["n_tracks"] == 60
    assert first["metrics"]["title"].startswith("out-of-fold predictions of all 5 folds")
    # 12 of 60 tracks are wrong; of two slices of a track, one or (rolled) neither is right.
    assert first["metrics"]["track"]["accuracy"]["value"] == pytest.approx(0.8)
    assert first["train_s"] == 7.5
    write_tables(outcome.results)
    (row, _) = rows(tmp_path / "r")
    assert list(row)[:7] == ["cell", "seed", "protocol", "n_tracks", "accuracy", "low", "high"]
    assert (row["n_tracks"], row["accuracy"]) == ("60", "0.8")
    assert float(row["low"]) < 0.8 < float(row["high"])
    predictions = outcome.results.predictions(first["cell"])
    right = sum(int(p["n_slices_right"]) for p in predictions)
    assert float(row["slice_accuracy"]) == pytest.approx(right / 120, abs=1e-6)


def test_the_cheap_protocol_runs_first_and_tables_keep_the_order_of_the_plan(
    noisy, study_file, tmp_path, fake
):
    path = study_file("seeds = [0, 1]\nfolds = [0, 2]\nprotocols = ['artist-kfold', 'official']\n")
    results = start(noisy, path, tmp_path / "r").results
    run = [protocol.partition(" ")[0] for _, _, protocol in fake.scored]
    assert run == ["official"] * 2 + ["artist-kfold"] * 4
    assert [point.protocol for point in points(results)] == ["artist-kfold", "official"]


def test_the_same_study_resumes_and_nothing_else_does(noisy, study_file, tmp_path, fake):
    path = study_file("folds = [0]\n" + TWO)
    start(noisy, path, tmp_path / "r")
    assert len(fake.trained) == 2
    with pytest.raises(StudyError, match="holds this study already; add --resume"):
        start(noisy, path, tmp_path / "r")
    assert start(noisy, path, tmp_path / "r", resume=True).complete
    assert len(fake.trained) == 2
    before = (tmp_path / "r" / "study.json").read_text()
    with pytest.raises(StudyError, match=r"what differs .*: --set, configuration; name another"):
        start(noisy, path, tmp_path / "r", "train.epochs=3", resume=True)
    with pytest.raises(StudyError, match="axes, seeds, protocols or settings"):
        start(noisy, path, tmp_path / "r", "study.seeds=[9]", resume=True)
    assert (tmp_path / "r" / "study.json").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(StudyError, match="holds something that is no study"):
        start(noisy, path, tmp_path / "other")


def test_parts_of_a_study_run_apart_are_the_whole_when_copied_together(
    noisy, study_file, tmp_path, fake
):
    path = study_file("folds = [0]\nseeds = [0, 1]\n" + TWO)
    whole = start(noisy, path, tmp_path / "whole").results
    fake.trained.clear()
    part = start(noisy, path, tmp_path / "a", only=["*-none-*", "*-none-*-seed-0"])
    assert (part.n_done, part.n_cells, part.complete, len(fake.trained)) == (2, 4, False, 2)
    start(noisy, path, tmp_path / "b", only=["*-se-*-seed-1"])
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    assert len(Results.open(tmp_path / "a").cells()) == 3
    together = start(noisy, path, tmp_path / "a", resume=True).results
    assert len(fake.trained) == 2 + 1 + 1
    for results in (whole, together):
        write_tables(results)
    assert rows(together.folder) == rows(whole.folder)
    with pytest.raises(
        StudyError, match="--cells \\*-svm-\\*: fits no cell; a cell is called atten"
    ):
        start(noisy, path, tmp_path / "c", only=["*-none-*", "*-svm-*"])
    assert not (tmp_path / "c").exists()


def test_a_part_of_a_study_keeps_what_another_began(noisy, study_file, tmp_path, fake):
    path = study_file(TWO)
    begun = tmp_path / "r" / "parts" / "of-another.npz"
    start(noisy, path, tmp_path / "r", only=["*-se-*"])
    begun.parent.mkdir(exist_ok=True)
    begun.write_bytes(b"")
    start(noisy, path, tmp_path / "r", only=["*-se-*"], resume=True)
    assert begun.is_file()
    start(noisy, path, tmp_path / "r", resume=True)
    assert not begun.parent.exists()


@pytest.mark.parametrize("kind", ["tuning", "parts"])
def test_what_was_copied_from_another_study_is_refused(noisy, study_file, tmp_path, fake, kind):
    text = "folds = [0, 1]\n[tuning]\ntrials = 2\n"
    path = study_file(f'{text}space = {{ "train.learning_rate" = [2e-3, 1e-3] }}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "write_cell", lambda *_: None)
        start(noisy, path, tmp_path / "other", "train.epochs=3")
    out = tmp_path / "r"
    shutil.copytree(tmp_path / "other" / kind, out / kind)
    shutil.copy(start(noisy, path, tmp_path / "new").results.folder / "study.json", out)
    (file, *_) = sorted((out / kind).glob("*.json"))
    (cell,) = start(noisy, path, out, resume=True).results.cells()
    assert cell["error"].startswith(f"{file}: is of another study; take what was copied")
    for file in (out / kind).glob("*.json"):  # what an older version wrote names no study
        record = {k: v for k, v in json.loads(file.read_text()).items() if k != "study"}
        write_sealed(file, {k: v for k, v in record.items() if k != "sha256"})
    (cell,) = start(noisy, path, out, resume=True).results.cells()
    assert cell["error"] is None


def test_a_cell_that_fails_is_a_row_and_is_tried_again(noisy, study_file, tmp_path, fake):
    path = study_file("folds = [0]\n" + TWO)
    fake.fail = "none"
    outcome = start(noisy, path, tmp_path / "r")
    assert (outcome.n_done, outcome.n_failed) == (2, 1)
    write_tables(outcome.results)
    failed, fine = rows(tmp_path / "r")
    assert failed["error"] == "the loss is nan; lower train.learning_rate"
    assert (failed["accuracy"], fine["error"], bool(fine["accuracy"])) == ("", "", True)
    fake.fail = ""
    outcome = start(noisy, path, tmp_path / "r", resume=True)
    assert (outcome.n_failed, len(fake.trained)) == (0, 3)


def test_folds_that_went_well_are_kept_when_another_fails(noisy, study_file, tmp_path, fake):
    path = study_file("folds = [0, 1]")
    score, calls = fake.score, []

    def second_fails(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return score(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep, "score", second_fails)
        outcome = start(noisy, path, tmp_path / "r")
    (cell,) = outcome.results.cells()
    assert cell["error"] == "unexpected RuntimeError: out of memory"
    outcome = start(noisy, path, tmp_path / "r", resume=True)
    assert outcome.n_failed == 0
    assert [protocol for _, _, protocol in fake.scored] == [
        "artist-kfold folds=5 fold=0 seed=0",
        "artist-kfold folds=5 fold=1 seed=0",
    ]
    assert outcome.results.cells()[0]["metrics"]["title"].startswith(
        "out-of-fold predictions of folds 0, 1 of 5 of the artist-grouped split"
    )
    assert not (tmp_path / "r" / "parts").exists()


def test_the_page_is_whole_and_draws_every_number_on_one_scale(noisy, study_file, tmp_path, fake):
    path = study_file("seeds = [0, 1]\nreference = { 'model.attention' = 'se' }\n" + TWO)
    results = start(noisy, path, tmp_path / "r").results
    page = write_page(results, write_tables(results)).read_text()
    assert "<script" not in page
    assert 'src="http' not in page
    picture = page[page.index('id="accuracies-artist-kfold-') :].partition("</svg>")[0]
    labels = re.findall(r"<text[^>]*>(\d+)</text>", picture)
    assert labels
    assert min(map(int, labels)) >= 20  # no stroke of a seed lies near 0
    assert "minus sign means that it is worse than the reference" in page
    assert "McNemar" in page
    tex = (tmp_path / "r" / "table.tex").read_text()
    assert tex.count("\\\\\n") == 3
    assert "80.0 \\%" in tex


def test_budget(noisy, study_file, tmp_path, fake):
    path = study_file("folds = [0]\nseeds = [0, 1, 2, 3]\n" + TWO)
    with pytest.raises(StudyError, match="too small for one training, which takes about 2 min"):
        start(noisy, path, tmp_path / "r", budget_s=60)
    assert not (tmp_path / "r").exists()
    fake.seconds = 0.4
    outcome = start(noisy, path, tmp_path / "r", budget_s=101)
    assert outcome.complete
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(deep, "estimated_seconds", lambda *_: 0.1)
        outcome = start(noisy, path, tmp_path / "q", budget_s=1.5)
    assert outcome.n_done == 3
    assert outcome.remaining_s == pytest.approx(5 * 0.4)
    outcome = start(noisy, path, tmp_path / "q", resume=True)
    assert outcome.complete
    assert len(fake.trained) == 8 + 8


def test_a_training_is_expected_to_take_what_those_of_its_kind_took():
    asked = []

    def guess(seconds):
        return lambda: asked.append(seconds) or seconds

    clock = Clock(1000)
    assert clock.expected("crnn", guess(600.0)) == 600
    clock.measured("knn", 8.0)  # of a kind that was not guessed: says nothing of others
    assert clock.expected("crnn", guess(600.0)) == 600
    assert clock.expected("vgg", guess(300.0)) == 300
    clock.measured("vgg", 400.0)
    clock.measured("vgg", 500.0)
    assert clock.expected("vgg", guess(300.0)) == 450
    assert clock.expected("crnn", guess(600.0)) == 900
    assert clock.fits("crnn", guess(600.0))
    assert not clock.fits("transformer", guess(700.0))
    assert clock.fits("knn", guess(900.0))
    assert asked == [600, 300, 700]
    assert Clock(None).fits("crnn", guess(1e9))


def test_a_cheap_training_lets_no_dear_one_over_the_budget(
    noisy, study_file, tmp_path, fake, monkeypatch
):
    guesses = {"none": 0.2, "se": 30.0}
    monkeypatch.setattr(
        deep, "estimated_seconds", lambda config, *_: guesses[config.model.attention]
    )
    fake.seconds = 0.2
    path = study_file("folds = [0]\nseeds = [0, 1]\n" + TWO)
    outcome = start(noisy, path, tmp_path / "r", budget_s=10)
    assert (outcome.n_done, len(fake.trained)) == (1, 1)
    assert outcome.remaining_s == pytest.approx(0.2 + 2 * 30)


def test_the_rest_of_an_interrupted_training_says_nothing_of_whole_ones(
    noisy, study_file, tmp_path, fake, monkeypatch
):
    path = study_file("folds = [0]\n" + TWO)
    start(noisy, path, tmp_path / "r", only=["*-none-*"])
    shutil.rmtree(tmp_path / "r" / "cells")
    begun = tmp_path / "r" / "work" / "begun"
    begun.mkdir(parents=True)
    monkeypatch.setattr(deep, "train", lambda *args: fake.train(*args) and begun)
    fake.seconds = 2
    outcome = start(noisy, path, tmp_path / "r", resume=True, budget_s=101.5)
    assert (outcome.n_done, outcome.remaining_s) == (1, 100)


def test_classical_models_are_estimated_by_the_tracks_that_they_learn(noisy, study_file, tmp_path):
    data = Data(Manifest.read(noisy / "m.csv"), FeatureStore.open(noisy / "store"), tmp_path)
    models = "".join(f"{m} = {{ 'classical.model' = '{m}' }}\n" for m in ("knn", "boosting"))
    head, axes = "protocols = ['official']\nseeds = [0, 1]\n", f"[axes.model]\n{models}"
    tracks = "[axes]\n'data.fraction' = [0.2, 1.0]\n"  # 9 and 45
    alone = estimate(load_study(study_file(head + tracks + axes)), data)
    assert alone == pytest.approx(2 * (9 + 45) * (8 + 160) / 6000)
    tuning = "[tuning]\ntrials = 2\nspace = { 'classical.neighbours' = [3, 5] }\n"
    own = "[tuning.own]\nboosting = { 'classical.learning_rate' = [0.1, 0.3] }\n"
    tuned = estimate(load_study(study_file(head + axes + tuning + own)), data)
    # Two trials, and one fit with what they chose; one more for the second seed.
    assert tuned == pytest.approx((2 + 1 + 1) * 45 * (8 + 160) / 6000)


def test_tuning_uses_the_development_fold_and_the_same_number_of_trials(
    noisy, study_file, tmp_path, fake
):
    text = "folds = [0, 1]\nseeds = [0, 1]\n[tuning]\ntrials = 2\n"
    space = 'space = { "train.learning_rate" = [2e-3, 1e-3] }\n'
    outcome = start(noisy, study_file(text + space + TWO), tmp_path / "r")
    # Two variants, two folds: two trials for the first seed, then one training a seed and fold.
    rates = [config.train.learning_rate for config, _ in fake.trained]
    assert len([r for r in rates if r == 2e-3]) == 2 * 2
    assert {config.train.learning_rate for config, *_ in fake.scored} == {1e-3}
    for cell in outcome.results.cells():
        assert [part["chosen"] for part in cell["parts"]] == [{"train.learning_rate": 1e-3}] * 2
    kept = sorted(path.name for path in (tmp_path / "r" / "tuning").iterdir())
    assert kept[0] == "attention-none--artist-kfold.fold-0.json"
    assert len(kept) == 4
    tests = {t.track_id for t in fake.trained[0][1].in_split("test")}
    assert tests.isdisjoint(t.track_id for t in fake.trained[0][1].in_split("training"))


def test_protocols_that_the_manifest_cannot_serve_stop_it_at_once(
    noisy, study_file, tmp_path, fake
):
    manifest = Manifest.read(noisy / "m.csv")
    import dataclasses

    alone = manifest.replace(dataclasses.replace(t, group="") for t in manifest.tracks)
    study = load_study(study_file(""))
    with pytest.raises(SplitError, match="no track has a group, so artist-kfold would not keep"):
        run_study(study, alone, noisy / "store", tmp_path / "r")
    unsplit = manifest.replace(
        dataclasses.replace(t, split="", protocol="") for t in manifest.tracks
    )
    study = load_study(study_file("protocols = ['official']"))
    with pytest.raises(SplitError, match=r"no split of its own; run the study with .*artist-kfold"):
        run_study(study, unsplit, noisy / "store", tmp_path / "r")
    study = load_study(study_file("protocols = ['slice']"), ["slicing.windows=random"])
    with pytest.raises(StudyError, match="draws random windows"):
        run_study(study, manifest, noisy / "store", tmp_path / "r")
    study = load_study(study_file('[axes]\n"features.n_mels" = [8]'))
    with pytest.raises(StudyError, match="holds log-mels that were computed already"):
        run_study(study, manifest, noisy / "store", tmp_path / "r")
    assert not (tmp_path / "r").exists()
    assert fake.trained == []


def test_several_genres_a_track_are_refused_before_the_first_training(
    noisy, study_file, tmp_path, fake
):
    with pytest.raises(StudyError, match=r'scores one genre a track, but cell .* task = "multi"'):
        start(noisy, study_file("folds = [0]"), tmp_path / "r", 'task="multi"')
    assert not fake.trained
    assert not (tmp_path / "r").exists()


def test_fractions_of_the_training_tracks_are_nested_and_leave_the_test_alone(noisy, tmp_path):
    data = Data(
        Manifest.read(noisy / "m.csv"), FeatureStore.open(noisy / "store"), tmp_path / "stores"
    )
    protocol = Protocol("official")
    parts = {f: data.thinned(protocol, f) for f in (0.2, 0.5, 1.0)}
    ids = {f: {t.track_id for t in m.in_split("training")} for f, m in parts.items()}
    assert [len(ids[f]) for f in parts] == [9, 24, 45]  # of 15 a label, rounded up
    assert ids[0.2] < ids[0.5] < ids[1.0]
    assert len({len(m.in_split("validation")) for m in parts.values()}) == 1
    for label in "abc":
        assert sum(t.label == label for t in parts[0.2].in_split("training")) == 3


def test_classical_models_are_cells_like_all_others(noisy, study_file, tmp_path):
    path = study_file(
        "protocols = ['official', 'slice']\n[axes.model]\n"
        "svm = { 'classical.model' = 'svm' }\nknn = { 'classical.model' = 'knn' }\n"
        "boosting = { 'classical.model' = 'boosting' }\n[reference]\nmodel = 'svm'\n"
        "[tuning]\ntrials = 2\nspace = {}\n[tuning.own]\n"
        "svm = { 'classical.penalty' = [1.0, 10.0] }\n"
        "knn = { 'classical.neighbours' = [3, 5] }\n"
        "boosting = { 'classical.learning_rate' = [0.1, 0.3] }\n"
    )
    for name in ("a", "b"):
        outcome = start(noisy, path, tmp_path / name)
        assert outcome.n_failed == 3
        write_tables(outcome.results)
    table = rows(tmp_path / "a")
    assert table == rows(tmp_path / "b")
    assert ["a split of slices says nothing" in row["error"] for row in table[3:]] == [True] * 3
    svm, knn, boosting = (float(row["accuracy"]) for row in table[:3])
    assert min(svm, knn) > 0.6
    assert boosting > 0.3  # its leaves want 20 tracks, and there are 36
    for row in table[:3]:
        assert row["n_tracks"] == "15"
        assert row["slice_accuracy"] == row["accuracy"]
        assert row["params"] == ""


def test_each_trial_is_scored_on_statistics_of_its_own(noisy, study_file, tmp_path):
    path = study_file(
        "protocols = ['official']\n[axes.model]\nknn = { 'classical.model' = 'knn' }\n"
        "[tuning]\ntrials = 4\n[tuning.space]\n'classical.statistics' = ['mfcc', 'bands']\n"
        "'classical.neighbours' = [1, 9]\n"
    )
    outcome = start(noisy, path, tmp_path / "r")
    (file,) = (outcome.results.folder / "tuning").iterdir()
    study, (cell,) = load_study(path), load_study(path).cells
    manifest, store = Manifest.read(noisy / "m.csv"), FeatureStore.open(noisy / "store")
    scores = []
    for trial in json.loads(file.read_text())["trials"]:
        spec = study.spec(cell, trial["settings"])
        fold = classical.Fold(spec, manifest, store, "validation")
        scores.append(classical.development_accuracy(fold, spec.classical, 0))
        assert trial["dev_score"] == scores[-1]
    assert len(set(scores)) > 1


@pytest.fixture(scope="module")
def whole(noisy, tmp_path_factory):
    """The file of a study of two networks, and the results of a run that nothing stopped."""
    home = tmp_path_factory.mktemp("whole")
    path = home / "quick.toml"
    path.write_text(
        'title = "T"\nquestion = "Q"\nconfig = "ts_resformer"\nprotocols = ["official"]\n'
        f"[settings]\n{toml(TINY)}\n[axes.model]\na = {{}}\nb = {{ 'model.left' = false }}\n"
    )
    assert start(noisy, path, home / "r").complete
    write_tables(Results.open(home / "r"))
    return path, home / "r"


def same(out, whole, *names):
    """Whether two folders of results have the same table, and the same predictions to the byte."""
    write_tables(Results.open(out))
    assert rows(out) == [row for row in rows(whole) if not names or row["cell"] in names]
    for row in rows(out):
        file = f"predictions/{row['cell']}.csv"
        assert (out / file).read_bytes() == (whole / file).read_bytes()


def command(path, noisy, out):
    """The words of `study run --resume` in a process of its own."""
    data = ["--manifest", str(noisy / "m.csv"), "--store", str(noisy / "store"), "-o", str(out)]
    return [sys.executable, "-m", "tsresformer.cli", "study", "run", str(path), "--resume", *data]


def stopped(words, out, mark, stop, n_before=0):
    """Run a command until more files than before match, then signal it; exit code, and stderr."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        words,
        start_new_session=True,
        stdout=pipe,
        stderr=pipe,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and len(list(out.glob(mark))) <= n_before:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, stop)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_killed_at_any_point_and_resumed_it_gives_the_same_table(noisy, whole, tmp_path):
    path, expected = whole
    out = tmp_path / "killed"
    for mark in ("work/*/last.ckpt", "cells/*.json"):
        code, _ = stopped(command(path, noisy, out), out, mark, signal.SIGKILL)
        assert code == -signal.SIGKILL
    assert not (out / "results.csv").exists()
    assert start(noisy, path, out, resume=True).complete
    same(out, expected)
    assert [row["n_tracks"] for row in rows(out)] == ["15", "15"]
    assert {path.name for path in out.iterdir()} >= {"study.json", "cells", "predictions"}
    assert not (out / "work").exists()


def test_two_runs_of_a_cell_with_one_seed_give_the_same_number(noisy, whole, tmp_path):
    path, expected = whole
    text = path.read_text().replace("b = { 'model.left' = false }\n", "")
    (tmp_path / "quick.toml").write_text(text)
    assert start(noisy, tmp_path / "quick.toml", tmp_path / "r").complete
    same(tmp_path / "r", expected, "model-a--official--seed-0")
    (cell,), (first, _) = Results.open(tmp_path / "r").cells(), Results.open(expected).cells()
    assert cell["metrics"] == first["metrics"]
    losses = [[epoch["train_loss"] for epoch in c["parts"][0]["history"]] for c in (cell, first)]
    assert losses[0] == losses[1]


def test_ctrl_c_says_what_remains_and_the_rest_gives_the_same_table(noisy, study_file, tmp_path):
    path = study_file(
        "seeds = [0, 1, 2, 3]\n[axes.model]\nknn = { 'classical.model' = 'knn' }\n"
        "svm = { 'classical.model' = 'svm' }\n"
    )
    out = tmp_path / "r"
    code, said = stopped(command(path, noisy, out), out, "cells/*.json", signal.SIGINT)
    n_done = len(list((out / "cells").iterdir()))
    assert 1 <= n_done < 8
    assert code == 130
    text = f"interrupted: {n_done} of 8 cells are done, {8 - n_done} remain; the same command"
    assert said.splitlines()[-1].startswith(text)
    assert "Traceback" not in said
    assert start(noisy, path, out, resume=True).complete
    assert start(noisy, path, tmp_path / "whole").complete
    write_tables(Results.open(tmp_path / "whole"))
    same(out, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_every_stage_it_gives_the_same_table(noisy, study_file, tmp_path, stop):
    path = study_file(
        "folds = [0, 1]\nseeds = [0, 1]\n[tuning]\ntrials = 2\n"
        'space = { "train.learning_rate" = [2e-3, 1e-3] }\n'
    )
    assert start(noisy, path, tmp_path / "whole").complete
    write_tables(Results.open(tmp_path / "whole"))
    out = tmp_path / "stopped"
    marks = ["study.json", "work/*/run.json", "work/*/metrics.csv", "work/*/result.json"]
    marks += ["tuning/*.json", "work/*/scored.bundle/*", "parts/*.json", "cells/*.json"]
    codes = []
    for mark in marks:
        n_before = len(list(out.glob(mark)))
        code, said = stopped(command(path, noisy, out), out, mark, stop, n_before)
        codes.append(code)
        assert "Traceback" not in said, mark
    assert set(codes) == {130 if stop == signal.SIGINT else -signal.SIGKILL}
    assert start(noisy, path, out, resume=True).complete
    same(out, tmp_path / "whole")
    tuned = sorted((tmp_path / "whole" / "tuning").iterdir())
    assert [file.name for file in tuned] == sorted(f.name for f in (out / "tuning").iterdir())
    for file in tuned:
        assert file.read_text() == (out / "tuning" / file.name).read_text()


def test_every_model_leaves_the_same_development_fold_alone(noisy, study_file, tmp_path):
    path = study_file(
        "seeds = [0, 5]\nprotocols = ['official']\n[axes.model]\n"
        "knn = { 'classical.model' = 'knn' }\n"
    )
    study, manifest = load_study(path), Manifest.read(noisy / "m.csv")
    store = FeatureStore.open(noisy / "store")
    folds = [
        classical.Fold(study.spec(cell), manifest, store, "validation") for cell in study.cells
    ]
    expected = development_fold(manifest.in_split("training"), 0.2, 0)
    for fold in folds:
        assert (fold.training, fold.development) == expected


def test_the_command_says_how_far_it_came(noisy, study_file, tmp_path, fake, capsys):
    path = study_file("folds = [0]\nreference = { 'model.attention' = 'se' }\n" + TWO)
    data = ["--manifest", str(noisy / "m.csv"), "--store", str(noisy / "store")]
    out = str(tmp_path / "r")
    fake.fail = "none"
    assert command_line(["study", "run", str(path), *data, "-o", out]) == 1
    said = capsys.readouterr()
    assert f"{out}: 2 of 2 cells" in said.out
    assert "failed: attention-none--artist-kfold--seed-0: the loss is nan" in said.err
    fake.fail = ""
    part = ["-o", str(tmp_path / "part"), "--cells", "*-se-*"]
    assert command_line(["study", "run", str(path), *data, *part]) == 0
    said = capsys.readouterr().err
    assert "1 of 2 cells are done, 1 remain: those that --cells left out" in said
    assert command_line(["study", "run", str(path), *data, "-o", out, "--resume"]) == 0
    assert command_line(["study", "show", out, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out.partition("show")[2].partition("\n")[2])
    assert [cell["values"] for cell in found["cells"]] == [
        {"model.attention": "none"},
        {"model.attention": "se"},
    ]
    (gap,) = found["comparisons"]
    assert (gap["track"]["value"], gap["track"]["p"], gap["mcnemar_p"]) == (0.0, 1.0, 1.0)
    assert command_line(["compare", out, str(tmp_path / "part")]) == 2
    assert (
        f"{out}: is the folder of a study, which holds several cells, cells/<name>.json; name one "
        f"of them, {out}/cells/attention-none--artist-kfold--seed-0.json say"
    ) in capsys.readouterr().err
    assert command_line(["study", "run", str(path), *data, "-o", out, "--budget", "1"]) == 2
    assert "write it as 90m, 2h, 1h30m or 45s" in capsys.readouterr().err
