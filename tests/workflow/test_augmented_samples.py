"""The samples of the declared augmentation, from the bundle alone, and on the report's page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.model import Model
from blemish.workflow.augmented import augmented_samples

DECLARED = {"rotation": 20, "flip_horizontal": True, "noise": 0, "brightness": 0, "contrast": 0, "shift": 0, "zoom": 0}


def with_settings(bundle: Bundle, **changes: Any) -> Bundle:
    settings = {**bundle.manifest.settings, **changes}
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"settings": settings}))


@pytest.fixture
def learned(bundle: Bundle) -> Bundle:
    return with_settings(bundle, augmentation=DECLARED)


def test_each_declared_change_is_shown_alone_and_all_together(learned: Bundle) -> None:
    first, *more = augmented_samples(learned)
    assert [name for name, _ in first] == [
        "original",
        "rotation 20",
        "flip horizontal",
        "together 1",
        "together 2",
        "together 3",
        "together 4",
    ]
    assert len(more) == 2
    assert len({row[0][1].tobytes() for row in (first, *more)}) == 3, "each row has an image of its own"
    for row in (first, *more):
        assert {image.shape for _, image in row} == {(64, 64, 3)}
        assert any((image != row[0][1]).any() for _, image in row[1:])


def test_the_originals_are_the_images_trained_on(learned: Bundle, product: Any) -> None:
    trained_on = {image.tobytes() for image in product.good}
    assert all(np.ascontiguousarray(row[0][1]).tobytes() in trained_on for row in augmented_samples(learned))


@pytest.mark.parametrize("declared", ["none", None])
def test_nothing_declared_shows_nothing(bundle: Bundle, declared: Any) -> None:
    assert augmented_samples(with_settings(bundle, augmentation=declared)) == ()
    assert augmented_samples(bundle) == ()


def test_a_sample_of_another_size_is_left_out(learned: Bundle) -> None:
    png = learned.samples[0]
    huge = png[:16] + (100_000).to_bytes(4, "big") * 2 + png[24:]
    [row] = augmented_samples(dataclasses.replace(learned, samples=(huge, b"", png)))
    [alone] = augmented_samples(dataclasses.replace(learned, samples=(png,)))
    np.testing.assert_array_equal(row[0][1], alone[0][1])


def test_the_report_shows_them(learned: Bundle, product_folder: Path, tmp_path: Path) -> None:
    Model(learned).evaluate(product_folder, report=tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Augmented samples" in page
    assert re.search(r"<figcaption>rotation 20</figcaption>", page)
