"""Whether two detectors differ: DeLong against its definition, the paired bootstrap, and no false alarms."""

import numpy as np
import pytest
import scipy.stats

from blemish import metrics
from blemish.errors import MetricError
from blemish.metrics.accumulate import PixelAccumulator


def delong_by_definition(labels, first, second):
    """The variance of the difference from all pairs of a good and a defective image (DeLong et al. 1988)."""
    good, defective = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)

    def placements(scores):
        kernel = [[(scores[x] > scores[y]) + (scores[x] == scores[y]) / 2 for y in good] for x in defective]
        return np.mean(kernel, axis=1), np.mean(kernel, axis=0)

    by_defective, by_good = zip(placements(first), placements(second), strict=True)
    covariance = np.cov(by_defective) / len(defective) + np.cov(by_good) / len(good)
    contrast = np.array([1, -1])
    difference = by_defective[0].mean() - by_defective[1].mean()
    return difference, np.sqrt(contrast @ covariance @ contrast)


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    labels = (np.arange(50) < 20).astype(int)
    base = rng.normal(size=50) + labels
    first, second = np.round(base + rng.normal(size=50) / 2, 1), np.round(base + rng.normal(size=50), 1)
    difference, deviation = delong_by_definition(labels, first, second)
    found = metrics.delong(labels, first, second)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.difference == pytest.approx(metrics.auroc(labels, first) - metrics.auroc(labels, second), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(scipy.stats.norm.interval(0.95, difference, deviation), abs=1e-12)
    assert found.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(difference) / deviation), rel=1e-9)


def test_delong_mirrors_when_detectors_change_places():
    labels, first, second = [0, 0, 0, 1, 1, 1], [1, 2, 3, 2.5, 4, 5], [3, 2, 1, 2.5, 1.5, 4]
    forth, back = metrics.delong(labels, first, second), metrics.delong(labels, second, first)
    assert (forth.difference, forth.p_value) == pytest.approx((-back.difference, back.p_value))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_delong_where_nothing_varies():
    labels = [0, 0, 0, 1, 1, 1]
    same = metrics.delong(labels, [1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 2])
    assert (same.difference, same.p_value, same.could_be_chance) == (0.0, 1.0, True)
    apart = metrics.delong(labels, [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    assert (apart.difference, apart.p_value) == (1.0, 2**-5)


def test_delong_needs_two_images_of_each_class():
    with pytest.raises(MetricError, match="2 good and 1 defective"):
        metrics.delong([0, 0, 1], [1, 2, 3], [1, 2, 3])


def test_detectors_of_one_quality_seldom_seem_to_differ_and_of_two_mostly_do():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    same = better = 0
    for _ in range(200):
        part = rng.normal(size=120) + 1.5 * labels
        same += not metrics.delong(labels, part + rng.normal(size=120), part + rng.normal(size=120)).could_be_chance
        better += not metrics.delong(labels, part, part + 2 * rng.normal(size=120)).could_be_chance
    assert same <= 20
    assert better >= 150


def test_image_comparison_names_each_metric_and_sees_no_difference_between_equals():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    scores = rng.normal(size=80) + labels
    found = metrics.compare_images(labels, scores, np.exp(scores))
    assert set(found) == {"image_auroc", "image_ap", "image_f1_max"}
    assert all(each.difference == 0 and each.p_value == 1 and each.could_be_chance for each in found.values())
    worse = metrics.compare_images(labels, scores, scores + 3 * rng.normal(size=80))
    assert worse["image_auroc"].difference > 0
    assert not worse["image_ap"].could_be_chance
    assert worse["image_ap"].low > 0


def judged(noise, seed=0, **settings):
    rng = np.random.default_rng(7)
    accumulator = PixelAccumulator(seed=seed, **settings)
    for number in range(16):
        mask = np.zeros((40, 40), bool)
        if number % 2:
            row, column = rng.integers(0, 30, 2)
            mask[row : row + 8, column : column + 8] = True
        base = rng.normal(size=(40, 40)) + 2 * mask
        accumulator.update(base + noise * rng.normal(size=(40, 40)), mask, number % 2)
    return accumulator


def test_pixel_comparison_is_paired():
    better, worse = judged(0.2, resamples=200), judged(1.5, resamples=200)
    found, one, other = metrics.compare_pixels(better, worse), better.compute(), worse.compute()
    for name in ("pixel_auroc", "pixel_ap", "aupro_30"):
        assert found[name].difference == pytest.approx(one[name] - other[name])
        assert 0 < found[name].low < found[name].difference < found[name].high
        assert not found[name].could_be_chance
    assert all(each.could_be_chance for each in metrics.compare_pixels(better, better).values())


def test_pixel_comparison_refuses_other_samples():
    with pytest.raises(MetricError, match="same images in the same order"):
        metrics.compare_pixels(judged(0.2), judged(0.2, seed=1))
