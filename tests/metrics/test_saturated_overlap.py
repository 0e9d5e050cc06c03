"""The saturated overlap of MVTec LOCO against a slow form of its definition, and its configuration file."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import DataError, MetricError
from blemish.metrics import Saturation, aupro, auspro, read_defects_config

CONFIG = {
    255: Saturation("missing", 12, is_relative=False),
    254: Saturation("scratch", 0.5, is_relative=True),
    253: Saturation("huge", 10_000, is_relative=False),
}


def slow_auspro(maps, channels, config, limit):
    """Saturated overlap against pixel false positive rate at every threshold; trapezoids cut at the limit."""
    good = []
    for scores, found in zip(maps, channels, strict=True):
        union = np.zeros(scores.shape, bool)
        for channel in found:
            union |= channel > 0
        good.append(scores[~union])
    good = np.concatenate(good)
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([scores.ravel() for scores in maps]))[::-1]:
        overlaps = []
        for scores, found in zip(maps, channels, strict=True):
            for channel in found:
                saturation, area = config[int(channel.max())], int((channel > 0).sum())
                enough = int(saturation.threshold * area) if saturation.is_relative else min(saturation.threshold, area)
                overlaps.append(min(1.0, (scores[channel > 0] >= threshold).sum() / enough))
        points.append((float(np.mean(good >= threshold)), float(np.mean(overlaps))))
    area = 0.0
    for (left, low), (right, high) in itertools.pairwise(points):
        if left < limit and right > left:
            end = min(right, limit)
            area += (end - left) * (low + low + (high - low) * (end - left) / (right - left)) / 2
    return area / limit


@given(st.integers(0, 10_000), st.sampled_from([3.0, 1000.0]), st.sampled_from([0.05, 0.3, 1.0]))
@settings(deadline=None, max_examples=25)
def test_auspro_equals_the_definition(seed, levels, limit):
    rng = np.random.default_rng(seed)
    maps, channels = [], []
    for number in range(4):
        found = []
        for value in (255, 254, 253)[:number]:
            channel = np.zeros((14, 16), np.uint8)
            row, column = rng.integers(0, 9, 2)
            channel[row : row + 4, column : column + 5] = value
            found.append(channel)
        union = np.any([channel > 0 for channel in found], axis=0) if found else np.zeros((14, 16), bool)
        maps.append(np.round((rng.normal(size=(14, 16)) + union) * levels))
        channels.append(found)
    expected = slow_auspro(maps, channels, CONFIG, limit)
    assert auspro(maps, channels, CONFIG, limit) == pytest.approx(expected, abs=1e-9)


def test_without_saturation_and_with_connected_defects_it_is_aupro():
    rng = np.random.default_rng(0)
    channel = np.zeros((20, 20), np.uint8)
    channel[4:9, 4:9] = 253
    scores = rng.normal(size=(20, 20)) + (channel > 0)
    assert auspro([scores], [[channel]], CONFIG, 0.3) == pytest.approx(aupro([scores], [channel > 0], 0.3))


def test_saturation_areas_follow_the_official_rule():
    assert CONFIG[255].area(100) == 12
    assert CONFIG[255].area(5) == 5
    assert CONFIG[254].area(7) == 3
    assert CONFIG[254].area(1) == 1


def test_configuration_is_read(tmp_path):
    path = tmp_path / "defects_config.json"
    entry = {"defect_name": "x", "pixel_value": 251, "saturation_threshold": 0.25, "relative_saturation": True}
    path.write_text(json.dumps([entry]), encoding="utf-8")
    assert read_defects_config(path) == {251: Saturation("x", 0.25, is_relative=True)}


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"defect_name": "x"}]'])
def test_another_file_is_not_taken_for_a_configuration(tmp_path, text):
    path = tmp_path / "defects_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"defects_config\.json of MVTec LOCO"):
        read_defects_config(path)
    with pytest.raises(DataError, match="no such file"):
        read_defects_config(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"found \[\]"),
        (np.array([[255, 254, 0, 0]] * 4, np.uint8), r"found \[254, 255\]"),
        (np.array([[7, 0, 0, 0]] * 4, np.uint8), r"found \[7\], known \[253, 254, 255\]"),
        (np.full((5, 4), 255, np.uint8), "resize the map first"),
    ],
)
def test_masks_must_fit_map_and_configuration(channel, message):
    with pytest.raises(MetricError, match=message):
        auspro([np.zeros((4, 4))], [[channel]], CONFIG)


def test_limit_is_a_share():
    with pytest.raises(MetricError, match="limit above 0"):
        auspro([np.zeros((4, 4))], [[]], CONFIG, 5)
