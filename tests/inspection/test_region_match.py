"""Regions found against masks, counted."""

from __future__ import annotations

import numpy as np

from blemish.inspection.region_match import RegionMatch, match_regions
from blemish.schema import Region


def box(left: int, top: int, right: int, bottom: int) -> Region:
    contour = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Region(
        box=(left, top, right - left + 1, bottom - top + 1),
        contour=contour,
        area_px=float((right - left + 1) * (bottom - top + 1)),
        centroid=((left + right) / 2, (top + bottom) / 2),
        peak=(left, top),
        peak_score=1.0,
        mean_score=1.0,
        length_px=float(right - left),
    )


def two_defects() -> np.ndarray:
    mask = np.zeros((40, 60), np.bool_)
    mask[5:10, 5:10] = True
    mask[30:35, 40:50] = True
    return mask


def test_a_region_counts_where_it_touches_a_defect() -> None:
    regions = (box(8, 8, 20, 12), box(25, 25, 28, 28))
    assert match_regions(regions, two_defects()) == RegionMatch(2, 1, 2, 1)


def test_one_region_over_two_defects_finds_both() -> None:
    assert match_regions((box(0, 0, 59, 39),), two_defects()) == RegionMatch(2, 2, 1, 1)


def test_regions_on_a_good_part_touch_nothing() -> None:
    assert match_regions((box(1, 1, 5, 5),), np.zeros((40, 60), np.bool_)) == RegionMatch(0, 0, 1, 0)


def test_matches_of_images_add_up() -> None:
    assert RegionMatch(2, 1, 2, 1) + RegionMatch(1, 1, 3, 2) == RegionMatch(3, 2, 5, 3)
