"""Bundles: what they carry, and that a changed byte is never overlooked."""

import json
import shutil

import pytest

from tsresformer.bundle import CARD, GRAPH, RECORD, WEIGHTS, Bundle, shipped_bundles, write_bundle
from tsresformer.errors import BundleError
from tsresformer.files import sha256_json

pytestmark = pytest.mark.torch


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy.bundle")


def edit(folder, **changes):
    """Change the record and make its own hash fit again."""
    record = json.loads((folder / RECORD).read_text())
    record.update(changes)
    record = {key: value for key, value in record.items() if value is not None}
    record["sha256"] = sha256_json({k: v for k, v in record.items() if k != "sha256"})
    (folder / RECORD).write_text(json.dumps(record))


def test_it_carries_all_that_inference_needs(tiny_bundle):
    bundle = Bundle.load(tiny_bundle)
    assert bundle.labels == ("ambient", "chiptune", "waltz")
    assert bundle.features.sample_rate == 16000
    assert bundle.slicing.slice_s == 1.0
    assert bundle.task == "single"
    assert bundle.temperature > 0
    assert 0 <= bundle.unsure_below <= 1
    assert bundle.record["training"]["protocol"].startswith("artist-kfold")
    assert bundle.record["cost"]["parameters"] == sum(w.numel() for w in _parameters(bundle))
    assert "artist-grouped split" in bundle.card()
    assert len(list(tiny_bundle.iterdir())) == 4


def _parameters(bundle):
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    buffers = ("normalise.mean", "normalise.scale")
    return [
        value
        for name, value in bundle.weights().items()
        if not name.endswith(statistics) and name not in buffers
    ]


@pytest.mark.parametrize("name", [RECORD, GRAPH, WEIGHTS, CARD])
def test_a_changed_byte_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        Bundle.load(copy)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, CARD])
def test_a_missing_or_truncated_file_is_refused(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match="damaged or missing"):
        Bundle.load(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError, match="damaged or missing"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "bundle format 2, this version reads 1; upgrade"),
        ({"temperature": None}, "lacks temperature"),
        ({"features": {"sample_rat": 1}}, "unknown key sample_rat"),
        ({"files": {"../../secret": "0" * 64}}, "names the files '../../secret'"),
    ],
)
def test_records_of_another_kind_are_refused(copy, changes, problem):
    edit(copy, **changes)
    with pytest.raises(BundleError, match=problem):
        Bundle.load(copy)


def test_every_file_must_be_named_with_its_hash(copy):
    record = json.loads((copy / RECORD).read_text())
    edit(copy, files={k: v for k, v in record["files"].items() if k != GRAPH})
    with pytest.raises(BundleError, match="a bundle has others"):
        Bundle.load(copy)


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"no such bundle .*'tsresformer export'"):
        Bundle.load(tmp_path)
    (tmp_path / RECORD).write_text("[]")
    with pytest.raises(BundleError, match="unreadable"):
        Bundle.load(tmp_path)


def test_an_existing_folder_is_never_overwritten(copy):
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(copy, {}, b"", b"", "")
    Bundle.load(copy)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_bundle(tmp_path / "x.bundle", {"bad": object()}, b"", b"", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", shipped_bundles())
def test_shipped_bundles_load(name):
    bundle = Bundle.load(name)
    assert bundle.name == name
    assert sum(p.stat().st_size for p in bundle.path.iterdir()) < 25e6
