"""The bootstrap against resampling by hand, closed forms, and its own promises."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as reference

from tsresformer import bootstrap
from tsresformer.errors import TsResformerError


def case(n_items, n_classes, n_groups, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_classes, n_items)
    scores = generator.normal(size=(n_items, n_classes))
    scores[np.arange(n_items), labels] += 1.5
    probabilities = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities, [f"artist {i}" for i in generator.integers(0, n_groups, n_items)]


def test_intervals_equal_resampling_by_hand():
    labels, probabilities, groups = case(120, 3, 20)
    found = bootstrap.summarise(labels, probabilities, groups, n_bootstrap=200, seed=5)

    names = sorted(set(groups))
    counts = np.random.default_rng(5).multinomial(
        len(names), np.full(len(names), 1 / len(names)), 200
    )
    accuracy, f1, area = [], [], []
    for row in counts:
        times = [row[names.index(g)] for g in groups]
        drawn = np.repeat(np.arange(len(labels)), times)
        truth, scores = labels[drawn], probabilities[drawn]
        accuracy.append(np.mean(scores.argmax(axis=1) == truth))
        f1.append(reference.f1_score(truth, scores.argmax(axis=1), average="macro"))
        area.append(reference.roc_auc_score(truth, scores, multi_class="ovr"))
    for name, values in (("accuracy", accuracy), ("macro_f1", f1), ("roc_auc", area)):
        interval = found.overall[name]
        assert_allclose([interval.low, interval.high], np.quantile(values, [0.025, 0.975]))
    assert found.n_groups == len(names)
    assert found.n_items == sum(found.support) == 120


def test_interval_of_a_share_is_the_binomial_one():
    # 400 items, 300 right, each its own group: 1.96 standard errors either side.
    right = np.arange(400) < 300
    probabilities = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    summary = bootstrap.summarise(np.zeros(400, dtype=int), probabilities, n_bootstrap=4000)
    half_width = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    interval = summary.overall["accuracy"]
    assert interval.value == 0.75
    assert interval.low == pytest.approx(0.75 - half_width, abs=0.005)
    assert interval.high == pytest.approx(0.75 + half_width, abs=0.005)


def test_copies_within_a_group_add_no_certainty():
    labels, probabilities, _ = case(60, 3, 60)
    alone = bootstrap.summarise(labels, probabilities, [str(i) for i in range(60)], n_bootstrap=300)
    copies = np.repeat(np.arange(60), 5)
    grouped = bootstrap.summarise(
        labels[copies], probabilities[copies], [str(i) for i in copies], n_bootstrap=300
    )
    pretended = bootstrap.summarise(labels[copies], probabilities[copies], n_bootstrap=300)
    for name in ("accuracy", "macro_f1", "roc_auc", "nll", "brier"):
        one, many = alone.overall[name], grouped.overall[name]
        assert_allclose([one.value, one.low, one.high], [many.value, many.low, many.high])
        width = pretended.overall[name].high - pretended.overall[name].low
        assert width < 0.6 * (many.high - many.low)


def test_values_lie_in_their_intervals():
    labels, probabilities, groups = case(400, 4, 80)
    summary = bootstrap.summarise(labels, probabilities, groups)
    rows = [*summary.overall.values(), *(i for v in summary.per_class.values() for i in v)]
    assert len(rows) == 8 + 4 * 4
    for interval in rows:
        assert 0 <= interval.low <= interval.value <= interval.high


def test_interval_of_a_calibrated_model_includes_a_small_error():
    generator = np.random.default_rng(3)
    first = generator.uniform(0.5, 1, 1500)
    labels = (generator.random(1500) > first).astype(int)
    interval = bootstrap.summarise(labels, np.stack([first, 1 - first], axis=1)).overall["ece"]
    assert interval.low <= interval.value <= interval.high
    assert interval.low < 0.03


def test_same_seed_same_numbers():
    data = case(50, 3, 10)
    first, again, other = (bootstrap.summarise(*data, n_bootstrap=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.overall["accuracy"].value == other.overall["accuracy"].value
    assert first.overall["accuracy"] != other.overall["accuracy"]


def test_multi_label_summary():
    generator = np.random.default_rng(0)
    truth = generator.random((200, 5)) < 0.3
    probabilities = 1 / (1 + np.exp(generator.normal(size=truth.shape) - 3 * truth + 1.5))
    overall = bootstrap.summarise(truth, probabilities, n_bootstrap=50).overall
    assert list(overall)[:4] == ["mean_average_precision", "macro_f1", "micro_f1", "top_1_accuracy"]
    assert "accuracy" not in overall
    assert overall["micro_f1"].value == pytest.approx(
        reference.f1_score(truth, probabilities >= 0.5, average="micro")
    )


def test_one_group_has_no_interval():
    labels, probabilities, _ = case(30, 3, 1)
    interval = bootstrap.summarise(labels, probabilities, ["one"] * 30).overall["accuracy"]
    assert 0 < interval.value < 1
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_class_that_never_occurs_has_no_scores():
    labels, probabilities, _ = case(30, 2, 1)
    padded = np.concatenate([probabilities, np.zeros((30, 1))], axis=1)
    summary = bootstrap.summarise(labels, padded, n_bootstrap=20)
    assert math.isnan(summary.per_class["f1"][2].value)
    assert math.isnan(summary.per_class["f1"][2].low)
    assert summary.support[2] == 0


def test_groups_must_fit():
    with pytest.raises(TsResformerError, match="2 groups do not fit 1 items"):
        bootstrap.summarise([0], [[0.5, 0.5]], ["a", "b"])


def test_a_thousand_resamples_take_seconds():
    data = case(800, 8, 266)
    start = time.process_time()
    bootstrap.summarise(*data, n_bootstrap=1000)
    assert time.process_time() - start < 5


def shares(right, groups, count=None):
    right = np.asarray(right, dtype=float)
    n_items = right.shape[-1]
    return bootstrap.Shares(right, np.ones(n_items) if count is None else count, tuple(groups))


def test_the_interval_of_a_share_is_that_of_the_accuracy():
    labels, probabilities, groups = case(150, 3, 30)
    expected = bootstrap.summarise(labels, probabilities, groups, n_bootstrap=300, seed=2)
    right = probabilities.argmax(axis=1) == labels
    found = bootstrap.share_interval(shares(right, groups), n_bootstrap=300, seed=2)
    assert_allclose(
        [found.value, found.low, found.high],
        [getattr(expected.overall["accuracy"], name) for name in ("value", "low", "high")],
    )


def test_differences_are_paired_by_group():
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in rng.integers(0, 40, 400)]
    hard = dict(zip(sorted(set(groups)), rng.random(40), strict=False))
    one = np.array([rng.random() < hard[g] for g in groups])
    two = one.copy()
    two[::20] = False  # two is right on no track that one is not
    gap = bootstrap.difference(shares(one, groups), shares(two, groups), n_bootstrap=4000)
    assert gap.value == pytest.approx(one.mean() - two.mean())
    assert 0 < gap.low < gap.value < gap.high < 0.05  # far less than either share varies
    assert gap.p < 0.01
    alone = bootstrap.share_interval(shares(one, groups))
    assert alone.high - alone.low > 2 * (gap.high - gap.low)
    swapped = bootstrap.difference(shares(two, groups), shares(one, groups), n_bootstrap=4000)
    assert_allclose([swapped.low, swapped.high, swapped.p], [-gap.high, -gap.low, gap.p])
    same = bootstrap.difference(shares(one, groups), shares(one, groups), n_bootstrap=100)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_difference_over_other_tracks_and_one_of_one_group():
    rng = np.random.default_rng(1)
    a = shares(rng.random(300) < 0.8, [f"a{i}" for i in range(300)])
    b = shares(rng.random(200) < 0.5, [f"b{i}" for i in range(200)])
    gap = bootstrap.difference(a, b, n_bootstrap=2000)
    sd = math.sqrt(0.8 * 0.2 / 300 + 0.25 / 200)
    assert (gap.high - gap.low) / 2 == pytest.approx(1.96 * sd, rel=0.15)
    lone = bootstrap.difference(shares([1, 0], "aa"), shares([0, 0], "aa"))
    assert lone.value == 0.5
    assert math.isnan(lone.low)
    assert math.isnan(lone.p)


def trainings(*accuracies, n_tracks=2000):
    """Tracks of as many artists, and one row a seed with so many of them right."""
    right = [np.arange(n_tracks) < accuracy * n_tracks for accuracy in accuracies]
    rng = np.random.default_rng(0)
    return shares([rng.permutation(row) for row in right], [f"g{i}" for i in range(n_tracks)])


def test_seeds_that_differ_widen_the_interval_of_their_mean():
    apart = bootstrap.share_interval(trainings(0.4, 0.5, 0.6))
    alike = bootstrap.share_interval(trainings(0.5, 0.5, 0.5))
    assert apart.value == alike.value == pytest.approx(0.5)
    assert alike.high - alike.low < 0.05
    assert (apart.low, apart.high) == pytest.approx((0.4, 0.6), abs=0.03)
    of_many = bootstrap.share_interval(trainings(*np.linspace(0.4, 0.6, 9)))
    sd = np.std(np.linspace(0.4, 0.6, 9), ddof=1) / 3
    assert (of_many.high - of_many.low) / 2 == pytest.approx(1.96 * sd, rel=0.25)


@pytest.mark.parametrize("n_seeds", [2, 3, 4])
def test_the_spread_over_seeds_is_that_of_their_mean(n_seeds):
    values = np.arange(n_seeds) ** 2.0
    drawn = bootstrap._seed_weights(np.random.default_rng(0), 40_000, n_seeds) @ values
    assert drawn.mean() == pytest.approx(values.mean(), rel=0.02)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / n_seeds, rel=0.03)


def test_a_lucky_seed_makes_no_difference_significant():
    lucky, steady = trainings(0.48, 0.50, 0.58), trainings(0.49, 0.50, 0.49)
    assert bootstrap.difference(lucky, steady, n_bootstrap=2000).p > 0.1
    mean = shares(lucky.right.mean(axis=0), lucky.groups)
    assert bootstrap.difference(mean, trainings(0.49), n_bootstrap=2000).p < 0.05


def test_no_difference_is_no_difference_to_the_last_digit():
    same = trainings(*[0.5] * 4)
    equal = dataclasses.replace(same, right=np.repeat(same.right[:1], 4, axis=0))
    gap = bootstrap.difference(equal, equal, n_bootstrap=500)
    assert (gap.value, gap.low, gap.high, gap.p) == (0, 0, 0, 1)
