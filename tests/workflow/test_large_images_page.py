"""The page about folders and large images: its examples run, its limits are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blemish.images.decode import LARGE_PIXELS
from blemish.inspection.overlay import OVERLAY_PIXELS
from blemish.inspection.predict import MAX_MAP_PIXELS
from blemish.schema import MAX_PIXELS
from blemish.testing.tiny import TinyProduct, write_tiny_product
from blemish.workflow.tiles import MAX_FIT_PIXELS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "large-images.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(
    example: str, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_tiny_product(tmp_path / "bottle", product)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "large-images.md", "exec"), {})
    assert "accept" in capsys.readouterr().out


@pytest.mark.parametrize("pixels", [LARGE_PIXELS, OVERLAY_PIXELS, MAX_PIXELS, MAX_MAP_PIXELS, MAX_FIT_PIXELS])
def test_the_limits_are_stated(pixels: int) -> None:
    assert f"{round(pixels / 1_000_000)} million" in PAGE
