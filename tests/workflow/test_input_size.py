"""The input size is chosen by what it finds of small painted defects, never beyond the images, within a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blemish.detectors.base import FitRequest
from blemish.errors import SettingsError
from blemish.registry import load_detector
from blemish.schema import Backbone, Image
from blemish.workflow import input_size
from blemish.workflow.input_size import ChosenSize, choose_size


def good(side: int, count: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [
        np.full((side, side, 3), 120, np.uint8) + rng.integers(0, 6, (side, side, 1), np.uint8) for _ in range(count)
    ]


@pytest.fixture
def choose(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ChosenSize]:
    """Chooses among 32, 64 and 96 pixels, so that trials are quick."""
    monkeypatch.setattr(input_size, "SMALLEST", 32)
    monkeypatch.setattr(input_size, "CANDIDATES", (32, 64, 96))
    monkeypatch.setattr(input_size, "NUM_DEFECTS", 16)
    module = load_detector("template")

    def run(images: list[Image], **options: Any) -> ChosenSize:
        request = FitRequest(images=images[:1], settings=module.INFO.settings(), backbone=backbone)
        return choose_size(images, [image.shape[:2] for image in images], module.fit, request, **options)

    return run


def test_small_images_are_not_enlarged_and_need_no_trial(choose: Callable[..., ChosenSize]) -> None:
    chosen = choose(good(40, 40))
    assert (chosen.size, chosen.tried) == (32, ())


def test_a_trial_says_what_each_size_finds(choose: Callable[..., ChosenSize]) -> None:
    chosen = choose(good(96, 40), max_ms=10_000)
    assert chosen.size in (32, 64, 96)
    assert {one.input_hw for one in chosen.tried} >= {(32, 32), (96, 96)}
    assert chosen.reason.startswith("small painted defects found")
    assert choose(good(96, 40), max_ms=10_000).size == chosen.size


def test_too_few_images_for_a_trial(choose: Callable[..., ChosenSize]) -> None:
    assert choose(good(96, 10)).size == 32


def test_a_time_that_no_size_keeps(choose: Callable[..., ChosenSize], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"--max-ms 1e-06: the smallest input, 32 x 32, takes"):
        choose(good(96, 40), max_ms=1e-6)
    monkeypatch.setattr(input_size, "MAX_MS", 1e-6)
    assert choose(good(96, 40)).size == 32, "a busy machine is no error where no time was asked for"
