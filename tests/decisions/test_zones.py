"""Zones and the reduction inside them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter

from blemish.decisions.reduction import reduce_map
from blemish.decisions.zones import check_zone, check_zone_of_all, zone_from_mask, zone_from_polygons, zone_mask
from blemish.errors import CalibrationError, ImageError
from blemish.schema import AnomalyMap, Mask, Reduction, Zone

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
maps = hnp.arrays(np.float32, (6, 9), elements=st.floats(-100, 100, width=32))


def test_no_zone_is_the_whole_image() -> None:
    assert zone_mask(Zone(), (4, 6)).all()


def test_polygons_fit_any_size() -> None:
    for width in (6, 10, 64):
        inside = zone_mask(Zone(inspect=(LEFT_HALF,)), (4, width))
        assert inside[:, : width // 2].all()
        assert not inside[:, width // 2 :].any()
        assert (zone_mask(Zone(ignore=(LEFT_HALF,)), (4, width)) == ~inside).all()


def test_a_triangle_agrees_with_its_area_and_with_opencv() -> None:
    triangle = ((0.1, 0.1), (0.9, 0.3), (0.4, 0.8))
    inside = zone_mask(Zone(inspect=(triangle,)), (400, 400))
    corners = np.array(triangle)
    area = cv2.contourArea((corners * 400).astype(np.float32))
    assert inside.sum() == pytest.approx(area, rel=0.01)
    filled = cv2.fillPoly(np.zeros((400, 400), np.uint8), [np.round(corners * 400 - 0.5).astype(np.int32)], 1)
    assert (inside != (filled > 0)).mean() < 0.01


def test_polygons_add_up_and_ignored_ones_are_taken_away() -> None:
    quarter = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))
    other = ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))
    inside = zone_mask(
        Zone(inspect=(quarter, other), ignore=(((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0)),)), (8, 8)
    )
    assert inside.sum() == 8 + 16
    assert not inside[:, :2].any()


def test_polygons_are_checked() -> None:
    assert zone_from_polygons([LEFT_HALF]) == Zone(inspect=(LEFT_HALF,))
    with pytest.raises(CalibrationError, match="at least 3 corners; found 2"):
        zone_from_polygons([LEFT_HALF[:2]])
    with pytest.raises(CalibrationError, match=r"corner \(120, 0\) lies outside the image"):
        zone_from_polygons(ignore=[((0, 0), (120, 0), (120, 80))])


@settings(deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_a_mask_image_comes_back_as_it_was(mask: Mask) -> None:
    if not mask.any():
        with pytest.raises(CalibrationError, match="black everywhere"):
            zone_from_mask(mask, mask.shape)
        return
    zone = zone_from_mask(mask.astype(np.uint8) * 255, mask.shape)
    assert (zone_mask(zone, mask.shape) == mask).all()
    adapter = TypeAdapter(Zone)
    assert adapter.validate_json(adapter.dump_json(zone)) == zone


def test_a_mask_image_is_taken_at_the_centers_of_the_map() -> None:
    mask = np.zeros((100, 60), bool)
    mask[20:80, 15:45] = True
    inside = zone_mask(zone_from_mask(mask, (100, 60)), (10, 6))
    expected = np.zeros((10, 6), bool)
    expected[2:8, 1:5] = True
    assert (inside == mask[5::10, 5::10]).all()
    assert inside.sum() <= expected.sum()


def test_masks_of_another_size_are_errors() -> None:
    mask = np.ones((40, 60), np.uint8)
    with pytest.raises(CalibrationError, match="mask is 60 x 40 pixels, but the images are 64 x 64"):
        zone_from_mask(mask, (64, 64))
    zone = zone_from_mask(mask, (40, 60))
    check_zone(zone, (40, 60), "0.png")
    check_zone(Zone(inspect=(LEFT_HALF,)), (1, 1), "0.png")
    with pytest.raises(ImageError, match=r"0\.png: it is 60 x 41 pixels, but the zone was drawn for images of 60 x 40"):
        check_zone(zone, (41, 60), "0.png")


def test_a_zone_mask_of_another_size_than_the_good_images_is_refused_where_it_is_given() -> None:
    zone = zone_from_mask(np.ones((40, 60), np.uint8), (40, 60))
    check_zone_of_all(zone, [(40, 60), (40, 60)], ["0.png", "1.png"])
    check_zone_of_all(Zone(inspect=(LEFT_HALF,)), [(1, 1), (2, 2)], ["0.png", "1.png"])
    check_zone_of_all(None, [(1, 1)], ["0.png"])
    with pytest.raises(CalibrationError, match=r"1 of 2 images are of another size, the first 1\.png with 40 x 60"):
        check_zone_of_all(zone, [(40, 60), (60, 40)], ["0.png", "1.png"])


def test_other_bad_masks_are_errors() -> None:
    with pytest.raises(CalibrationError, match="gray image"):
        zone_from_mask(np.ones((4, 4, 3), np.uint8), (4, 4))
    with pytest.raises(CalibrationError, match="leaves nothing"):
        zone_mask(Zone(inspect=(LEFT_HALF,), ignore=(LEFT_HALF,)), (4, 4))


@settings(deadline=None)
@given(anomaly_map=maps, count=st.integers(1, 54))
def test_the_whole_image_as_zone_changes_nothing(anomaly_map: AnomalyMap, count: int) -> None:
    for reduction in (Reduction("max"), Reduction("top_mean", count)):
        assert reduce_map(anomaly_map, reduction, zone_mask(Zone(), (6, 9))) == reduce_map(anomaly_map, reduction)


@settings(deadline=None)
@given(anomaly_map=maps, count=st.integers(1, 54), mask=hnp.arrays(np.bool_, (6, 9)))
def test_only_the_zone_counts(anomaly_map: AnomalyMap, count: int, mask: Mask) -> None:
    if not mask.any():
        return
    inside = np.sort(anomaly_map[mask])
    assert reduce_map(anomaly_map, Reduction("max"), mask) == inside[-1]
    top = reduce_map(anomaly_map, Reduction("top_mean", count), mask)
    assert top == pytest.approx(inside[-count:].mean(dtype=np.float64), rel=1e-5, abs=1e-4)


def test_scores_from_features_have_no_zone() -> None:
    with pytest.raises(CalibrationError, match="features of the whole image"):
        reduce_map(np.zeros((4, 4), np.float32), Reduction("features"))


def test_a_mask_of_another_shape_than_the_map_is_an_error() -> None:
    with pytest.raises(CalibrationError, match=r"\(3, 4\), but the anomaly map \(4, 4\)"):
        reduce_map(np.zeros((4, 4), np.float32), Reduction(), np.ones((3, 4), bool))
