"""The summary: outcome and promise in one line, examples, what to do next; complete on one page."""

from __future__ import annotations

import dataclasses

import pytest

from blemish.decisions.promise import make_promise
from blemish.decisions.zones import zone_from_polygons
from blemish.reports.decision import check_promise, outcome_words
from blemish.reports.report import report_page
from blemish.reports.summary import next_steps, summary_page
from blemish.schema import DEFECTIVE, GOOD


def with_decisions(evaluation, label, decision):
    """The evaluation with all images of a label decided in one way."""
    results = tuple(
        dataclasses.replace(result, decision=decision) if result.label == label else result
        for result in evaluation.results
    )
    return dataclasses.replace(evaluation, results=results)


def test_a_promise_that_holds_is_said_together_with_the_escapes(evaluation, calibration):
    check = dataclasses.replace(check_promise(calibration, evaluation.results), outcome="confirmed")
    line = outcome_words(check, evaluation.results).replace("\u00a0", " ")
    assert line == "Keeps its promise on good parts; lets 25 % of the defects pass."


def test_a_broken_promise_and_no_escape_are_said_as_such(evaluation, calibration):
    check = dataclasses.replace(check_promise(calibration, evaluation.results), outcome="broken")
    clean = with_decisions(evaluation, DEFECTIVE, "reject")
    line = outcome_words(check, clean.results)
    assert line == "Rejects more good parts than promised; lets none of 4 defects pass."


def test_nothing_is_said_of_what_was_not_tested(evaluation):
    good = [result for result in evaluation.results if result.label == GOOD]
    assert outcome_words(None, good) == ""


def test_a_promise_that_holds_is_no_green_light_beside_escapes(evaluation, calibration_of):
    calibration = calibration_of(promise=make_promise(99, 0.9, 0.9))
    assert check_promise(calibration, evaluation.results).outcome == "confirmed"
    assert 'class="card promise confirmed"' not in report_page(evaluation, calibration)
    clean = with_decisions(evaluation, DEFECTIVE, "reject")
    assert 'class="card promise confirmed"' in report_page(clean, calibration)


def test_no_mistake_is_no_alarm(evaluation, calibration):
    clean = with_decisions(with_decisions(evaluation, DEFECTIVE, "reject"), GOOD, "accept")
    assert 'class="number wrong"' in report_page(evaluation, calibration)
    assert 'class="number wrong"' not in report_page(clean, calibration)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda evaluation: evaluation, "Look at the 1 escape in the report."),
        (
            lambda evaluation: dataclasses.replace(
                evaluation, results=tuple(result for result in evaluation.results if result.label == GOOD)
            ),
            "No defective part was tested.",
        ),
        (lambda evaluation: with_decisions(evaluation, DEFECTIVE, "reject"), "Run it at the line"),
    ],
)
def test_the_next_steps_fit_the_outcome(evaluation, calibration, changed, told):
    found = changed(evaluation)
    check = check_promise(calibration, found.results)
    check = dataclasses.replace(check, outcome="open")
    assert any(step.startswith(told) for step in next_steps(found, calibration, check, None))


def test_a_lower_threshold_is_offered_with_what_it_would_have_let_pass(evaluation, calibration):
    steps = next_steps(evaluation, calibration, None, None)
    assert "would let" in steps[0]


def test_the_summary_shows_one_example_of_each_outcome(evaluation, calibration):
    page = summary_page(evaluation, calibration)
    for title in ("Defect that escaped", "Defect that was found", "Good part that was rejected"):
        assert title in page
    assert page.count("<figure>") == 4


def test_the_zone_is_drawn_on_the_parts(evaluation, calibration_of):
    zone = zone_from_polygons(ignore=[[(0, 0), (1, 0), (1, 0.5), (0, 0.5)]])
    page = report_page(evaluation, calibration_of(zone=zone))
    assert page.count('class="layer-zone zone"') == len(evaluation.pictures)
    assert 'data-layer="zone"' in page
    assert 'data-layer="zone"' not in report_page(evaluation, calibration_of())
