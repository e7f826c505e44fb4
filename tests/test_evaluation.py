"""Evaluation: what is scored, what is listed, what is refused, and the numbers themselves."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics as reference

from fake_classifier import GENRES, FakeClassifier, case, scores
from tsresformer.bundle import track_mark
from tsresformer.classifier import Classifier
from tsresformer.config import FeatureConfig, SliceConfig
from tsresformer.errors import (
    AudioError,
    BundleError,
    ManifestError,
    MissingExtraError,
    SplitError,
    TsResformerError,
)
from tsresformer.evaluation import evaluate
from tsresformer.files import is_intact, sha256_file
from tsresformer.manifest import Manifest, Track, canonical_features
from tsresformer.splits import slice_split, split

QUICK = {"n_bootstrap": 20}


def softmax(logits):
    powers = np.exp(np.asarray(logits, dtype=np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def with_track(manifest, position, **changes):
    tracks = list(manifest.tracks)
    tracks[position] = dataclasses.replace(tracks[position], **changes)
    return manifest.replace(tracks)


def test_numbers_are_those_of_the_logits():
    classifier, manifest = case(60)
    result = evaluate(classifier, manifest, **QUICK)
    labels = np.array([GENRES.index(t.label) for t in manifest.tracks])
    logits = np.stack([classifier.outcomes[t.path].logits for t in manifest.tracks])
    track, each = softmax(logits.mean(axis=1) / 1.5), softmax(logits / 1.5).reshape(-1, 3)

    assert_allclose(result.probabilities, track, rtol=1e-5)
    assert_array_equal(result.known, labels)
    assert result.track.overall["accuracy"].value == pytest.approx(
        np.mean(track.argmax(axis=1) == labels)
    )
    assert result.track.overall["nll"].value == pytest.approx(
        reference.log_loss(labels, track), rel=1e-5
    )
    assert result.slice.overall["accuracy"].value == pytest.approx(
        np.mean(each.argmax(axis=1) == labels.repeat(4))
    )
    assert result.slice.overall["macro_f1"].value == pytest.approx(
        reference.f1_score(labels.repeat(4), each.argmax(axis=1), average="macro")
    )
    assert result.slice.n_items == 240
    assert result.slice.n_groups == result.track.n_groups == len({t.group for t in manifest.tracks})
    for row, values in zip(result.rows, track, strict=True):
        assert row.predicted == GENRES[values.argmax()]
        assert row.unsure == (values.max() < 0.5)
        assert (row.status, row.n_slices) == ("ok", 4)


def test_only_the_split_is_scored():
    classifier, manifest = case(12)
    manifest = with_track(manifest, 0, split="training", group="")
    manifest = with_track(manifest, 1, split="", group="")
    result = evaluate(classifier, manifest, **QUICK)
    assert classifier.asked == [t.path for t in manifest.tracks[2:]]
    assert [row.track.track_id for row in result.rows] == [f"t{i}" for i in range(2, 12)]


def test_a_track_that_fails_is_a_row_and_changes_nothing_else():
    classifier, manifest = case(30)
    whole = evaluate(classifier, manifest, **QUICK)
    classifier.outcomes["/music/7.mp3"] = AudioError(
        "/music/7.mp3", "is a text file", "name an audio file", status="undecodable"
    )
    classifier.outcomes["/music/8.mp3"] = scores(np.full((2, 3), np.nan))
    result = evaluate(classifier, manifest, **QUICK)

    assert len(result.rows) == 30
    assert len(result.scored) == 28
    failed = {row.track.track_id: (row.status, row.error) for row in result.failed}
    assert failed == {
        "t7": ("undecodable", "is a text file; name an audio file"),
        "t8": ("not finite", "the network's output is not finite"),
    }
    others = [row for row in whole.rows if row.track.track_id not in failed]
    assert_allclose(result.probabilities, [row.probabilities for row in others])
    assert result.metrics()["n_failed"] == 2
    assert "2 could not be scored" in result.sentence()


def test_rows_that_are_not_usable_are_listed_with_their_reasons():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 2, status="incomplete", error="lasts 1.6 s of 30 s")
    manifest = with_track(manifest, 3, label="")
    manifest = with_track(manifest, 4, split="", status="missing", error="no such file")
    manifest = with_track(
        manifest, 5, split="", status="silent", extra={"x_official_split": "training"}
    )
    result = evaluate(classifier, manifest, **QUICK)
    assert classifier.asked == [f"/music/{i}.mp3" for i in (0, 1, 6, 7, 8, 9)]
    assert [(r.track.track_id, r.status, r.error) for r in result.excluded] == [
        ("t2", "incomplete", "lasts 1.6 s of 30 s"),
        ("t3", "no label", ""),
        ("t4", "missing", "no such file"),
    ]
    assert result.metrics()["excluded"] == {"incomplete": 1, "missing": 1, "no label": 1}
    assert result.n_failed == 0


def test_silent_and_short_tracks_are_scored_and_marked():
    classifier, manifest = case(10)
    logits = classifier.outcomes["/music/1.mp3"].logits
    classifier.outcomes["/music/1.mp3"] = scores(logits, silent=True)
    classifier.outcomes["/music/2.mp3"] = scores(logits[:1], repeated=True, warning="cut short")
    result = evaluate(classifier, manifest, **QUICK)
    assert [row.status for row in result.rows][:3] == ["ok", "silent", "short"]
    assert result.rows[2].error == "cut short"
    assert result.track.n_items == 10
    assert result.metrics()["n_silent"] == 1


def test_artists_are_resampled_where_they_are_known():
    classifier, manifest = case(20, n_groups=6)
    manifest = with_track(manifest, 0, group="")
    result = evaluate(classifier, manifest, **QUICK)
    n_groups = len({t.group for t in manifest.tracks[1:]}) + 1
    assert result.interval_method == f"bootstrap over {n_groups} artists"
    assert result.metrics()["n_without_group"] == 1


def test_tracks_are_resampled_where_no_artist_is_known():
    result = evaluate(*case(20, n_groups=0), **QUICK)
    assert result.interval_method == "bootstrap over 20 tracks"
    assert result.slice.n_groups == 20
    assert any("No artists are known" in text for text in result.metrics()["warnings"])


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_slice_protocol_scores_the_slices_of_the_split(split):
    classifier, manifest = case(40, n_slices=8, split="training", protocol="slice seed=3")
    result = evaluate(classifier, manifest, split=split, **QUICK)
    expected = {}
    for track in manifest.tracks:
        inside = [slice_split(3, track.track_id, k) == split for k in range(8)]
        if any(inside):
            logits = classifier.outcomes[track.path].logits[inside]
            expected[track.track_id] = (sum(inside), softmax(logits.mean(axis=0) / 1.5))
    assert [row.track.track_id for row in result.rows] == list(expected)
    assert [row.n_slices for row in result.rows] == [n for n, _ in expected.values()]
    assert_allclose(result.probabilities, [p for _, p in expected.values()], rtol=1e-5)
    assert result.slice.n_items == sum(n for n, _ in expected.values())
    assert "TRACKS LEAK" in result.title
    assert "TRACKS LEAK" in result.sentence()


def test_slice_protocol_without_a_slice_in_the_split():
    classifier, manifest = case(1, n_slices=1, split="training", protocol="slice seed=0")
    assert slice_split(0, "t0", 0) == "training"
    with pytest.raises(ManifestError, match="no slice of its tracks is in the split 'test'"):
        evaluate(classifier, manifest, **QUICK)


def test_multi_label():
    classifier, manifest = case(60, task="multi")
    result = evaluate(classifier, manifest, **QUICK)
    truth = np.array([[g in t.labels for g in GENRES] for t in manifest.tracks])
    logits = np.stack([classifier.outcomes[t.path].logits.mean(axis=0) for t in manifest.tracks])
    likely = 1 / (1 + np.exp(-logits.astype(np.float64) / 1.5))
    assert_array_equal(result.known, truth)
    assert_allclose(result.probabilities, likely, rtol=1e-5)
    assert result.track.overall["mean_average_precision"].value == pytest.approx(
        reference.average_precision_score(truth, likely)
    )
    several = likely >= 0.5
    first = int(several.sum(axis=1).argmax())
    assert result.rows[first].predicted == "|".join(np.array(GENRES)[several[first]])
    assert "mean average precision" in result.sentence()


def test_labels_that_the_bundle_does_not_know_are_named():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 0, label="Hiphop")
    manifest = with_track(manifest, 1, label="Polka")
    with pytest.raises(BundleError) as caught:
        evaluate(classifier, manifest, **QUICK)
    for words in ("fake-1", "'Hiphop', 'Polka'", "did you mean 'Hip-Hop'?", "Folk, Hip-Hop, Rock"):
        assert words in str(caught.value)
    assert classifier.asked == []


def test_labels_of_other_splits_do_not_matter():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 0, label="Polka", split="training", group="")
    assert evaluate(classifier, manifest, **QUICK).track.n_items == 9


def test_several_labels_do_not_fit_a_single_label_bundle():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 4, label="Folk|Rock")
    with pytest.raises(BundleError, match=r"t4: Folk\|Rock.*task = 'multi'"):
        evaluate(classifier, manifest, **QUICK)


def test_an_empty_split_names_those_that_exist():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 0, split="training", group="")
    with pytest.raises(ManifestError, match=r"'validation'.*test \(9\), training \(1\)"):
        evaluate(classifier, manifest, split="validation", **QUICK)
    bare = manifest.replace(dataclasses.replace(t, split="") for t in manifest.tracks)
    with pytest.raises(ManifestError, match="none; run 'tsresformer data split' first"):
        evaluate(classifier, bare, **QUICK)


def test_artists_on_both_sides_of_an_honest_split_are_refused():
    classifier, manifest = case(10)
    manifest = with_track(manifest, 0, split="training", group="Same")
    manifest = with_track(manifest, 1, group="Same")
    with pytest.raises(SplitError, match="Same"):
        evaluate(classifier, manifest, **QUICK)


def test_precomputed_features_must_be_the_bundles():
    config = FeatureConfig(sample_rate=44100, hop_length=10336)
    classifier, manifest = case(10)
    manifest = manifest.replace(
        dataclasses.replace(t, features=canonical_features(config)) for t in manifest.tracks
    )
    with pytest.raises(BundleError) as caught:
        evaluate(classifier, manifest, **QUICK)
    assert "hop_length 10336 in the manifest, 512 in the bundle" in str(caught.value)
    assert "n_mels" not in str(caught.value)
    same = FakeClassifier(classifier.outcomes, features=config)
    assert evaluate(same, manifest, **QUICK).track.n_items == 10


@pytest.mark.parametrize("scales", [("log", "pcen"), ("pcen", "log")])
def test_precomputed_features_on_another_scale_are_refused_with_the_scale(scales):
    theirs, ours = (FeatureConfig(scale=scale) for scale in scales)
    classifier, manifest = case(10)
    manifest = manifest.replace(
        dataclasses.replace(t, features=canonical_features(theirs)) for t in manifest.tracks
    )
    with pytest.raises(BundleError, match=rf"\(scale {scales[0]} in .*, {scales[1]} in the bun"):
        evaluate(FakeClassifier(classifier.outcomes, features=ours), manifest, **QUICK)


def test_nothing_scored_is_an_error_with_the_first_reason():
    _, manifest = case(3)
    failing = FakeClassifier({t.path: AudioError(t.path, "is empty") for t in manifest.tracks})
    with pytest.raises(ManifestError, match=r"none of 3 tracks.*t0: is empty"):
        evaluate(failing, manifest, **QUICK)


def test_tracks_that_the_bundle_was_trained_on_are_told():
    classifier, manifest = case(10)
    for n_heard in (0, 3):
        heard = [track_mark(t.track_id, t.group) for t in manifest.tracks[:n_heard]]
        bundle = FakeClassifier(classifier.outcomes, training={"heard": heard})
        warnings = evaluate(bundle, manifest, **QUICK).metrics()["warnings"]
        told = ["The bundle was trained on 3 of these 10 tracks: it knows them."]
        assert [text for text in warnings if "trained on" in text] == (told if n_heard else [])


def test_progress_counts_to_the_end():
    calls = []
    evaluate(*case(5), progress=lambda done, total: calls.append((done, total)), **QUICK)
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_paths_are_opened(tmp_path, monkeypatch):
    classifier, manifest = case(10)
    manifest.write(tmp_path / "m.csv")
    opened = []
    monkeypatch.setattr(Classifier, "load", lambda name: opened.append(name) or classifier)
    result = evaluate("some.bundle", tmp_path / "m.csv", out=tmp_path / "report", **QUICK)
    assert opened == ["some.bundle"]
    assert result.manifest == "m.csv"
    assert (tmp_path / "report" / "index.html").is_file()
    # Where the files lie does not matter to the hash, what is said of them does.
    assert result.manifest_hash == evaluate(classifier, manifest, **QUICK).manifest_hash
    changed = with_track(manifest, 0, label="Rock")
    assert result.manifest_hash != evaluate(classifier, changed, **QUICK).manifest_hash


def test_same_input_same_bytes(tmp_path):
    for name in ("a", "b"):
        evaluate(*case(30), out=tmp_path / name, **QUICK)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["confusion.csv", "index.html", "metrics.json", "predictions.csv"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_seed_moves_intervals_only():
    first, other = (evaluate(*case(30), seed=s, **QUICK).metrics()["track"] for s in (0, 1))
    assert {k: v["value"] for k, v in first.items()} == {k: v["value"] for k, v in other.items()}
    assert first["accuracy"] != other["accuracy"]


def test_a_report_that_cannot_be_written_is_refused_before_scoring(tmp_path, monkeypatch):
    classifier, manifest = case(10)
    (tmp_path / "file").write_text("x")
    with pytest.raises(TsResformerError, match="is no folder"):
        evaluate(classifier, manifest, out=tmp_path / "file", **QUICK)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"ts-resformer\[report\]"):
        evaluate(classifier, manifest, out=tmp_path / "report", **QUICK)
    assert classifier.asked == []
    assert evaluate(classifier, manifest, **QUICK).track.n_items == 10


def test_a_failing_evaluation_leaves_an_older_report_alone(tmp_path):
    classifier, manifest = case(10)
    evaluate(classifier, manifest, out=tmp_path, **QUICK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken(items, *, n_workers):
        yield 0, classifier.outcomes["/music/0.mp3"]
        raise KeyboardInterrupt

    classifier.score_many = broken
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, manifest, out=tmp_path, **QUICK)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_one_track_is_enough():
    classifier = FakeClassifier({"/a.mp3": scores([[2.0, 0.0, 0.0]])})
    manifest = Manifest((Track(track_id="a", path="/a.mp3", label="Folk", split="test"),))
    result = evaluate(classifier, manifest, **QUICK)
    assert result.metrics()["track"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert "interval" not in result.sentence()


def test_files_hold_what_the_result_holds(tmp_path):
    classifier, manifest = case(30)
    classifier.outcomes["/music/3.mp3"] = AudioError("/music/3.mp3", "is empty")
    result = evaluate(classifier, manifest, out=tmp_path, **QUICK)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert is_intact(found)
    hashes = {
        "sha256": found["sha256"],
        "predictions_sha256": sha256_file(tmp_path / "predictions.csv"),
    }
    assert found == result.metrics() | hashes
    with open(tmp_path / "predictions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["track_id"] for row in rows] == [t.track_id for t in manifest.tracks]
    assert [row["status"] for row in rows].count("undecodable") == 1


@pytest.mark.torch
def test_the_real_classifier(tiny_run, tiny_bundle, tmp_path):
    result = evaluate(tiny_bundle, tiny_run / "m.csv", out=tmp_path / "report", n_workers=2)
    manifest = Manifest.read(tiny_run / "m.csv")
    tests = {track.track_id: track for track in manifest.tracks if track.split == "test"}
    classifier = Classifier.load(tiny_bundle)
    assert {row.track.track_id for row in result.rows} == tests.keys()
    right = 0
    for row in result.scored:
        expected = classifier.predict(tests[row.track.track_id].path)
        assert row.probabilities == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
        right += expected.label == tests[row.track.track_id].label
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["track"]["accuracy"]["value"] == pytest.approx(right / len(tests))
    assert metrics["protocol"].startswith("artist-kfold")
    assert not [text for text in metrics["warnings"] if "trained on" in text]
    other = tmp_path / "other.csv"
    split(manifest, "artist-kfold", n_folds=4, fold=1).write(other)
    told = evaluate(tiny_bundle, other, n_workers=2, n_bootstrap=20).metrics()["warnings"]
    assert [text for text in told if "trained on 6 of these 6 tracks" in text]
    assert metrics["n_slices"] == 4 * len(tests)


def test_only_children_decode(piece_path, tmp_path, no_decoder_here):
    track = Track(track_id="a", path=str(piece_path), label="Instrumental", split="test")
    result = evaluate("fma-small", Manifest((track,)), out=tmp_path, n_workers=1, **QUICK)
    (example,) = result.attention.examples
    assert example.row.track == track
    assert example.log_mel.max() == 0


def test_a_file_that_is_gone_costs_its_picture_alone(tmp_path):
    classifier, manifest = case(12)
    classifier.bundle.slicing = SliceConfig(slice_s=2.0)
    weights = np.random.default_rng(0).random((4, 64), dtype=np.float32)
    for path, found in classifier.outcomes.items():
        classifier.outcomes[path] = dataclasses.replace(found, attention_frequency=weights)
    result = evaluate(classifier, manifest, out=tmp_path, **QUICK)
    assert result.attention.frequency.shape == (12, 64)
    assert result.attention.examples == ()
