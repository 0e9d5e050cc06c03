"""The page about decisions: its examples run, its figures are those of the code."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from blemish.decisions.promise import make_promise, percent
from blemish.decisions.rule_text import parse_rules

PAGE = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_prints_what_it_says(example: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "docs/decisions.md", "exec"), {})
    for comment in re.findall(r"^# (.*)$", example, re.MULTILINE):
        assert comment in printed.getvalue()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_table_of_supported_rates() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 5
    for number, supported, expected in rows:
        promise = make_promise(int(number), 0.05)
        assert percent(promise.average_rate) == f"{supported} %"
        assert percent(promise.limit) == f"{expected} %"


def test_the_rules_on_the_page_can_be_read() -> None:
    [block] = re.findall(r"```text\n(reject .*?)```", PAGE, re.DOTALL)
    assert len(parse_rules(block)) == 3
