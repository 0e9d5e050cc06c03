"""The bootstrap over images, drawn apart from good and from defective ones: what another test set might have shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.metrics.levels import Levels, Metric, Numbers, Values
from blemish.metrics.overlap import Pixels

Draws = dict[str, NDArray[np.float64]]
"""For each metric its value on each bootstrap sample."""

_CELLS = 4_000_000
_POINTS = 512
_BINS = 256


def percentile_interval(draws: NDArray[np.float64], confidence: float = 0.95) -> list[float]:
    """The limits between which the middle share of the bootstrap's results lies."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return [float(low), float(high)]


def image_draws(
    metrics: Mapping[str, Metric], is_defective: NDArray[np.bool_], scores: Values, seed: int, resamples: int
) -> Draws:
    """The metrics of bootstrap samples of scored images; the same seed draws the same images for any scores."""
    distinct, upward = np.unique(scores, return_inverse=True)
    level = len(distinct) - 1 - upward
    sides = []
    for of_class in (~is_defective, is_defective):
        order = np.argsort(level[of_class], kind="stable")
        sides.append((order, np.searchsorted(level[of_class][order], np.arange(len(distinct) + 1))))
    chunks = []
    for drawn in _resampled((int((~is_defective).sum()), int(is_defective.sum())), len(distinct), seed, resamples):
        good, defective = (
            np.diff(_cumulative(counts[:, order])[:, starts], axis=1)
            for counts, (order, starts) in zip(drawn, sides, strict=True)
        )
        chunks.append(_apply(metrics, good, defective, np.empty(0), np.asarray(0)))
    return _joined(chunks)


@dataclass(frozen=True)
class Summary:
    """The pixels of one image in at most some hundred points: scores, and how many pixels each stands for."""

    good: NDArray[np.float32]
    num_good: NDArray[np.float32]
    defective: NDArray[np.float32]
    num_defective: NDArray[np.float32]
    overlap: NDArray[np.float32]
    num_regions: int


def summarize(pixels: Pixels) -> Summary:
    """An image's pixels in few points: close together among the highest scores, where metrics look closest."""
    good = np.sort(pixels.good)[::-1]
    order = np.argsort(pixels.defective)[::-1]
    good_cuts, defective_cuts = _cuts(len(good)), _cuts(len(order))
    return Summary(
        good=good[(good_cuts[1:] + good_cuts[:-1]) // 2].astype(np.float32),
        num_good=np.diff(good_cuts).astype(np.float32),
        defective=pixels.defective[order][(defective_cuts[1:] + defective_cuts[:-1]) // 2].astype(np.float32),
        num_defective=np.diff(defective_cuts).astype(np.float32),
        overlap=np.diff(_cumulative(pixels.overlap[order])[defective_cuts]).astype(np.float32),
        num_regions=pixels.num_regions,
    )


def pixel_draws(
    metrics: Mapping[str, Metric], images: Sequence[Summary], exact: Mapping[str, float], seed: int, resamples: int
) -> Draws:
    """The metrics of bootstrap samples of images, from their summaries, moved so that they center on exact values."""
    binned = _binned(images)
    is_defective = binned.num_regions > 0
    sides = [_rows(binned, ~is_defective), _rows(binned, is_defective)]
    whole = _apply(metrics, *_drawn([np.ones((1, len(side.good))) for side in sides], sides))
    counts = (len(sides[0].good), len(sides[1].good))
    draws = _joined(
        [_apply(metrics, *_drawn(pair, sides)) for pair in _resampled(counts, binned.good.shape[1], seed, resamples)]
    )
    return {name: np.clip(values + (exact[name] - whole[name][0]), 0.0, 1.0) for name, values in draws.items()}


@dataclass(frozen=True)
class _Binned:
    """Pixel counts of images in common bins of scores, highest first: (images, bins)."""

    good: NDArray[np.float64]
    defective: NDArray[np.float64]
    overlap: NDArray[np.float64]
    num_regions: NDArray[np.float64]


def _binned(images: Sequence[Summary]) -> _Binned:
    good, defective = _Points.of(images, "good", "num_good"), _Points.of(images, "defective", "num_defective")
    edges = np.unique(np.concatenate([good.quantiles(), defective.quantiles()]))
    return _Binned(
        good=good.counted(edges, good.counts, len(images)),
        defective=defective.counted(edges, defective.counts, len(images)),
        overlap=defective.counted(edges, np.concatenate([image.overlap for image in images]), len(images)),
        num_regions=np.array([image.num_regions for image in images], np.float64),
    )


@dataclass(frozen=True)
class _Points:
    """The points of one class of all summaries, and the image of each."""

    scores: NDArray[np.float32]
    counts: NDArray[np.float32]
    image: NDArray[np.int64]

    @classmethod
    def of(cls, images: Sequence[Summary], scores: str, counts: str) -> _Points:
        parts: list[NDArray[np.float32]] = [getattr(image, scores) for image in images]
        numbers: list[NDArray[np.float32]] = [getattr(image, counts) for image in images]
        return cls(
            np.concatenate(parts), np.concatenate(numbers), np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        )

    def quantiles(self) -> NDArray[np.float32]:
        """Scores that part the pixels of the class into bins, finer among the highest."""
        order = np.argsort(self.scores)[::-1]
        share = np.cumsum(self.counts[order], dtype=np.float64)
        wanted = np.concatenate([np.geomspace(1e-5, 1.0, _BINS), np.linspace(0.0, 1.0, _BINS)]) * share[-1]
        at = np.minimum(np.searchsorted(share, wanted), len(order) - 1)
        found: NDArray[np.float32] = self.scores[order][at]
        return found

    def counted(self, edges: NDArray[np.float32], weights: NDArray[np.float32], num_images: int) -> NDArray[np.float64]:
        """The weights summed by image and bin, highest bin first."""
        bins = len(edges) - np.searchsorted(edges, self.scores, side="right")
        width = len(edges) + 1
        summed = np.bincount(self.image * width + bins, weights=weights, minlength=num_images * width)
        return summed.reshape(num_images, width).astype(np.float64, copy=False)


def _rows(binned: _Binned, chosen: NDArray[np.bool_]) -> _Binned:
    return _Binned(binned.good[chosen], binned.defective[chosen], binned.overlap[chosen], binned.num_regions[chosen])


def _drawn(counts: Sequence[Numbers], sides: Sequence[_Binned]) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """The pixel counts of samples in which each image comes as often as given."""
    good, with_defects = sides
    often_good, often = counts
    return (
        often_good @ good.good + often @ with_defects.good,
        often @ with_defects.defective,
        often @ with_defects.overlap,
        often @ with_defects.num_regions,
    )


def _apply(
    metrics: Mapping[str, Metric], good: Numbers, defective: Numbers, overlap: Numbers, num_regions: Numbers
) -> Draws:
    levels = Levels(
        defective=defective,
        good=good,
        good_above=np.cumsum(good, axis=-1) - good,
        num_good=good.sum(axis=-1),
        overlap=overlap,
        num_regions=num_regions,
    )
    return {name: metric(levels) for name, metric in metrics.items()}


def _joined(chunks: Sequence[Draws]) -> Draws:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _resampled(
    num_images: tuple[int, int], num_levels: int, seed: int, resamples: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """How often each image of each class is drawn, (samples, images), in chunks that bound the memory."""
    rng = np.random.default_rng(seed)
    per_chunk = max(1, _CELLS // max(num_levels, sum(num_images)))
    for done in range(0, resamples, per_chunk):
        samples = min(per_chunk, resamples - done)
        yield _counts(num_images[0], samples, rng), _counts(num_images[1], samples, rng)


def _counts(num_images: int, samples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if num_images == 0:
        return np.zeros((samples, 0), np.int64)
    drawn = rng.integers(0, num_images, (samples, num_images))
    drawn += np.arange(samples)[:, np.newaxis] * num_images
    return np.bincount(drawn.ravel(), minlength=samples * num_images).reshape(samples, num_images)


def _cumulative(values: Numbers) -> Numbers:
    """Sums of the first 0, 1, 2, ... values along the last axis."""
    summed = np.zeros((*values.shape[:-1], values.shape[-1] + 1), values.dtype)
    np.cumsum(values, axis=-1, out=summed[..., 1:])
    return summed


def _cuts(num_pixels: int) -> NDArray[np.int64]:
    """Positions, from the highest score down, at which the pixels of an image are parted into points."""
    if num_pixels <= _POINTS:
        return np.arange(num_pixels + 1)
    fine, even = np.geomspace(1, num_pixels, _POINTS // 2), np.linspace(0, num_pixels, _POINTS // 2)
    return np.unique(np.concatenate([fine, even]).astype(np.int64))
