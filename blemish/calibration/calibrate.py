"""Scores of good images -> thresholds with promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.calibration.promise import make_promise, percent, promise_sentence
from blemish.calibration.rules import check_rules
from blemish.calibration.settings import CalibrationSettings
from blemish.errors import CalibrationError
from blemish.schema import Calibration, Condition, Promise, RegionSettings, Rule, Zone


def calibrate(
    good_scores: ArrayLike,
    good_map_maxima: ArrayLike,
    *,
    graph_sha256: str,
    method: Literal["split", "cross"],
    settings: CalibrationSettings | None = None,
    mm_per_px: float | None = None,
    rules: Sequence[Rule] = (),
    zone: Zone | None = None,
    conditions: Sequence[Condition] = (),
) -> Calibration:
    """A calibration from good images that the scoring model did not see.

    `good_map_maxima` is the largest value of each image's anomaly map; with a zone, both arrays are taken inside it.
    Both thresholds are order statistics with the same rank, so that the wanted rate holds for each. Where the images
    are too few for the wanted rate, the thresholds are the largest good values.
    """
    settings = settings or CalibrationSettings()
    check_rules(rules, mm_per_px)
    scores = _checked("scores", good_scores)
    maxima = _checked("map maxima", good_map_maxima)
    if len(scores) != len(maxima):
        raise CalibrationError(
            f"Found {len(scores)} good scores but {len(maxima)} map maxima; give one of each per image."
        )
    if scores[0] == scores[-1]:
        raise CalibrationError(
            f"All {len(scores)} good images score {scores[0]:g}, so no threshold can be set. "
            "Look for copies of one image among them, or use another detector."
        )
    promise = make_promise(len(scores), settings.false_reject, settings.confidence)
    if settings.strict and not promise.is_kept:
        raise CalibrationError(
            f"{promise_sentence(promise)} Add {promise.num_needed - promise.num_good:,} good images, "
            f"or ask for a false reject rate of {percent(promise.rate)} or more."
        )
    image_threshold = _threshold(scores, promise)
    pixel_threshold = _threshold(maxima, promise)
    review_promise = None
    review_threshold = None
    if settings.review_rate is not None:
        review_promise = make_promise(len(scores), settings.review_rate, settings.confidence)
        review_threshold = _threshold(scores, review_promise)
    return Calibration(
        graph_sha256=graph_sha256,
        method=method,
        good_scores=tuple(scores.tolist()),
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
        conditions=tuple(conditions),
    )


def recalibrate(calibration: Calibration, settings: CalibrationSettings) -> Calibration:
    """The same good images under other wishes: new thresholds, with zone, rules, scale and regions kept."""
    new = calibrate(
        calibration.good_scores,
        calibration.good_map_maxima,
        graph_sha256=calibration.graph_sha256,
        method=calibration.method,
        settings=settings,
        mm_per_px=calibration.mm_per_px,
        rules=calibration.rules,
        zone=calibration.zone,
        conditions=calibration.conditions,
    )
    return dataclasses.replace(
        new, regions=dataclasses.replace(calibration.regions, grow_threshold=new.regions.grow_threshold)
    )


def check_graph(calibration: Calibration, graph_sha256: str) -> None:
    """Raises where a calibration belongs to another graph."""
    if calibration.graph_sha256 != graph_sha256:
        raise CalibrationError(
            f"The calibration belongs to graph {calibration.graph_sha256[:12]}, but this is graph {graph_sha256[:12]}. "
            "Calibrate this graph with its own good images."
        )


def _checked(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """The values sorted, at least two, all finite."""
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if len(array) < 2:
        raise CalibrationError(
            f"Found {len(array)} good {what}; a calibration needs at least 2 good images, and 20 or more to be of use."
        )
    if not np.isfinite(array).all():
        raise CalibrationError(
            f"{int((~np.isfinite(array)).sum())} of {len(array)} good {what} are not finite numbers."
        )
    return array


def _threshold(values: NDArray[np.float64], promise: Promise) -> float:
    return float(values[len(values) - 1 - promise.num_over])


def _display_spread(scores: NDArray[np.float64], threshold: float) -> float:
    spread = threshold - float(np.median(scores))
    return spread if spread > 0 else float(scores[-1] - scores[0])
