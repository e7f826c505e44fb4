"""Pictures and pages of studies: colours, ticks, places of marks and numbers, and what they say."""

import dataclasses
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.bootstrap import Difference, Interval, Shares
from tsresformer.compare import Answer
from tsresformer.report.figures import (
    BLUE,
    CLASS_COLOURS,
    GREY,
    INK,
    OLIVE,
    VERMILLION,
    WIDTH,
)
from tsresformer.studies import figures
from tsresformer.studies.genres import confusion, genres_of, recalls
from tsresformer.studies.page import _multiply_adds, _range, draw, write_page
from tsresformer.studies.plan import load_study
from tsresformer.studies.results import Results
from tsresformer.studies.tables import Point

SVG = "{http://www.w3.org/2000/svg}"
GENRES = ("Folk", "Pop", "Rock")


def point(values, protocol="artist-kfold", *, wrong=3, n_slices=1, n_seeds=1, cell="", **changes):
    """A point that takes every `wrong`-th of 60 tracks for Folk, in each seed one track later."""
    groups = [f"artist{i // 2}" for i in range(60)]
    answers = []
    for seed in range(n_seeds):
        given_ = ["Folk" if (i + seed) % wrong == 0 else GENRES[i // 20] for i in range(60)]
        answers.append(
            {
                f"t{i}": Answer(
                    *(GENRES[i // 20], given_[i], given_[i], groups[i], 0.9, n_slices),
                    n_slices * (given_[i] == GENRES[i // 20]),
                )
                for i in range(60)
            }
        )
    right = np.mean([[a.right for a in seed.values()] for seed in answers], axis=0)
    value = float(right.mean())
    interval = Interval(value, value - 0.1, value + 0.1)
    known = {
        "values": values,
        "protocol": protocol,
        "title": "test part",
        "leaks": protocol in ("slice", "track"),
        "n_tracks": 60,
        "accuracies": (value,) * n_seeds,
        "track": Shares(right, np.ones(60), tuple(groups)),
        "slice": Shares(n_slices * right, np.full(60, float(n_slices)), tuple(groups)),
        "accuracy": interval,
        "slice_accuracy": interval,
        "answers": tuple(answers),
        "train_s": 60.0,
        "params": 1000,
        "macs": 1_000_000,
        "cells": tuple(
            {"cell": cell, "seed": k, "parts": [{"chosen": {}}], "metrics": {"task": "single"}}
            for k in range(n_seeds)
        ),
    }
    return Point(**{**known, **changes})


def gap(one, reference, p_track, p_slice):
    """A comparison with these p-values; the point is five points better."""
    better = Difference(-0.05, -0.1, 0.0, 0.01)
    return SimpleNamespace(
        point=one, reference=reference, track=better, slice=better, p_holm=p_track,
        slice_p_holm=p_slice, only=None, mcnemar_p=np.nan,
    )  # fmt: skip


def marks(svg):
    """Colour, whether filled, x and y of each mark of the data, in the order of drawing."""
    found = []
    for use in ElementTree.fromstring(svg).iter(f"{SVG}use"):
        style = use.attrib["style"]
        colour = re.search(r"stroke: ([^;]*)", style)[1]
        if "stroke-width" not in style:  # which ticks have
            place = float(use.attrib["x"]), float(use.attrib["y"])
            found.append((colour, "fill-opacity: 0" not in style, *place))
    return found


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@given(st.floats(1e-3, 1e10), st.floats(1.01, 1e6))
def test_a_logarithmic_axis_has_three_round_ticks_or_more_within_its_limits(low, factor):
    high = low * factor
    ticks = figures.round_numbers(low, high)
    assert 3 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert low * (1 - 1e-9) <= ticks[0]
    assert ticks[-1] <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("costs", "unit"), [([26e6, 27e6, 28e6, 28e6, 30e6], " M"), ([320, 330, 480, 420, 410], "")]
)
def test_costs_over_a_short_range_have_ticks_and_marks_that_do_not_hide_one_another(costs, unit):
    points = [point({"attention": f"kind{k}"}) for k in range(5)]
    svg = figures.cost(points, costs, "cost", "", "macs", "attention")
    ticks = [w for w in words(svg) if re.fullmatch(rf"\d\d[\d.]*{unit}", w or "") and w != "60"]
    assert len([w for w in ticks if unit in w]) >= 3
    assert "attention" in words(svg)  # the title of the legend
    x = sorted(mark[2] for mark in marks(svg)[:5])
    assert len(marks(svg)) == 10  # with those of the legend
    assert np.diff(x).min() >= 6  # as wide as a mark


@pytest.mark.parametrize(
    ("seconds", "unit", "first"),
    [([20, 90], "seconds", 20), ([600, 1500], "minutes", 10), ([1800, 9e4], "hours", 0.5)],
)
def test_times_are_in_the_unit_that_suits_them(seconds, unit, first):
    assert figures.in_time_unit(seconds) == (
        [first, pytest.approx(seconds[1] / seconds[0] * first)],
        unit,
    )
    points = [point({"data.fraction": f"{k + 1}"}, train_s=s) for k, s in enumerate(seconds)]
    svg = figures.times(points, "data.fraction", "the part", "", "times")
    assert f"training, {unit}" in words(svg)
    assert {"1", "2", "the part"} <= set(words(svg))


def test_a_curve_has_a_tick_at_every_number_of_its_axis():
    points = [point({"slicing.slice_s": s}) for s in ("3", "5", "10", "30")]
    svg = figures.curve(points, "slicing.slice_s", "the length of a slice", "", "curve")
    assert {"3", "5", "10", "30", "the length of a slice"} <= set(words(svg))
    assert {colour for colour, *_ in marks(svg)} == {BLUE, OLIVE}


def test_a_mark_has_the_colour_of_its_own_p():
    honest = point({}, "artist-kfold", wrong=2)
    leaking = point({}, "slice", wrong=4)
    svg = figures.leakage([leaking, honest], [gap(leaking, honest, 0.2, 0.01)], "")
    drawn = [(colour, filled) for colour, filled, *_ in marks(svg)[:4]]
    assert drawn == [(GREY, True), (VERMILLION, False), (BLUE, True), (BLUE, False)]
    assert {"0.200", "0.010"} <= set(words(svg))
    svg = figures.differences([gap(leaking, honest, 0.01, 0.2)], "", "gaps")
    assert [mark[:2] for mark in marks(svg)[:2]] == [(BLUE, True), (GREY, False)]
    assert {"0.200", "0.010"} <= set(words(svg))


def test_no_number_is_crossed_by_the_line_of_the_reference_and_all_are_in_the_colour_of_ink():
    honest, leaking = point({}, wrong=2), point({}, "slice", wrong=4)
    worse = point({}, "official", wrong=5, accuracy=Interval(0.3, 0.2, 0.4))
    compared = [gap(one, honest, 0.2, 0.2) for one in (leaking, worse)]
    svg = figures.leakage([leaking, honest, worse], compared, "")
    x_of_line = marks(svg)[2][2]
    texts = list(ElementTree.fromstring(svg).iter(f"{SVG}text"))
    numbers = [
        text
        for text in texts
        if re.fullmatch(r"\d\d\.\d", text.text) and "7.5px" in text.attrib["style"]
    ]
    assert len(numbers) == 6
    for text in numbers:
        left = float(text.attrib["x"]) < x_of_line
        assert left == ("text-anchor: end" in text.attrib["style"])
    assert {re.search(r"fill: ([^;]*)", t.attrib["style"])[1] for t in texts} == {"currentColor"}


def test_what_is_hollow_is_not_white():
    honest, leaking = point({}, wrong=2), point({}, "slice", wrong=4)
    compared = [gap(leaking, honest, 0.2, 0.2)]
    for svg in (
        figures.leakage([leaking, honest], compared, ""),
        figures.differences(compared, "", "gaps"),
        figures.accuracies([honest, leaking], "", "accuracies"),
    ):
        assert "#ffffff" not in svg
        assert [filled for _, filled, *_ in marks(svg)].count(False) >= 2


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [c for c in CLASS_COLOURS if c != INK])
def test_thin_lines_stand_out_from_both_pages(colour):
    of_line, of_card = luminance(colour) + 0.05, luminance("#1a1e23") + 0.05
    assert 1.05 / of_line >= 3
    assert of_line / of_card >= 3


def test_recalls_and_confusions_are_means_over_seeds():
    one = point({"model": "a"}, wrong=2, n_seeds=2)  # every track is wrong in one of the seeds
    assert genres_of([one]) == list(GENRES)
    assert [r.value for r in recalls(one, GENRES)] == [1, 0.5, 0.5]
    assert recalls(one, GENRES)[1].low <= 0.5 <= recalls(one, GENRES)[1].high
    assert confusion(one, GENRES).tolist() == [[20, 0, 0], [10, 10, 0], [10, 0, 10]]
    assert np.isnan(recalls(one, ["Polka"])[0].value)


def test_the_reference_stands_out_among_the_recalls():
    shares = np.array([[0.9, 0.5], [0.8, 0.4]])
    intervals = [Interval(0.9, 0.8, 1.0), Interval(0.5, np.nan, np.nan)]
    svg = figures.recalls(shares, intervals, ["svm", "knn"], [1, 0], ["Folk", "Pop"], "", "model")
    assert [(c, f) for c, f, *_ in marks(svg)[:4]] == 2 * [(BLUE, False)] + 2 * [(VERMILLION, True)]
    assert {"Folk", "Pop", "svm", "knn", "model", "recall, %"} <= set(words(svg))


@pytest.fixture
def study(study_file, tmp_path):
    """The record of a study that ran nowhere."""

    def make(text):
        record = load_study(study_file(text)).record()
        made_up = {"n_tracks": 7170, "manifest_rows": "", "store_key": "", "version": "0"}
        return Results(tmp_path, {**record, **made_up, "cells": []})

    return make


def test_a_page_of_protocols_says_what_differs_and_nothing_of_mcnemar(study):
    results = study(
        'protocols = ["slice", "artist-kfold"]\nreference = { protocol = "artist-kfold" }'
    )
    found = [point({}, "slice", wrong=5), point({}, "artist-kfold", wrong=2, n_slices=3)]
    noted = {**results.record, "note": "Cores were <b>shared</b>."}
    page = write_page(dataclasses.replace(results, record=noted), found).read_text()
    assert "McNemar" not in page
    assert "Right alone" not in page
    assert "correction is over all of them" in page
    assert "the comparisons of one protocol" not in page
    assert "the same music" not in page
    assert "the same 7,170 tracks" in page
    assert "slice 1.00, artist-kfold 3.00" in page
    assert "the number that papers report" in page
    assert "<dt>tracks</dt><dd>7,170</dd>" in page
    assert "<dt>of them tested</dt><dd>60</dd>" in page
    question, _, rest = page.partition("<span>Q</span></h1>")
    assert question
    assert rest.lstrip().startswith('<p class="banner note" role="note">Cores were &lt;b&gt;shared')
    assert [picture.heading for picture in draw(results, found)] == [
        *("One model under each split", "Which genres each finds", "What is taken for what"),
    ]
    assert 'class="banner note"' not in write_page(results, found).read_text()


def test_genres_are_of_the_reference_and_the_best_few(study):
    axis = "".join(f"v{k} = {{ 'train.epochs' = {k + 1} }}\n" for k in range(7))
    results = study(f"reference = {{ model = 'v0' }}\n[axes.model]\n{axis}")
    found = [point({"model": f"v{k}"}, wrong=k + 2, n_seeds=2) for k in range(7)]
    pictures = {picture.heading: picture for picture in draw(results, found)}
    recall, matrix = pictures["Which genres each finds"], pictures["What is taken for what"]
    assert {"v0", "v3", "v4", "v5", "v6"} <= set(words(recall.svg))
    assert not {"v1", "v2"} & set(words(recall.svg))
    assert "Filled marks are v0, the reference" in recall.caption
    assert "the 4 others that are most often right, of 7 in all" in recall.caption
    assert "by v0, the reference, mean over its seeds" in matrix.caption
    assert "50.0 % of Pop is taken for Folk (10 tracks)" in matrix.caption
    right = pictures["How often each is right"]
    assert "below" not in right.caption
    assert "the next picture has the differences" in right.caption


def test_multiply_adds_of_slices_of_several_lengths_are_of_the_same_music(study, monkeypatch):
    results = study("[axes]\n'slicing.slice_s' = [3, 15]")
    found = [
        point({"slicing.slice_s": s}, cell=f"slice_s-{s}--artist-kfold--seed-0", macs=macs)
        for s, macs in (("3", 8_000_000), ("15", 30_000_000))
    ]
    cells = [{"error": None, **point.cells[0]} for point in found]
    monkeypatch.setattr(Results, "cells", lambda _: cells)
    _, macs, what = _multiply_adds(results, found)
    assert (macs, what) == ([80e6, 60e6], "30 s of music")
    # A configuration that has changed since says nothing of the lengths.
    other = Results(results.folder, {**results.record, "specs": ""})
    assert _multiply_adds(other, found) is None
    other = study("[axes]\n'model.n_layers' = [1, 2]")
    assert _multiply_adds(other, found)[1:] == ([8e6, 30e6], "one slice")


def test_a_number_is_named_with_its_axis(study):
    results = study("reference = { 'slicing.slice_s' = 3 }\n[axes]\n'slicing.slice_s' = [3, 15]")
    found = [point({"slicing.slice_s": s}, wrong=k + 2) for k, s in enumerate(("3", "15"))]
    pictures = draw(results, found)
    axis = "length of a slice in seconds"
    assert all(axis in words(picture.svg) for picture in pictures[:3])
    assert f"Highest: 15 ({axis}), " in pictures[0].caption
    assert pictures[1].heading == f"How much better or worse than 3 ({axis})"
    assert f"by 3 ({axis}), the reference" in pictures[3].caption


def test_the_loss_is_not_said_to_be_what_a_network_gets_wrong(study):
    results = study("[axes.model]\na = {}\nb = { 'train.epochs' = 3 }")
    epochs = [{"dev_score": 0.5, "train_loss": 2.0 - k / 10} for k in range(3)]
    parts = [{"chosen": {}, "history": epochs}]
    found = [point({"model": name}) for name in "ab"]
    found = [dataclasses.replace(one, cells=({**one.cells[0], "parts": parts},)) for one in found]
    *_, loss = draw(results, found)
    assert loss.heading == "The loss that each lowers in training"
    assert "does not say how often a network is wrong" in loss.caption
    assert {"training loss", "epoch", "model", "a", "b"} <= set(words(loss.svg))


def test_how_many_tracks_are_tested():
    assert (_range([]), _range([60]), _range([1953, 717])) == ("0", "60", "717–1,953")


def test_a_picture_is_as_wide_as_the_others():
    assert f'viewBox="0 0 {72 * WIDTH:g}' in figures.cost([point({})], [1.0], "", "", "macs")
