"""The summary: one printed page on which a person who decides sees outcome, promise, examples and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata

from blemish.decisions.sensitivity import sensitivity_sentence
from blemish.reports import words
from blemish.reports.decision import PromiseCheck, check_promise, check_words, decision_section, outcome_words
from blemish.reports.gallery import Tile, color_scale, make_tile
from blemish.reports.page import render
from blemish.schema import DEFECTIVE, GOOD, Calibration, Decision, Evaluation, ImageResult, Sensitivity

ENOUGH_GOOD, ENOUGH_DEFECTIVE = 59, 30
"""Fewer test images than these leave wide intervals, and the summary asks for more."""
_EXAMPLES: tuple[tuple[str, int, Decision, bool], ...] = (
    ("Defect that escaped", DEFECTIVE, "accept", True),
    ("Defect that was found", DEFECTIVE, "reject", False),
    ("Good part that was rejected", GOOD, "reject", False),
    ("Good part that was accepted", GOOD, "accept", False),
)


@dataclass(frozen=True)
class Figure:
    """A number with its name, the counts behind it, and whether it counts mistakes that were not promised."""

    name: str
    value: str
    under: str
    is_bad: bool


def summary_page(
    evaluation: Evaluation, calibration: Calibration | None = None, sensitivity: Sensitivity | None = None
) -> str:
    """The summary as HTML text; arguments as in `report.write_report`."""
    results = evaluation.results
    check = None if calibration is None else check_promise(calibration, results)
    mm_per_px = None if calibration is None else calibration.mm_per_px
    return render(
        "summary.html",
        page={
            "title": evaluation.data.get("name") or "Evaluation",
            "outcome": outcome_words(check, results),
            "bundle": evaluation.model.get("bundle_id") or "",
            "detector": evaluation.model.get("detector") or "",
            "version": metadata.version("blemish"),
            "written": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        },
        figures=_figures(evaluation, check),
        promise=list(evaluation.model.get("promise", ()))[:1],
        test_words="" if check is None else check_words(check),
        sensitivity="" if sensitivity is None else sensitivity_sentence(sensitivity, mm_per_px),
        examples=_examples(evaluation, calibration),
        steps=next_steps(evaluation, calibration, check, sensitivity),
    )


def _figures(evaluation: Evaluation, check: PromiseCheck | None) -> list[Figure]:
    metrics, found = evaluation.metrics, []
    for name, key, label, wrong in (
        ("Defects that escape", "escape_rate", DEFECTIVE, "accept"),
        ("Good parts rejected", "false_reject_rate", GOOD, "reject"),
    ):
        decisions = [result.decision for result in evaluation.results if result.label == label]
        if not decisions:
            continue
        count = sum(decision == wrong for decision in decisions)
        limits = words.interval(metrics.get("intervals", {}).get(key), as_rate=True)
        under = f"{count:,} of {len(decisions):,}" + (f"; between {limits.replace(' to ', ' and ')}" if limits else "")
        is_promised = label == GOOD and check is not None and check.outcome != "broken"
        found.append(Figure(name, words.rate(metrics.get(key)), under, count > 0 and not is_promised))
    milliseconds = metrics.get("milliseconds")
    if milliseconds is not None:
        found.append(Figure("Time per image", f"{words.milliseconds(milliseconds)} ms", "median", False))
    return found


def _examples(evaluation: Evaluation, calibration: Calibration | None) -> list[tuple[str, Tile]]:
    """One picture of each kind of outcome: the worst mistakes, the surest find, the good part nearest to the limit."""
    found = []
    for title, label, decision, lowest_first in _EXAMPLES:
        chosen = [
            picture
            for picture in evaluation.pictures
            if picture.item.label == label and picture.verdict.decision == decision
        ]
        chosen.sort(key=lambda picture: picture.verdict.score, reverse=not lowest_first)
        if chosen:
            zone = None if calibration is None else calibration.zone
            found.append((title, make_tile(chosen[0], color_scale(evaluation, calibration), zone)))
    return found


def next_steps(
    evaluation: Evaluation,
    calibration: Calibration | None,
    check: PromiseCheck | None,
    sensitivity: Sensitivity | None,
) -> list[str]:
    """What to do next, the most urgent first."""
    results = evaluation.results
    defective = [result for result in results if result.label == DEFECTIVE]
    escaped = sum(result.decision == "accept" for result in defective)
    steps = []
    if check is not None and check.outcome == "broken":
        steps.append(
            "More good parts are rejected than promised. Calibrate with good images from the same camera, light and "
            "batches as these test images."
        )
    if escaped:
        offered = _fewer_escapes(evaluation, calibration, results)
        steps.append(
            f"Look at the {words.plural(escaped, 'escape')} in the report. {offered}If the defects are hard to see at "
            "the input size, train with a larger one or with tiles."
        )
    if not defective:
        steps.append("No defective part was tested. Collect defective parts: only they tell how many escape.")
    elif len(defective) < ENOUGH_DEFECTIVE:
        steps.append(f"Test with more defective parts: {len(defective)} leave a wide interval.")
    num_good = len(results) - len(defective)
    if num_good < ENOUGH_GOOD:
        steps.append(f"Test with more good parts: {num_good} cannot confirm the promise.")
    if sensitivity is None:
        steps.append(
            "Measure which sizes of defects are found: the command blemish sensitivity paints defects on good images."
        )
    if not escaped and (check is None or check.outcome != "broken"):
        steps.append("Run it at the line beside the present inspection, and keep the drift watch on.")
    return steps


def _fewer_escapes(evaluation: Evaluation, calibration: Calibration | None, results: Sequence[ImageResult]) -> str:
    """The next lower threshold that the good images support, and what it would have come to here."""
    if calibration is None:
        return ""
    offers = decision_section(evaluation, calibration, calibration.image_threshold)["offers"]
    used = next(place for place, offer in enumerate(offers) if offer["is_used"])
    if used + 1 >= len(offers) or offers[used + 1]["escape"] is None:
        return ""
    offer = offers[used + 1]
    return (
        f"A threshold at which at most {offer['rate']} of good parts are rejected would let "
        f"{words.rate(offer['escape'])} pass here. "
    )
