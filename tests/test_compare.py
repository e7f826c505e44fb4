"""Comparing two reports: the statistics against closed forms and scipy, and what is refused."""

import csv
import dataclasses
import json
import re

import pytest
from scipy.stats import binomtest

from fake_classifier import case
from tsresformer.cli import run as command_line
from tsresformer.compare import Side, compare, holm, mcnemar
from tsresformer.errors import ManifestError
from tsresformer.evaluation import evaluate
from tsresformer.files import write_sealed

HEADER = "track_id,label,predicted,unsure,p_a,p_b,status,error,group,n_slices,n_slices_right"


def report(folder, name, predicted, labels="ab", n=40, first=0):
    """Track i is labelled a or b in turn; `predicted` says what the model makes of track i."""
    folder.mkdir()
    rows = [HEADER.split(",")]
    for i in range(first, first + n):
        label, said = labels[i % 2], predicted(i)
        likely = ("0.9", "0.1") if said == "a" else ("0.2", "0.8")
        rows.append([f"t{i}", label, said, "false", *likely, "ok", "", f"g{i // 4}", "2", "1"])
    rows.append(["bad", "a", "", "", "", "", "missing", "gone", "g0", "", ""])
    with open(folder / "predictions.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    record = {"schema": 1, "bundle": {"name": name}, "title": "test part of some split"}
    write_sealed(folder / "metrics.json", record)
    return folder


@pytest.fixture
def three(tmp_path):
    right = lambda i: "ab"[i % 2]  # noqa: E731
    return (
        report(tmp_path / "all", "all", right),
        report(tmp_path / "no_a", "no-a", lambda i: "b"),
        report(tmp_path / "near", "near", lambda i: "b" if i in (0, 8) else right(i)),
    )


def test_the_difference_and_where_it_lies(three):
    found = compare(*(Side.read(path) for path in three[:2]))
    assert (found.n_tracks, found.n_groups) == (40, 10)
    assert found.accuracies == (1.0, 0.5)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.5, 0.5, 0.5)
    assert (found.n_only_one, found.n_only_two) == (20, 0)
    assert found.per_class == [("a", 20, 1.0, 0.0), ("b", 20, 1.0, 1.0)]
    assert found.flipped == [f"t{i}" for i in range(0, 40, 2)]
    assert found.mcnemar_p == pytest.approx(2 * 0.5**20)


def test_what_was_drawn_has_its_name(three, capsys):
    assert command_line(["compare", str(three[0]), str(three[1])]) == 0
    assert "bootstrap over 10 artists" in capsys.readouterr().out
    for folder in three[:2]:
        path = folder / "predictions.csv"
        path.write_text(re.sub(r",g\d+,", ",,", path.read_text()))
    assert command_line(["compare", str(three[0]), str(three[1])]) == 0
    assert "bootstrap over 40 tracks" in capsys.readouterr().out


def test_several_labels_a_track_are_compared_by_the_most_probable_genre(tmp_path):
    results = []
    for seed, name in enumerate("ab"):
        classifier, manifest = case(80, task="multi", seed=0)
        if seed:  # the other model: of the same tracks, but less sure, and more often wrong
            other, _ = case(80, task="multi", seed=seed)
            mixed = {
                path: dataclasses.replace(own, logits=own.logits + 2 * other.outcomes[path].logits)
                for path, own in classifier.outcomes.items()
            }
            classifier.outcomes = mixed
        results.append(evaluate(classifier, manifest, n_bootstrap=10, out=tmp_path / name))
    assert any("|" in row.predicted for row in results[0].rows)
    found = compare(Side.read(tmp_path / "a"), Side.read(tmp_path / "b"))
    expected = [result.track.overall["top_1_accuracy"].value for result in results]
    assert found.accuracies == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (3, 9), (12, 12), (700, 640)])
def test_mcnemar_is_the_exact_binomial_test(a, b):
    expected = binomtest(a, a + b).pvalue if a + b else 1.0
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(expected)


def test_holm():
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([float("nan"), 0.02])
    assert adjusted[0] != adjusted[0]
    assert adjusted[1] == 0.02


def test_the_command(three, capsys):
    assert command_line(["compare", *map(str, three), "--flips", "1"]) == 0
    text = capsys.readouterr().out
    assert "all minus no-a, 40 tracks scored by both (of 40 and 40)" in text
    assert (
        "difference +50.0 points (95 % interval +50.0 to +50.0; bootstrap over 10 artists)" in text
    )
    assert "of 2 comparisons (Holm)" in text
    assert "takes tracks to be independent" in text
    assert "2 tracks flipped, most confident first:\n    t0: a; a and b" in text
    assert command_line(["compare", *map(str, three), "--json", "-"]) == 0
    one, two = json.loads(capsys.readouterr().out)["comparisons"]
    assert one["p_holm"] == pytest.approx(2 * one["p"])
    assert two["p_holm"] == pytest.approx(max(two["p"], one["p_holm"]))
    assert [flip["track_id"] for flip in two["flipped"]] == ["t0", "t8"]


def test_what_cannot_be_compared(three, tmp_path, capsys):
    elsewhere = report(tmp_path / "other", "other", lambda i: "a", first=100)
    with pytest.raises(ManifestError, match="no scored track in common"):
        compare(Side.read(three[0]), Side.read(elsewhere))
    renamed = report(tmp_path / "renamed", "renamed", lambda i: "a", labels="ba")
    with pytest.raises(ManifestError, match="scored against other labels"):
        compare(Side.read(three[0]), Side.read(renamed))
    with pytest.raises(ManifestError, match=r"metrics.json is missing; name a folder"):
        Side.read(tmp_path)
    (three[0] / "metrics.json").write_text("{")
    with pytest.raises(ManifestError, match="damaged"):
        Side.read(three[0])
    future = {**json.loads((three[1] / "metrics.json").read_text()), "schema": 99}
    write_sealed(three[2] / "metrics.json", future)
    with pytest.raises(ManifestError, match=r"metrics.json: schema 99 is not known .*; upgrade"):
        Side.read(three[2])
    assert command_line(["compare", str(three[1])]) == 2
    assert "name two reports or more" in capsys.readouterr().err
