"""AUPRO against a slow, plainly written form of the definition in Bergmann et al. (IJCV 2021)."""

import bisect
import itertools

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import MetricError
from blemish.metrics import aupro, auroc


def slow_aupro(maps, masks, limit):
    """Region overlap against pixel false positive rate at every threshold, trapezoids, interpolated at the limit."""
    regions, good = [], []
    for scores, mask in zip(maps, masks, strict=True):
        labels, num_regions = scipy.ndimage.label(mask, np.ones((3, 3)))
        regions += [scores[labels == number] for number in range(1, num_regions + 1)]
        good.append(scores[labels == 0])
    good = np.concatenate(good)
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted({float(value) for scores in maps for value in scores.ravel()}, reverse=True):
        rates.append(np.mean(good >= threshold))
        overlaps.append(np.mean([np.mean(region >= threshold) for region in regions]))
    if limit not in rates:
        place = bisect.bisect(rates, limit)
        slope = (overlaps[place] - overlaps[place - 1]) / (rates[place] - rates[place - 1])
        overlaps = [*overlaps[:place], overlaps[place - 1] + slope * (limit - rates[place - 1])]
        rates = [*rates[:place], limit]
    inside = [number for number, rate in enumerate(rates) if rate <= limit]
    area = sum((overlaps[a] + overlaps[b]) / 2 * (rates[b] - rates[a]) for a, b in itertools.pairwise(inside))
    return area / limit


def painted(seed, num_images=6, size=24, levels=40):
    """Noisy maps that rise in their masks: blobs, single pixels, touching ones, empty masks, different sizes."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for number in range(num_images):
        shape = (size + number, size - number)
        mask = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.18 if number % 3 else np.zeros(shape, bool)
        if number == 1:
            mask = np.zeros(shape, bool)
            mask[3, 4] = mask[9, 9] = mask[10, 10] = True
        scores = np.round((rng.normal(size=shape) + 1.5 * mask * rng.random(shape)) * levels / 8)
        maps.append(scores.astype(np.float32))
        masks.append(mask)
    return maps, masks


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 40, 4000]), st.sampled_from([0.003, 0.05, 0.3, 0.5, 1.0]))
@settings(deadline=None, max_examples=40)
def test_aupro_equals_the_definition(seed, levels, limit):
    maps, masks = painted(seed, levels=levels)
    assert aupro(maps, masks, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@given(st.integers(0, 10_000), st.floats(0.001, 1.0))
@settings(deadline=None, max_examples=25)
def test_any_limit_is_met_by_interpolation(seed, limit):
    maps, masks = painted(seed, num_images=3, size=12, levels=6)
    assert aupro(maps, masks, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@given(st.integers(0, 10_000), st.permutations(range(6)))
@settings(deadline=None, max_examples=15)
def test_only_the_order_of_scores_counts_not_that_of_images(seed, order):
    maps, masks = painted(seed)
    moved = aupro([maps[i].astype(np.float64) ** 3 for i in order], [masks[i] for i in order], 0.3)
    assert moved == pytest.approx(aupro(maps, masks, 0.3), abs=1e-12)


def test_up_to_a_limit_of_one_with_one_region_aupro_is_auroc():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 20), bool)
    mask[4:9, 5:12] = True
    scores = rng.normal(size=(20, 20)) + mask
    assert aupro([scores], [mask], 1.0) == pytest.approx(auroc(mask, scores), abs=1e-12)


def test_every_region_weighs_the_same_however_large():
    mask = np.zeros((10, 30), bool)
    mask[1:9, 1:9] = mask[5, 20] = True
    scores = np.zeros((10, 30))
    scores[5, 20] = 1.0
    found_small = aupro([scores], [mask], 0.3)
    assert found_small == pytest.approx(slow_aupro([scores], [mask], 0.3))
    assert 0.5 < found_small < 0.6


def test_perfect_inverted_and_constant_maps():
    mask = np.zeros((20, 20), bool)
    mask[3:6, 3:6] = True
    assert aupro([mask * 1.0], [mask], 0.3) == 1.0
    assert aupro([mask * -1.0], [mask], 0.3) == 0.0
    assert aupro([mask * 0.0], [mask], 0.3) == pytest.approx(0.15)


def test_good_images_come_with_an_empty_mask_or_none():
    maps, masks = painted(1)
    without = [mask if mask.any() else None for mask in masks]
    assert None in without
    assert aupro(maps, without) == aupro(maps, masks)


def test_limits_of_single_pixels():
    scores, mask = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]]), np.array([[0, 1, 0, 0, 0]], bool)
    for limit in (0.01, 0.25, 0.2500001, 0.26, 0.5, 0.999, 1.0):
        assert aupro([scores], [mask], limit) == pytest.approx(slow_aupro([scores], [mask], limit), abs=1e-12)


@pytest.mark.parametrize(
    ("maps", "masks", "limit", "message"),
    [
        ([np.ones((3, 3))], [np.zeros((3, 3), bool)], 0.3, "9 good and 0 defective"),
        ([np.ones((3, 3))], [np.ones((3, 3), bool)], 0.3, "0 good and 9 defective"),
        ([np.ones((3, 3))], [np.ones((4, 3), bool)], 0.3, r"map of \(3, 3\) and a mask of \(4, 3\): resize"),
        ([np.ones((3, 3, 1))], [None], 0.3, "height, width"),
        ([np.full((3, 3), np.nan)], [None], 0.3, "9 that are not"),
        ([np.ones((3, 3))], [np.eye(3, dtype=bool)], 0.0, "limit above 0"),
        ([np.ones((3, 3))], [np.eye(3, dtype=bool)], 30, "at most 1"),
    ],
)
def test_what_has_no_aupro_says_so(maps, masks, limit, message):
    with pytest.raises(MetricError, match=message):
        aupro(maps, masks, limit)
