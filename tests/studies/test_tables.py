"""A study's tables: what is compared with what, and how p-values are corrected."""

import dataclasses
import math

import numpy as np
import pytest

from tsresformer.bootstrap import Difference, Interval, Shares
from tsresformer.compare import MCNEMAR_WARNING, Answer, holm
from tsresformer.studies.plan import load_study
from tsresformer.studies.results import Results
from tsresformer.studies.tables import Point, contrasts, notes, signed

GROUPS = tuple(f"artist{i // 3}" for i in range(60))


def point(values, protocol, right):
    """A point of the grid; `right` says which of 60 tracks it gets right."""
    answers = {
        f"t{i}": Answer("a", "a" if hit else "b", "a" if hit else "b", GROUPS[i], 0.9, 1, int(hit))
        for i, hit in enumerate(right)
    }
    shares = Shares(np.asarray(right, dtype=float), np.ones(60), GROUPS)
    none = Interval(shares.value, np.nan, np.nan)
    return Point(
        values=values, protocol=protocol, title="", leaks=False, n_tracks=60,
        accuracies=(shares.value,), track=shares, slice=shares, accuracy=none,
        slice_accuracy=none, answers=(answers,), train_s=1.0, params=None, macs=None,
        cells=({"seed": 0, "parts": []},),
    )  # fmt: skip


@pytest.fixture
def grid(study_file, tmp_path):
    """A study of four counts of layers with two fronts, under two protocols, and its points."""

    def make(reference):
        text = (
            'protocols = ["artist-kfold", "official"]\n'
            f'reference = {reference}\n[axes]\n"model.n_layers" = [1, 2, 3, 4]\n'
            '[axes.front]\nplain = { "model.attention" = "none" }\nse = {}\n'
        )
        study = load_study(study_file(text))
        draw = np.random.default_rng(0)
        found = [
            point({"model.n_layers": str(n), "front": front}, protocol, right)
            for protocol in study.plan.protocols
            for n in (1, 2, 3, 4)
            for front, share in (("plain", 0.5), ("se", 0.5 + 0.06 * n))
            for right in [draw.random(60) < share]
        ]
        return Results(tmp_path, {**study.record(), "cells": []}), found

    return make


@pytest.mark.parametrize(
    ("reference", "family", "n"),
    [
        ('{ front = "plain" }', lambda c: c.point.protocol, 4),
        ('{ "model.n_layers" = 1 }', lambda c: c.point.protocol, 6),
        ('{ protocol = "official" }', lambda c: "all", 8),
    ],
)
def test_holm_is_over_all_comparisons_of_a_protocol(grid, reference, family, n):
    compared = contrasts(*grid(reference))
    families = {family(c): [d for d in compared if family(d) == family(c)] for c in compared}
    assert len(families) == (1 if n == 8 else 2)
    for members in families.values():
        assert len(members) == n
        ps = [c.track.p for c in members]
        assert len(set(ps)) > 1
        assert [c.p_holm for c in members] == pytest.approx(holm(ps))
        slices = holm([c.slice.p for c in members])
        assert [c.slice_p_holm for c in members] == pytest.approx(slices)
    assert all(c.point.label != c.reference.label or n == 8 for c in compared)


def test_a_note_tells_of_batches_that_were_computed_in_parts(grid):
    results, found = grid('{ front = "plain" }')
    whole, part, older = (
        dataclasses.replace(found[0], cells=({"seed": 0, "parts": [{"macs": 1, **size}]},))
        for size in ({"micro_batch": 32}, {"micro_batch": 8}, {})
    )
    assert "Slices computed at once: 8, 32. " in " ".join(notes(results, [whole, part, older]))
    assert "at once" not in " ".join(notes(results, [whole, older]))


def test_a_note_tells_of_processors_and_threads_that_round_differently(grid):
    results, found = grid('{ front = "plain" }')
    one, other, older, fitted = (
        dataclasses.replace(found[0], cells=({"seed": 0, "parts": [part]},))
        for part in (
            {"history": [1], "processor": "AVX512 with 1 thread"},
            {"history": [1], "processor": "AVX512 with 2 threads"},
            {"history": [1]},
            {"params": None},
        )
    )
    assert "networks: AVX512 with 1 thread, AVX512 with 2 threads. They" in " ".join(
        notes(results, [one, other, fitted])
    )
    assert "networks: AVX512 with 1 thread, not recorded. They" in " ".join(
        notes(results, [one, older])
    )
    assert "networks:" not in " ".join(notes(results, [one, one, fitted]))


def test_a_note_tells_how_unequal_the_artists_are(grid):
    results, found = grid('{ front = "plain" }')
    groups = tuple("large" if i < 30 else f"artist{i}" for i in range(60))
    large = Shares(found[0].track.right, np.ones(60), groups)
    uneven = dataclasses.replace(found[0], protocol="official", track=large)
    assert (
        "Artists tested: artist-kfold 20, worth 20 of one size (the largest has "
        "5.0 % of the tracks); official 31, worth 4 of one size (the largest has "
        "50.0 % of the tracks)."
    ) in notes(results, [found[0], uneven])


def test_a_note_tells_what_the_tuning_chose(study_file, tmp_path):
    plan = (
        "[axes]\n[axes.model]\nnet = {}\nsvm = { 'classical.model' = 'svm' }\n"
        "[tuning]\ntrials = 2\nspace = { 'train.learning_rate' = [2e-3, 1e-3] }\n"
        "[tuning.own]\nsvm = { 'classical.penalty' = [1.0, 10.0] }\n"
    )
    study = load_study(study_file(plan))
    results = Results(tmp_path, {**study.record(), "cells": []})
    net, svm = (
        dataclasses.replace(
            point({"model": label}, "artist-kfold", [1] * 60),
            cells=({"seed": 0, "parts": [{"chosen": {key: value}} for value in values]},),
        )
        for label, key, values in (
            ("net", "train.learning_rate", [0.001, 0.001]),
            ("svm", "classical.penalty", [1.0, 10.0]),
        )
    )
    assert (
        "Chosen in tuning, one value a fold where they differ, artist-kfold: net learning_rate "
        "0.001, svm penalty 1 10."
    ) in notes(results, [net, svm])


@pytest.mark.parametrize(
    ("axis", "values", "reference", "label"),
    [
        ("data.fraction", "[0.5, 1.0]", "1.0", "1"),
        ("model.learned_fusion", "[true, false]", "false", "false"),
        ("model.front_stride", "[[2, 2], [4, 2]]", "[2, 2]", "2-2"),
    ],
)
def test_a_reference_is_any_value_of_its_axis(study_file, tmp_path, axis, values, reference, label):
    path = study_file(f'[axes]\n"{axis}" = {values}\n[reference]\n"{axis}" = {reference}')
    study = load_study(path)
    found = [
        point(dict(cell.values), cell.protocol, np.arange(60) % (i + 2) > 0)
        for i, cell in enumerate(study.cells)
    ]
    results = Results(tmp_path, {**study.record(), "cells": []})
    (compared,) = contrasts(results, found)
    assert compared.reference.values == {axis: label}
    assert f"Differences are from {axis} {label}, in points" in " ".join(notes(results, found))


def test_tracks_are_paired_by_the_first_seed_that_both_have(grid):
    results, found = grid('{ front = "plain" }')
    reference, other = found[:2]
    swapped = {i: dataclasses.replace(a, best="b") for i, a in other.answers[0].items()}
    late = dataclasses.replace(
        other,
        answers=(swapped, *other.answers),
        cells=tuple({"seed": seed, "parts": []} for seed in (3, 0)),
    )
    (usual,) = contrasts(results, [reference, other])
    assert contrasts(results, [reference, late])[0].only == usual.only
    alone = dataclasses.replace(late, answers=late.answers[:1], cells=late.cells[:1])
    (apart,) = contrasts(results, [reference, alone])
    assert apart.only is None
    assert math.isnan(apart.mcnemar_p)


def test_mcnemar_is_never_told_without_its_warning(grid):
    results, found = grid('{ front = "plain" }')
    text = " ".join(notes(results, found))
    assert "McNemar's p, of the first seed alone and not corrected, artist-kfold: 1, se " in text
    assert MCNEMAR_WARNING in text
    assert "McNemar" not in " ".join(notes(*grid('{ protocol = "official" }')))


def test_slices_a_track_are_told_where_a_protocol_scatters_them(grid):
    results, found = grid('{ protocol = "official" }')
    few = dataclasses.replace(
        found[0], leaks=True, slice=Shares(np.ones((1, 60)), np.full(60, 3.0), GROUPS)
    )
    text = " ".join(notes(results, [few, found[-1]]))
    assert "Slices of a track that are scored together: artist-kfold 3.0, official 1.0." in text
    assert "scored together" not in " ".join(notes(results, found))


def test_no_difference_has_no_sign():
    assert signed(Difference(1e-17, -1e-17, 2e-17, 1.0)) == "+0.0 (+0.0 to +0.0)"
    assert signed(Difference(0.05, 0.01, 0.09, 0.02)) == "-5.0 (-9.0 to -1.0)"
