"""The style of all pages: text stands out from its ground in both themes, and templates are shipped."""

from __future__ import annotations

import re
from importlib import resources

import pytest

CSS = (resources.files("blemish.reports") / "templates" / "page.css").read_text(encoding="utf-8")


def colors_of(theme: str) -> dict[str, str]:
    block = CSS.split("{% macro dark() %}")[1].split("{% endmacro %}")[0] if theme == "dark" else CSS.split("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def luminance(color: str) -> float:
    shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *((text, ground) for text in ("ink", "muted", "accent", "bad") for ground in ("ground", "surface")),
        *(("accent", "accent-soft"), ("bad", "bad-soft"), ("warn", "warn-soft"), ("muted", "sunken")),
    ],
)
def test_text_is_readable_on_its_ground(theme, text, ground):
    colors = colors_of(theme)
    assert contrast(colors[text], colors[ground]) >= 4.5, f"{text} on {ground}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_of_good_and_defective_parts_stand_out_and_differ_in_lightness(theme):
    colors = colors_of(theme)
    assert min(contrast(colors[name], colors["surface"]) for name in ("good", "bad", "accent")) >= 3


def test_both_themes_name_the_same_colors():
    assert set(colors_of("light")) == set(colors_of("dark"))
