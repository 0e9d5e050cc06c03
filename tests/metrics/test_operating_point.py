"""What a threshold does: counts, rates, their intervals, by defect type; and all image-level numbers by name."""

import json

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish import metrics
from blemish.errors import MetricError

LABELS = [0, 0, 0, 0, 1, 1, 1]
REJECTED = [False, True, False, False, True, False, True]
TYPES = ["good", "good", "good", "good", "crack", "crack", "stain"]


def test_rates_and_counts():
    found = metrics.operating_point(LABELS, REJECTED, TYPES, scores=[1, 5, 1, 1, 6, 2, 9])
    assert found["confusion_matrix"] == {
        "accepted_good": 3,
        "rejected_good": 1,
        "accepted_defective": 1,
        "rejected_defective": 2,
        "review_good": 0,
        "review_defective": 0,
    }
    assert found["false_reject_rate"] == 0.25
    assert found["escape_rate"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["balanced_accuracy"] == pytest.approx((0.75 + 2 / 3) / 2)
    assert found["intervals"]["false_reject_rate"] == list(metrics.clopper_pearson(1, 4))
    assert found["intervals"]["escape_rate"] == list(metrics.clopper_pearson(1, 3))
    assert found["per_defect"]["crack"] == {
        "num": 2,
        "num_escaped": 1,
        "escape_rate": 0.5,
        "interval": list(metrics.clopper_pearson(1, 2)),
        "mean_score": 4.0,
    }
    assert found["per_defect"]["stain"]["escape_rate"] == 0.0
    assert list(found["per_defect"]) == ["crack", "stain"]


def test_a_part_put_up_for_review_is_neither_rejected_nor_escaped_nor_judged_rightly():
    reviewed = [True, False, False, False, False, True, False]
    found = metrics.operating_point(LABELS, REJECTED, TYPES, reviewed=reviewed)
    assert found["confusion_matrix"]["review_good"] == 1
    assert found["confusion_matrix"]["review_defective"] == 1
    assert found["false_reject_rate"] == 0.25
    assert found["escape_rate"] == 0.0
    assert found["per_defect"]["crack"]["num_escaped"] == 0
    assert found["accuracy"] == pytest.approx(4 / 7)
    assert found["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    for name in ("accuracy", "balanced_accuracy", "escape_rate"):
        low, high = found["intervals"][name]
        assert low <= found[name] <= high


def test_an_image_cannot_be_rejected_and_in_review():
    with pytest.raises(MetricError, match="either rejected or put up for review"):
        metrics.confusion(LABELS, REJECTED, REJECTED)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=50))
@settings(deadline=None, max_examples=50)
def test_rates_equal_scikit_learn(pairs):
    labels, rejected = np.array(pairs).T
    found = metrics.confusion(labels, rejected)
    expected = sklearn.metrics.confusion_matrix(labels, rejected, labels=[False, True]).ravel().tolist()
    assert [found.accepted_good, found.rejected_good, found.accepted_defective, found.rejected_defective] == expected
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, rejected))
    if len(set(labels.tolist())) == 2:
        expected = sklearn.metrics.balanced_accuracy_score(labels, rejected)
        assert found.balanced_accuracy == pytest.approx(expected)


def test_intervals_of_accuracies_hold_them():
    found = metrics.operating_point(LABELS, REJECTED, TYPES)
    for name in ("accuracy", "balanced_accuracy"):
        low, high = found["intervals"][name]
        assert 0 <= low < found[name] < high <= 1


def test_rates_over_no_image_are_none():
    found = metrics.operating_point([0, 0], [True, False], ["good", "good"])
    assert found["escape_rate"] is None
    assert found["balanced_accuracy"] is None
    assert set(found["intervals"]) == {"accuracy", "false_reject_rate"}
    assert found["per_defect"] == {}
    assert metrics.operating_point([], [], [])["accuracy"] is None


def test_lengths_must_agree():
    with pytest.raises(MetricError, match="7 labels, 1 decisions"):
        metrics.operating_point(LABELS, [True], TYPES)
    with pytest.raises(MetricError, match="one defect type per label; found 1"):
        metrics.operating_point(LABELS, REJECTED, ["good"])


def test_separation_ratio_is_one_of_means():
    assert metrics.separation_ratio([0, 0, 1, 1], [1.0, 3.0, 4.0, 8.0]) == 3.0
    with pytest.raises(MetricError, match="above 0; found -1"):
        metrics.separation_ratio([0, 1], [-1.0, 2.0])


def test_image_metrics_are_named_as_in_the_json_and_need_no_conversion():
    found = metrics.image_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert found["image_auroc"] == 0.75
    assert found["image_ap"] == pytest.approx(0.8333, abs=1e-4)
    assert found["image_f1_max"] == 0.8
    assert found["separation_ratio"] == pytest.approx(2.3)
    assert (found["num_good"], found["num_defective"]) == (2, 2)
    assert set(found["intervals"]) == {"image_auroc", "image_ap", "image_f1_max"}
    json.dumps(found, allow_nan=False)
    json.dumps(metrics.operating_point(LABELS, REJECTED, TYPES), allow_nan=False)


def test_separation_ratio_of_scores_around_zero_is_none():
    assert metrics.image_metrics([0, 1], [-1.0, 1.0])["separation_ratio"] is None


def test_one_class_only_names_image_auroc():
    with pytest.raises(MetricError, match="image_auroc needs both good and defective"):
        metrics.image_metrics([0, 0], [1.0, 2.0])
