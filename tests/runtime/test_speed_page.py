"""The page on speed names every engine there is."""

from __future__ import annotations

from pathlib import Path

from blemish.runtime.engines import engine_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")


def test_every_engine_is_in_the_table() -> None:
    for name in engine_names():
        assert f"\n| `{name}` |" in PAGE
