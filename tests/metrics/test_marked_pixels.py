"""SegF1 and the threshold that good images alone set."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import MetricError
from blemish.metrics import pixel_threshold, segf1


@given(st.integers(0, 10_000), st.floats(-2, 3))
@settings(deadline=None, max_examples=40)
def test_segf1_equals_scikit_learn_over_all_pixels(seed, threshold):
    rng = np.random.default_rng(seed)
    masks = [rng.random((5, 6)) < 0.3 for _ in range(3)]
    masks[0][0, 0] = True
    maps = [rng.normal(size=(5, 6)) + mask for mask in masks]
    expected = sklearn.metrics.f1_score(np.ravel(masks), np.ravel(maps) > threshold, zero_division=0)
    assert segf1(maps, masks, threshold) == pytest.approx(expected)


def test_good_images_may_come_without_mask():
    scores, mask = np.array([[3.0, 0.0]]), np.array([[True, False]])
    assert segf1([scores, scores], [mask, None], 1.0) == segf1([scores, scores], [mask, ~mask & mask], 1.0) == 2 / 3


def test_nothing_marked_is_zero_and_no_defect_is_an_error():
    assert segf1([np.zeros((2, 2))], [np.eye(2, dtype=bool)], 1.0) == 0.0
    with pytest.raises(MetricError, match="segf1 needs defective pixels"):
        segf1([np.ones((2, 2))], [None], 0.0)
    with pytest.raises(MetricError, match="size of their masks"):
        segf1([np.ones((2, 2))], [np.ones((2, 3), bool)], 0.0)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_pixel_threshold_is_mean_plus_deviations_of_all_pixels(offset):
    rng = np.random.default_rng(0)
    maps = [offset + rng.normal(size=shape) for shape in ((10, 12), (7, 3), (20, 20))]
    pixels = np.concatenate([scores.ravel() for scores in maps])
    assert pixel_threshold(maps) == pytest.approx(pixels.mean() + 3 * pixels.std(), rel=1e-12)
    assert pixel_threshold(maps, 0.0) == pytest.approx(pixels.mean(), rel=1e-12)


def test_pixel_threshold_needs_a_map():
    with pytest.raises(MetricError, match="at least one map"):
        pixel_threshold([])
