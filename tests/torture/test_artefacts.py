"""Every kind of file that is written, damaged: refused with its name, or read as it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from fake_classifier import case
from mutants import cut, flipped, mutated
from tsresformer.bundle import Bundle
from tsresformer.catalogue import run as catalogue
from tsresformer.catalogue.job import Job
from tsresformer.compare import Side
from tsresformer.errors import TsResformerError
from tsresformer.evaluation import evaluate
from tsresformer.files import sealed
from tsresformer.store import FeatureStore

pytestmark = [pytest.mark.torch, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Artefact:
    """A folder that is whole, the files in it to damage, and what reading the folder gives."""

    home: Path
    files: tuple[str, ...]
    read: Callable[[Path], object]


def read_store(home: Path) -> object:
    store = FeatureStore.open(home)
    store.verify()
    return store.features, store.key, [store.log_mel(t).tobytes() for t in store.tracks]


def read_run(home: Path) -> object:
    from tsresformer.training.run import Run, read_checkpoint

    run = Run.load(home)
    states = [run.weights(), read_checkpoint(run.last)["state_dict"]]
    weights = [{k: v.numpy().tobytes() for k, v in state.items()} for state in states]
    return run.record, run.result, weights


def read_bundle(home: Path) -> object:
    bundle = Bundle.load(home)
    weights = {name: value.numpy().tobytes() for name, value in bundle.weights().items()}
    return bundle.record, bundle.card(), bundle.graph.read_bytes(), weights


def read_study(home: Path) -> object:
    from tsresformer.studies.results import Results
    from tsresformer.studies.runner import _chosen

    results = Results.open(home)
    scores, facts = results.part(CELL, FOLD)
    said = [results.predictions(cell["cell"]) for cell in results.cells()]
    chosen = _chosen(home / "tuning" / "a.fold-0.json")
    return results.record, results.cells(), said, scores.slices.tobytes(), facts, chosen


CELL = SimpleNamespace(name="a", values=(), protocol="official", seed=0)
FOLD = SimpleNamespace(fold=0)


def make_study(home: Path) -> None:
    from tsresformer.files import write_sealed
    from tsresformer.studies.plan import load_study
    from tsresformer.studies.results import FORMAT, Results
    from tsresformer.studies.scores import Scores

    result = evaluate(*case(12, n_groups=4), n_bootstrap=10)
    record = {**load_study("attention").record(), "manifest_rows": "", "store_key": ""}
    results = Results.begin(home, {**record, "cells": ["a"]}, resume=False)
    results.write_cell(CELL, {"train_s": 1.5}, result)
    results.write_part(CELL, FOLD, Scores.of(result), {"train_s": 1.5})
    record = {"format": FORMAT, "trials": [], "chosen": {"train.learning_rate": 0.1}}
    write_sealed(home / "tuning" / "a.fold-0.json", record)


def read_catalogue(home: Path) -> object:
    job = Job.open(str(home))
    rows = [job.rows(part) for part in range(job.record.n_parts)]
    return job.record, rows, catalogue.status(str(home)).as_json()["status"]


@pytest.fixture(scope="module")
def artefacts(tiny_music, tiny_run, tiny_bundle, tmp_path_factory) -> dict[str, Artefact]:
    home = tmp_path_factory.mktemp("artefacts")
    evaluate(*case(12, n_groups=4), out=home / "report", n_bootstrap=10)
    make_study(home / "study")
    music = next(path for path in sorted(tiny_music.iterdir()) if path.is_dir())
    catalogue.run(str(music), str(home / "catalogue"), str(tiny_bundle), engine="local")
    study = "study.json cells/a.json predictions/a.csv tuning/a.fold-0.json parts/a.fold-0.json"
    return {
        "store": Artefact(
            tiny_run / "store", ("store.json", "shard-00000.json", "shard-00000.npy"), read_store
        ),
        "run": Artefact(
            tiny_run / "run", ("run.json", "result.json", "best.ckpt", "last.ckpt"), read_run
        ),
        "bundle": Artefact(
            tiny_bundle,
            ("bundle.json", "model.onnx", "model.safetensors", "README.md"),
            read_bundle,
        ),
        "report": Artefact(home / "report", ("metrics.json", "predictions.csv"), Side.read),
        "study": Artefact(home / "study", (*study.split(), "parts/a.fold-0.npz"), read_study),
        "catalogue": Artefact(
            home / "catalogue",
            ("catalogue.json", "listing/000000.parquet", "parts/00000000.parquet"),
            read_catalogue,
        ),
    }


REMEDY = r"; .*\b(again|delete|resume|resumes|name|rebuild|upgrade)\b"
"""What a message says after what is wrong: what to do about it."""

KINDS = ("store", "run", "bundle", "report", "study", "catalogue")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_harmless(kind, artefacts, torture, tmp_path):
    artefact, generator = artefacts[kind], torture.random(f"artefacts {kind}")
    copy = shutil.copytree(artefact.home, tmp_path / "copy")
    whole = artefact.read(copy)
    for name in artefact.files:
        path, refused = copy / name, 0
        content = path.read_bytes()
        for n in range(torture.amount(6, 300, 3000)):
            damaged = (cut if n % 3 == 2 else flipped)(content, generator)
            path.write_bytes(damaged)
            torture.counts[f"damaged files of a {kind}"] += 1
            try:
                found = artefact.read(copy)
            except TsResformerError as error:
                # Scores are vouched for by the JSON beside them.
                assert path.stem in str(error), error
                assert re.search(REMEDY, str(error)), error
                refused += 1
            else:
                assert found == whole, (name, n, damaged)
        path.write_bytes(content)
        assert refused, name
    assert artefact.read(copy) == whole


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("store", "store.json"),
        ("run", "run.json"),
        ("bundle", "bundle.json"),
        ("study", "study.json"),
        ("study", "cells/a.json"),
        ("catalogue", "catalogue.json"),
    ],
)
def test_a_future_version_is_refused(kind, name, artefacts, tmp_path):
    copy = shutil.copytree(artefacts[kind].home, tmp_path / "copy")
    record = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps(sealed({**record, "format": 99})))
    with pytest.raises(TsResformerError, match=f"format 99.*{REMEDY}"):
        artefacts[kind].read(copy)


# Code in data


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(legacy, artefacts, tmp_path, run):
    import torch

    copy = shutil.copytree(artefacts["run"].home, tmp_path / "run")
    mark = tmp_path / "pwned"
    for name in ("best.ckpt", "last.ckpt"):
        state = {"state_dict": {}, "bomb": Bomb(mark)}
        torch.save(state, copy / name, _use_new_zipfile_serialization=not legacy)
    code, _, err = run("export", copy, "-o", tmp_path / "x.bundle")
    assert (code, mark.exists()) == (2, False)
    assert "best.ckpt: damaged" in err
    (copy / "result.json").unlink()
    record = json.loads((copy / "run.json").read_text())
    data = ["--manifest", record["manifest"], "--store", record["store"]]
    settings = [part for text in (*tiny.SETTINGS, "train.epochs=40") for part in ("--set", text)]
    code, _, err = run("train", *data, *settings, "--resume", "-o", copy)
    assert (code, mark.exists()) == (2, False)
    assert "last.ckpt: damaged" in err
    torch.load(copy / "best.ckpt", weights_only=False)  # it would have been run
    assert mark.exists()


def test_code_in_an_array_is_not_run(artefacts, tmp_path):
    from tsresformer.studies.results import Results
    from tsresformer.studies.scores import Scores

    bomb = np.array([Bomb(tmp_path / "pwned")], dtype=object)
    store = shutil.copytree(artefacts["store"].home, tmp_path / "store")
    np.save(store / "shard-00000.npy", bomb, allow_pickle=True)
    opened = FeatureStore.open(store)
    with pytest.raises(TsResformerError, match=r"shard-00000\.npy: damaged"):
        opened.log_mel(next(iter(opened.tracks)))
    study = shutil.copytree(artefacts["study"].home, tmp_path / "study")
    np.savez(study / "parts" / "a.fold-0.npz", labels=bomb)
    with pytest.raises(TsResformerError, match="scores are damaged"):
        Results.open(study).part(CELL, FOLD)
    with pytest.raises(TsResformerError, match=r"a\.fold-0\.npz: damaged"):
        Scores.read(study / "parts" / "a.fold-0.npz")
    assert not (tmp_path / "pwned").exists()


def replaced(home: Path, name: str, content: bytes) -> Path:
    """A bundle with another file, whose hashes fit: as somebody with bad intentions writes it."""
    (home / name).write_bytes(content)
    record = json.loads((home / "bundle.json").read_text())
    record["files"][name] = hashlib.sha256(content).hexdigest()
    (home / "bundle.json").write_text(json.dumps(sealed(record)))
    return home


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        b"",
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}'
        + bytes(8),
    ],
    ids=["header of 8 EB", "header of 1 TB", "empty", "no table", "a lie"],
)
def test_weights_that_lie_are_refused(content, artefacts, tmp_path):
    copy = shutil.copytree(artefacts["bundle"].home, tmp_path / "x.bundle")
    bundle = Bundle.load(replaced(copy, "model.safetensors", content))
    with pytest.raises(TsResformerError, match=r"model\.safetensors: not loadable"):
        bundle.weights()


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "secret.bin"])
def test_a_graph_that_reads_elsewhere_is_refused(location, artefacts, tmp_path):
    import onnx

    from tsresformer.classifier import Classifier

    copy = shutil.copytree(artefacts["bundle"].home, tmp_path / "x.bundle")
    model = onnx.load(copy / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    (tmp_path / "secret.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(TsResformerError, match=r"model\.onnx: keeps weights in other files"):
        Classifier.load(replaced(copy, "model.onnx", model.SerializeToString()))


def test_graphs_that_are_damaged_are_refused(artefacts, torture, tmp_path):
    from tsresformer.classifier import Classifier

    copy = shutil.copytree(artefacts["bundle"].home, tmp_path / "x.bundle")
    content, generator = (copy / "model.onnx").read_bytes(), torture.random("graphs")
    n_refused = 0
    for _ in range(n := torture.amount(20, 300, 3000)):
        damaged = mutated(content[:4000], [content], generator) + content[4000:]
        replaced(copy, "model.onnx", damaged)
        try:
            Classifier.load(copy)
        except TsResformerError as error:
            assert "model.onnx" in str(error)
            n_refused += 1
    torture.counts["damaged graphs with hashes that fit"] += n
    assert n_refused > n // 5
