"""The page about data names every layout, finding, limit and public data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from blemish.datasets import check
from blemish.datasets.fetch import PUBLIC_DATASETS
from blemish.datasets.layouts import LAYOUTS
from blemish.datasets.left_out import Reason
from blemish.datasets.maps import MAP_SUFFIXES
from blemish.datasets.mask_fit import Oddity
from blemish.images.decode import IMAGE_SUFFIXES
from blemish.images.read import MIN_SIDE
from blemish.images.resize import RESIZE_RULE
from blemish.schema import MAX_PIXELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
# The code of a finding is the argument after its severity.
CODES = set(
    re.findall(
        r'(?:Finding\(\s*"(?:error|warning)",|_about\(\s*index,)\s*"([a-z_]+)"',
        Path(check.__file__).read_text(encoding="utf-8"),
    )
) | set(get_args(Oddity))


def test_the_codes_are_found_in_the_source() -> None:
    assert {"too_few_good", "odd_shape", "mask_empty", "no_good_test", "other_files"} <= CODES


@pytest.mark.parametrize(
    "name",
    sorted(
        {*CODES, *get_args(Reason), *PUBLIC_DATASETS, *MAP_SUFFIXES, *IMAGE_SUFFIXES, RESIZE_RULE}
        | {layout.name for layout in LAYOUTS}
        | {f"{MIN_SIDE} x {MIN_SIDE} pixels", f"{MAX_PIXELS // 1_000_000} million pixels"}
    ),
)
def test_the_page_names(name: str) -> None:
    assert name in PAGE


def test_the_page_names_no_finding_that_does_not_exist() -> None:
    table = PAGE[PAGE.index("## What `blemish data check` finds") : PAGE.index("## Fetching")]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {code for cell in first_cells for code in re.findall(r"`(\w+)`", cell)} == CODES
