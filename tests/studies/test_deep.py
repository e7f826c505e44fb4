"""Trainings of a study's networks: what becomes of one that was interrupted."""

import shutil

import pytest
import torch

from studies_of import TINY
from tsresformer.config import load_config
from tsresformer.manifest import Manifest
from tsresformer.store import FeatureStore
from tsresformer.studies import deep
from tsresformer.training import memory
from tsresformer.training.module import GenreModule
from tsresformer.training.run import Run, processor

pytestmark = pytest.mark.torch

SETTINGS = [f"{key}={value!r}" for key, value in TINY.items()]


def test_a_training_whose_files_have_moved_begins_anew(noisy, tmp_path, monkeypatch):
    config = load_config("ts_resformer", SETTINGS)
    manifest, store = Manifest.read(noisy / "m.csv"), FeatureStore.open(noisy / "store")
    step = GenreModule.training_step

    def killed(self, batch, number):
        if self.current_epoch == 1:
            raise MemoryError
        return step(self, batch, number)

    monkeypatch.setattr(GenreModule, "training_step", killed)
    with pytest.raises(MemoryError):
        deep.train(config, manifest, store, tmp_path / "work")
    monkeypatch.setattr(GenreModule, "training_step", step)
    (begun,) = (tmp_path / "work").iterdir()
    assert len(Run.load(begun).history()) == 1

    (tmp_path / "moved").mkdir()
    for name in ("m.csv", "x.npy"):
        shutil.copy(noisy / name, tmp_path / "moved" / name)
    moved = Manifest.read(tmp_path / "moved" / "m.csv")
    run = Run.load(deep.train(config, moved, store, tmp_path / "work"))
    assert run.finished
    assert len(run.history()) == TINY["train.epochs"]
    assert run.record["manifest_key"] == moved.key() != manifest.key()


def test_a_cell_knows_how_and_by_what_it_was_trained(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1e3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    manifest, store = Manifest.read(noisy / "m.csv"), FeatureStore.open(noisy / "store")
    config = load_config("ts_resformer", [*SETTINGS, "train.epochs=1"])
    folder = deep.train(config, manifest, store, tmp_path / "work")
    _, facts = deep.score(folder, manifest, store, "validation", n_workers=1)
    assert facts["micro_batch"] == 2
    assert facts["processor"] == processor() != ""
    assert torch.cuda.is_available() or facts["processor"].endswith(" with 1 thread")
