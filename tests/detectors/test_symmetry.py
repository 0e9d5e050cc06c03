"""Turned and mirrored copies of good images in the bank."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.detectors.base import FitRequest
from blemish.detectors.symmetry import symmetric_copies
from blemish.errors import SettingsError
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import Backbone
from blemish.testing.tiny import TinyProduct

IMAGES = tuple(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) for seed in range(3))


def test_copies_hold_the_same_pixels_in_other_places() -> None:
    copies = symmetric_copies(IMAGES, ["flip_horizontal", "flip_vertical", "half_turn", "quarter_turns"])
    assert len(copies) == 5
    for turned in copies:
        assert len(turned) == 3
        for image, copy in zip(IMAGES, turned, strict=True):
            assert sorted(copy.ravel()) == sorted(image.ravel())
            assert not np.array_equal(copy, image)


def test_two_quarter_turns_are_a_half_turn() -> None:
    [half, quarter, three_quarters] = symmetric_copies(IMAGES, ["half_turn", "quarter_turns"])
    [twice, _] = symmetric_copies(quarter, ["quarter_turns"])
    assert np.array_equal(twice[1], half[1])
    assert np.array_equal(np.rot90(three_quarters[0]), IMAGES[0])


def test_quarter_turns_need_a_square() -> None:
    with pytest.raises(SettingsError, match="quarter_turns needs a square input, not 8 x 6"):
        symmetric_copies([np.zeros((8, 6, 3), np.uint8)], ["quarter_turns"])


def test_a_mirrored_part_is_good_where_that_is_declared(product: TinyProduct, backbone: Backbone) -> None:
    module = load_detector("patchcore")
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in product.good]

    def mean_score(**settings: object) -> float:
        options = module.INFO.settings(bank_size=500, **settings)
        fit = module.fit(FitRequest(images=product.good, settings=options, backbone=backbone))
        return float(np.mean([found.anomaly_score for found in Session(fit.graph).predict(mirrored)]))

    assert mean_score(symmetries=("flip_horizontal",)) < 0.9 * mean_score()


def test_held_out_scores_stay_those_of_the_images_themselves(product: TinyProduct, backbone: Backbone) -> None:
    module = load_detector("patchcore")
    folds = [np.arange(0, len(product.good), 2), np.arange(1, len(product.good), 2)]
    options = module.INFO.settings(bank_size=500, symmetries=("half_turn",))
    fit = module.fit(FitRequest(images=product.good, settings=options, backbone=backbone, folds=folds))
    assert fit.held_out is not None
    assert len(fit.held_out.anomaly_scores) == len(product.good)
