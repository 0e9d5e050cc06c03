"""Scores of good images -> thresholds with promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.decisions.cost import cost_curve
from blemish.decisions.promise import LIMIT_CONFIDENCE, make_promise, percent, promise_of
from blemish.decisions.rule_text import check_rules
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import CalibrationError
from blemish.schema import Calibration, Condition, Promise, RegionSettings, Rule, Zone


def calibrate(
    good_scores: ArrayLike,
    good_map_maxima: ArrayLike,
    *,
    graph_sha256: str,
    method: Literal["split", "cross"],
    shares: ArrayLike | None = None,
    settings: CalibrationSettings | None = None,
    mm_per_px: float | None = None,
    rules: Sequence[Rule] = (),
    zone: Zone | None = None,
    conditions: Sequence[Condition] = (),
    defective_scores: ArrayLike | None = None,
) -> Calibration:
    """A calibration from good images that the scoring model did not see.

    `good_map_maxima` is the largest value of each image's anomaly map; with a zone, both arrays are taken inside it.
    Images that show nearly the same part count as one part together: `shares` has 1 divided by their number for each
    (see `shares_of_parts`); without shares each image is a part. Image and pixel threshold are order statistics of the
    same rank, so that the wanted rate holds for each. `defective_scores` serve the choice by costs alone.
    """
    settings = settings or CalibrationSettings()
    check_rules(rules, mm_per_px)
    scores, maxima = _checked("scores", good_scores), np.sort(_checked("map maxima", good_map_maxima))
    num_good = len(scores)
    if num_good != len(maxima):
        raise CalibrationError(f"{num_good} good scores but {len(maxima)} map maxima; give one per image of each")
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    if scores[0] == scores[-1]:
        raise CalibrationError(
            f"all {num_good} good images score {scores[0]:g}, so no threshold can be set; "
            "look for copies of one image among them, or use another detector"
        )
    of_parts = np.ones(num_good) if shares is None else np.asarray(shares, np.float64).ravel()
    if len(of_parts) != num_good:
        raise CalibrationError(f"{num_good} good scores but {len(of_parts)} shares of parts; give one per image")
    of_parts = of_parts[order]
    from_largest = of_parts[::-1]
    curve = None
    if settings.costs is None:
        promise = make_promise(num_good, settings.false_reject, settings.confidence, shares=from_largest)
        image_threshold = _over_which(scores, promise.num_over)
    else:
        curve = cost_curve(
            scores,
            settings.costs,
            defective_scores=defective_scores,
            assumed_shift=settings.assumed_shift,
            confidence=settings.confidence or LIMIT_CONFIDENCE,
        )
        image_threshold = curve.best_threshold
        promise = _promise_at(image_threshold, scores, settings.false_reject, settings, from_largest)
    if settings.strict and not promise.is_kept:
        found = f"{promise.num_good} good images"
        if promise.num_parts < promise.num_good:
            found += f" of {promise.num_parts} different parts"
        certainty = "on average" if settings.confidence is None else f"at {percent(promise.confidence)} confidence"
        raise CalibrationError(
            f"{found} support a false reject rate of {percent(promise.rate)} {certainty}, not "
            f"{percent(promise.wanted_rate)}, which needs {promise.num_needed:,}; add images or ask for a higher rate"
        )
    review_promise = None
    review_threshold = None
    if settings.review_rate is not None:
        review_promise = make_promise(num_good, settings.review_rate, settings.confidence, shares=from_largest)
        review_threshold = min(image_threshold, _over_which(scores, review_promise.num_over))
        if curve is not None:  # what costs chose may lie lower than the wanted review rate would allow
            review_promise = _promise_at(review_threshold, scores, settings.review_rate, settings, from_largest)
    pixel_threshold = _over_which(maxima, promise.num_over)
    return Calibration(
        graph_sha256=graph_sha256,
        method=method,
        good_scores=tuple(scores.tolist()),
        good_shares=() if shares is None else tuple(of_parts.tolist()),
        good_map_maxima=tuple(maxima.tolist()),
        image_threshold=image_threshold,
        pixel_threshold=pixel_threshold,
        promise=promise,
        regions=RegionSettings(grow_threshold=min(pixel_threshold, float(np.median(maxima)))),
        display_spread=_display_spread(scores, image_threshold),
        review_threshold=review_threshold,
        review_promise=review_promise,
        mm_per_px=mm_per_px,
        rules=tuple(rules),
        zone=zone,
        cost_curve=curve,
        conditions=tuple(conditions),
    )


def recalibrate(
    calibration: Calibration, settings: CalibrationSettings, *, defective_scores: ArrayLike | None = None
) -> Calibration:
    """The same good images under other wishes: new thresholds, with zone, rules, scale and regions kept."""
    new = calibrate(
        calibration.good_scores,
        calibration.good_map_maxima,
        graph_sha256=calibration.graph_sha256,
        method=calibration.method,
        shares=calibration.good_shares or None,
        settings=settings,
        mm_per_px=calibration.mm_per_px,
        rules=calibration.rules,
        zone=calibration.zone,
        conditions=calibration.conditions,
        defective_scores=defective_scores,
    )
    regions = dataclasses.replace(calibration.regions, grow_threshold=new.regions.grow_threshold)
    return dataclasses.replace(new, regions=regions)


def suspects(good_scores: ArrayLike) -> list[int]:
    """Indices of good images that score far above the rest, the highest first.

    A defective part among the good images lifts the thresholds and lets defects escape, so these deserve a look. Far is
    above `suspicion_limit`.
    """
    scores = np.asarray(good_scores, dtype=np.float64).ravel()
    far = np.flatnonzero(scores > suspicion_limit(scores))
    return [int(index) for index in far[np.argsort(-scores[far], kind="stable")]]


def suspicion_limit(good_scores: ArrayLike) -> float:
    """The score of good images above which one is far from the rest: three quartile ranges above the upper quartile.

    That is Tukey's outer fence.
    """
    lower, upper = np.quantile(np.asarray(good_scores, dtype=np.float64), (0.25, 0.75))
    return float(upper + 3 * (upper - lower))


def check_graph(calibration: Calibration, graph_sha256: str) -> None:
    """Raises where a calibration belongs to another graph."""
    if calibration.graph_sha256 != graph_sha256:
        raise CalibrationError(
            f"the calibration belongs to graph {calibration.graph_sha256[:12]}, but this is graph {graph_sha256[:12]}; "
            "calibrate this graph with its own good images"
        )


def _checked(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """The values, at least two, all finite."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) < 2:
        raise CalibrationError(
            f"{len(array)} good {what}; a calibration needs at least 2 good images, and 20 or more to be of use"
        )
    if not np.isfinite(array).all():
        raise CalibrationError(f"{int((~np.isfinite(array)).sum())} of {len(array)} good {what} are not finite numbers")
    return array


def shares_of_parts(parts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of each image 1 divided by the number of images of the same part.

    >>> shares_of_parts(np.array([7, 3, 7])).tolist()
    [0.5, 1.0, 0.5]
    """
    _, places, counts = np.unique(parts, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[places])


def _promise_at(
    threshold: float,
    scores: NDArray[np.float64],
    wanted: float,
    settings: CalibrationSettings,
    from_largest: NDArray[np.float64],
) -> Promise:
    """The promise of a threshold that data chose among all."""
    num_over, num_good = int((scores > threshold).sum()), len(scores)
    return promise_of(num_good, num_over, wanted, settings.confidence, shares=from_largest, num_candidates=num_good + 1)


def _over_which(values: NDArray[np.float64], num_over: int) -> float:
    """The threshold that leaves at most `num_over` of the sorted values over it."""
    return float(values[max(0, len(values) - 1 - num_over)])


def _display_spread(scores: NDArray[np.float64], threshold: float) -> float:
    spread = threshold - float(np.median(scores))
    return spread if spread > 0 else float(scores[-1] - scores[0])
