"""The page about the line: its examples run, and it names every event, sink and kind of address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blemish.line import events
from blemish.registry import SINKS, SOURCES
from blemish.testing.tiny import write_tiny_product

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "line.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_product(tmp_path / "bottle")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "line.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "'unreadable': 0" in shown
    assert "part_id='4711'" in shown
    assert "LotJudged(lot_id='A7'" in shown


def test_it_is_complete() -> None:
    names = [
        name for name, value in vars(events).items() if isinstance(value, type) and value.__module__ == events.__name__
    ]
    for name in {*names, "LeftOut"} - {"Origin", "Item"}:
        assert f"| `{name}` |" in PAGE, name
    for name in SINKS:
        assert f"| `{name}:" in PAGE, name
    for name in SOURCES:
        assert f"`{name}" in PAGE, name
