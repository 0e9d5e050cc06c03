"""AUPIMO against its definition: recall of one image, averaged over the logarithm of the shared rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import MetricError
from blemish.metrics import aupimo


def slow_aupimo(good, defective, lower, upper, steps=1000):
    """At each rate the lowest threshold that keeps the good images' mean share within it; recall there; the mean."""
    thresholds = np.unique(np.concatenate([image.ravel() for image in good]))
    thresholds = np.append(thresholds, np.inf)
    shared = np.array([np.mean([np.mean(image >= threshold) for image in good]) for threshold in thresholds])
    edges = np.geomspace(lower, upper, steps + 1)
    total = 0.0
    for rate in np.sqrt(edges[1:] * edges[:-1]):
        # Any threshold above the last one that marks too much will do: the lowest is just above that one.
        too_much = thresholds[shared > rate]
        total += np.mean(defective > too_much.max()) if len(too_much) else 1.0
    return total / steps


@given(st.integers(0, 10_000), st.sampled_from([1.0, 8.0, 1000.0]))
@settings(deadline=None, max_examples=15)
def test_aupimo_equals_the_definition(seed, levels):
    rng = np.random.default_rng(seed)
    shapes = [(12, 10), (7, 20), (15, 15)]
    good = [np.round(rng.normal(size=shape) * levels) for shape in shapes]
    masks = [np.zeros((12, 10), bool), np.zeros((9, 9), bool)]
    masks[0][2:6, 2:6] = masks[1][0, 0] = True
    defective = [np.round((rng.normal(size=mask.shape) + 2.5 * mask) * levels) for mask in masks]
    found = aupimo([*good, *defective], [None, None, None, *masks], bounds=(0.01, 0.2))
    expected = [slow_aupimo(good, scores[mask], 0.01, 0.2) for scores, mask in zip(defective, masks, strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_one_noisy_good_image_counts_by_its_share_of_all_good_images():
    rng = np.random.default_rng(0)
    good = [rng.normal(size=(20, 20)), rng.normal(size=(20, 20)), 3 + rng.normal(size=(20, 20))]
    mask = np.zeros((20, 20), bool)
    mask[4:16, 4:16] = True
    defective = 2 + 2 * rng.normal(size=(20, 20))
    found = aupimo([*good, defective], [None, None, None, mask], bounds=(0.05, 0.3))
    expected = slow_aupimo(good, defective[mask], 0.05, 0.3)
    assert found == pytest.approx([expected], abs=2e-3)
    assert 0.1 < expected < 0.9


def test_good_pixels_of_defective_images_do_not_count():
    rng = np.random.default_rng(0)
    mask = np.zeros((50, 50), bool)
    mask[:5] = True
    noisy = np.where(mask, 5.0, 100.0)
    assert aupimo([rng.random((150, 150)), noisy], [None, mask]).tolist() == [1.0]


def test_results_keep_the_order_of_defective_images():
    good = np.arange(22500.0).reshape(150, 150)
    mask = np.eye(150, dtype=bool)
    low, high = np.zeros((150, 150)), np.full((150, 150), 1e9)
    assert aupimo([low, good, high], [mask, np.zeros_like(mask), mask]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("masks", "bounds", "message"),
    [
        ([None, None], (1e-5, 1e-4), "2 good and 0 defective"),
        ([np.eye(4, dtype=bool)] * 2, (1e-5, 1e-4), "0 good and 2 defective"),
        ([None, np.eye(4, dtype=bool)], (1e-5, 1e-4), "more than 10000 pixels in good images.*found 16"),
        ([None, np.eye(4, dtype=bool)], (1e-4, 1e-5), "rising bounds"),
    ],
)
def test_what_has_no_aupimo_says_so(masks, bounds, message):
    with pytest.raises(MetricError, match=message):
        aupimo([np.zeros((4, 4))] * 2, masks, bounds)
