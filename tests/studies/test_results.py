"""The records of a study's folder, of this version and of a future one."""

import json
from types import SimpleNamespace

import pytest

from fake_classifier import case
from tsresformer.compare import Side
from tsresformer.errors import ManifestError, StudyError
from tsresformer.evaluation import evaluate
from tsresformer.files import write_sealed
from tsresformer.studies.plan import load_study
from tsresformer.studies.results import FORMAT, Results
from tsresformer.studies.runner import _chosen
from tsresformer.studies.scores import Scores

CELL = SimpleNamespace(name="a", values=(), protocol="official", seed=0)
FOLD = SimpleNamespace(fold=0)

READERS = {
    "study.json": Results.open,
    "cells/a.json": lambda home: Results.open(home).cell("a"),
    "parts/a.fold-0.json": lambda home: Results.open(home).part(CELL, FOLD),
    "tuning/a.json": lambda home: _chosen(home / "tuning" / "a.json"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_record_of_a_future_version_is_refused(tmp_path, name):
    record = {**load_study("attention").record(), "manifest_rows": "", "store_key": ""}
    results = Results.begin(tmp_path, {**record, "cells": ["a"]}, resume=False)
    scored = evaluate(*case(12, n_groups=4), n_bootstrap=10)
    results.write_cell(CELL, {}, scored)
    results.write_part(CELL, FOLD, Scores.of(scored), {})
    write_sealed(tmp_path / "tuning" / "a.json", {"format": FORMAT, "chosen": {}})
    assert READERS[name](tmp_path) is not None
    write_sealed(tmp_path / name, {**json.loads((tmp_path / name).read_text()), "format": 99})
    with pytest.raises(StudyError, match=f"{name}: format 99 is not known .*; upgrade"):
        READERS[name](tmp_path)
    if name == "cells/a.json":
        with pytest.raises(ManifestError, match=f"{name}: format 99 is not known .*; upgrade"):
            Side.read(tmp_path / name)
