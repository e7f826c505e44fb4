"""Bundles: what they carry, and that a changed byte is never overlooked."""

import json
import shutil

import pytest

from tsresformer.bundle import CARD, GRAPH, RECORD, WEIGHTS, Bundle, shipped_bundles, write_bundle
from tsresformer.errors import BundleError
from tsresformer.files import sha256_file, sha256_json

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
        ({"features": 3}, r"bundle\.json: features = 3: is a section"),
        ({"model": "x"}, "model = 'x': is a section"),
        ({"slicing": {"self": 1}}, "slicing: unknown key self"),
        ({"slicing": {"slice_hop_s": 0}}, "slice_hop_s = 0"),
        ({"slicing": {"slice_hop_s": 1e-9}}, "slice_hop_s = 1e-09 is below one frame"),
        ({"slicing": {"slice_s": 0.01}}, "slice_s = 0.01 is 0 frames"),
        ({"labels": []}, r"bundle\.json: labels = \[\]"),
        ({"labels": ["a", "b", "a"]}, "labels has 'a' twice"),
        ({"labels": ["a", "", "b"]}, r"labels\.1 = ''"),
        ({"labels": "abc"}, "labels = 'abc'"),
        ({"labels": ["a", 2]}, r"labels\.1 = 2"),
        ({"task": "both"}, "task = 'both'"),
        ({"temperature": 0}, "temperature = 0"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"temperature": "warm"}, "temperature = 'warm'"),
        ({"unsure_below": 1.5}, r"unsure_below = 1\.5"),
        ({"training": []}, r"training = \[\]"),
        ({"files": [GRAPH, WEIGHTS, CARD]}, "files = "),
        ({"files": {GRAPH: 1, WEIGHTS: 2, CARD: 3}}, r"files\.model\.onnx = 1"),
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
    with pytest.raises(BundleError, match="a bundle has others; export it again"):
        Bundle.load(copy)


def test_a_graph_that_reads_other_files_is_refused(copy):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(copy / GRAPH)
    onnx.save(
        model,
        copy / GRAPH,
        save_as_external_data=True,
        location="secret.bin",
        size_threshold=0,
    )
    files = {name: sha256_file(copy / name) for name in (GRAPH, WEIGHTS, CARD)}
    edit(copy, files=files)
    with pytest.raises(BundleError, match=r"model\.onnx: keeps weights in other files"):
        Bundle.load(copy)


@pytest.mark.parametrize("text", ['{"format": 1, "name": "\\ud800"}', "[" * 100_000])
def test_a_record_that_is_no_sane_json_is_refused(tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json: (unreadable|lacks)"):
        Bundle.load(tmp_path)


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
