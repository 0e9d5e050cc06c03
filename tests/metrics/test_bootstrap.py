"""Bootstrap intervals: what resampling images one by one would give, and true as often as promised."""

import math
import time
from statistics import NormalDist

import numpy as np
import pytest
import sklearn.metrics

from blemish import metrics
from blemish.metrics.accumulate import PIXEL_METRICS, PixelAccumulator
from blemish.metrics.bootstrap import _counts, image_draws, pixel_draws, summarize
from blemish.metrics.evaluate import IMAGE_METRICS
from blemish.metrics.overlap import Room, pool, split_pixels


def counts_of(seed, resamples, num_good, num_defective):
    """The draws of images behind the first chunk of a bootstrap."""
    rng = np.random.default_rng(seed)
    return _counts(num_good, resamples, rng), _counts(num_defective, resamples, rng)


def test_image_draws_equal_scikit_learn_on_the_drawn_images():
    rng = np.random.default_rng(0)
    labels = np.array([0] * 15 + [1] * 25)
    scores = np.round(rng.normal(size=40) + labels, 1)
    draws = image_draws(IMAGE_METRICS, labels == 1, scores, seed=3, resamples=30)
    good, defective = counts_of(3, 30, 15, 25)
    for number in range(30):
        weights = np.concatenate([good[number], defective[number]])
        drawn = np.repeat(np.arange(40), weights)
        expected = sklearn.metrics.roc_auc_score(labels[drawn], scores[drawn])
        assert draws["image_auroc"][number] == pytest.approx(expected, abs=1e-12)
        expected = sklearn.metrics.average_precision_score(labels[drawn], scores[drawn])
        assert draws["image_ap"][number] == pytest.approx(expected, abs=1e-12)
        expected = metrics.f1_max(labels[drawn], scores[drawn])
        assert draws["image_f1_max"][number] == pytest.approx(expected, abs=1e-12)


def pooled(images):
    return pool(images, Room.of([image.good for image in images]), "test")


def maps_and_masks(seed=0, num_good=6, num_defective=8, size=96):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images = []
    for number in range(num_good + num_defective):
        mask = np.zeros((size, size), bool)
        if number >= num_good:
            for _ in range(rng.integers(1, 4)):
                row, column, radius = *rng.integers(10, size - 10, 2), rng.integers(3, 10)
                mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        strength = rng.uniform(0.5, 4)
        scores = rng.normal(size=(size, size)) * rng.uniform(0.7, 1.3) + strength * mask
        images.append((scores.astype(np.float32), mask))
    return images


def test_pixel_draws_equal_exact_metrics_of_the_drawn_images():
    images = [split_pixels(*pair, "test") for pair in maps_and_masks()]
    levels = pooled(images)
    exact = {name: float(metric(levels)) for name, metric in PIXEL_METRICS.items()}
    draws = pixel_draws(PIXEL_METRICS, [summarize(image) for image in images], exact, seed=5, resamples=12)
    good, defective = counts_of(5, 12, 6, 8)
    for number in range(12):
        drawn = np.repeat(np.arange(14), np.concatenate([good[number], defective[number]]))
        levels = pooled([images[index] for index in drawn])
        for name, metric in PIXEL_METRICS.items():
            assert draws[name][number] == pytest.approx(float(metric(levels)), abs=4e-3), name


def test_intervals_hold_the_exact_value_and_come_again_with_the_same_seed():
    def compute(seed):
        accumulator = PixelAccumulator(seed=seed)
        for scores, mask in maps_and_masks():
            accumulator.update(scores, mask, int(mask.any()))
        return accumulator.compute()

    first = compute(0)
    for name in PIXEL_METRICS:
        low, high = first["intervals"][name]
        assert 0 <= low < first[name] < high <= 1
    assert compute(0) == first
    assert compute(1)["intervals"] != first["intervals"]


def test_image_level_intervals_are_quick_enough_to_be_always_on():
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.5
    start = time.process_time()
    metrics.image_metrics(labels, rng.normal(size=500), resamples=1000)
    assert time.process_time() - start < 2


def test_a_perfect_ranking_of_few_images_has_wide_intervals():
    found = metrics.image_metrics([0] * 20 + [1] * 63, np.arange(83.0))
    assert [found[name] for name in IMAGE_METRICS] == [1.0, 1.0, 1.0]
    for name in IMAGE_METRICS:
        low, high = found["intervals"][name]
        assert 0.9 < low < 0.99
        assert high == 1.0


@pytest.mark.parametrize(("truth", "num_good", "num_defective"), [(0.8, 40, 40), (0.97, 20, 60), (0.998, 30, 30)])
def test_auroc_intervals_hold_about_as_often_as_promised(truth, num_good, num_defective):
    rng = np.random.default_rng(1)
    distance = math.sqrt(2) * NormalDist().inv_cdf(truth)
    labels = np.repeat([0, 1], [num_good, num_defective])
    holds = 0
    for _ in range(100):
        scores = rng.normal(size=len(labels)) + distance * labels
        low, high = metrics.image_metrics(labels, scores, resamples=200)["intervals"]["image_auroc"]
        holds += low <= truth <= high
    assert holds >= 92


def test_intervals_of_too_few_images_are_left_out():
    assert metrics.image_metrics([0, 0, 1], [1.0, 2.0, 3.0])["intervals"] == {}
    accumulator = PixelAccumulator()
    scores, mask = maps_and_masks()[-1]
    accumulator.update(scores, mask, 1)
    assert accumulator.compute()["intervals"] == {}
