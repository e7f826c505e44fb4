"""Metrics against scikit-learn, closed forms and their own definitions under weighting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics as reference

from tsresformer import metrics
from tsresformer.errors import TsResformerError

SINGLE = [
    metrics.accuracy,
    metrics.roc_auc,
    metrics.average_precision,
    metrics.nll,
    metrics.brier,
    metrics.aurc,
]


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def single_case(seed, n_items=200, n_classes=5, decimals=None):
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), generator.integers(0, n_classes, n_items)])
    logits = generator.normal(size=(len(labels), n_classes))
    logits[np.arange(len(labels)), labels] += 1.0
    if decimals is not None:
        logits = logits.round(decimals)
    return labels, softmax(logits)


def multi_case(seed, n_items=150, n_classes=4):
    generator = np.random.default_rng(seed)
    truth = generator.random((n_items, n_classes)) < 0.3
    truth[:2] = [[True] * n_classes, [False] * n_classes]
    logits = generator.normal(size=truth.shape) + 2 * truth - 1
    return truth, 1 / (1 + np.exp(-logits.round(1)))


@pytest.mark.parametrize("seed", range(3))
def test_single_label_metrics_equal_scikit_learn(seed):
    labels, probabilities = single_case(seed, decimals=1)
    decided = probabilities.argmax(axis=1)
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        labels, decided, zero_division=np.nan
    )
    table = metrics.class_scores(labels, probabilities)
    assert_allclose(metrics.accuracy(labels, probabilities), np.mean(decided == labels))
    assert_allclose(table.precision, precision)
    assert_allclose(table.recall, recall)
    assert_allclose(table.f1, f1)
    assert_array_equal(table.support, support)
    assert_array_equal(
        metrics.confusion_matrix(labels, probabilities),
        reference.confusion_matrix(labels, decided),
    )
    assert_allclose(metrics.macro(table.recall), reference.balanced_accuracy_score(labels, decided))
    assert_allclose(
        metrics.macro(metrics.roc_auc(labels, probabilities)),
        reference.roc_auc_score(labels, probabilities, multi_class="ovr"),
    )
    assert_allclose(metrics.nll(labels, probabilities), reference.log_loss(labels, probabilities))
    by_class = [  # scikit-learn adds them itself from 1.7 on
        reference.brier_score_loss(labels == c, probabilities[:, c])
        for c in range(probabilities.shape[1])
    ]
    assert_allclose(metrics.brier(labels, probabilities), sum(by_class))


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_metrics_equal_scikit_learn(seed):
    truth, probabilities = multi_case(seed)
    decided = probabilities >= 0.5
    table = metrics.class_scores(truth, probabilities)
    assert_allclose(metrics.macro(table.f1), reference.f1_score(truth, decided, average="macro"))
    assert_allclose(
        metrics.macro(metrics.average_precision(truth, probabilities)),
        reference.average_precision_score(truth, probabilities, average="macro"),
    )
    assert_allclose(
        metrics.macro(metrics.roc_auc(truth, probabilities)),
        reference.roc_auc_score(truth, probabilities, average="macro"),
    )
    bce = [reference.log_loss(t, p) for t, p in zip(truth.T, probabilities.T, strict=True)]
    assert_allclose(metrics.nll(truth, probabilities), np.mean(bce))
    assert_allclose(metrics.brier(truth, probabilities), np.mean((truth - probabilities) ** 2))


def test_roc_curve_encloses_the_area():
    labels, probabilities = single_case(1, decimals=1)
    falls, hits = metrics.roc_curve(labels == 2, probabilities[:, 2])
    expected = reference.roc_curve(labels == 2, probabilities[:, 2], drop_intermediate=False)
    assert_allclose(falls, expected[0])
    assert_allclose(hits, expected[1])
    area = np.sum(np.diff(falls) * (hits[1:] + hits[:-1]) / 2)
    assert_allclose(area, metrics.roc_auc(labels, probabilities)[2])


@given(seed=st.integers(0, 10_000), decimals=st.sampled_from([0, 1, None]))
def test_integer_weights_equal_copies(seed, decimals):
    labels, probabilities = single_case(seed, n_items=20, n_classes=3, decimals=decimals)
    weights = np.random.default_rng(seed).integers(0, 4, (2, len(labels)))
    weights[:, :3] += 1
    for metric in SINGLE:
        together = metric(labels, probabilities, weights)
        for row, value in zip(weights, together, strict=True):
            copies = np.repeat(np.arange(len(labels)), row)
            assert_allclose(
                value, metric(labels[copies], probabilities[copies]), err_msg=str(metric)
            )


@given(seed=st.integers(0, 10_000))
def test_order_of_items_does_not_matter(seed):
    labels, probabilities = single_case(seed, n_items=40, n_classes=3, decimals=0)
    order = np.random.default_rng(seed).permutation(len(labels))
    for metric in [*SINGLE, metrics.ece]:
        assert_allclose(metric(labels, probabilities), metric(labels[order], probabilities[order]))


@given(seed=st.integers(0, 10_000))
def test_ranges(seed):
    labels, probabilities = single_case(seed, n_items=30, n_classes=4)
    for metric in [metrics.accuracy, metrics.ece, metrics.aurc]:
        assert 0 <= metric(labels, probabilities) <= 1
    assert 0 <= metrics.brier(labels, probabilities) <= 2
    area = metrics.roc_auc(labels, probabilities)
    rest = metrics.roc_auc(np.eye(4, dtype=bool)[labels], 1 - probabilities)
    assert_allclose(area + rest, 1)


def test_ece_of_known_bins():
    # 15 items in 15 bins: the gap of each is its own.
    confidence = np.linspace(0.55, 0.97, 15)
    labels = np.array([0, 1, 0, 0, 1] * 3)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    right = labels == 0
    assert_allclose(metrics.ece(labels, probabilities), np.abs(right - confidence).mean())
    # 30 items, two a bin: a right and a wrong one cancel at confidence 0.5.
    half = np.full((30, 2), 0.5)
    assert_allclose(metrics.ece(np.tile([0, 1], 15), half), 0, atol=1e-12)
    assert_allclose(metrics.ece(np.zeros(30, dtype=int), half), 0.5)


def test_ece_bins_have_equal_mass():
    labels, probabilities = single_case(3, n_items=295)  # 300 with one of each class
    curve = metrics.reliability(labels, probabilities)
    assert_array_equal(curve.count, np.full(metrics.N_BINS, 20))
    assert_allclose(
        metrics.ece(labels, probabilities), np.abs(curve.accuracy - curve.confidence).mean()
    )
    assert_allclose(curve.accuracy.mean(), metrics.accuracy(labels, probabilities))


def test_multi_label_ece_is_over_all_claims():
    truth = np.array([[True, False], [True, False]])
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]])
    assert_allclose(metrics.ece(truth, probabilities), 0.25)


def test_risk_coverage_closed_form():
    labels = np.array([0, 0, 0, 0])
    confidence = np.array([0.9, 0.8, 0.8, 0.6])
    wrong = np.array([False, True, False, True])
    first = np.where(wrong, 1 - confidence, confidence)
    curve = metrics.risk_coverage(labels, np.stack([first, 1 - first], axis=1))
    assert_allclose(curve.threshold, [0.9, 0.8, 0.6])
    assert_allclose(curve.coverage, [0.25, 0.75, 1])
    assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])
    area = metrics.aurc(labels, np.stack([first, 1 - first], axis=1))
    assert_allclose(area, (0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)


def test_undefined_values_are_nan_and_stay_out_of_the_mean():
    labels = np.array([0, 0, 1, 1])  # class 2 does not occur, class 1 is never decided
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])
    table = metrics.class_scores(labels, probabilities)
    assert_allclose(table.precision, [2 / 3, np.nan, 0])
    assert_allclose(table.recall, [1, 0, np.nan])
    assert_allclose(table.f1, [0.8, 0, np.nan])
    assert_allclose(metrics.macro(table.f1), 0.4)
    assert_allclose(
        metrics.macro(table.f1),
        reference.f1_score(labels, probabilities.argmax(axis=1), labels=[0, 1], average="macro"),
    )
    assert_allclose(metrics.roc_auc(labels, probabilities), [1, 0.875, np.nan])


def test_perfect_and_constant_predictions():
    labels = np.array([0, 1, 2, 1])
    perfect = np.eye(3)[labels]
    assert metrics.accuracy(labels, perfect) == 1
    assert_allclose([metrics.nll(labels, perfect), metrics.brier(labels, perfect)], 0, atol=1e-12)
    uniform = np.full((4, 3), 1 / 3)
    assert_allclose(metrics.nll(labels, uniform), np.log(3))
    assert_allclose(metrics.roc_auc(labels, uniform), 0.5)
    assert_allclose(metrics.brier(labels, uniform), 2 / 3)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered_from_its_own_samples(true_temperature):
    generator = np.random.default_rng(7)
    logits = generator.normal(size=(40_000, 4)) * 2
    chances = softmax(logits / true_temperature)
    labels = (generator.random((len(logits), 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    fitted = metrics.fit_temperature(logits, labels)
    assert fitted == pytest.approx(true_temperature, rel=0.04)


@given(seed=st.integers(0, 10_000), multi=st.booleans())
def test_temperature_is_a_minimum(seed, multi):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(60, 3)) * 3
    labels = generator.random((60, 3)) < 0.4 if multi else generator.integers(0, 3, 60)

    def loss(temperature):
        if multi:
            return metrics.nll(labels, 1 / (1 + np.exp(-logits / temperature)))
        return metrics.nll(labels, softmax(logits / temperature))

    fitted = metrics.fit_temperature(logits, labels)
    assert metrics.TEMPERATURES[0] * 0.999 <= fitted <= metrics.TEMPERATURES[1] * 1.001
    for factor in (0.95, 1.05):
        other = float(np.clip(fitted * factor, *metrics.TEMPERATURES))
        assert loss(fitted) <= loss(other) + 1e-9


def test_temperature_stays_bounded():
    logits = np.array([[4.0, 0.0], [0.0, 3.0]])
    assert metrics.fit_temperature(logits, [0, 1]) == pytest.approx(metrics.TEMPERATURES[0])
    assert metrics.fit_temperature(logits, [1, 0]) == pytest.approx(metrics.TEMPERATURES[1])


def two_class(confidence, right):
    confidence, right = np.asarray(confidence), np.asarray(right)
    return np.where(right, 0, 1), np.stack([confidence, 1 - confidence], axis=1)


def test_unsure_threshold_is_the_smallest_that_reaches_the_target():
    labels, probabilities = two_class([0.95, 0.9, 0.8, 0.7, 0.6], [1, 1, 1, 0, 0])
    assert metrics.unsure_threshold(labels, probabilities, 1.0) == pytest.approx(0.75)
    assert metrics.unsure_threshold(labels, probabilities, 0.75) == pytest.approx(0.65)
    assert metrics.unsure_threshold(labels, probabilities, 0.6) == 0


def test_unsure_threshold_keeps_its_coverage_when_the_target_is_out_of_reach():
    labels, probabilities = two_class([0.95, 0.9, 0.8, 0.7], [0, 1, 0, 0])
    assert metrics.unsure_threshold(labels, probabilities, 0.9) == pytest.approx(0.85)
    assert metrics.unsure_threshold(labels, probabilities, 0.9, min_coverage=1.0) == 0


@example(seed=921, target=0.61)  # two confidences with no number between them
@given(seed=st.integers(0, 10_000), target=st.floats(0.1, 1))
def test_unsure_threshold_keeps_its_promise(seed, target):
    labels, probabilities = single_case(seed, n_items=50, n_classes=3, decimals=1)
    threshold = metrics.unsure_threshold(labels, probabilities, target)
    confidence, decided = probabilities.max(axis=1), probabilities.argmax(axis=1)
    kept = confidence >= threshold
    assert kept.mean() >= 0.5
    # No smaller threshold reaches the target, and a larger one is never needed.
    for lower in confidence[confidence < threshold]:
        assert np.mean((decided == labels)[confidence >= lower]) < target
    if np.mean((decided == labels)[kept]) < target:
        higher = confidence[kept].min() + 1e-9
        assert np.mean(confidence >= higher) < 0.5


@pytest.mark.parametrize(
    ("labels", "probabilities", "words"),
    [
        ([0, 1], [[0.5, 0.5]], "do not fit"),
        ([0], [0.5], "not \\(n, n_classes\\)"),
        ([], np.zeros((0, 2)), "n > 0"),
        ([2], [[0.5, 0.5]], "label 2 of item 0"),
        ([-1], [[0.5, 0.5]], "label -1 of item 0"),
        ([0.0], [[0.5, 0.5]], "class numbers"),
        ([0, 0], [[0.5, 0.5], [0.5, 0.6]], "item 1 do not sum to 1"),
        ([0, 0], [[0.5, 0.5], [-0.5, 1.5]], "item 1 are not within"),
        ([0, 0], [[0.5, 0.5], [np.nan, 1]], "item 1 are not finite"),
    ],
)
def test_bad_input_is_refused(labels, probabilities, words):
    with pytest.raises(TsResformerError, match=words):
        metrics.validate(labels, probabilities)


def test_weights_must_fit():
    with pytest.raises(TsResformerError, match="weights of shape"):
        metrics.accuracy([0, 1], [[0.5, 0.5], [0.5, 0.5]], [1.0])


def test_no_confusion_matrix_for_several_labels():
    with pytest.raises(TsResformerError, match="one label"):
        metrics.confusion_matrix([[True, True]], [[0.5, 0.5]])
