"""Rules judge regions: the first that matches decides, the score speaks for the rest."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.decisions.rule_text import parse_rules
from blemish.decisions.rules import apply_rules, elongation, matches
from blemish.errors import CalibrationError
from blemish.schema import Decision, Region

SPOT = Region(
    box=(10, 10, 20, 20),
    contour=((10, 10),),
    area_px=314.0,
    centroid=(20.0, 20.0),
    peak=(20, 21),
    peak_score=4.0,
    mean_score=3.0,
    length_px=20.0,
    area_mm2=3.14,
    length_mm=2.0,
)
SCRATCH = dataclasses.replace(SPOT, area_px=200.0, length_px=100.0, area_mm2=2.0, length_mm=10.0, peak=(50, 60))


def decide(text: str, *regions: Region, by_score: Decision = "reject") -> Decision:
    return apply_rules(by_score, regions, parse_rules(text)).decision


def test_a_disc_is_a_spot_and_a_long_region_a_scratch() -> None:
    assert elongation(SPOT) == pytest.approx(1, rel=0.01)
    assert elongation(SCRATCH) > 30
    assert matches(parse_rules("reject spots")[0], SPOT)
    assert not matches(parse_rules("reject spots")[0], SCRATCH)
    assert matches(parse_rules("reject regions")[0], SCRATCH)


@pytest.mark.parametrize("by_score", ["accept", "review", "reject"])
def test_without_rules_or_regions_the_score_decides(by_score: Decision) -> None:
    assert decide("", SPOT, by_score=by_score) == by_score
    assert decide("reject spots", by_score=by_score) == by_score


def test_the_plants_example() -> None:
    text = "reject scratches longer than 2 mm, ignore spots under 0.1 mm2"
    speck = dataclasses.replace(SPOT, area_mm2=0.05, length_mm=0.25)
    assert decide(text, SCRATCH, by_score="accept") == "reject"
    assert decide(text, speck) == "accept"
    assert decide(text, speck, SCRATCH) == "reject"
    assert decide(text, SPOT) == "reject"
    assert decide(text, SPOT, by_score="accept") == "accept"


def test_the_first_rule_that_matches_decides() -> None:
    assert decide("review spots, reject regions", SPOT) == "review"
    assert decide("reject regions, review spots", SPOT) == "reject"
    assert decide("review spots", SPOT, SCRATCH) == "reject"


def test_ignored_regions_are_gone_and_their_reason_stays() -> None:
    ruling = apply_rules("reject", (SPOT, SCRATCH), parse_rules("ignore spots"))
    assert ruling.regions == (SCRATCH,)
    assert ruling.reasons == ("spot at (20, 21), 2 mm long, 3.14 mm2: rule 'ignore spots'",)


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ("ignore regions longer than 20 px", False),
        ("ignore regions longer than 19.9 px", True),
        ("ignore regions shorter than 20 px", False),
        ("ignore regions larger than 300 px2", True),
        ("ignore regions smaller than 3.15 mm2", True),
        ("ignore regions with peak score over 3.9", True),
        ("ignore regions with mean score under 3", False),
    ],
)
def test_limits(text: str, is_match: bool) -> None:
    assert matches(parse_rules(text)[0], SPOT) == is_match


def test_millimeters_without_a_scale_are_an_error() -> None:
    unscaled = dataclasses.replace(SPOT, area_mm2=None, length_mm=None)
    with pytest.raises(CalibrationError, match="scale of the images is not known"):
        decide("ignore spots under 0.1 mm2", unscaled)
    assert decide("ignore spots over 19 px", unscaled) == "accept"


@given(
    regions=st.lists(st.sampled_from([SPOT, SCRATCH]), min_size=1, max_size=4),
    text=st.sampled_from(["ignore spots", "review scratches", "reject regions over 50 px", "ignore regions over 5 px"]),
    by_score=st.sampled_from(["accept", "review", "reject"]),
)
def test_more_regions_never_make_a_part_better(regions: list[Region], text: str, by_score: Decision) -> None:
    order = ("accept", "review", "reject")
    fewer, more = decide(text, *regions[:1], by_score=by_score), decide(text, *regions, by_score=by_score)
    assert order.index(more) >= order.index(fewer)


def test_rules_do_not_accept_what_nobody_measured() -> None:
    """Where an image has more regions than are measured, the score speaks for the others."""
    rules = parse_rules("ignore spots")
    assert apply_rules("reject", (SPOT,), rules).decision == "accept"
    assert apply_rules("reject", (SPOT,), rules, num_more=3).decision == "reject"
    assert apply_rules("accept", (SPOT,), rules, num_more=3).decision == "accept"
