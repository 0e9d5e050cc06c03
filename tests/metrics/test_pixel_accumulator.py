"""Pixel-level metrics image by image: exact in memory, and within stated bounds in fixed memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish import metrics
from blemish.errors import MetricError
from blemish.metrics.accumulate import AUPRO_LIMITS, PIXEL_METRICS, PixelAccumulator
from blemish.metrics.histogram import ScoreHistogram, error_bounds
from blemish.metrics.overlap import Room, pool, split_pixels


def labelled_maps(seed, num_images=6, size=40, offset=0.0, digits=9):
    rng = np.random.default_rng(seed)
    for number in range(num_images):
        mask = np.zeros((size, size), bool)
        if number % 2:
            row, column = rng.integers(0, size - 12, 2)
            mask[row : row + 10, column : column + 6] = True
        scores = np.round(offset + rng.normal(size=(size, size)) + 1.5 * mask, digits)
        yield scores.astype(np.float32), mask, number % 2


def pooled(images):
    return pool(images, Room.of([image.good for image in images]), "test")


def filled(accumulator, images):
    for scores, mask, label in images:
        accumulator.update(scores, mask, label)
    return accumulator


def test_all_metrics_equal_their_functions():
    images = list(labelled_maps(0))
    found = filled(PixelAccumulator(), images).compute()
    maps, masks = [scores for scores, _, _ in images], [mask for _, mask, _ in images]
    assert found["pixel_auroc"] == pytest.approx(metrics.auroc(masks, maps), abs=1e-12)
    assert found["pixel_ap"] == pytest.approx(metrics.average_precision(masks, maps), abs=1e-12)
    assert found["pixel_f1_max"] == pytest.approx(metrics.f1_max(masks, maps), abs=1e-12)
    for name, limit in AUPRO_LIMITS.items():
        assert found[name] == pytest.approx(metrics.aupro(maps, masks, limit), abs=1e-12)
    assert found["pixel_form"] == "exact"
    assert set(found["pixel_error_bounds"].values()) == {0.0}
    assert "segf1" not in found


def test_segf1_is_computed_at_the_given_threshold():
    images = list(labelled_maps(0))
    found = filled(PixelAccumulator(pixel_threshold=1.2), images).compute()
    assert found["segf1"] == metrics.segf1([image[0] for image in images], [image[1] for image in images], 1.2)


def test_defective_images_without_mask_are_counted_and_left_out():
    images = list(labelled_maps(0))
    expected = filled(PixelAccumulator(), images).compute()
    accumulator = filled(PixelAccumulator(), images)
    accumulator.update(np.full((40, 40), 9.0), None, 1)
    accumulator.update(np.full((40, 40), 9.0), np.zeros((40, 40), bool), 1)
    found = accumulator.compute()
    assert found.pop("num_without_mask") == 2
    assert expected.pop("num_without_mask") == 0
    assert found == expected


def test_good_images_need_no_mask():
    images = list(labelled_maps(0))
    without = [(scores, mask if label else None, label) for scores, mask, label in images]
    assert filled(PixelAccumulator(), without).compute() == filled(PixelAccumulator(), images).compute()


def test_a_map_can_be_overwritten_after_it_was_taken():
    accumulator, buffer = PixelAccumulator(), np.zeros((40, 40), np.float32)
    for scores, mask, label in labelled_maps(0):
        buffer[:] = scores
        accumulator.update(buffer, mask if label else None, label)
    assert accumulator.compute() == filled(PixelAccumulator(), labelled_maps(0)).compute()


def test_a_good_image_that_marks_a_defect_is_an_error():
    with pytest.raises(MetricError, match="empty masks for good images"):
        PixelAccumulator().update(np.zeros((3, 3)), np.eye(3, dtype=bool), 0)


def test_without_any_mask_metrics_are_not_defined():
    accumulator = PixelAccumulator()
    accumulator.update(np.zeros((3, 3)), None, 0)
    accumulator.update(np.zeros((3, 3)), None, 1)
    assert not accumulator.has_defects
    with pytest.raises(MetricError, match="pixel_auroc needs both good and defective pixels; found 9 good and 0"):
        accumulator.compute()
    with pytest.raises(MetricError, match="found 0 good and 0 defective"):
        PixelAccumulator().compute()


def test_computing_twice_and_adding_more_in_between_is_fine():
    images = list(labelled_maps(0))
    for memory_mb in (0, 2048):
        accumulator = filled(PixelAccumulator(memory_mb=memory_mb, resamples=20), images[:4])
        assert accumulator.compute() == accumulator.compute()
        found = filled(accumulator, images[4:]).compute()
        assert found == filled(PixelAccumulator(memory_mb=memory_mb, resamples=20), images).compute()


def test_streaming_starts_by_itself_when_memory_is_short_and_then_holds_no_maps():
    accumulator = filled(PixelAccumulator(memory_mb=0), labelled_maps(0, num_images=2))
    assert accumulator._histogram is not None
    accumulator = filled(PixelAccumulator(memory_mb=0), labelled_maps(0, num_images=20, size=500))
    held = sum(len(pixels.good) + len(pixels.defective) for pixels in accumulator._held)
    assert held <= 4_000_000 < 20 * 500 * 500


def test_streaming_of_few_distinct_scores_is_exact():
    images = list(labelled_maps(0, digits=2))
    assert filled(PixelAccumulator(memory_mb=0), images).compute() == filled(PixelAccumulator(), images).compute()


@given(
    st.integers(0, 10_000),
    st.sampled_from([16, 200, 3000]),
    st.sampled_from([0.0, -5.0, 100.0, 1e-3]),
    st.permutations(range(6)),
)
@settings(deadline=None, max_examples=40)
def test_streaming_errors_stay_within_their_bounds_in_any_order(seed, max_bins, offset, order):
    images = [split_pixels(scores, mask, "test") for scores, mask, _ in labelled_maps(seed, offset=offset)]
    exact = pooled(images)
    histogram, at_once = ScoreHistogram(max_bins), ScoreHistogram(max_bins)
    for place in order:
        histogram.add([images[place]])
    at_once.add(images)
    levels = histogram.levels()
    assert histogram.shift == at_once.shift > 0
    bounds = error_bounds(levels, AUPRO_LIMITS)
    for name, metric in PIXEL_METRICS.items():
        error = abs(float(metric(levels)) - float(metric(exact)))
        assert error <= bounds[name] + 1e-12, name
        assert float(metric(levels)) == pytest.approx(float(metric(at_once.levels())), abs=1e-12)


def test_streaming_bounds_are_tight_at_the_size_in_use():
    images = [split_pixels(scores, mask, "test") for scores, mask, _ in labelled_maps(3, num_images=8, size=300)]
    histogram = ScoreHistogram(1 << 17)
    histogram.add(images)
    assert histogram.shift > 0
    assert max(error_bounds(histogram.levels(), AUPRO_LIMITS).values()) < 1e-3


def test_negative_scores_and_both_zeros_are_ranked_as_numbers():
    scores = np.array([[-2.0, -1.0, -0.0, 0.0, 1e-30, 3.0]], np.float32)
    mask = np.array([[0, 1, 0, 1, 1, 0]], bool)
    expected = filled(PixelAccumulator(), [(scores, mask, 1)]).compute()
    assert filled(PixelAccumulator(memory_mb=0), [(scores, mask, 1)]).compute() == expected
    assert expected["pixel_auroc"] == metrics.auroc(mask, scores)


def test_scores_beyond_single_precision_are_named():
    with pytest.raises(MetricError, match="finite scores"):
        PixelAccumulator().update(np.full((2, 2), 1e300), None, 0)
