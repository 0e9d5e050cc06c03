"""A calibration in words, for the command line and the report."""

from __future__ import annotations

from blemish.decisions.cost import cost_sentence
from blemish.decisions.promise import assumption_sentence, promise_sentence
from blemish.decisions.rule_text import describe_rule
from blemish.schema import Calibration


def explain(calibration: Calibration) -> tuple[str, ...]:
    """What the calibration promises, from what, and under which assumption; one sentence or two per entry."""
    sentences = [promise_sentence(calibration.promise), assumption_sentence(calibration.method)]
    promise = calibration.review_promise
    if promise is not None:
        sentences.append(promise_sentence(promise, verb="are rejected or put up for review"))
        if calibration.review_threshold == calibration.image_threshold:
            sentences.append(
                "Both thresholds are the same, so no part is put up for review: with so few good images the two rates "
                "cannot be told apart."
                if calibration.cost_curve is None
                else "The threshold of least cost lies under that for review, so no part is put up for review."
            )
    if calibration.cost_curve is not None:
        sentences.append(cost_sentence(calibration.cost_curve))
    if calibration.rules:
        rules = "; ".join(describe_rule(rule) for rule in calibration.rules)
        sentences.append(f"Rules judge the regions they match in place of the score: {rules}.")
    if calibration.zone is not None:
        sentences.append("Only the inspected zone counts.")
    return tuple(sentences)
