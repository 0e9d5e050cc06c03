"""AUROC, AP, F1-max and their curves: equal to scikit-learn's, whatever the ties, and clear where not defined."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blemish import metrics
from blemish.errors import MetricError

RANKINGS = [metrics.auroc, metrics.average_precision, metrics.f1_max]


@st.composite
def labelled_scores(draw):
    """Labels of both classes with scores that tie often."""
    size = draw(st.integers(2, 60))
    labels = draw(hnp.arrays(np.int64, size, elements=st.integers(0, 1)))
    labels[0], labels[-1] = 0, 1
    scores = draw(hnp.arrays(np.int64, size, elements=st.integers(-6, 6)))
    return labels, scores / 4.0


def f1_max_by_trying_all(labels, scores):
    return max(sklearn.metrics.f1_score(labels, scores >= threshold) for threshold in np.unique(scores))


@given(labelled_scores())
@settings(deadline=None, max_examples=60)
def test_values_equal_scikit_learn(case):
    labels, scores = case
    assert metrics.auroc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        sklearn.metrics.average_precision_score(labels, scores), abs=1e-12
    )
    assert metrics.f1_max(labels, scores) == pytest.approx(f1_max_by_trying_all(labels, scores), abs=1e-12)


@given(labelled_scores())
@settings(deadline=None, max_examples=60)
def test_curves_equal_scikit_learn(case):
    labels, scores = case
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    roc = metrics.roc_curve(labels, scores)
    np.testing.assert_allclose(roc.fpr, fpr)
    np.testing.assert_allclose(roc.tpr, tpr)
    np.testing.assert_array_equal(roc.thresholds, thresholds)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(labels, scores)
    found = metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(found.precision[::-1], precision[:-1])
    np.testing.assert_allclose(found.recall[::-1], recall[:-1])
    np.testing.assert_array_equal(found.thresholds[::-1], thresholds)


@given(labelled_scores(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_only_the_order_of_scores_counts(case, random):
    labels, scores = case
    order = np.array(random.sample(range(len(labels)), len(labels)))
    for metric in RANKINGS:
        assert metric(labels, np.exp(scores) + 7) == pytest.approx(metric(labels, scores), abs=1e-12)
        assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores), abs=1e-12)


@given(labelled_scores())
@settings(deadline=None, max_examples=40)
def test_turning_the_scores_round_mirrors_auroc(case):
    labels, scores = case
    assert metrics.auroc(labels, -scores) == pytest.approx(1 - metrics.auroc(labels, scores), abs=1e-12)


def test_perfect_inverted_and_tied_rankings():
    labels = [0, 0, 0, 1]
    assert [metric(labels, [1, 2, 3, 4]) for metric in RANKINGS] == [1.0, 1.0, 1.0]
    assert [metric(labels, [4, 3, 2, 1]) for metric in RANKINGS] == [0.0, 0.25, 0.4]
    assert [metric(labels, [2, 2, 2, 2]) for metric in RANKINGS] == [0.5, 0.25, 0.4]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_any_kind_of_number_is_ranked(dtype):
    assert metrics.auroc([0, 1], np.array([0, 1], dtype)) == 1.0


def test_whole_numbers_too_large_for_single_precision_stay_apart():
    assert metrics.auroc([0, 1], np.array([2**24, 2**24 + 1])) == 1.0


def test_pixels_come_in_any_shape():
    scores = np.arange(24.0).reshape(2, 3, 4)
    assert metrics.auroc(scores > 11, scores) == 1.0


@pytest.mark.parametrize(
    "metric", [*RANKINGS, metrics.roc_curve, metrics.precision_recall_curve, metrics.separation_ratio]
)
def test_one_class_only_is_an_error_that_names_the_metric(metric):
    with pytest.raises(MetricError, match=rf"{metric.__name__} needs both good and defective.*3 good and 0 defective"):
        metric([0, 0, 0], [1.0, 2.0, 3.0])
    with pytest.raises(MetricError, match="0 good and 2 defective"):
        metric([1, 1], [1.0, 2.0])
    with pytest.raises(MetricError, match="0 good and 0 defective"):
        metric([], [])


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0, np.nan], "1 that are not"),
        ([0, 1], [-np.inf, np.inf], "2 that are not"),
        ([0, 1, 1], [1.0, 2.0], "3 labels, 2 scores"),
        ([0, 2], [1.0, 2.0], r"found \[0, 2\]"),
        ([0, 1], ["a", "b"], "needs numbers"),
    ],
)
def test_unusable_input_is_named(labels, scores, message):
    with pytest.raises(MetricError, match=f"auroc.*{message}"):
        metrics.auroc(labels, scores)


def test_scores_whose_sum_overflows_are_still_ranked():
    assert metrics.auroc([0, 1, 1], [1e308, 1.5e308, 1.6e308]) == 1.0
