"""Overlay pictures: quiet on good parts, one scale for all, readable without telling hues apart, never half written."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.decisions.zones import zone_from_polygons
from blemish.inspection.caption import draw_caption
from blemish.inspection.overlay import (
    blend_map,
    color_bar,
    color_map,
    draw_mask_outline,
    draw_overlay,
    draw_regions,
    fade_outside,
    map_scale,
    png_bytes,
    shrink_picture,
)

SCALE = (2.0, 5.0)
values = st.floats(-100, 100, width=32)


def gray_image(height=240, width=320, level=128):
    return np.full((height, width, 3), level, dtype=np.uint8)


def constant_map(value):
    return np.full((6, 8), value, dtype=np.float32)


def test_a_map_below_the_scale_leaves_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    assert np.array_equal(blend_map(image, constant_map(2.0), SCALE), image)


def test_the_scale_is_that_of_the_product_and_not_stretched_to_the_image():
    alone, beside_a_peak = constant_map(3.0), constant_map(3.0)
    beside_a_peak[0, 0] = 1000.0
    assert np.array_equal(color_map(alone, SCALE)[3, 3], color_map(beside_a_peak, SCALE)[3, 3])


def test_opacity_stands_at_half_at_the_pixel_threshold():
    low, half, full = (int(color_map(constant_map(value), SCALE)[0, 0, 3]) for value in (2.0, 5.0, 8.0))
    assert low == 0
    assert half == pytest.approx(full / 2, abs=1)


@settings(deadline=None)
@given(values, values)
def test_a_larger_value_is_lighter_and_more_opaque(first, second):
    low, high = sorted((first, second))
    faint, strong = (color_map(constant_map(value), SCALE)[0, 0].astype(float) for value in (low, high))
    lightness = np.array([0.2126, 0.7152, 0.0722])
    assert strong[3] >= faint[3]
    assert strong[:3] @ lightness >= faint[:3] @ lightness - 1.0


def test_values_that_are_not_numbers_are_not_colored():
    broken = constant_map(np.nan)
    assert not color_map(broken, SCALE)[..., 3].any()


def test_a_scale_without_span_colors_what_is_over_it():
    opacity = color_map(np.array([[5.0, 5.001]], dtype=np.float32), (5.0, 5.0))[0, :, 3]
    assert opacity[0] == 0
    assert opacity[1] > 100


def test_the_scale_of_a_product_comes_from_its_calibration(calibration):
    assert map_scale(calibration) == (2.0, 5.0)


def test_a_region_is_outlined_and_the_rest_left_alone(region_of):
    image = gray_image()
    picture = draw_regions(image, (region_of((100, 100, 60, 40)),))
    changed = (picture != image).any(axis=2)
    assert picture[100, 120].min() > 220
    assert not changed[:90].any()
    assert not changed[115:125, 120:140].any(), "the inside of a region stays visible"


def test_the_outline_of_a_mask_follows_its_edge():
    mask = np.zeros((240, 320), dtype=np.bool_)
    mask[50:100, 60:120] = True
    changed = (draw_mask_outline(gray_image(), mask) != gray_image()).any(axis=2)
    assert changed[50, 60:120].all()
    assert not changed[70:80, 80:100].any()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"expected \(240, 320\) as the image, got \(10, 10\)"):
        draw_mask_outline(gray_image(), np.zeros((10, 10), dtype=np.bool_))


def below(picture, image):
    """The caption of a picture of this image."""
    return picture[image.shape[0] :]


def test_each_decision_has_its_own_caption_and_none_lies_on_the_image(verdict_of):
    image, quiet = gray_image(), constant_map(0.0)
    pictures = [
        draw_overlay(image, verdict_of(score=1.0, decision=decision, anomaly_map=quiet, regions=()), SCALE)
        for decision in ("accept", "review", "reject")
    ]
    assert len({below(picture, image).tobytes() for picture in pictures}) == 3
    assert all(np.array_equal(picture[: len(image)], image) for picture in pictures)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"path": "a/000.png"}, {"path": "a/001.png"}),
        ({"display_score": 51.0}, {"display_score": 62.0}),
    ],
)
def test_the_caption_says_name_and_score(verdict_of, first, second):
    image = gray_image()
    drawn = [below(draw_overlay(image, verdict_of(score=9.0, **facts), SCALE), image) for facts in (first, second)]
    assert not np.array_equal(*drawn)


def test_the_caption_says_the_time(verdict_of):
    image, verdict = gray_image(), verdict_of(score=9.0)
    drawn = [draw_overlay(image, verdict, SCALE, time=time) for time in ("2026-11-26 08:00:00", "2026-11-26 09:30:00")]
    assert not np.array_equal(*drawn)


def test_the_caption_marks_the_limit_in_the_middle_of_the_colors(verdict_of):
    image = gray_image(height=240, width=400)
    caption = below(draw_overlay(image, verdict_of(score=9.0), SCALE), image)
    is_mark = (caption == 255).all(axis=2).sum(axis=0) > 10
    assert np.flatnonzero(is_mark).mean() == pytest.approx(200, abs=4)
    assert tuple(color_bar(3)[0]) == (128, 128, 128)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (40, 40), (3000, 20)])
def test_images_of_any_shape_are_drawn(verdict_of, shape):
    image = gray_image(*shape)
    picture = draw_overlay(image, verdict_of(score=9.0), SCALE)
    factor = picture.shape[1] // shape[1]
    assert picture.shape[1] == factor * shape[1]
    assert picture.shape[0] > factor * shape[0]
    assert picture.dtype == np.uint8


def test_a_narrow_image_is_enlarged_until_its_caption_can_be_read(verdict_of, region_of):
    verdict = verdict_of(score=9.0, regions=(region_of((10, 20, 16, 12)),), anomaly_map=constant_map(0.0))
    picture = draw_overlay(gray_image(64, 64), verdict, SCALE)
    assert picture.shape[1] == 256
    rows, columns = np.nonzero((picture[:256] != 128).any(axis=2))
    assert (rows.min(), columns.min()) == (pytest.approx(80, abs=3), pytest.approx(40, abs=3))


def test_colors_fade_outside_the_outlines(verdict_of, region_of):
    image = gray_image()
    verdict = verdict_of(score=9.0, regions=(region_of((100, 100, 60, 40)),), anomaly_map=constant_map(8.0))
    picture = draw_overlay(image, verdict, SCALE).astype(int)
    inside, near, far = (np.abs(picture[row, 130] - 128).sum() for row in (120, 143, 200))
    assert inside > near > far > 0
    assert inside > 3 * far


@pytest.mark.parametrize("regions", [(), ((0, 0, 320, 240),)])
def test_colors_are_full_inside_and_where_nothing_is_outlined(region_of, regions):
    found = fade_outside(tuple(region_of(box) for box in regions), (240, 320))
    assert found is None or found[120, 160] == 255


def test_what_lies_outside_the_zone_is_dimmed(verdict_of):
    zone = zone_from_polygons(ignore=[[(0, 0), (1, 0), (1, 0.5), (0, 0.5)]])
    image, verdict = gray_image(), verdict_of(score=1.0, anomaly_map=constant_map(0.0), regions=())
    picture = draw_overlay(image, verdict, SCALE, zone=zone)
    assert picture[50, 160].max() < 80
    assert (picture[200, 160] == 128).all()


@given(name=st.text(max_size=300), width=st.integers(16, 600))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_fits_into_the_caption(verdict_of, name, width):
    strip = draw_caption(width, verdict_of(path=name, score=9.0), color_bar(), "2026-11-26 08:00:00")
    assert strip.shape[1:] == (width, 3)


def test_the_image_given_is_not_changed(verdict_of):
    image = gray_image()
    before = image.copy()
    draw_overlay(image, verdict_of(score=9.0), SCALE)
    assert np.array_equal(image, before)


def test_a_png_holds_the_image():
    image = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    found = cv2.imdecode(np.frombuffer(png_bytes(image), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(found[..., ::-1], image)


def test_a_large_image_is_drawn_at_a_fraction_of_its_size(verdict_of, region_of, monkeypatch):
    monkeypatch.setattr("blemish.inspection.overlay.OVERLAY_PIXELS", 240 * 320 // 4)
    image = gray_image()
    verdict = verdict_of(score=9.0, regions=(region_of((200, 100, 60, 40)),), anomaly_map=constant_map(0.0))
    monkeypatch.setattr("blemish.inspection.overlay._LEAST_WIDTH", 1)
    picture = draw_overlay(image, verdict, SCALE)
    assert picture.shape[1] == 160
    changed = (picture[:120] != 128).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (pytest.approx(50, abs=3), pytest.approx(100, abs=3))
    assert (rows.max(), columns.max()) == (pytest.approx(70, abs=3), pytest.approx(130, abs=3))


def test_a_small_image_is_left_as_it_is(verdict_of):
    image, verdict = gray_image(), verdict_of(score=9.0)
    assert shrink_picture(image, verdict, image.shape[0] * image.shape[1]) == (image, verdict)


def test_a_shrunk_picture_counts_in_its_own_pixels(verdict_of, region_of):
    region = region_of((200, 100, 60, 40))
    small, verdict = shrink_picture(gray_image(), verdict_of(score=9.0, regions=(region,)), 240 * 320 // 4)
    assert verdict.image_hw == small.shape[:2] == (120, 160)
    [shrunk] = verdict.regions
    assert shrunk.box == (100, 50, 30, 20)
    assert shrunk.area_px == region.area_px / 4
    assert shrunk.length_px == region.length_px / 2
    assert shrunk.area_mm2 == region.area_mm2


def test_blending_is_a_weighted_mean(verdict_of):
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    rgba = color_map(constant_map(6.0), SCALE)[0, 0].astype(float)
    expected = image + (rgba[:3] - image) * rgba[3] / 255
    assert np.abs(blend_map(image, constant_map(6.0), SCALE) - expected).max() <= 0.51
