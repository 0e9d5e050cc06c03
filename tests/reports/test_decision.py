"""What the report says of the decision agrees with the calibration's own arithmetic and with exact limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from blemish.decisions.promise import make_promise
from blemish.metrics.intervals import clopper_pearson
from blemish.reports import words
from blemish.reports.decision import check_promise, check_words, decision_section, page_facts
from blemish.schema import GOOD, ImageResult


def results_of(*good_scores: float) -> list[ImageResult]:
    return [
        ImageResult(f"{n}.png", GOOD, "good", score, "reject" if score > 5.0 else "accept", 50.0, 0.5, 1.0, False)
        for n, score in enumerate(good_scores)
    ]


def test_rejects_that_the_promise_does_not_allow_break_it(calibration):
    check = check_promise(calibration, results_of(*[9.0] * 3, *[1.0] * 17))
    assert check.outcome == "broken"
    promise = calibration.promise
    shares = stats.betabinom(20, promise.num_over + 1, promise.num_good - promise.num_over)
    assert check.chance == pytest.approx(shares.sf(2))
    assert "not like the good images" in check_words(check)


def test_enough_good_images_without_a_reject_confirm_it(calibration):
    needed = check_promise(calibration, results_of(1.0)).num_needed
    assert needed == 99, "as many as the promise itself rests on"
    assert check_promise(calibration, results_of(*[1.0] * needed)).outcome == "confirmed"
    assert check_promise(calibration, results_of(*[1.0] * (needed - 1))).outcome == "open"


def test_few_images_neither_confirm_nor_break_it(calibration):
    check = check_promise(calibration, results_of(9.0, *[1.0] * 9))
    assert check.outcome == "open"
    assert "too few images to confirm" in check_words(check)


def test_a_score_at_the_threshold_is_not_over_it(calibration):
    assert check_promise(calibration, results_of(5.0, 5.0)).num_over == 0


def test_without_good_images_nothing_is_said(calibration):
    assert check_promise(calibration, []) is None


@pytest.mark.parametrize("total", [1, 7, 119, 700])
def test_the_page_gets_the_exact_limits_of_every_count(calibration, total):
    facts = page_facts(results_of(*[1.0] * total), 5.0, calibration)
    limits = facts["limits_good"]
    assert len(limits) == total + 1
    for count in {0, 1, total // 3, total - 1, total}:
        assert limits[count] == pytest.approx(clopper_pearson(count, total), abs=2e-4)
    assert facts["limits_defective"] == []


def test_scores_on_the_page_fall_on_the_same_side_of_the_threshold(calibration_of):
    scores = np.random.default_rng(2).normal(5, 1, 500).astype(np.float32).astype(float)
    threshold = float(scores[123])
    facts = page_facts(results_of(*scores), threshold, calibration_of(image_threshold=threshold))
    assert sum(score > facts["threshold"] for score in facts["good"]) == int((scores > threshold).sum())


def test_other_promises_are_those_the_calibration_would_make(evaluation, calibration_of):
    scores = tuple(np.sort(np.random.default_rng(3).gamma(4, 1, 500)).tolist())
    facts = {"good_scores": scores, "good_map_maxima": scores, "promise": make_promise(500, 0.005, 0.95)}
    calibration = calibration_of(**facts, image_threshold=scores[-1])
    offers = decision_section(evaluation, calibration, scores[-1])["offers"]
    for wanted in (0.01, 0.02, 0.05, 0.1):
        promise = make_promise(500, wanted, 0.95)
        text = words.promised(promise.rate).split("\u00a0")[0]
        [offer] = [offer for offer in offers if offer["rate"].split("\u00a0")[0] == text]
        assert sum(score > offer["threshold"] for score in scores) == promise.num_over
    assert [offer["is_used"] for offer in offers].count(True) == 1


def test_verdicts_that_rules_decided_are_named(evaluation_of, calibration):
    evaluation = evaluation_of()
    assert decision_section(evaluation, calibration, 5.0)["rules_note"] == ""
    first, *rest = evaluation.results
    ruled = dataclasses.replace(first, decision="reject")
    changed = dataclasses.replace(evaluation, results=(ruled, *rest))
    assert "decided 1 image otherwise" in decision_section(changed, calibration, 5.0)["rules_note"]


def test_regions_are_told_against_the_masks(evaluation_of, calibration):
    evaluation = evaluation_of()
    assert decision_section(evaluation, calibration, 5.0)["regions_note"] == ""
    counts = {"num_defects": 9, "num_defects_found": 7, "num_regions": 12, "num_regions_on_defects": 8}
    changed = dataclasses.replace(evaluation, metrics={**evaluation.metrics, **counts})
    note = decision_section(changed, calibration, 5.0)["regions_note"]
    assert "touch 7 of 9 marked defects" in note
    assert "4 of 12 regions found touch none" in note
