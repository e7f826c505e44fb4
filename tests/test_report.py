"""The report: its tables hold the numbers, and its page is whole, safe, readable and offline."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import sys
import warnings
from collections import Counter
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics as reference
from sklearn.decomposition import PCA

from fake_classifier import GENRES, FakeClassifier, case, scores
from tsresformer import report
from tsresformer.config import SliceConfig
from tsresformer.errors import AudioError, ManifestError
from tsresformer.evaluation import evaluate
from tsresformer.manifest import Manifest, Track
from tsresformer.report import pictures
from tsresformer.report.result import confusion_rows, prediction_rows

PICTURES = 7


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.images = Counter(), [], [], []
        self.headers, self.banners, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags[tag] += 1
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k, v in attributes if k.endswith("href") or k in ("src", "action")]
        self.open.append(tag)
        if tag == "svg":
            self.images.append((values.get("role"), values.get("aria-label")))
        if tag == "th":
            self.headers.append(values.get("scope"))
        if "banner" in values.get("class", ""):
            self.banners.append(values["class"].removeprefix("banner "))

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def result_of(*arguments, **values):
    return evaluate(*case(*arguments, **values), n_bootstrap=20, split=values.get("split", "test"))


@pytest.fixture(scope="module")
def result():
    """60 tracks, of which one fails and one is incomplete."""
    classifier, manifest = case(60)
    classifier.outcomes["/music/7.mp3"] = AudioError("/music/7.mp3", "is empty")
    tracks = list(manifest.tracks)
    tracks[8] = dataclasses.replace(tracks[8], status="incomplete", error="lasts 1.6 s of 30 s")
    return evaluate(classifier, manifest.replace(tracks), n_bootstrap=20)


@pytest.fixture(scope="module")
def text(result):
    return report.render(result)


def svg(text, name):
    """The words of one picture."""
    found = re.search(rf'<svg[^>]*>(?:(?!</svg>).)*id="{name}-.*?</svg>', text, re.S)
    assert found
    return re.findall(r"<text[^>]*>([^<]*)</text>", found[0])


def test_metrics_json_has_the_promised_shape(result, tmp_path):
    report.write(result, tmp_path)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert list(values)[:5] == ["protocol", "split", "n_tracks", "track", "slice"]
    assert values["protocol"] == "official"
    assert (values["split"], values["n_tracks"], values["n_slices"]) == ("test", 58, 232)
    assert (values["n_failed"], values["excluded"]) == (1, {"incomplete": 1})
    for level in (values["track"], values["slice"]):
        assert list(level)[:3] == ["accuracy", "macro_f1", "balanced_accuracy"]
        for interval in level.values():
            assert list(interval) == ["value", "low", "high"]
            assert interval["low"] <= interval["value"] <= interval["high"]
    assert values["bundle"] == {"name": "fake-1", "sha256": "0123456789abcdef" * 4}
    assert re.fullmatch(r"bootstrap over \d+ artists", values["interval"])
    assert values["temperature"] == 1.5
    assert [row["label"] for row in values["per_class"]] == list(GENRES)
    assert sum(row["support"] for row in values["per_class"]) == 58
    assert set(values["versions"]) == {"ts-resformer", "python", "numpy", "onnxruntime"}


def test_undefined_numbers_are_null():
    classifier, manifest = case(10, labels=("Folk", "Rock"))
    padded = {k: scores(np.pad(v.logits, ((0, 0), (0, 1)))) for k, v in classifier.outcomes.items()}
    bundle = FakeClassifier(padded, ("Folk", "Rock", "Polka"))
    result = evaluate(bundle, manifest, n_bootstrap=20)
    polka = result.metrics()["per_class"][2]
    assert polka["support"] == 0
    assert polka["f1"] == {"value": None, "low": None, "high": None}
    assert "does not occur" in svg(report.render(result), "classes")


def test_predictions_csv(result):
    rows = [list(row) for row in prediction_rows(result)]
    assert rows[0] == [
        *("track_id", "label", "predicted", "unsure", "p_Folk", "p_Hip-Hop", "p_Rock"),
        *("status", "error", "group", "n_slices", "n_slices_right"),
    ]
    assert [row[0] for row in rows[1:]] == [f"t{i}" for i in range(60)]
    for row, found in zip(rows[1:], result.rows, strict=True):
        if found.probabilities is not None:
            assert_allclose(np.array(row[4:7], dtype=float), found.probabilities, rtol=1e-5)
            assert row[2] == GENRES[np.argmax(found.probabilities)]
            assert row[3] == ("true" if max(found.probabilities) < 0.5 else "false")
    assert rows[8][2:9] == ["", "", "", "", "", "undecodable", "is empty"]
    assert rows[9][2:9] == ["", "", "", "", "", "incomplete", "lasts 1.6 s of 30 s"]


def test_confusion_csv(result):
    header, *rows = confusion_rows(result)
    assert header == ["label", *GENRES]
    assert [row[0] for row in rows] == list(GENRES)
    decided = result.probabilities.argmax(axis=1)
    expected = reference.confusion_matrix(result.known, decided)
    assert_array_equal([row[1:] for row in rows], expected)


def test_confusion_csv_of_several_labels():
    result = result_of(40, task="multi")
    header, *rows = confusion_rows(result)
    assert header[1:] == ["true_positive", "false_positive", "false_negative", "true_negative"]
    expected = reference.multilabel_confusion_matrix(result.known, result.probabilities >= 0.5)
    for row, counts in zip(rows, expected, strict=True):
        assert row[1:] == [counts[1, 1], counts[0, 1], counts[1, 0], counts[0, 0]]


def test_csv_survives_any_name(tmp_path):
    odd = ('Rock, "Roll"', "Drum\n& Bass", "Ünïcode 音楽")
    report.write(result_of(12, labels=odd), tmp_path)
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows[:3]] == list(odd)
    assert all(f"p_{name}" in rows[0] for name in odd)


def test_page_is_one_offline_file(text):
    found = Page(text)
    assert all(link.startswith("#") for link in found.links)
    assert not found.tags["script"] + found.tags["link"] + found.tags["iframe"]
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_page_is_accessible(text):
    found = Page(text)
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    assert found.tags["h1"] == found.tags["title"] == found.tags["main"] == 1
    assert found.tags["figure"] == found.tags["figcaption"] == PICTURES
    assert len(found.images) == PICTURES
    assert all(role == "img" and len(label) > 20 for role, label in found.images)
    assert len(found.headers) > 20
    assert set(found.headers) == {"row", "col"}
    assert len(found.ids) == len(set(found.ids))
    used = re.findall(r'(?:url\(|href=")#([^")]+)', text) + re.findall(r'labelledby="(\w+)"', text)
    assert set(used) <= set(found.ids)


def test_pictures_take_the_pages_colour(text):
    assert "prefers-color-scheme: dark" in text
    assert "#010203" not in text
    for style in re.findall(r'<text style="([^"]*)"', text):
        assert "font-family" not in style
        assert re.search(r"fill: (currentColor|#ffffff)", style), style
    assert "#000000" not in text


def test_headline_and_tables_hold_the_numbers(result, text):
    words = Page(text).text
    accuracy = result.track.overall["accuracy"]
    shown = f"{100 * accuracy.value:.1f} %"
    assert f"{shown} Accuracy, whole tracks" in words
    assert f"names the right one of 3 genres for {shown} of 58 tracks" in words
    interval = f"{100 * accuracy.low:.1f}–{100 * accuracy.high:.1f} %"
    assert f"95 % interval {interval}, bootstrap over {result.track.n_groups} artists" in words
    frequent = max(result.track.support) / 58
    assert f"most frequent genre would be right for {100 * frequent:.1f} %" in words
    for name in ("macro_f1", "roc_auc", "nll", "brier", "ece", "aurc"):
        for level in (result.track, result.slice):
            value = level.overall[name]
            assert f"{value.value:.3f} {value.low:.3f}–{value.high:.3f}" in words
    for k, label in enumerate(GENRES):
        row = " ".join(
            f"{v[k].value:.3f} {v[k].low:.3f}–{v[k].high:.3f}"
            for v in result.track.per_class.values()
        )
        assert f"{label} {result.track.support[k]} {row}" in words


def test_what_was_not_scored_is_listed(text):
    words = Page(text).text
    assert "1 of 59 tracks could not be scored" in words
    assert "t7 Hip-Hop undecodable is empty" in words
    assert "t8 Rock incomplete lasts 1.6 s of 30 s" in words


def test_long_lists_of_problems_are_cut():
    classifier, manifest = case(10)
    extra = [
        dataclasses.replace(manifest.tracks[2], track_id=f"x{i}", status="missing")
        for i in range(250)
    ]
    result = evaluate(classifier, Manifest(manifest.tracks + tuple(extra)), n_bootstrap=20)
    words = Page(report.render(result)).text
    assert "x199 Rock missing" in words
    assert "x200" not in words
    assert "And 50 more in predictions.csv" in words


def test_mistakes_are_the_most_confident_wrong_ones(result, text):
    likely = result.probabilities
    wrong = np.flatnonzero(likely.argmax(axis=1) != result.known)
    order = wrong[np.argsort(-likely.max(axis=1)[wrong])]
    words = Page(text).text
    expected = []
    for i in order[:20]:
        track = result.scored[i].track
        expected.append(
            f"{track.title} {track.artist}, {track.track_id} {track.label} "
            f"{GENRES[likely[i].argmax()]} {100 * likely[i].max():.1f} % "
            f"{100 * likely[i, result.known[i]]:.1f} %"
        )
    places = [words.index(row) for row in expected]
    assert places == sorted(places)


def test_perfect_bundle_has_no_mistakes():
    outcomes = {f"/{g}{i}": scores([np.eye(3)[k] * 20]) for k, g in enumerate(GENRES) for i in "ab"}
    tracks = [Track(track_id=p, path=p, label=p[1:-1], split="test", group=p[-1]) for p in outcomes]
    result = evaluate(FakeClassifier(outcomes), Manifest(tuple(tracks)), n_bootstrap=20)
    words = Page(report.render(result)).text
    assert "100.0 % Accuracy" in words
    assert "Most confidently wrong" not in words
    assert "Most frequent confusion" not in words


@pytest.mark.parametrize(
    ("protocol", "split", "banners", "words"),
    [
        ("official", "test", [], "official split (no artist on both sides)"),
        ("artist-kfold folds=5 fold=2 seed=1", "test", [], "fold 2 of 5, seed 1"),
        ("", "test", [], "unrecorded origin"),
        ("track seed=0", "test", ["leak"], "tracks of one artist are on both sides"),
        ("slice seed=0", "training", ["leak", "leak"], "TRACKS LEAK"),
        ("official", "training", ["leak"], "how well it remembers them"),
    ],
)
def test_protocol_stands_in_the_title_and_leaks_in_a_banner(protocol, split, banners, words):
    result = result_of(60, protocol=protocol, split=split)
    found = Page(report.render(result))
    assert found.banners == banners
    assert words in found.text
    title = f"fake-1: {split} part of the {result.protocol.title}"
    assert found.text.startswith(title)


def test_few_artists_and_none_are_told():
    assert Page(report.render(result_of(60, n_groups=5))).banners == ["note"]
    words = Page(report.render(result_of(60, n_groups=0))).text
    assert "No artists are known here" in words
    assert " artists 60" not in words


def test_artists_of_whom_one_has_most_tracks_are_worth_few():
    classifier, manifest = case(60, n_groups=30)
    tracks = [dataclasses.replace(track, group="artist0") for track in manifest.tracks[:45]]
    uneven = evaluate(
        classifier, manifest.replace([*tracks, *manifest.tracks[45:]]), n_bootstrap=20
    )
    assert ", worth 2 of one size) on 60 tracks" in uneven.sentence()
    assert "worth" not in evaluate(classifier, manifest, n_bootstrap=20).sentence()


def test_silent_tracks_and_those_without_artist_are_counted():
    classifier, manifest = case(60)
    first = classifier.outcomes["/music/0.mp3"]
    classifier.outcomes["/music/0.mp3"] = dataclasses.replace(first, silent=True)
    tracks = [dataclasses.replace(t, group="") for t in manifest.tracks[:2]]
    manifest = manifest.replace([*tracks, *manifest.tracks[2:]])
    words = Page(report.render(evaluate(classifier, manifest, n_bootstrap=20))).text
    assert "Silent tracks 1; scored like all others" in words
    assert "Tracks without artist 2; each counts as an artist of its own" in words


def test_markup_in_names_is_text():
    evil = ('<script>alert("x")</script>', "a & b", "$\\frac{1}{2}$")
    classifier, manifest = case(30, labels=evil)
    manifest = manifest.replace(
        dataclasses.replace(t, title="<img src=x onerror=alert(1)>") for t in manifest.tracks
    )
    text = report.render(evaluate(classifier, manifest, n_bootstrap=20))
    found = Page(text)
    assert not found.tags["script"] + found.tags["img"]
    assert "<img src=x onerror=alert(1)>" in found.text
    assert set(evil) <= {w.strip() for w in found.words}


def test_names_in_any_script_draw_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = report.render(result_of(30, labels=("演歌", "Шансон", "رای")))
    assert {"演歌", "Шансон", "رای"} <= set(svg(text, "confusion"))


def test_confusion_picture_shows_shares_and_counts(result, text):
    counts = reference.confusion_matrix(result.known, result.probabilities.argmax(axis=1))
    shown = [w for w in svg(text, "confusion") if w.isdigit()]
    expected = []
    for row in counts:
        for count in row[row > 0]:
            expected += [f"{100 * count / row.sum():.0f}", str(count)]
    assert shown == expected


def test_class_picture_is_sorted(result, text):
    f1 = {g: i.value for g, i in zip(GENRES, result.track.per_class["f1"], strict=True)}
    names = [w for w in svg(text, "classes") if w in GENRES]
    assert names == sorted(GENRES, key=f1.get)  # from the bottom up
    assert {f"{v:.2f}" for v in f1.values()} <= set(svg(text, "classes"))


def test_roc_legend_holds_the_areas(result, text):
    areas = result.track.per_class["roc_auc"]
    legend = {f"{g}  {a.value:.2f}" for g, a in zip(GENRES, areas, strict=True)}
    assert legend <= {w.replace("\xa0", " ") for w in svg(text, "roc")}


def test_many_genres_are_shades_and_the_extremes():
    labels = tuple(f"Genre number {k:02d} with a name too long" for k in range(20))
    result = result_of(200, labels=labels)
    text = report.render(result)
    assert not [w for w in svg(text, "confusion") if w.isdigit()]
    assert svg(text, "confusion").count("Genre number 07 with a na…") == 2
    assert len([w for w in svg(text, "roc") if w.startswith("Genre")]) == 6
    assert 'class="small dense wide"' in text


def test_slices_are_no_column_of_their_own_where_each_is_a_track(text):
    single = Page(report.render(result_of(30, n_slices=1)))
    assert "There is one slice a track" in single.text
    assert "Metric Tracks Accuracy" in single.text
    assert "Metric Tracks Slices Accuracy" in Page(text).text
    assert "one slice a track" not in Page(text).text


def test_where_no_genre_is_found_none_is_called_the_best(text):
    classifier, manifest = case(12)
    classifier.outcomes.update(
        (track.path, scores([np.roll([9.0, 0.0, 0.0], GENRES.index(track.label) + 1)]))
        for track in manifest.tracks
    )
    page = Page(report.render(evaluate(classifier, manifest, n_bootstrap=20)))
    assert ("img", "F1 score of each genre.") in page.images
    assert "Best:" not in page.text
    assert "Best: " in Page(text).text


def test_on_a_phone_what_does_not_fit_is_scrolled_with_a_hint(text):
    phone = text.partition("@media (max-width: 40rem) {")[2].partition("</style>")[0]
    for rule in (".small svg { min-width", ".broad table { min-width", ".hint { display: block"):
        assert rule in phone
    scrolled = text.count('class="scroll broad"') + text.count('<figure class="small ')
    assert scrolled == 4  # genres, mistakes, what is not scored, and the confusion matrix
    assert text.count('<p class="hint">') == scrolled


def test_several_labels_a_track():
    text = report.render(result_of(60, task="multi"))
    found = Page(text)
    assert "Mean average precision over 3 labels on 60 tracks" in found.text
    assert found.tags["figure"] == PICTURES - 1
    assert "What is taken for what" not in found.text


def test_embeddings_that_make_no_map():
    classifier, manifest = case(10)
    flat = {
        k: dataclasses.replace(v, embedding=np.ones(1, dtype=np.float32))
        for k, v in classifier.outcomes.items()
    }
    result = evaluate(FakeClassifier(flat), manifest, n_bootstrap=20)
    assert "arranges the music" not in report.render(result)


def test_principal_map_equals_scikit_learn():
    points = np.random.default_rng(0).normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    expected = PCA(2).fit(points)
    found, share = pictures.principal_map(points)
    assert_allclose(np.abs(found), np.abs(expected.transform(points)), atol=1e-9)
    assert share == pytest.approx(expected.explained_variance_ratio_.sum())
    constant, share = pictures.principal_map(np.ones((5, 3)))
    assert_allclose(constant, 0)
    assert math.isclose(share, 1)


def test_drawing_leaves_no_trace_in_matplotlib(result):
    before, loaded = dict(matplotlib.rcParams), set(sys.modules)
    report.render(result)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in set(sys.modules) - loaded


def test_metrics_json_comes_last(result, tmp_path, monkeypatch):
    written = []
    real = report.atomic_write

    def recording(path):
        written.append(path.name)
        return real(path)

    monkeypatch.setattr(report, "atomic_write", recording)
    monkeypatch.setattr(report, "write_sealed", lambda path, _: written.append(path.name))
    report.write(result, tmp_path / "new" / "folder")
    assert written == ["predictions.csv", "confusion.csv", "index.html", "metrics.json"]


def test_the_training_is_drawn_where_the_bundle_tells_it():
    def drawn(history):
        classifier, manifest = case(30)
        classifier.bundle.record["training"]["history"] = history
        return report.render(evaluate(classifier, manifest, n_bootstrap=20))

    scores = [0.4, 0.7, 0.7, 0.6]
    epochs = [
        {"epoch": i, "dev_score": score, "dev_loss": 2 - 0.1 * i} for i, score in enumerate(scores)
    ]
    text = drawn(epochs)
    assert {"development score", "development loss", "epoch"} <= set(svg(text, "training"))
    assert "Epoch 3 of 4 was kept: 70.0 %" in Page(text).text
    for unknown in ([], epochs[:1], [{"epoch": 0, "train_loss": 1.0}] * 3, "none", [["a"]]):
        assert "How the training went" not in drawn(unknown)


def test_a_page_that_cannot_be_drawn_leaves_the_folder_alone(result, tmp_path, monkeypatch):
    (tmp_path / "metrics.json").write_text("old")
    monkeypatch.setattr(report, "render", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(result, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "old"


def test_csv_lines_end_alike_everywhere(result, tmp_path):
    report.write(result, tmp_path)
    content = (tmp_path / "predictions.csv").read_bytes()
    assert b"\r" not in content
    assert len(list(csv.reader(io.StringIO(content.decode())))) == 61


def test_neighbours_stay_neighbours_in_the_map():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(3), 20)
    points = 10 * np.eye(8)[clusters] + rng.normal(size=(60, 8))
    found, how = pictures.neighbour_map(points)
    assert "t-SNE" in how
    assert_allclose(found, pictures.neighbour_map(points)[0])
    distance = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert_array_equal(clusters[distance.argmin(axis=1)], clusters)
    assert "two principal components" in pictures.neighbour_map(points[:9])[1]


def test_attention_is_shown_where_the_most_probable_of_several_genres_is_right(tmp_path):
    classifier, manifest = case(30, labels=("Folk", "Rock"), task="multi")
    classifier.bundle.slicing = SliceConfig(slice_s=2.0)
    np.save(tmp_path / "x.npy", np.full((30, 128, 100), -40, dtype=np.float32))
    paths = [f"{tmp_path / 'x.npy'}#{i}" for i in range(30)]
    tracks = [dataclasses.replace(t, path=p) for t, p in zip(manifest.tracks, paths, strict=True)]
    both = np.tile([3.0, 2.0], (4, 1)).astype(np.float32)
    for old, new in zip(manifest.tracks, paths, strict=True):
        classifier.outcomes[new] = dataclasses.replace(
            classifier.outcomes.pop(old.path),
            logits=both,
            attention_frequency=np.tile(np.linspace(0, 1, 64, dtype=np.float32), (4, 1)),
        )
    result = evaluate(classifier, manifest.replace(tracks), n_bootstrap=20, out=tmp_path / "r")
    (example,) = result.attention.examples
    assert example.row.predicted == "Folk|Rock"
    assert "Folk" in example.row.track.labels


def test_the_attention_is_drawn_over_the_music_that_it_weighs(tmp_path):
    classifier, manifest = case(30, labels=("Folk", "Rock"))
    classifier.bundle.slicing = SliceConfig(slice_s=2.0)
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-40, 9, (30, 128, 100)).astype(np.float32)
    np.save(tmp_path / "x.npy", log_mel)
    paths = [f"{tmp_path / 'x.npy'}#{i}" for i in range(30)]
    tracks = [dataclasses.replace(t, path=p) for t, p in zip(manifest.tracks, paths, strict=True)]
    for old, new in zip(manifest.tracks, paths, strict=True):
        found = classifier.outcomes.pop(old.path)
        weights = np.where(np.arange(64) < 32, 0.2, 0.8 if old.label == "Rock" else 0.5)
        classifier.outcomes[new] = dataclasses.replace(
            found,
            starts=np.arange(4) * 10,
            attention_time=rng.random((4, 43), dtype=np.float32),
            attention_frequency=np.tile(weights, (4, 1)).astype(np.float32),
        )
    result = evaluate(classifier, manifest.replace(tracks), n_bootstrap=20, out=tmp_path / "r")
    assert result.attention.frequency.shape == (30, 64)
    rock = [row.track.label == "Rock" for row in result.scored]
    assert_allclose(result.attention.frequency[rock][:, 40], 0.8, rtol=1e-6)
    genres = [example.row.predicted for example in result.attention.examples]
    assert sorted(genres) == ["Folk", "Rock"]
    example = result.attention.examples[0]
    row = int(example.row.track.track_id[1:])
    expected = log_mel[row, :, :86] - log_mel[row, :, :86].max()
    assert_allclose(example.log_mel, np.maximum(expected, -80), atol=1e-4)
    wrong = next(row for row in result.scored if row.predicted != row.track.label).track
    asked = evaluate(
        classifier,
        manifest.replace(tracks),
        n_bootstrap=20,
        out=tmp_path / "asked",
        look_at=[wrong.track_id],
    )
    assert [example.row.track for example in asked.attention.examples] == [wrong]
    text = Page((tmp_path / "asked" / "index.html").read_text()).text
    assert f"It is labelled {wrong.label}, and was asked for." in text
    with pytest.raises(ManifestError, match="no track t99 to score in its test part"):
        evaluate(classifier, manifest.replace(tracks), look_at=["t99", wrong.track_id])
    page = Page((tmp_path / "r" / "index.html").read_text())
    assert "What the attention does with one slice: Rock" in page.text
    assert "Which bands the attention favours" in page.text
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
