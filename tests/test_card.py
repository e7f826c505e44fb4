"""The model card, and its evaluation, which must be of the very bundle."""

import json

import pytest

from tsresformer.bundle import GRAPH, Bundle
from tsresformer.card import publish
from tsresformer.errors import BundleError
from tsresformer.evaluation import evaluate
from tsresformer.files import write_sealed
from tsresformer.manifest import Manifest

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def report(tiny_run, tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "report"
    evaluate(tiny_bundle, tiny_run / "m.csv", out=folder, n_bootstrap=50)
    return folder


def test_a_published_card_holds_the_numbers_of_the_report(tiny_bundle, report, tmp_path):
    bundle = publish(tiny_bundle, report, tmp_path / "p.bundle", notes="## Weak spots\n\nAll.\n")
    metrics = json.loads((report / "metrics.json").read_text())
    accuracy = metrics["track"]["accuracy"]
    card = bundle.card()
    interval = f"{accuracy['low']:.3f} to {accuracy['high']:.3f}"
    assert f"| accuracy | {accuracy['value']:.3f} | {interval} |" in card
    for row in metrics["per_class"]:
        assert f"| {row['label']} | {row['support']} | " in card
    assert "## Evaluation: test part of the artist-grouped split" in card
    assert card.endswith("## Weak spots\n\nAll.\n")
    assert bundle.record["metrics"]["test"]["track"]["accuracy"] == accuracy
    before = Bundle.load(tiny_bundle)
    assert (bundle.path / GRAPH).read_bytes() == before.graph.read_bytes()
    assert (bundle.name, bundle.temperature) == (before.name, before.temperature)


def test_the_numbers_of_one_artist_have_no_interval(tiny_bundle, tiny_run, tmp_path):
    manifest = Manifest.read(tiny_run / "m.csv")
    one = next(t.group for t in manifest.in_split("test"))
    alone = manifest.replace(t for t in manifest.tracks if t.group == one)
    evaluate(tiny_bundle, alone, out=tmp_path / "report", n_bootstrap=10)
    card = publish(tiny_bundle, tmp_path / "report", tmp_path / "p.bundle").card()
    accuracy = json.loads((tmp_path / "report" / "metrics.json").read_text())["track"]["accuracy"]
    assert accuracy["low"] is None
    assert f"| accuracy | {accuracy['value']:.3f} | undefined |" in card


def test_a_report_of_another_bundle_is_refused(tiny_bundle, report, tmp_path):
    other = publish(tiny_bundle, report, tmp_path / "other.bundle")
    with pytest.raises(BundleError, match="scores another bundle"):
        publish(other.path, report, tmp_path / "x.bundle")
    with pytest.raises(BundleError, match="is missing; name a folder that"):
        publish(tiny_bundle, tmp_path, tmp_path / "x.bundle")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(BundleError, match="is no report of 'tsresformer evaluate'"):
        publish(tiny_bundle, tmp_path, tmp_path / "x.bundle")
    future = {**json.loads((report / "metrics.json").read_text()), "schema": 99}
    write_sealed(tmp_path / "metrics.json", future)
    with pytest.raises(BundleError, match=r"metrics.json: schema 99 is not known .*; upgrade"):
        publish(tiny_bundle, tmp_path, tmp_path / "x.bundle")
    assert not (tmp_path / "x.bundle").exists()
