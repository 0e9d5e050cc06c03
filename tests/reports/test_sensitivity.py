"""The page of what would be missed: complete in itself, true to the numbers, and honest where nothing is known."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.decisions.sensitivity import NOT_REAL, STRENGTHS, FoundByPlace
from blemish.reports.report import report_page
from blemish.reports.sensitivity import (
    Example,
    color_places,
    place_words,
    sensitivity_section,
    write_sensitivity_page,
)
from blemish.schema import Calibration, Evaluation, GradedKind, PaintedTrial, Sensitivity

KINDS: tuple[GradedKind, ...] = ("spot", "scratch")


def make_sensitivity(
    is_found: Callable[[float, float, tuple[float, float]], bool] = lambda size, strength, place: size > 8,
    num_rejected: int = 0,
) -> Sensitivity:
    rng = np.random.default_rng(0)
    trials = []
    for kind in KINDS:
        for number, size in enumerate(np.geomspace(2, 60, 150).tolist()):
            strength = list(STRENGTHS.values())[number % 3]
            place = (float(rng.random()), float(rng.random()))
            hit = is_found(size, strength, place)
            trials.append(PaintedTrial(kind, size, strength, place, 6.0 if hit else 4.0, hit))
    return Sensitivity(tuple(trials), 12, num_rejected, (200, 300), 5.0)


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_page_says_all_of_it_and_loads_nothing(tmp_path: Path) -> None:
    picture = np.full((40, 40, 3), 90, np.uint8)
    told = make_sensitivity(num_rejected=2)
    page_path = write_sensitivity_page(
        told, tmp_path / "missed", name="bottles <b>", part=picture, examples=[Example(told.trials[0], picture)]
    )
    page = page_path.read_text(encoding="utf-8")
    text = text_of(page)
    assert "bottles &lt;b&gt;" in page
    assert "Finds 90 % of clear spots from 8." in text
    assert NOT_REAL in text
    assert "300 defects painted on 12 good images" in text
    assert "2 more images would have been rejected as they are" in text
    assert "2.0 px, missed" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    facts = json.loads((tmp_path / "missed" / "sensitivity.json").read_text(encoding="utf-8"))
    assert facts["share_found"] == told.share_found
    assert len(facts["trials"]) == 300


def test_rows_hold_sizes_with_their_confidence() -> None:
    section = sensitivity_section(make_sensitivity())
    [scratch, spot] = section["rows"]
    assert (scratch["name"], scratch["measure"], spot["name"], spot["measure"]) == (
        "Scratches",
        "width",
        "Spots",
        "diameter",
    )
    strength, size, sure = spot["cells"][1]
    assert strength == "clear"
    assert re.fullmatch(r"from (7|8)\.\d px", size)
    assert re.fullmatch(r"95 %: from \d+(\.\d)? px", sure)


def test_rows_say_what_is_not_reached_and_what_was_not_tried() -> None:
    none = sensitivity_section(make_sensitivity(lambda *_: False))["rows"][0]["cells"][1]
    assert none[1:] == ("not up to 60 px", "95 %: not shown")
    every = sensitivity_section(make_sensitivity(lambda *_: True))["rows"][0]["cells"][1]
    assert every[1] == "from 2.0 px, the smallest painted"
    assert every[2].startswith("95 %: from 2.")


def test_lengths_are_in_millimetres_where_the_scale_is_known() -> None:
    section = sensitivity_section(make_sensitivity(), mm_per_px=0.1)
    assert "mm" in section["sentence"]
    assert all(
        "mm" in cell and "px" not in cell for row in section["rows"] for cell in (row["painted"], row["cells"][1][1])
    )
    assert section["charts"][0]["x_name"] == "Width, mm"
    ticks = section["charts"][0]["x"].ticks
    assert all(0.2 <= 10**tick <= 6 for tick in ticks)


def test_charts_rise_and_dots_hold_every_clear_defect() -> None:
    for chart in sensitivity_section(make_sensitivity())["charts"]:
        heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", dict(chart["lines"])["clear"])]
        assert heights == sorted(heights, reverse=True)
        assert sum(count for _, _, count in chart["dots"]) == 50
        assert chart["band"].endswith("Z")


def test_a_blind_corner_is_named_and_red() -> None:
    told = make_sensitivity(lambda size, strength, place: size > 5 and not (place[0] < 0.4 and place[1] > 0.6))
    section = sensitivity_section(told)
    assert "Least is found at the bottom left: there " in section["places"]["words"]
    encoded = np.frombuffer(base64.b64decode(section["places"]["heat"].split(",")[1]), np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    height, width = picture.shape[:2]
    assert picture[int(0.85 * height), int(0.15 * width), 3] > 90
    assert picture[int(0.2 * height), int(0.8 * width), 3] < 30


def test_where_nothing_was_painted_is_gray_and_where_all_is_usual_clear() -> None:
    shares = np.full((6, 8), 0.6)
    shares[:, :3] = np.nan
    shares[:, 6:] = 0.0
    rgba = color_places(FoundByPlace(shares, np.zeros((6, 8), np.bool_)), 0.6)
    middle = rgba[12]
    assert middle[2].tolist() == [128, 128, 128, 110]
    assert middle[18, 3] == 0
    assert middle[-1].tolist() == [160, 20, 30, 230]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [(0, 0, "at the top left"), (2, 2, "in the middle"), (2, 5, "on the right"), (5, 2, "at the bottom:")],
)
def test_places_are_named(row: int, column: int, words: str) -> None:
    shares, is_weak = np.full((6, 6), 0.8), np.zeros((6, 6), np.bool_)
    shares[row, column], is_weak[row, column] = 0.2, True
    assert words in place_words(FoundByPlace(shares, is_weak), 0.8)


def test_without_a_weak_place_none_is_named() -> None:
    flat = FoundByPlace(np.full((6, 6), 0.8), np.zeros((6, 6), np.bool_))
    assert place_words(flat, 0.8).startswith("No place stands out")


def test_the_report_has_a_section_and_a_column(evaluation: Evaluation, calibration: Calibration) -> None:
    told = make_sensitivity()
    text = text_of(report_page(evaluation, calibration, sensitivity=told))
    assert "What would be missed" in text
    assert "Finds 90 % of clear spots from" in text
    assert "Painted defects found" in text
    share = f"{100 * told.share_found:.1f} %"
    assert share in text
    without = text_of(report_page(evaluation, calibration))
    assert "What would be missed" not in without
    assert "Painted defects found" not in without


def test_a_report_without_calibration_shows_pixels(evaluation: Evaluation) -> None:
    assert " px" in text_of(report_page(evaluation, sensitivity=make_sensitivity()))


def test_few_defects_make_a_page_all_the_same() -> None:
    trial = PaintedTrial("texture", 5.0, 2.0, (0.5, 0.5), 1.0, is_found=False)
    section = sensitivity_section(Sensitivity((trial,), 1, 0, (64, 64), 2.0))
    assert section["sentence"] == "Finds 0 % of all 1 painted test defects."
    assert all(math.isfinite(x) for chart in section["charts"] for x, _, _ in chart["dots"])
