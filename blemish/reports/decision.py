"""What the report says of the decision: the promise put to the test, and rates at this and any other threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from blemish.decisions.promise import chance_of_rejects, make_promise, parts_over_of, supported_rate
from blemish.decisions.sensitivity import num_found_at
from blemish.metrics.intervals import clopper_pearson
from blemish.reports import words
from blemish.reports.charts import axis_of, band_path, histogram, line_path
from blemish.schema import DEFECTIVE, GOOD, Calibration, CostCurve, Decision, Evaluation, ImageResult, Sensitivity

SIGNIFICANCE = 0.05
"""A promise counts as broken when what was seen would come less often than this if it were kept."""

OFFERED_RATES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""False reject rates that are shown beside the one in use."""

_EXACT_LIMITS = 30


@dataclass(frozen=True)
class PromiseCheck:
    """A promise beside the good test images: `num_over` of `num_good` scored over the threshold.

    `chance` is that of so many or more if the promise held. "broken" when it is under 5 %; "confirmed" when the test
    images alone support the promised limit; else they are too few to tell: "open".
    """

    rate: float
    confidence: float
    num_good: int
    num_over: int
    chance: float
    num_needed: int
    outcome: Literal["confirmed", "open", "broken"]


def check_promise(calibration: Calibration, results: Sequence[ImageResult]) -> PromiseCheck | None:
    """The calibration's promise put to the test on the good images among `results`; None without any."""
    scores = [result.score for result in results if result.label == GOOD]
    if not scores:
        return None
    num_good, num_over = len(scores), sum(score > calibration.image_threshold for score in scores)
    promise = calibration.promise
    chance = chance_of_rejects(num_over, num_good, promise)
    outcome: Literal["confirmed", "open", "broken"] = "open"
    if chance < SIGNIFICANCE:
        outcome = "broken"
    elif supported_rate(num_good, num_over, promise.confidence) <= promise.limit:
        outcome = "confirmed"
    rate, confidence = promise.limit, promise.confidence
    # The small factor keeps a quotient that is a whole number from being pushed up by rounding.
    exact = math.log1p(-confidence) / math.log1p(-rate) if 0.0 < rate < 1.0 else 0.0
    needed = max(1, math.ceil(exact * (1 - 1e-9)))
    return PromiseCheck(promise.rate, confidence, num_good, num_over, chance, needed, outcome)


def threshold_of(evaluation: Evaluation, calibration: Calibration | None) -> float | None:
    """The threshold the verdicts were given with, None where nothing tells."""
    if calibration is not None:
        return calibration.image_threshold
    return evaluation.pictures[0].verdict.threshold if evaluation.pictures else None


def outcome_words(check: PromiseCheck | None, results: Sequence[ImageResult]) -> str:
    """What good parts and what defects meet with, in one line: neither says anything without the other."""
    defective = [result.decision for result in results if result.label == DEFECTIVE]
    escaped = defective.count("accept")
    told = []
    if check is not None:
        seen = words.plural(check.num_good, "good image")
        told.append(
            {
                "confirmed": "keeps its promise on good parts",
                "open": f"rejects no more good parts than promised, as far as {seen} can tell",
                "broken": "rejects more good parts than promised",
            }[check.outcome]
        )
    if defective:
        share = words.whole_rate(escaped / len(defective))
        told.append(f"lets {share} of the defects pass" if escaped else f"lets none of {len(defective):,} defects pass")
    line = "; ".join(told)
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def check_badge(check: PromiseCheck) -> str:
    """The outcome in three words or less."""
    return {"confirmed": "Confirmed here", "open": "Not contradicted here", "broken": "Not kept here"}[check.outcome]


def check_words(check: PromiseCheck) -> str:
    """What was found, and what it says of the promise."""
    over = "none" if check.num_over == 0 else f"{check.num_over:,}"
    found = f"Here {over} of {words.plural(check.num_good, 'good test image')} scored over the threshold."
    if check.outcome == "confirmed":
        return f"{found} These images alone support the promise."
    if check.outcome == "broken":
        return (
            f"{found} If the promised {words.promised(check.rate)} held, so many would be seen with a chance of only "
            f"{words.rate(check.chance)}: the test images are not like the good images that the promise rests on. "
            "Look at the false rejects below, and calibrate with good images from the same source as these."
        )
    return (
        f"{found} That is in keeping with the promise, but too few images to confirm it: {check.num_needed:,} good "
        f"images without a reject would."
    )


def decision_section(
    evaluation: Evaluation, calibration: Calibration | None, threshold: float, sensitivity: Sensitivity | None = None
) -> dict[str, Any]:
    """Histograms, rates and confusion matrix at the threshold, and what the page needs to move it."""
    results, metrics = evaluation.results, evaluation.metrics
    scores = {label: [result.score for result in results if result.label == label] for label in (GOOD, DEFECTIVE)}
    basis = calibration.good_scores if calibration is not None else ()
    review = calibration.review_threshold if calibration is not None else None
    x = axis_of([*scores[GOOD], *scores[DEFECTIVE], *basis, threshold], margin=0.03)
    panels = [
        ("basis", "Good images the threshold was set with", basis),
        ("good", "Good test images", scores[GOOD]),
        ("defective", "Defective test images", scores[DEFECTIVE]),
    ]
    curve = calibration.cost_curve if calibration is not None else None
    by_score = [result.score > threshold for result in results]
    ruled = sum(over != (result.decision == "reject") for over, result in zip(by_score, results, strict=True))
    return {
        "x": x,
        "threshold": threshold,
        "review": review,
        "panels": [
            {"kind": kind, "name": name, "count": len(values), "bars": histogram(values, x, anchor=threshold)}
            for kind, name, values in panels
            if len(values)
        ],
        "promise_words": "" if calibration is None else f"Set with {words.plural(len(basis), 'good image')}",
        "false_reject": _rate_words(metrics, "false_reject_rate", scores[GOOD], "rejected_good", "good image"),
        "escape": _rate_words(metrics, "escape_rate", scores[DEFECTIVE], "accepted_defective", "defective image"),
        "balanced": words.rate(metrics.get("balanced_accuracy")),
        "matrix": _matrix(results),
        "rules_note": (
            f"Rules about regions decided {words.plural(ruled, 'image')} otherwise than the score; a moved threshold "
            "counts by scores alone."
            if ruled
            else ""
        ),
        "regions_note": _regions_words(metrics),
        "costs": {
            "escape": curve.costs.escape if curve else "",
            "reject": curve.costs.reject if curve else "",
            "defect_percent": 100 * curve.costs.defect_rate if curve else "",
        },
        "offers": []
        if calibration is None
        else [
            {**offer, "painted": None if sensitivity is None else _painted_share(sensitivity, offer["threshold"])}
            for offer in _offers(calibration, scores[GOOD], scores[DEFECTIVE])
        ],
        "cost_chart": None if curve is None else _cost_chart(curve),
        "painted": "" if sensitivity is None else words.rate(_painted_share(sensitivity, threshold)),
        "page_facts": {
            **page_facts(results, threshold, calibration),
            **(
                {}
                if sensitivity is None
                else {"painted": _rounded(sorted(trial.score for trial in sensitivity.trials))}
            ),
            "low": x.low,
            "high": x.high,
        },
    }


def _regions_words(metrics: Mapping[str, Any]) -> str:
    """How the regions found meet the masks over all test images; empty where there is no mask."""
    if "num_defects" not in metrics:
        return ""
    aside = metrics["num_regions"] - metrics["num_regions_on_defects"]
    return (
        f"Regions touch {metrics['num_defects_found']:,} of {words.plural(metrics['num_defects'], 'marked defect')} "
        f"(connected parts of the masks); {aside:,} of {words.plural(metrics['num_regions'], 'region')} found touch "
        "none."
    )


def _painted_share(sensitivity: Sensitivity, threshold: float) -> float:
    return num_found_at(sensitivity, threshold) / len(sensitivity.trials)


def _offers(calibration: Calibration, good: Sequence[float], defective: Sequence[float]) -> list[dict[str, Any]]:
    """What other promises would come to: thresholds from the calibration's good scores, rates from the test images."""
    basis, shares = calibration.good_scores[::-1], calibration.good_shares[::-1] or None
    confidence = None if calibration.promise.reading == "average" else calibration.promise.confidence
    thresholds = {}
    for wanted in OFFERED_RATES:
        promise = make_promise(len(basis), wanted, confidence, shares=shares)
        if promise.is_kept:
            thresholds[basis[promise.num_over]] = words.promised(promise.rate)
    thresholds.pop(calibration.image_threshold, None)
    offers = [(rate, threshold, False) for threshold, rate in thresholds.items()]
    offers.append((words.promised(calibration.promise.rate), calibration.image_threshold, True))
    offers.sort(key=lambda offer: -offer[1])
    return [
        {
            "rate": rate,
            "threshold": threshold,
            "is_used": is_used,
            "false_reject": float(np.mean(np.asarray(good) > threshold)) if good else None,
            "escape": float(np.mean(np.asarray(defective) <= threshold)) if defective else None,
        }
        for rate, threshold, is_used in offers
    ]


def _rate_words(metrics: Mapping[str, Any], name: str, scores: Sequence[float], cell: str, noun: str) -> dict[str, str]:
    count = metrics.get("confusion_matrix", {}).get(cell)
    limits = words.interval(metrics.get("intervals", {}).get(name), as_rate=True)
    under = f"{count} of {words.plural(len(scores), noun)}" + (f"; 95 % interval {limits}" if limits else "")
    return {"value": words.rate(metrics.get(name)), "under": under if count is not None else ""}


def _matrix(results: Sequence[ImageResult]) -> dict[str, Any]:
    has_review = any(result.decision == "review" for result in results)
    decisions: tuple[Decision, ...] = ("accept", "review", "reject") if has_review else ("accept", "reject")
    rows = []
    for key, name, label in (("good", "Good", GOOD), ("defective", "Defective", DEFECTIVE)):
        found = [result.decision for result in results if result.label == label]
        cells = [
            {
                "key": decision,
                "count": found.count(decision),
                "share": words.rate(found.count(decision) / len(found)) if found else "",
                "is_wrong": decision == ("reject" if label == GOOD else "accept") and decision in found,
            }
            for decision in decisions
        ]
        rows.append({"key": key, "name": name, "cells": cells})
    names = {"accept": "Accepted", "review": "Review", "reject": "Rejected"}
    return {"columns": [names[decision] for decision in decisions], "rows": rows}


def _cost_chart(curve: CostCurve) -> dict[str, Any]:
    x = axis_of(curve.thresholds)
    y = axis_of([0.0, *curve.high], count=4)
    return {
        "x": x,
        "y": y,
        "line": line_path(x, y, curve.thresholds, curve.expected),
        "band": band_path(x, y, curve.thresholds, curve.low, curve.high),
    }


def page_facts(results: Sequence[ImageResult], threshold: float, calibration: Calibration | None) -> dict[str, Any]:
    """What the page needs to compute rates at any threshold by itself: scores by class, and limits for every count.

    `limits_good[k]` is the interval of k rejects among all good images, `limits_defective[k]` that of k escapes;
    `supported[k]` the average rate and the limit that the calibration supports with k good scores over the threshold.
    """
    good = sorted(result.score for result in results if result.label == GOOD)
    defective = sorted(result.score for result in results if result.label == DEFECTIVE)
    facts: dict[str, Any] = {
        "good": _rounded(good),
        "defective": _rounded(defective),
        "threshold": _rounded([threshold])[0],
        "limits_good": _limits(len(good)),
        "limits_defective": _limits(len(defective)),
    }
    if calibration is not None:
        confidence, total = calibration.promise.confidence, len(calibration.good_scores)
        facts["calibration"] = _rounded(calibration.good_scores)
        facts["confidence"] = confidence
        over = parts_over_of(total, calibration.good_shares[::-1] or None)
        num_parts = round(float(over[-1]))
        facts["supported"] = _each_count(
            total,
            lambda count: (
                min(1.0, (over[count] + 1) / (num_parts + 1)),
                supported_rate(num_parts, float(over[count]), confidence),
            ),
        )
        facts["review"] = None if calibration.review_threshold is None else _rounded([calibration.review_threshold])[0]
        if calibration.cost_curve is not None:
            costs = calibration.cost_curve.costs
            facts["costs"] = {"escape": costs.escape, "reject": costs.reject, "defect_rate": costs.defect_rate}
    return facts


def _limits(total: int) -> list[list[float]]:
    return _each_count(total, lambda count: clopper_pearson(count, total)) if total else []


def _each_count(total: int, limits: Callable[[int], tuple[float, ...]]) -> list[list[float]]:
    """The limits of every count from 0 to `total`: near both ends each by itself, in between interpolated, which is
    good to four digits, so that thousands of images don't take minutes.
    """
    counts = np.arange(total + 1)
    known = (
        counts
        if total <= 4 * _EXACT_LIMITS
        else np.unique(
            np.concatenate(
                [
                    counts[:_EXACT_LIMITS],
                    np.linspace(_EXACT_LIMITS, total - _EXACT_LIMITS, _EXACT_LIMITS).round().astype(np.intp),
                    counts[-_EXACT_LIMITS:],
                ]
            )
        )
    )
    columns = np.array([limits(int(count)) for count in known]).T
    filled = np.stack([np.interp(counts, known, column) for column in columns], axis=1)
    return [[round(value, 5) for value in row] for row in filled.tolist()]


def _rounded(values: Sequence[float]) -> list[float]:
    """Values with nine digits: enough to tell any two float32 scores apart."""
    return [float(f"{value:.9g}") for value in values]
