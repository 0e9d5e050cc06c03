"""Numbers and names as pages show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

METRICS: dict[str, tuple[str, str]] = {
    "image_auroc": ("Image AUROC", "The chance that a defective image scores above a good one."),
    "image_ap": ("Image AP", "Average precision: how pure the highest scores are, over all defective images."),
    "image_f1_max": (
        "Image F1-max",
        "The best F1 of any threshold: it knows the test labels, so an upper bound.",
    ),
    "pixel_auroc": ("Pixel AUROC", "The chance that a defect pixel has a higher map value than a good one."),
    "pixel_ap": ("Pixel AP", "Average precision over pixels: strict where defects are small."),
    "pixel_f1_max": ("Pixel F1-max", "The best F1 over pixels of any threshold; an upper bound."),
    "segf1": ("SegF1", "F1 over pixels at the calibrated pixel threshold, which never saw a defect."),
    "aupro_30": ("AUPRO 0.30", "Overlap with each defect region, large or small alike, up to a pixel FPR of 0.3."),
    "aupro_05": ("AUPRO 0.05", "The same up to a pixel FPR of 0.05: only maps that are quiet on good pixels do well."),
    "aupro_01": ("AUPRO 0.01", "The same up to a pixel FPR of 0.01."),
    "reconstruction_mse": ("Reconstruction MSE", "Mean squared error of good test images, pixels from 0 to 1."),
    "reconstruction_psnr": ("Reconstruction PSNR", "The same in decibels: 20 is a tenth of the range, 40 a hundredth."),
    "accuracy": ("Accuracy", "Right verdicts among all; depends on how many defective images the set holds."),
    "balanced_accuracy": ("Balanced accuracy", "The mean share of right verdicts on good and on defective images."),
}
"""Names and meanings of what a page lists, in its order."""


def rate(share: float | None) -> str:
    """A share as percent, with more digits near 0 and 1; never a round 0 or 100 that is not one.

    The space before the sign does not break.

    >>> [rate(share).replace("\\u00a0", " ") for share in (0.0476, 0.0, 0.9984)]
    ['4.8 %', '0.0 %', '99.84 %']
    """
    if share is None or not math.isfinite(share):
        return "–"
    percent = 100.0 * share
    digits = 2 if 0.0 < percent < 1.0 or 99.0 < percent < 100.0 else 1
    return f"{_not_rounded_to_the_end(percent, 100.0, digits)}\u00a0%"


def whole_rate(share: float) -> str:
    """A share as percent for a sentence: whole, but never a round 0 or 100 that is not one.

    >>> [whole_rate(share).replace("\\u00a0", " ") for share in (0.3125, 0.004, 0.998)]
    ['31 %', '0.4 %', '99.8 %']
    """
    return f"{_not_rounded_to_the_end(100.0 * share, 100.0, 0)}\u00a0%"


def promised(share: float) -> str:
    """A promised share as percent with three digits, as the calibration words it."""
    return f"{100.0 * share:.3g}\u00a0%"


def metric(value: float | None) -> str:
    """A metric from 0 to 1, to three digits; below 1 it never reads as 1.

    >>> metric(0.97756), metric(1.0), metric(0.99996)
    ('0.978', '1.000', '0.99996')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return _not_rounded_to_the_end(value, 1.0, 3)


def interval(limits: Sequence[float] | None, *, as_rate: bool = False) -> str:
    """Both limits of an interval, empty where there is none."""
    if limits is None:
        return ""
    low, high = (rate(limit) if as_rate else metric(limit) for limit in limits)
    return f"{low} to {high}"


def score(value: float | None) -> str:
    """A raw score with four digits.

    >>> score(6.5426244), score(12345.6)
    ('6.543', '12350')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):.{max(digits, 0)}f}"


def milliseconds(value: float | None) -> str:
    """A time with three digits.

    >>> milliseconds(7.3149), milliseconds(241.5)
    ('7.31', '242')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A duration.

    >>> seconds(3.456), seconds(347), seconds(5400)
    ('3.5 s', '5 min 47 s', '1 h 30 min')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def p_value(value: float) -> str:
    """A p-value with as many digits as it deserves.

    >>> p_value(1 / 210), p_value(0.5)
    ('0.0048', '0.50')
    """
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "image"), plural(2000, "good image")
    ('1 image', '2,000 good images')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plain(value: Any) -> str:
    """A fact of a bundle or data set in words."""
    if value is None or value == [] or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(entry)}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(entry) for entry in value)
    return str(value)


def _not_rounded_to_the_end(value: float, end: float, digits: int) -> str:
    while digits < 6 and ((value < end and round(value, digits) >= end) or (value > 0 and round(value, digits) <= 0)):
        digits += 1
    return f"{value:.{digits}f}"
