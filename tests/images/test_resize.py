"""Images and maps are resized by one rule each, whatever program asks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import SettingsError
from blemish.images.resize import choose_input_hw, resize_image, resize_map, resize_mask

SIDES = st.integers(16, 90)


def area_weights(num_in: int, num_out: int) -> np.ndarray:
    """Share of each input pixel in each output pixel, by exact overlap: the definition of area averaging."""
    edges = np.arange(num_out + 1) * num_in / num_out
    pixels = np.arange(num_in)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * num_out / num_in


def linear_weights(num_in: int, num_out: int) -> np.ndarray:
    """Linear interpolation between pixel centers, the border repeated."""
    centers = (np.arange(num_out) + 0.5) * num_in / num_out - 0.5
    weights = np.zeros((num_out, num_in))
    for row, center in enumerate(np.clip(centers, 0, num_in - 1)):
        left = min(int(center), num_in - 2)
        weights[row, left + 1] = center - left
        weights[row, left] = 1 - (center - left)
    return weights


@given(SIDES, SIDES, SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_shrinking_averages_areas_and_growing_is_linear(h_in: int, w_in: int, h_out: int, w_out: int) -> None:
    image = np.random.default_rng(h_in * 1000 + w_in).integers(0, 256, (h_in, w_in, 3)).astype(np.uint8)
    rows = (area_weights if h_out <= h_in else linear_weights)(h_in, h_out)
    columns = (area_weights if w_out <= w_in else linear_weights)(w_in, w_out)
    expected = np.einsum("ab,bcd,ec->aed", rows, image.astype(float), columns, optimize=True)
    resized = resize_image(image, (h_out, w_out))
    assert resized.dtype == np.uint8
    assert resized.shape == (h_out, w_out, 3)
    # One rounding for each of the two steps.
    assert np.abs(resized - expected).max() <= 1.6


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resize_image(image, (64, 32)), image)


@given(SIDES, SIDES, st.integers(0, 255))
@settings(deadline=None)
def test_a_plain_color_stays_itself(height: int, width: int, value: int) -> None:
    assert (resize_image(np.full((40, 40, 3), value, np.uint8), (height, width)) == value).all()


def test_gray_stays_gray() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (50, 70, 1)).astype(np.uint8)
    resized = resize_image(np.repeat(gray, 3, axis=2), (32, 96))
    assert (resized[..., 0] == resized[..., 1]).all()
    assert (resized[..., 0] == resized[..., 2]).all()


@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 80), st.integers(2, 80))
@settings(deadline=None, max_examples=60)
def test_maps_are_interpolated_linearly_between_pixel_centers(h_in: int, w_in: int, h_out: int, w_out: int) -> None:
    anomaly_map = np.random.default_rng(h_in * 100 + w_in).normal(size=(h_in, w_in)).astype(np.float32)
    expected = linear_weights(h_in, h_out) @ anomaly_map @ linear_weights(w_in, w_out).T
    resized = resize_map(anomaly_map, (h_out, w_out))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-4)


def test_a_resized_map_stays_within_its_values() -> None:
    anomaly_map = np.random.default_rng(0).exponential(size=(8, 8)).astype(np.float32)
    resized = resize_map(anomaly_map, (512, 300))
    assert anomaly_map.min() <= resized.min() <= resized.max() <= anomaly_map.max()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 80), st.integers(1, 80))
@settings(deadline=None, max_examples=60)
def test_each_pixel_of_a_resized_mask_is_the_nearest_of_the_original(
    h_in: int, w_in: int, h_out: int, w_out: int
) -> None:
    mask = np.random.default_rng(h_in * 100 + w_in).random((h_in, w_in)) < 0.3
    rows = ((np.arange(h_out) + 0.5) * h_in / h_out).astype(int)
    columns = ((np.arange(w_out) + 0.5) * w_in / w_out).astype(int)
    resized = resize_mask(mask, (h_out, w_out))
    assert resized.dtype == np.bool_
    # A center that falls exactly between two pixels may go to either of them.
    tied_rows = ((np.arange(h_out) * 2 + 1) * h_in) % (2 * h_out) == 0
    tied_columns = ((np.arange(w_out) * 2 + 1) * w_in) % (2 * w_out) == 0
    clear = ~tied_rows[:, None] & ~tied_columns[None, :]
    np.testing.assert_array_equal(resized[clear], mask[np.ix_(rows, columns)][clear])


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(512, 512)], 256, (256, 256)),
        ([(1255, 500), (1250, 500), (1262, 500)], 256, (640, 256)),
        ([(500, 1255)], 256, (256, 640)),
        ([(230, 630)], 256, (256, 704)),
        ([(900, 905)], 256, (256, 256)),
        ([(100, 2000)], 128, (128, 512)),  # at most 4 to 1
        ([(400, 400), (400, 400), (100, 900)], 64, (64, 64)),  # the median, not the mean
        ([(512, 512)], 250, (256, 256)),
    ],
)
def test_the_input_size_follows_the_median_shape(
    sizes: list[tuple[int, int]], size: int, expected: tuple[int, int]
) -> None:
    assert choose_input_hw(sizes, size) == expected


@given(st.lists(st.tuples(st.integers(16, 5000), st.integers(16, 5000)), min_size=1), st.integers(32, 1024))
@settings(deadline=None)
def test_input_sides_are_multiples_and_turning_the_images_turns_the_size(
    sizes: list[tuple[int, int]], size: int
) -> None:
    height, width = choose_input_hw(sizes, size)
    assert height % 32 == width % 32 == 0
    assert abs(min(height, width) - size) <= 16
    assert max(height, width) <= 4 * size + 16
    assert choose_input_hw([(w, h) for h, w in sizes], size) == (width, height)


def test_impossible_input_sizes_are_refused() -> None:
    with pytest.raises(SettingsError, match="without images"):
        choose_input_hw([], 256)
    with pytest.raises(SettingsError, match="the smallest is 32"):
        choose_input_hw([(512, 512)], 8)


def test_the_rules_do_not_depend_on_the_number_of_threads() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = resize_image(image, (128, 96))
        cv2.setNumThreads(4)
        np.testing.assert_array_equal(resize_image(image, (128, 96)), one)
    finally:
        cv2.setNumThreads(before)
