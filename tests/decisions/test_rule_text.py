"""Rules as short text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.decisions.rule_text import check_rules, describe_rule, parse_rules
from blemish.errors import CalibrationError, SettingsError
from blemish.schema import Rule

UNITS = {"length": ["mm", "px"], "area": ["mm2", "px2"], "peak_score": [""], "mean_score": [""]}
measured = st.sampled_from([(measure, unit) for measure, units in UNITS.items() for unit in units])


def test_the_rules_of_a_plant() -> None:
    text = """
    # scratches first
    reject scratches longer than 2 mm, ignore spots under 0.1 mm²; review regions
    IGNORE scratches   shorter than 12px
    reject spots with peak score over 3.5
    """
    assert parse_rules(text) == (
        Rule("reject", "scratch", "length", "over", 2.0, "mm"),
        Rule("ignore", "spot", "area", "under", 0.1, "mm2"),
        Rule("review", "region"),
        Rule("ignore", "scratch", "length", "under", 12.0, "px"),
        Rule("reject", "spot", "peak_score", "over", 3.5, ""),
    )


def test_no_text_no_rules() -> None:
    assert parse_rules("") == parse_rules(" # nothing\n,") == ()


@given(
    action=st.sampled_from(["reject", "review", "ignore"]),
    shape=st.sampled_from(["region", "scratch", "spot"]),
    measure_unit=measured,
    comparison=st.sampled_from(["over", "under"]),
    limit=st.floats(0, 1e9),
)
def test_a_described_rule_reads_back(
    action: str, shape: str, measure_unit: tuple[str, str], comparison: str, limit: float
) -> None:
    measure, unit = measure_unit
    rule = Rule(action, shape, measure, comparison, limit, unit)  # type: ignore[arg-type]
    assert parse_rules(describe_rule(rule)) == (rule,)


@pytest.mark.parametrize(
    "text",
    [
        "reject everything",
        "destroy scratches",
        "reject scratches longer than 2",
        "reject scratches longer than 2 mm2",
        "reject spots larger than 2 mm",
        "reject spots larger than two mm2",
        "reject spots over nan mm",
        "reject spots under -1 mm",
        "reject regions with peak score over 3 mm",
        "reject scratches longer than 2 mm or so",
    ],
)
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=f'cannot read the rule "{text}"'):
        parse_rules(text)


def test_millimeters_need_a_scale() -> None:
    rules = parse_rules("ignore spots under 4 px2, ignore spots under 0.1 mm2")
    check_rules(rules, 0.05)
    with pytest.raises(CalibrationError, match=r'"ignore spots smaller than 0.1 mm2" is in millimeters'):
        check_rules(rules, None)


def test_a_rule_with_a_unit_that_does_not_fit() -> None:
    with pytest.raises(SettingsError, match="area cannot be in 'mm'"):
        Rule("reject", "spot", "area", "over", 1.0, "mm")
