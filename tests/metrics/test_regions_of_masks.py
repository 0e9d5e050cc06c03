"""Connected regions of masks, against SciPy."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blemish.metrics import label_regions


def by_scipy(mask):
    labels, _ = scipy.ndimage.label(mask, np.ones((3, 3)))
    pixels = np.flatnonzero(mask)
    return pixels, labels.ravel()[pixels] - 1


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(deadline=None, max_examples=200)
def test_regions_equal_scipy(mask):
    for found, expected in zip(label_regions(mask), by_scipy(mask), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.41, 0.5, 0.8])
def test_large_noisy_masks_equal_scipy(share):
    mask = np.random.default_rng(0).random((211, 307)) < share
    np.testing.assert_array_equal(label_regions(mask)[1], by_scipy(mask)[1])


def test_a_spiral_is_one_region():
    mask = np.zeros((41, 41), bool)
    for turn in range(0, 20, 4):
        mask[turn, turn : 41 - turn] = mask[turn : 41 - turn, 40 - turn] = True
        mask[40 - turn, turn + 2 : 41 - turn] = mask[turn + 4 : 41 - turn, turn + 2] = True
    np.testing.assert_array_equal(label_regions(mask)[1], by_scipy(mask)[1])


def test_regions_that_touch_at_a_corner_are_one_and_rows_do_not_wrap():
    assert label_regions(np.array([[1, 0], [0, 1]], bool))[1].tolist() == [0, 0]
    assert label_regions(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool))[1].tolist() == [0, 1]
    assert label_regions(np.array([[0, 0, 1], [1, 0, 0]], bool))[1].tolist() == [0, 1]


def test_an_empty_mask_has_no_region():
    pixels, regions = label_regions(np.zeros((3, 4), bool))
    assert len(pixels) == len(regions) == 0
