"""Whether two detectors, judged on the same images, differ by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.errors import MetricError
from blemish.metrics.accumulate import PixelAccumulator
from blemish.metrics.bootstrap import image_draws, percentile_interval
from blemish.metrics.evaluate import IMAGE_METRICS
from blemish.metrics.levels import Values, checked, levels_of


@dataclass(frozen=True)
class Difference:
    """A metric of the first detector less that of the second, with an interval of 95 % and the p-value of chance."""

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def could_be_chance(self) -> bool:
        """Whether a difference this large would come by chance in more than one of twenty test sets."""
        return self.p_value > 0.05


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference of two image AUROCs on the same images (DeLong et al. 1988), by the normal approximation.

    Needs two images of each class. Where nothing varies, as between two perfect rankings, the p-value is 1 for equal
    AUROCs and otherwise the least that swapping the two detectors image by image can give.

    >>> labels, first = [0, 0, 0, 1, 1, 1], [1, 2, 3, 2.5, 4, 5]
    >>> round(delong(labels, first, [3, 2, 1, 2.5, 1.5, 4]).difference, 3)
    0.222
    """
    is_defective, one = checked(labels, first, "delong")
    _, other = checked(labels, second, "delong")
    num_defective = int(is_defective.sum())
    num_good = len(one) - num_defective
    if min(num_good, num_defective) < 2:
        raise MetricError(f"delong needs two images of each class; found {num_good} good and {num_defective} defective")
    pairs = [_placements(is_defective, scores) for scores in (one, other)]
    of_defective, of_good = (a - b for a, b in zip(*pairs, strict=True))
    difference = float(of_defective.mean())
    deviation = math.sqrt(of_defective.var(ddof=1) / num_defective + of_good.var(ddof=1) / num_good)
    if deviation < 1e-12:
        p_value = 1.0 if abs(difference) < 1e-12 else 2.0 ** (1 - len(one))
    else:
        p_value = math.erfc(abs(difference) / deviation / math.sqrt(2))
    reach = NormalDist().inv_cdf(0.975) * deviation
    return Difference(difference, difference - reach, difference + reach, p_value)


def compare_images(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Difference]:
    """The differences in `image_auroc` (DeLong), `image_ap` and `image_f1_max` (paired bootstrap over images)."""
    is_defective, one = checked(labels, first, "image_auroc")
    _, other = checked(labels, second, "image_auroc")
    found = {"image_auroc": delong(is_defective, one, other)}
    draws = [image_draws(IMAGE_METRICS, is_defective, scores, seed, resamples) for scores in (one, other)]
    values = [levels_of(is_defective, scores, "image_ap") for scores in (one, other)]
    for name in ("image_ap", "image_f1_max"):
        difference = float(IMAGE_METRICS[name](values[0]) - IMAGE_METRICS[name](values[1]))
        found[name] = _paired(difference, draws[0][name] - draws[1][name])
    return found


def compare_pixels(first: PixelAccumulator, second: PixelAccumulator) -> dict[str, Difference]:
    """The differences in all pixel-level metrics of two detectors, by the paired bootstrap over images.

    Both must have been given the same images in the same order, with the same seed and number of resamples.
    """
    if first.sampling != second.sampling:
        raise MetricError(
            "compare_pixels needs the same images in the same order, with the same seed and resamples, for both "
            f"detectors; found {first.sampling} and {second.sampling}"
        )
    one, other = first.compute(), second.compute()
    draws = first.draws(one), second.draws(other)
    return {name: _paired(one[name] - other[name], draws[0][name] - draws[1][name]) for name in draws[0]}


def _paired(difference: float, draws: NDArray[np.float64]) -> Difference:
    low, high = percentile_interval(draws)
    one_sided = (1 + min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))) / (1 + len(draws))
    return Difference(difference, low, high, min(1.0, 2 * float(one_sided)))


def _placements(is_defective: NDArray[np.bool_], scores: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each defective image the share of good ones below it, for each good one that of defective ones above it."""
    good, defective = np.sort(scores[~is_defective]), np.sort(scores[is_defective])
    of_defective, of_good = scores[is_defective], scores[~is_defective]
    below = np.searchsorted(good, of_defective, side="left") + np.searchsorted(good, of_defective, side="right")
    above = np.searchsorted(defective, of_good, side="left") + np.searchsorted(defective, of_good, side="right")
    return below / (2 * len(good)), 1 - above / (2 * len(defective))
