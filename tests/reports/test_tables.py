"""The tables of a study: means, intervals, trivial rules, and the same numbers in every format."""

from __future__ import annotations

import csv
import io
import math

import pytest

from blemish.study.tables import (
    COLUMNS,
    average_table,
    category_tables,
    latex_table,
    rows_csv,
    table_csv,
    table_json,
)


def row(category, detector, auroc, *, seed=0, limits=None, **changes):
    facts = {
        "category": category,
        "detector": detector,
        "seed": seed,
        "num_good": 10,
        "num_defective": 30,
        "image_auroc": auroc,
        "accuracy": 0.8,
        "balanced_accuracy": 0.7,
        "false_reject_rate": 0.1,
        "escape_rate": 0.5,
        "fit_seconds": 12.0,
        "milliseconds": 7.5,
        "bundle_bytes": 2_500_000,
        "intervals": {} if limits is None else {"image_auroc": list(limits)},
    }
    return {**facts, **changes}


ROWS = [
    row("tiles", "cae", 0.7, limits=(0.6, 0.8)),
    row("tiles", "padim", 0.9, limits=(0.85, 0.93)),
    row("nuts_m6", "cae", 0.5, limits=(0.4, 0.6)),
    row("nuts_m6", "padim", 0.8, limits=(0.75, 0.85)),
]


def line_of(table, name):
    return next(line for line in table.lines if line.name == name)


def test_there_is_a_table_for_each_category_the_best_first_and_the_trivial_rules_last():
    tables = category_tables(ROWS)
    assert [table.name for table in tables] == ["tiles", "nuts_m6"]
    assert [line.name for line in tables[0].lines] == ["padim", "cae", "accept all", "reject all"]


def test_the_trivial_rules_follow_from_the_counts():
    table = category_tables(ROWS)[0]
    accept, reject = line_of(table, "accept all"), line_of(table, "reject all")
    assert accept.cells["accuracy"].value == 0.25
    assert reject.cells["accuracy"].value == 0.75
    assert (reject.cells["false_reject_rate"].value, reject.cells["escape_rate"].value) == (1.0, 0.0)
    assert {line.cells["balanced_accuracy"].value for line in (accept, reject)} == {0.5}


def test_seeds_are_averaged_and_do_not_shrink_the_interval():
    rows = [row("tiles", "cae", 0.6, seed=0, limits=(0.5, 0.7)), row("tiles", "cae", 0.8, seed=1, limits=(0.7, 0.9))]
    line = line_of(category_tables(rows)[0], "cae")
    assert line.num_seeds == 2
    assert line.cells["image_auroc"].value == pytest.approx(0.7)
    assert line.cells["image_auroc"].limits == pytest.approx((0.6, 0.8))


def test_the_average_counts_categories_alike_and_adds_errors_in_quadrature():
    cell = line_of(average_table(category_tables(ROWS)), "padim").cells["image_auroc"]
    assert cell.value == pytest.approx(0.85)
    assert cell.low == pytest.approx(0.85 - math.hypot(0.05, 0.05) / 2)
    assert cell.high == pytest.approx(0.85 + math.hypot(0.03, 0.05) / 2)


def test_a_detector_that_misses_a_category_is_not_averaged():
    tables = category_tables(ROWS[:3])
    assert tables[1].missing == ("padim",)
    average = average_table(tables)
    assert average.missing == ("padim",)
    assert [line.name for line in average.lines] == ["cae", "accept all", "reject all"]


def test_a_metric_that_a_category_lacks_is_left_out_of_the_average():
    rows = [row("tiles", "cae", 0.7, pixel_ap=0.5), row("nuts_m6", "cae", 0.7)]
    line = line_of(average_table(category_tables(rows)), "cae")
    assert line.cells["pixel_ap"].value is None
    assert line.cells["image_auroc"].value == 0.7


def test_the_best_is_the_lowest_where_lower_is_better():
    table = category_tables([row("a", "x", 0.7, escape_rate=0.1), row("a", "y", 0.8, escape_rate=0.4)])[0]
    columns = {column.name: column for column in COLUMNS}
    assert table.best(columns["escape_rate"]) == 0.1, "trivial rules do not count"
    assert table.best(columns["image_auroc"]) == 0.8


def test_the_csv_of_rows_can_be_read_back():
    [first, *rest] = csv.DictReader(io.StringIO(rows_csv(ROWS)))
    assert len(rest) == 3
    assert (first["category"], first["detector"], float(first["image_auroc"])) == ("tiles", "cae", 0.7)
    assert (float(first["image_auroc_low"]), float(first["image_auroc_high"])) == (0.6, 0.8)
    assert float(first["bundle_megabytes"]) == 2.5
    assert first["pixel_ap"] == ""


def test_the_csv_of_tables_holds_every_line():
    tables = category_tables(ROWS)
    lines = list(csv.DictReader(io.StringIO(table_csv([*tables, average_table(tables)]))))
    assert [line["category"] for line in lines] == ["tiles"] * 4 + ["nuts_m6"] * 4 + ["average"] * 4


def test_the_json_holds_values_and_intervals():
    found = table_json(category_tables(ROWS)[0])
    assert found["lines"][0]["name"] == "padim"
    assert found["lines"][0]["intervals"]["image_auroc"] == [0.85, 0.93]
    assert [line["is_trivial"] for line in found["lines"]] == [False, False, True, True]


def test_the_latex_table_is_balanced_escaped_and_marks_the_best():
    text = latex_table(category_tables(ROWS)[1], "On nuts_m6 & 100 % of it")
    assert r"\caption{On nuts\_m6 \& 100 \% of it}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.count("{") == text.count("}")
    assert r"\textbf{0.800}" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") - line.count(r"\& ") for line in body} == {len(COLUMNS)}
    assert "_" not in text.replace(r"\_", "")
