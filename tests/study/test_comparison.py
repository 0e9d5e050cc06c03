"""`blemish.compare`: a table in Python, as pandas and polars take it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

import blemish
from blemish.errors import SettingsError
from blemish.study.comparison import Comparison


@pytest.fixture(scope="module")
def table(product_folder: Path, backbone_description: str, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return blemish.compare(
        product_folder,
        ["Template", "padim"],
        output=tmp_path_factory.mktemp("study"),
        size=64,
        backbone=backbone_description,
        settings={"template": {"cell": 8}},
    )


def test_a_row_for_each_detector(table: Comparison) -> None:
    assert table["detector"] == ["template", "padim"]
    assert all(0 <= rate <= 1 for rate in table["escape_rate"])
    assert len(table) == len(list(table)) == 2
    assert table.page.is_file()
    assert repr(table) == f"Comparison(2 rows, 0 failures, page {table.page})"
    assert "<td>" in table._repr_html_()


def test_a_column_that_is_not_there_is_named(table: Comparison) -> None:
    with pytest.raises(blemish.SettingsError, match="no column is called 'auroc'; there are category, detector"):
        table["auroc"]


def test_to_pandas(table: Comparison) -> None:
    pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert list(frame.columns) == list(table.columns)
    assert frame["detector"].tolist() == ["template", "padim"]
    assert frame["image_auroc"].dtype == float


def test_to_polars(table: Comparison) -> None:
    pytest.importorskip("polars")
    frame = table.to_polars()
    assert frame.columns == list(table.columns)
    assert frame["image_auroc"].to_list() == table["image_auroc"]


def test_what_is_not_installed_is_named(table: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(SettingsError, match="pip install polars; or use to_csv"):
        table.to_polars()


def test_to_csv(table: Comparison, tmp_path: Path) -> None:
    with table.to_csv(tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["detector"] for row in rows] == ["template", "padim"]


def test_nothing_is_done_twice(table: Comparison, product_folder: Path, backbone_description: str) -> None:
    again = blemish.compare(
        [product_folder],
        ["template", "padim"],
        output=table.page.parent,
        size=64,
        backbone=backbone_description,
        settings={"template": {"cell": 8}},
    )
    assert again.rows == table.rows


def test_failures_are_sentences_and_no_result_is_an_error(
    product_folder: Path, backbone_description: str, tmp_path: Path
) -> None:
    def run(*detectors: str) -> Comparison:
        return blemish.compare(
            product_folder,
            detectors,
            output=tmp_path,
            size=64,
            backbone=backbone_description,
            settings={"padim": {"layers": "none"}},
        )

    [failure] = run("template", "padim").failures
    assert failure.startswith("padim on ")
    with pytest.raises(blemish.TrainingError, match="no detector could be fitted: padim on"):
        run("padim")
