"""Names of folders are matched loosely: what says good is good, what denies it is not, numbers say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.datasets.names import what_name_says

GOOD = ["good", "OK", "ok", "Okay", "pass", "passed", "normal", "gut", "Gutteile", "io", "iO", "i.O.", "良品", "正常"]
DEFECTIVE = ["bad", "NOK", "nok", "ng", "n.i.O.", "niO", "ko", "not_good", "NotGood", "no_good", "abnormal", "不良品"]
CONTEXT = ["cam1", "Cam_2", "2026-11-03", "batch7", "parts", "images", "001", "line 3", "sample"]


@pytest.mark.parametrize(
    "name", [*GOOD, "OK_cam1", "OKcam1", "cam1-ok", "goodParts", "0_good", "defect_free", "no_defect"]
)
def test_names_of_good_parts(name: str) -> None:
    assert what_name_says(name) == "good"


@pytest.mark.parametrize("name", [*DEFECTIVE, "not_ok_cam1", "n_ok", "nicht gut", "crack", "broken_large", "bent-lead"])
def test_names_of_defective_parts(name: str) -> None:
    assert what_name_says(name) == "defective"


@pytest.mark.parametrize("name", [*CONTEXT, "unlabeled", "old_overlays", "new", "results", "normal_maps", "x", "0"])
def test_names_that_say_nothing_of_the_parts(name: str) -> None:
    assert what_name_says(name) == "nothing"


@pytest.mark.parametrize("name", ["pill_type", "okra", "good_and_bad", "ok_nok", "false_reject", "almost_good", "bra"])
def test_other_words_may_be_kinds_of_defects(name: str) -> None:
    assert what_name_says(name) == "unknown"


SEPARATOR = st.sampled_from(["_", "-", " ", ".", "__"])
WORD = st.sampled_from([*GOOD, *DEFECTIVE])


@given(WORD, st.sampled_from(CONTEXT), SEPARATOR, st.booleans())
def test_what_stands_beside_the_word_changes_nothing(word: str, context: str, separator: str, is_before: bool) -> None:
    name = f"{context}{separator}{word}" if is_before else f"{word}{separator}{context}"
    assert what_name_says(name) == what_name_says(word)


@given(WORD, st.sampled_from([str.upper, str.lower]))
def test_capital_letters_change_nothing(word: str, change: object) -> None:
    assert callable(change)
    assert what_name_says(change(word)) == what_name_says(word.replace("NotGood", "not_good"))


@given(
    st.sampled_from(["good", "ok", "pass", "normal", "gut", "io"]),
    st.sampled_from(["not", "no", "nicht", "non"]),
    SEPARATOR,
)
def test_a_word_that_denies_turns_good_around(word: str, denial: str, separator: str) -> None:
    assert what_name_says(f"{denial}{separator}{word}") == "defective"
    assert what_name_says(f"cam1{separator}{denial}{separator}{word}") == "defective"


@given(st.sampled_from(["defect", "anomaly", "fault", "fehler"]), SEPARATOR)
def test_without_a_defect_is_good(word: str, separator: str) -> None:
    assert what_name_says(f"{word}{separator}free") == "good"
    assert what_name_says(f"no{separator}{word}") == "good"


@given(WORD, WORD, SEPARATOR)
def test_a_name_that_says_both_is_never_good(one: str, other: str, separator: str) -> None:
    says = {what_name_says(one), what_name_says(other)}
    assert what_name_says(f"{one}{separator}{other}") in ({"unknown", "defective"} if len(says) > 1 else says)


@given(st.text(max_size=30))
def test_any_name_says_something(name: str) -> None:
    assert what_name_says(name) in ("good", "defective", "nothing", "unknown")
