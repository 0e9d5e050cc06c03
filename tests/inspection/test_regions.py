"""Anomaly map -> regions."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from skimage.filters import apply_hysteresis_threshold, gaussian
from skimage.measure import label, regionprops

from blemish.decisions.thresholds import calibrate
from blemish.inspection import regions as regions_module
from blemish.inspection.regions import find_regions
from blemish.schema import AnomalyMap, Calibration, Region, Zone

PLAIN: dict[str, object] = {"flank_px": 0, "opening_px": 0, "closing_px": 0, "join_px": 0, "min_area_px2": 0}


def calibration_of(pixel_threshold: float = 10.0, grow_threshold: float = 5.0, **changes: object) -> Calibration:
    base = calibrate([1.0, 2.0], [1.0, pixel_threshold], graph_sha256="a", method="split")
    regions = dataclasses.replace(base.regions, **{"grow_threshold": grow_threshold, **PLAIN, **changes})  # type: ignore[arg-type]
    return dataclasses.replace(base, regions=regions)


def empty(height: int = 40, width: int = 60) -> AnomalyMap:
    return np.zeros((height, width), np.float32)


def regions_of(anomaly_map: AnomalyMap, calibration: Calibration, image_hw: tuple[int, int]) -> tuple[Region, ...]:
    found = find_regions(anomaly_map, calibration, image_hw)
    assert found.num_more == 0
    return found.regions


def test_no_value_over_the_threshold_no_region() -> None:
    assert regions_of(np.full((8, 8), 10, np.float32), calibration_of(), (8, 8)) == ()


def test_a_region_reaches_as_far_as_the_map_stays_over_the_grow_threshold() -> None:
    anomaly_map = empty()
    anomaly_map[10:14, 20:30] = 6
    anomaly_map[11, 22] = 12
    anomaly_map[30:34, 40:50] = 9  # never over the pixel threshold
    [region] = regions_of(anomaly_map, calibration_of(), (40, 60))
    assert region.box == (20, 10, 10, 4)
    assert region.area_px == 40
    assert region.centroid == (24.5, 11.5)
    assert region.peak == (22, 11)
    assert region.peak_score == 12
    assert region.mean_score == pytest.approx((39 * 6 + 12) / 40)
    assert set(region.contour) == {(20, 10), (20, 13), (29, 13), (29, 10)}


def test_sizes_are_in_pixels_of_the_image_and_in_millimeters() -> None:
    anomaly_map = empty()
    anomaly_map[10:14, 20:30] = 12
    calibration = dataclasses.replace(calibration_of(), mm_per_px=0.1)
    [region] = regions_of(anomaly_map, calibration, (120, 120))  # 3 times as high, 2 times as wide
    assert region.box == (40, 30, 20, 12)
    assert region.area_px == 240
    assert region.area_mm2 == pytest.approx(2.4)
    assert region.centroid == (49.5, 35.5)
    assert region.length_px == pytest.approx(np.hypot(20, 9), rel=0.02)
    assert region.length_mm == pytest.approx(region.length_px / 10)


@pytest.mark.parametrize("height", [12, 30, 200])
def test_a_blurred_defect_keeps_its_size_whatever_its_strength(height: float) -> None:
    """Half height lies at the edge; a fixed threshold would show a strong defect larger than a weak one."""
    defect = np.zeros((100, 150), np.float32)
    defect[40:60, 50:100] = 1
    anomaly_map = gaussian(defect, 4) * height
    [region] = regions_of(anomaly_map, calibration_of(10, 0, flank_px=32), (100, 150))
    assert region.box[2:] == (50, 20)
    assert region.area_px == pytest.approx(1000, rel=0.06)
    fixed = regions_of(anomaly_map, calibration_of(10, 1), (100, 150))[0]
    assert fixed.area_px > 1.4 * region.area_px


def test_a_weak_defect_away_from_a_strong_one_is_shown_in_its_own_size() -> None:
    defect = np.zeros((100, 200), np.float32)
    defect[40:60, 30:50], defect[40:60, 110:130] = 100, 15
    strong, weak = regions_of(gaussian(defect, 4), calibration_of(10, 0, flank_px=32), (100, 200))
    assert (strong.box, weak.box) == ((30, 40, 20, 20), (110, 40, 20, 20))


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float32, (12, 15), elements=st.sampled_from([0.0, 6.0, 12.0])))
def test_regions_agree_with_scikit_image(anomaly_map: AnomalyMap) -> None:
    calibration = calibration_of()
    mask = apply_hysteresis_threshold(anomaly_map, 5.5, 10.5)
    # The reference grows over side neighbors only; ours over corners too, so label its own growth the same way.
    grown = label(anomaly_map > 5, connectivity=2)
    kept = np.isin(grown, np.unique(grown[anomaly_map > 10])) & (grown > 0)
    assert kept[mask].all()
    expected = sorted(regionprops(label(kept, connectivity=2)), key=lambda props: tuple(props.bbox))
    found = sorted(
        regions_of(anomaly_map, calibration, anomaly_map.shape),
        key=lambda r: (r.box[1], r.box[0], r.box[1] + r.box[3], r.box[0] + r.box[2]),
    )
    assert len(found) == len(expected)
    for region, props in zip(found, expected, strict=True):
        assert region.box == (
            props.bbox[1],
            props.bbox[0],
            props.bbox[3] - props.bbox[1],
            props.bbox[2] - props.bbox[0],
        )
        assert region.area_px == props.area
        assert region.centroid == pytest.approx(props.centroid[::-1])
        assert region.length_px == pytest.approx(longest_distance(props.coords))
        # The reference measures a hull that is drawn in pixels again, which can add a fraction of one.
        assert region.length_px == pytest.approx(props.feret_diameter_max, abs=0.5)


def longest_distance(pixels: NDArray[np.intp]) -> float:
    """The largest distance between midpoints of the edges of any two pixels."""
    points = (pixels[:, None, :] + np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])).reshape(-1, 2)
    return float(pdist(points).max())


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_the_length_of_a_scratch_does_not_depend_on_its_direction(angle: int) -> None:
    y, x = np.mgrid[:200, :200] - 100.0
    turn = np.deg2rad(angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    anomaly_map = np.where((np.abs(along) <= 60) & (np.abs(across) <= 2), 20, 0).astype(np.float32)
    [region] = regions_of(anomaly_map, calibration_of(), (200, 200))
    assert region.length_px == pytest.approx(121, abs=2)


def test_close_parts_are_one_region_and_far_ones_are_not() -> None:
    anomaly_map = empty()
    anomaly_map[10:14, 10:14] = 12
    anomaly_map[10:14, 18:22] = 15  # 4 pixels between them
    joined = regions_of(anomaly_map, calibration_of(join_px=4), (40, 60))
    apart = regions_of(anomaly_map, calibration_of(join_px=2), (40, 60))
    assert [region.box for region in joined] == [(10, 10, 12, 4)]
    assert joined[0].area_px == 32
    assert joined[0].peak_score == 15
    assert [region.peak_score for region in apart] == [15, 12]


def test_a_weak_part_beside_a_strong_one_belongs_to_it() -> None:
    anomaly_map = empty()
    anomaly_map[10, 10] = 12
    anomaly_map[10, 12:15] = 6
    [region] = regions_of(anomaly_map, calibration_of(join_px=2), (40, 60))
    assert region.area_px == 4


def test_closing_fills_holes_and_opening_trims_hairs_but_no_peak() -> None:
    anomaly_map = empty()
    anomaly_map[10:17, 10:17] = 6
    anomaly_map[13, 13] = 0
    anomaly_map[13, 17:25] = 6
    anomaly_map[12, 12] = 12
    anomaly_map[30, 40] = 12
    regions = regions_of(anomaly_map, calibration_of(closing_px=3, opening_px=3), (40, 60))
    assert [region.box for region in regions] == [(10, 10, 8, 7), (40, 30, 1, 1)]
    # The 7 x 7 square with its hole filled, without its four corners, with the first pixel of the hair.
    assert [region.area_px for region in regions] == [46, 1]


def test_small_regions_are_dropped_but_not_the_one_with_the_peak() -> None:
    anomaly_map = empty()
    anomaly_map[5, 5] = 11
    anomaly_map[30, 40] = 20
    anomaly_map[10:20, 10:20] = 12
    regions = regions_of(anomaly_map, calibration_of(min_area_px2=4), (40, 60))
    assert [region.area_px for region in regions] == [1, 100]


def test_outside_the_zone_nothing_is_seen() -> None:
    anomaly_map = empty()
    anomaly_map[10:14, 10:50] = 12
    half = Zone(inspect=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    calibration = dataclasses.replace(calibration_of(closing_px=5, join_px=5), zone=half)
    [region] = regions_of(anomaly_map, calibration, (40, 60))
    assert region.box == (10, 10, 20, 4)
    right = Zone(ignore=half.inspect)
    anomaly_map[:, 30:] = 0
    assert regions_of(anomaly_map, dataclasses.replace(calibration, zone=right), (40, 60)) == ()


@settings(deadline=None, max_examples=60)
@given(
    anomaly_map=hnp.arrays(np.float32, (10, 14), elements=st.floats(0, 20, width=32)),
    opening=st.integers(0, 5),
    closing=st.integers(0, 5),
    join=st.integers(0, 6),
    area=st.integers(0, 30),
    flank=st.integers(0, 8),
)
def test_a_value_over_the_threshold_always_has_a_region(
    anomaly_map: AnomalyMap, opening: int, closing: int, join: int, area: int, flank: int
) -> None:
    sizes = {"opening_px": opening, "closing_px": closing, "join_px": join, "min_area_px2": area, "flank_px": flank}
    calibration = calibration_of(**sizes)
    regions = regions_of(anomaly_map, calibration, (50, 70))
    assert bool(regions) == bool(anomaly_map.max() > 10)
    if regions:
        assert regions[0].peak_score == anomaly_map.max()
    for region in regions:
        x, y, width, height = region.box
        assert 0 <= x < x + width <= 70
        assert 0 <= y < y + height <= 50
        assert x <= region.peak[0] < x + width
        assert y <= region.peak[1] < y + height
        assert all(x <= px < x + width and y <= py < y + height for px, py in region.contour)


def test_an_image_without_regions_costs_next_to_nothing() -> None:
    anomaly_map = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    calibration = calibration_of()
    start = time.perf_counter()
    for _ in range(100):
        regions_of(anomaly_map, calibration, (512, 512))
    assert (time.perf_counter() - start) / 100 < 3e-4


def checkered(side: int) -> AnomalyMap:
    """A map of single pixels over the threshold, each a region of its own, no two of one value."""
    anomaly_map = np.zeros((side, side), np.float32)
    anomaly_map[::2, ::2] = 11 + np.arange((side // 2) ** 2, dtype=np.float32).reshape(side // 2, -1) / 1000
    return anomaly_map


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_of_many_regions_the_strongest_are_measured_and_the_rest_is_counted(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    anomaly_map = checkered(40)
    every = regions_of(anomaly_map, calibration_of(), (40, 40))
    monkeypatch.setattr(regions_module, "MAX_REGIONS", limit)
    found = find_regions(anomaly_map, calibration_of(), (40, 40))
    assert found.regions == every[:limit]
    assert len(found.regions) + found.num_more == len(every) == 400


def test_an_image_of_noise_is_quick_and_its_verdict_short() -> None:
    start = time.process_time()
    found = find_regions(checkered(512), calibration_of(), (512, 512))
    assert time.process_time() - start < 3
    assert (len(found.regions), found.num_more) == (regions_module.MAX_REGIONS, 65_536 - regions_module.MAX_REGIONS)
