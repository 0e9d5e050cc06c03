"""The table of containers in docs/data.md: files of each row are made here, and read or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tests.images.bmp_webp_rows
import tests.images.png_jpeg_rows
import tests.images.tiff_rows  # noqa: F401 (the three declare the rows)
from blemish.errors import ImageError
from blemish.images.decode import read_image, read_image_hw
from tests.images.rows import MADE

DOCS = Path(__file__).parents[2] / "docs/data.md"


def rows_of_docs() -> dict[tuple[str, str], str]:
    """What the page says becomes of each kind of file."""
    lines = re.findall(r"^\| (PNG|JPEG|BMP|TIFF|WebP) \| (.+?) \| (.+?) \|$", DOCS.read_text(encoding="utf-8"), re.M)
    return {(container, text): outcome for container, text, outcome in lines}


def test_the_page_names_every_kind_of_file_that_is_tested_and_no_other() -> None:
    assert set(rows_of_docs()) == set(MADE)


@pytest.mark.filterwarnings("ignore::blemish.errors.PageWarning")
@pytest.mark.parametrize(("container", "text"), MADE, ids=lambda part: part[:60])
def test_files_are_read_as_their_header_says_or_refused_by_name(container: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "part.bin"
    outcomes = set()
    for file in MADE[container, text]():
        path.write_bytes(file.data)
        outcomes.add(isinstance(file.expected, str))
        if isinstance(file.expected, str):
            with pytest.raises(ImageError, match=rf"part\.bin: .*({file.expected})"):
                read_image(path)
            continue
        try:
            image = read_image(path)
        except ImageError as error:
            pytest.fail(f"{file.what}: {error}")
        assert image.shape == file.expected.shape, file.what
        assert image.flags.c_contiguous, file.what
        assert image.flags.writeable, file.what
        difference = int(np.abs(image.astype(int) - file.expected).max())
        assert difference <= file.tolerance, f"{file.what}: differs by {difference}"
        assert read_image_hw(path) == image.shape[:2], file.what
    assert ("refused" in rows_of_docs()[container, text]) == (True in outcomes)
