"""What a category's images are like: counted, measured and independent of their order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from blemish.datasets.describe import NUM_GRAYS, summarize_category, texture_of
from blemish.schema import DEFECTIVE, GOOD, ImageItem
from blemish.study.pages import data_page


def gray(value, height=20, width=30):
    return np.full((height, width, 3), value, dtype=np.uint8)


def item(split, defect_type="good"):
    return ImageItem(Path("a.png"), split, GOOD if defect_type == "good" else DEFECTIVE, defect_type)


def square_mask(*boxes, height=20, width=30):
    mask = np.zeros((height, width), dtype=np.bool_)
    for top, left, side in boxes:
        mask[top : top + side, left : left + side] = True
    return mask


PARTS = [
    (item("test", "crack"), gray(90), square_mask((2, 2, 3), (10, 10, 6))),
    (item("train"), gray(100), None),
    (item("test"), gray(110), None),
    (item("train"), gray(200, 40, 50), None),
    (item("test", "crack"), gray(90), square_mask()),
]


def test_types_are_counted_with_those_fitted_on_first():
    summary = summarize_category("tiles", PARTS)
    found = [(kind.split, kind.defect_type, kind.num_images, kind.num_masks) for kind in summary.types]
    assert found == [("train", "good", 2, 0), ("test", "good", 1, 0), ("test", "crack", 2, 1)]
    assert summary.num_images == 5


def test_sizes_and_gray_values_are_those_of_the_images():
    fitted = summarize_category("tiles", PARTS).types[0]
    assert fitted.sizes == {(30, 20): 1, (50, 40): 1}
    assert fitted.mean_grays == (100.0, 200.0)
    assert fitted.grays[[100 * NUM_GRAYS // 256, 200 * NUM_GRAYS // 256]] == pytest.approx([0.5, 0.5])


def test_areas_are_shares_of_the_image_one_for_each_connected_defect():
    crack = summarize_category("tiles", PARTS).types[2]
    assert sorted(crack.areas) == pytest.approx([9 / 600, 36 / 600])


@pytest.mark.parametrize("shape", [(40, 50), (17, 256), (2, 2)])
def test_textures_agree_with_scikit_image(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 1), dtype=np.uint8).repeat(3, axis=2)
    found = texture_of(image)
    counts = graycomatrix(image[..., 0] // 16, [1], [0, np.pi / 2], 16, symmetric=True)
    # Both directions in one matrix; scikit-image keeps one for each.
    together = counts.sum(axis=3, keepdims=True) / counts.sum()
    for name, value in found.items():
        assert value == pytest.approx(float(graycoprops(together, name)[0, 0]), abs=1e-9), name


def test_a_flat_image_has_no_texture():
    assert texture_of(gray(7)) == {"contrast": 0.0, "homogeneity": 1.0, "energy": 1.0, "correlation": 1.0}


def test_an_image_of_one_pixel_is_described():
    assert summarize_category("dot", [(item("train"), gray(5, 1, 1), None)]).types[0].mean_grays == (5.0,)


def test_the_data_page_says_what_was_counted():
    page = data_page(summarize_category("tiles & more", PARTS)).replace("\u00a0", " ")
    assert "5 images, 2 good ones to fit on, of 2 sizes." in page
    assert "tiles &amp; more" in page
    assert "30 × 20, 50 × 40" in page
    assert "2 regions" in page


def test_areas_within_one_power_of_ten_have_numbers_at_their_axis():
    page = data_page(summarize_category("tiles", PARTS)).replace("\u00a0", " ")
    ticks = re.findall(r">([\d.]+) %</span>", page)
    assert ticks, "areas of 1.5 and 6 % of the image"
    assert all(1.0 <= float(tick) <= 10.0 for tick in ticks)


def test_a_category_without_masks_says_so():
    assert "No test image has a mask" in data_page(summarize_category("tiles", PARTS[1:2]))
