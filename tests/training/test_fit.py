"""Training: it learns, repeats itself, resumes exactly, and refuses what it cannot use."""

import csv
import dataclasses
import fcntl
import json
import math
import shutil
import warnings
import zipfile

import numpy as np
import pytest
import torch

from bands import config
from tsresformer.cli import run as command_line
from tsresformer.errors import BundleError, ConfigError, SplitError, StoreError, TrainingError
from tsresformer.export import export
from tsresformer.files import write_sealed
from tsresformer.manifest import Manifest
from tsresformer.splits import OWN_SPLIT, split
from tsresformer.training import fit as fit_module
from tsresformer.training import module
from tsresformer.training.data import SliceBatches
from tsresformer.training.fit import fit
from tsresformer.training.module import rate_factor
from tsresformer.training.run import Run, read_checkpoint

pytestmark = pytest.mark.torch


def weights(run):
    return {name: value.numpy() for name, value in run.weights().items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def test_it_learns_and_leaves_a_complete_run(bands, tmp_path):
    run = fit(config("train.epochs=8"), *bands, tmp_path / "run", progress=False)
    assert run.result["dev_score"] == 1.0
    names = {path.name for path in run.folder.iterdir()}
    tables = {"metrics.csv", "left_out.csv"}
    files = {".lock", "run.json", "result.json", "best.ckpt", "last.ckpt", "tensorboard"}
    assert names == files | tables
    assert list((run.folder / "tensorboard").glob("events*"))
    with open(run.folder / "metrics.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(8))
    held_out = set(run.record["development_tracks"])
    groups = {t.track_id: t.group for t in bands[0].tracks}
    training = {groups[t] for t in run.record["training_tracks"]}
    assert held_out
    assert training.isdisjoint(groups[t] for t in held_out)
    tests = {t.track_id for t in bands[0].tracks if t.split == "test"}
    assert tests.isdisjoint(held_out | set(run.record["training_tracks"]))


def test_audio_that_is_not_learned_from_is_listed(bands, tmp_path):
    def left_out(name, *overrides):
        run = fit(config("train.epochs=1", *overrides), *bands, tmp_path / name, progress=False)
        with open(run.folder / "left_out.csv", newline="") as file:
            return run, list(csv.DictReader(file))

    run, rows = left_out("a", "slicing.slice_s=2.5")
    expected = [
        (t, "last slice", "1.00 s do not fill a slice") for t in run.record["training_tracks"]
    ]
    assert [tuple(row.values()) for row in rows] == expected
    assert left_out("b")[1] == []
    assert left_out("c", "slicing.slice_s=2.5", "slicing.windows=random")[1] == []
    assert run.n_left_out == len(rows)
    run, rows = left_out("d", "slicing.slice_s=7.0")
    assert {(row["what"], row["reason"]) for row in rows} == {
        ("short", "6.00 s are repeated to fill a slice")
    }
    assert run.n_left_out == 0


def test_checkpoints_hold_tensors_and_plain_types(bands, tmp_path):
    run = fit(config("train.epochs=1"), *bands, tmp_path / "run", progress=False)
    for path in (run.last, run.best):
        torch.load(path, weights_only=True)


def test_same_seed_same_numbers_and_another_seed_others(bands, tmp_path):
    one, two = (fit(config(), *bands, tmp_path / n, progress=False) for n in ("1", "2"))
    assert_same(weights(one), weights(two))
    other = fit(config("seed=1"), *bands, tmp_path / "3", progress=False)
    assert not np.array_equal(weights(one)["head.weight"], weights(other)["head.weight"])


@pytest.mark.parametrize("averaging", ["ema", "swa", "none"])
def test_an_interrupted_run_resumes_to_the_same_weights(bands, tmp_path, monkeypatch, averaging):
    settings = config(f"train.averaging={averaging}", "slicing.windows=random")
    whole = fit(settings, *bands, tmp_path / "whole", progress=False)
    step = fit_module.GenreModule.training_step

    def killed(self, batch, number):
        if self.current_epoch == 2 and number == 1:
            raise MemoryError
        return step(self, batch, number)

    monkeypatch.setattr(fit_module.GenreModule, "training_step", killed)
    with pytest.raises(MemoryError):
        fit(settings, *bands, tmp_path / "cut", progress=False)
    monkeypatch.setattr(fit_module.GenreModule, "training_step", step)
    assert not Run.load(tmp_path / "cut").finished
    resumed = fit(settings, *bands, tmp_path / "cut", resume=True, progress=False)
    assert [row["epoch"] for row in resumed.history()] == [0, 1, 2, 3]
    for row, expected in zip(resumed.history(), whole.history(), strict=True):
        del row["seconds"], expected["seconds"]
        assert row == expected
    assert_same(weights(resumed), weights(whole))


def test_resume_of_what_is_finished_or_new_is_no_error(bands, tmp_path):
    run = fit(config("train.epochs=1"), *bands, tmp_path / "r", resume=True, progress=False)
    before = run.best.stat().st_mtime_ns
    fit(config("train.epochs=1"), *bands, tmp_path / "r", resume=True, progress=False)
    assert run.best.stat().st_mtime_ns == before


def test_runs_are_not_overwritten_nor_resumed_as_another(bands, tmp_path):
    fit(config("train.epochs=1"), *bands, tmp_path / "r", progress=False)
    with pytest.raises(TrainingError, match="add --resume"):
        fit(config("train.epochs=1"), *bands, tmp_path / "r", progress=False)
    with pytest.raises(TrainingError, match=r"configuration \(train.epochs\)"):
        fit(config("train.epochs=2"), *bands, tmp_path / "r", resume=True, progress=False)


def test_micro_batches_change_nothing_that_batch_norm_does_not(bands, tmp_path, monkeypatch):
    def frozen(norm, x):
        statistics = norm.running_mean, norm.running_var
        return torch.nn.functional.batch_norm(x, *statistics, norm.weight, norm.bias)

    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", frozen)
    settings = config("model.encoder_dropout=0.0", "model.head_dropout=0.0", "train.epochs=2")
    whole = fit(settings, *bands, tmp_path / "8", progress=False)
    monkeypatch.setattr(fit_module, "micro_batch", lambda network, training: 2)
    parts = fit(settings, *bands, tmp_path / "2", progress=False)
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], value, atol=1e-5, err_msg=name)


def test_a_loss_that_is_no_number_stops_with_the_batch_named(bands, tmp_path):
    broken = config(
        "train.learning_rate=1e30", "train.clip_norm=1e30", "train.warmup_fraction=0.01"
    )
    message = r"the loss is (nan|inf) in epoch 1, batch \d+ \(tracks (t\d+, )+\.\.\.\)"
    with warnings.catch_warnings(), pytest.raises(TrainingError, match=message) as stop:
        warnings.filterwarnings("error", message="Converting a tensor")
        fit(broken, *bands, tmp_path / "r", progress=False)
    named = [word for word in str(stop.value).replace("(tracks ", "").split(", ") if word[0] == "t"]
    assert len(named) == len(set(named))
    # No epoch was finished, so nothing is lost by another configuration in the same folder.
    assert fit(config("train.epochs=1"), *bands, tmp_path / "r", progress=False).finished


def test_early_stopping(bands, tmp_path):
    settings = config("train.epochs=30", "train.patience=2", "train.learning_rate=1e-9")
    run = fit(settings, *bands, tmp_path / "r", progress=False)
    assert run.result["epochs"] < 30


def test_multi_label(bands, tmp_path):
    manifest, store = bands
    both = [
        dataclasses.replace(t, label=t.label + "|x" if i % 2 else t.label)
        for i, t in enumerate(manifest.tracks)
    ]
    with pytest.raises(TrainingError, match='task = "single" needs exactly one'):
        fit(config(), manifest.replace(both), store, tmp_path / "a", progress=False)
    settings = config('task="multi"', "train.epochs=2")
    run = fit(settings, manifest.replace(both), store, tmp_path / "b", progress=False)
    assert run.record["labels"] == ["a", "b", "c", "x"]
    assert 0 < run.result["dev_score"] <= 1


def test_class_weights_even_out_rare_classes():
    targets = np.repeat(np.eye(2, dtype=np.float32), [30, 10], axis=0)
    weights = fit_module._class_weights(targets, config("train.class_weights=true"))
    assert weights.tolist() == pytest.approx([0.5, 1.5])


def test_fine_tuning_starts_from_the_bundle(bands, tmp_path):
    manifest, store = bands
    run = fit(config("train.epochs=8"), *bands, tmp_path / "r", progress=False)
    bundle = export(run, tmp_path / "a.bundle")
    renamed = manifest.replace(
        dataclasses.replace(t, label={"a": "k", "b": "l", "c": "m"}[t.label])
        for t in manifest.tracks
    )
    frozen = config("train.epochs=1", "train.learning_rate=1e-12", "train.averaging=none")
    tuned = fit(frozen, renamed, store, tmp_path / "t", init=bundle.path, progress=False)
    assert tuned.record["labels"] == ["k", "l", "m"]
    kept, old = weights(tuned), weights(run)
    body = "left.blocks.0.body.0.weight"
    np.testing.assert_allclose(kept[body], old[body], atol=1e-6)
    assert not np.allclose(kept["head.weight"], old["head.weight"])
    second = export(tuned, tmp_path / "b.bundle", manifest=renamed)
    origin = second.record["training"]["init"]
    assert (origin["name"], origin["sha256"]) == (bundle.name, bundle.hash)
    assert f"| fine-tuned from | a (sha256 {bundle.hash[:12]}), trained on " in second.card()
    with pytest.raises(TrainingError, match="bundle to start from"):
        fit(frozen, renamed, store, tmp_path / "t", init=second.path, resume=True, progress=False)
    same = fit(frozen, *bands, tmp_path / "s", init=bundle.path, progress=False)
    np.testing.assert_allclose(weights(same)["head.weight"], old["head.weight"], atol=1e-6)


def test_slices_of_the_leaky_protocol_are_divided_not_the_tracks(bands):
    manifest, store = bands
    leaky = split(manifest, "slice", seed=3)
    all_slices = SliceBatches(
        store, manifest, manifest.tracks, "abc", config(), micro_batch=8, training=False
    )
    part = SliceBatches(store, leaky, leaky.tracks, "abc", config(), micro_batch=8, training=False)
    assert set(part._slices) < set(all_slices._slices)
    assert len({i for i, _ in part._slices}) > 40  # nearly all tracks are on both sides
    assert 0.65 < len(part._slices) / len(all_slices._slices) < 0.95
    with pytest.raises(ConfigError, match="has no fixed slices"):
        SliceBatches(
            store,
            leaky,
            leaky.tracks,
            "abc",
            config("slicing.windows=random"),
            micro_batch=8,
            training=True,
        )


def test_random_windows_move_with_the_epoch_only(bands):
    manifest, store = bands
    data = SliceBatches(
        store,
        manifest,
        manifest.tracks,
        "abc",
        config("slicing.windows=random"),
        micro_batch=8,
        training=True,
    )
    first = sorted(data._epoch_items(0))
    assert first == sorted(data._epoch_items(0))
    assert first != sorted(data._epoch_items(1))
    assert len(first) == 48


def test_what_cannot_be_trained_on_is_refused(bands, tmp_path):
    manifest, store = bands

    def attempt(tracks, *overrides):
        fit(config(*overrides), manifest.replace(tracks), store, tmp_path / "r", progress=False)

    crossing = [dataclasses.replace(t, group="same", protocol="official") for t in manifest.tracks]
    with pytest.raises(SplitError, match="same"):
        attempt(crossing)
    with pytest.raises(TrainingError, match="no usable track in the training split"):
        attempt([dataclasses.replace(t, split="test") for t in manifest.tracks])
    with pytest.raises(TrainingError, match="do not fill one batch of 512"):
        attempt(manifest.tracks, "train.batch_size=512")
    with pytest.raises(StoreError, match="built for another manifest"):
        attempt([dataclasses.replace(t, track_id=f"n{t.track_id}") for t in manifest.tracks])
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_schedules_rise_and_fall(schedule):
    rates = [rate_factor(p / 100, schedule, 0.3) for p in range(101)]
    assert max(rates) == rates[30] == pytest.approx(1)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] == pytest.approx(1e-3)
    assert math.isclose(rates[0], 0.04 if schedule == "one_cycle" else 0.0)


@pytest.fixture(scope="module")
def short_run(bands, tmp_path_factory):
    return fit(config("train.epochs=1"), *bands, tmp_path_factory.mktemp("s") / "r", progress=False)


def test_a_run_is_not_resumed_with_other_labels_splits_or_groups(bands, short_run):
    manifest, store = bands
    first = manifest.tracks[0]
    for change in ({"label": "b"}, {"split": ""}, {"group": "another"}):
        other = manifest.replace([dataclasses.replace(first, **change), *manifest.tracks[1:]])
        with pytest.raises(TrainingError, match="labels, splits or groups of the manifest"):
            fit(config("train.epochs=1"), other, store, short_run.folder, resume=True)
        with pytest.raises(BundleError, match="are not those that"):
            export(short_run, short_run.folder / "b", manifest=other)


def test_a_moved_and_resumed_run_ships_the_epoch_of_an_uninterrupted_one(
    bands, tmp_path, monkeypatch
):
    # The second epoch is the best by less than float32 holds of score - 1e-5 * loss.
    scores = [(0.9, 0.5), (0.9, 0.4999), (0.8, 0.1), (0.9, 0.4999)]
    original = module.development_score
    monkeypatch.setattr(
        module,
        "development_score",
        lambda *given: (original(*given), next(planned))[1],
    )
    step = module.GenreModule.training_step

    def killed(self, batch, number):
        if self.current_epoch == 2:
            raise MemoryError
        return step(self, batch, number)

    planned = iter(scores)
    whole = fit(config(), *bands, tmp_path / "whole", progress=False)
    assert whole.result["best_epoch"] == 1
    assert torch.load(whole.best, weights_only=True)["epoch"] == 1
    planned = iter(scores)
    monkeypatch.setattr(module.GenreModule, "training_step", killed)
    with pytest.raises(MemoryError):
        fit(config(), *bands, tmp_path / "cut", progress=False)
    monkeypatch.setattr(module.GenreModule, "training_step", step)
    shutil.move(tmp_path / "cut", tmp_path / "moved")
    moved = fit(config(), *bands, tmp_path / "moved", resume=True, progress=False)
    assert moved.result["best_epoch"] == 1
    assert_same(weights(moved), weights(whole))


def test_rows_with_a_status_are_listed_as_left_out(bands):
    manifest, store = bands
    changes = [
        {"status": "missing", "error": "no such file", "split": ""},
        {"status": "silent", "error": "is silent", "split": "", "extra": {OWN_SPLIT: "test"}},
        {"status": "silent", "error": "is silent"},
        {"label": ""},
    ]
    tracks = list(manifest.tracks)
    for i, change in enumerate(changes):
        tracks[i] = dataclasses.replace(tracks[i], **change)
    assert fit_module._plan(config(), manifest.replace(tracks), store, None, []).left_out == [
        ("t00", "missing", "no such file"),
        ("t02", "silent", "is silent"),
        ("t03", "unlabelled", "the row has no label"),
    ]


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt", "result.json", "run.json"])
def test_a_damaged_run_is_named(bands, short_run, tmp_path, name):
    run = Run(shutil.copytree(short_run.folder, tmp_path / "r"), short_run.record)
    path = run.folder / name
    if name == "run.json":
        path.write_text('{"format": 1}')
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if name == "last.ckpt":
        (run.folder / "result.json").unlink()
    use = {
        "best.ckpt": run.weights,
        "last.ckpt": lambda: fit(config("train.epochs=1"), *bands, run.folder, resume=True),
        "result.json": lambda: run.result,
        "run.json": lambda: Run.load(run.folder),
    }
    with pytest.raises(TrainingError, match=rf"{name}: .*(train again|writes it anew)"):
        use[name]()


def test_weights_that_a_checkpoint_calls_a_folder_are_read_all_the_same(short_run, tmp_path):
    known = read_checkpoint(short_run.last)["state_dict"]
    damaged = bytearray(short_run.last.read_bytes())
    with zipfile.ZipFile(short_run.last) as archive:
        place = archive.start_dir
        for entry in archive.infolist():
            if "/data/" in entry.filename:
                damaged[place + 38] ^= 0x10  # PyTorch then leaves its memory as it was
            place += 46 + len(entry.filename) + len(entry.extra)
    path = tmp_path / "last.ckpt"
    path.write_bytes(damaged)
    found = read_checkpoint(path)["state_dict"]
    assert all(torch.equal(found[name], tensor) for name, tensor in known.items())


def test_the_weights_of_another_run_are_refused(bands, short_run, tmp_path):
    other = fit(config("seed=7", "train.epochs=1"), *bands, tmp_path / "other", progress=False)
    run = Run(shutil.copytree(short_run.folder, tmp_path / "r"), short_run.record)
    shutil.copy(other.best, run.best)
    with pytest.raises(TrainingError, match=r"best\.ckpt: damaged, or of another run"):
        export(run, tmp_path / "x.bundle", manifest=bands[0], store=bands[1])
    ending = {key: run.result[key] for key in ("dev_score", "best_epoch", "epochs", "seconds")}
    write_sealed(run.folder / "result.json", ending)  # as older versions did
    assert_same(weights(run), weights(other))
    (run.folder / "result.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"result\.json: damaged"):
        run.weights()


def test_a_large_seed_is_one(bands, tmp_path):
    assert fit(
        config("seed=5000000000", "train.epochs=1"), *bands, tmp_path / "r", progress=False
    ).finished


def test_a_resumed_run_keeps_its_micro_batch(bands, short_run, tmp_path, monkeypatch):
    folder = shutil.copytree(short_run.folder, tmp_path / "r")
    for name in ("result.json", "last.ckpt"):
        (folder / name).unlink()
    monkeypatch.setattr(fit_module, "micro_batch", lambda network, training: 2)
    run = fit(config("train.epochs=1"), *bands, folder, resume=True, progress=False)
    assert run.record["micro_batch"] == 8
    assert_same(weights(run), weights(short_run))


def test_one_process_trains_a_run(bands, tmp_path):
    (tmp_path / ".lock").touch()
    with open(tmp_path / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process is training this run"):
            fit(config(), *bands, tmp_path, progress=False)


def test_the_command_takes_the_slicing_of_the_bundle_and_counts(
    tiny_bundle, tiny_run, tmp_path, capsys
):
    command = ["train", "--manifest", str(tiny_run / "m.csv"), "--store", str(tiny_run / "store")]
    command += ["--init", str(tiny_bundle), "--set", "train.epochs=1"]
    command += ["--set", "train.batch_size=8", "--set", "train.dev_fraction=0.3"]
    assert command_line([*command, "-o", str(tmp_path / "a")]) == 0
    run = Run.load(tmp_path / "a")
    assert run.config.slicing.slice_s == 1.0
    out = capsys.readouterr().out
    assert "best epoch 1," in out
    assert ("not learned from: " in out) == bool(run.n_left_out)
    assert command_line([*command, "-o", str(tmp_path / "b"), "--set", "slicing.slice_s=0.9"]) == 0
    assert Run.load(tmp_path / "b").config.slicing.slice_s == 0.9
    n = Run.load(tmp_path / "b").n_left_out
    assert n and f"not learned from: {n} rows of " in capsys.readouterr().out


def test_the_command_warns_of_a_leaking_protocol(tiny_run, tmp_path, capsys):
    manifest = Manifest.read(tiny_run / "m.csv")
    split(manifest, "slice").write(tmp_path / "m.csv")
    record = json.loads((tiny_run / "run" / "run.json").read_text())
    command = ["train", "--manifest", str(tmp_path / "m.csv"), "--store", str(tiny_run / "store")]
    tiny = {**record["config"]["model"], "n_layers": 1}
    sets = [f"model.{k}={json.dumps(v)}" for k, v in tiny.items()]
    sets += ["slicing.slice_s=1.0", "train.epochs=1", "train.batch_size=8"]
    sets += ["train.dev_fraction=0.3"]
    for text in sets:
        command += ["--set", text]
    assert command_line([*command, "-o", str(tmp_path / "r")]) == 0
    assert "TRACKS LEAK" in capsys.readouterr().err
    assert command_line(["export", str(tmp_path / "r"), "-o", str(tmp_path / "b")]) == 0
    assert "TRACKS LEAK" in capsys.readouterr().err


def test_a_store_with_a_changed_byte_is_refused(bands, tmp_path):
    manifest, store = bands
    damaged = shutil.copytree(store.folder, tmp_path / "store")
    path = damaged / "shard-00000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=r"shard-00000\.npy: damaged or missing"):
        fit(config(), manifest, damaged, tmp_path / "r", progress=False)


def test_a_small_set_is_repeated_within_an_epoch_and_drawn_anew(bands):
    plan = fit_module._plan(
        config("train.epoch_slices=100", 'slicing.windows="random"'), *bands, None, []
    )
    n_tracks = len(plan.training.tracks)
    repeats = round(100 / n_tracks)
    assert repeats > 2
    assert len(plan.training) == n_tracks * repeats // 8
    windows = {}
    for batch in plan.training:
        for track, log_mel, shift in zip(
            batch.track.tolist(), batch.log_mel, batch.draws["gain_db"], strict=True
        ):
            windows.setdefault(track, []).append((log_mel.sum().item(), shift[0].item()))
    assert max(len(seen) for seen in windows.values()) == repeats
    assert all(len({gain for _, gain in seen}) == len(seen) for seen in windows.values())
    several = [{total for total, _ in seen} for seen in windows.values() if len(seen) > 2]
    assert sum(len(totals) > 1 for totals in several) > 0.9 * len(several)
