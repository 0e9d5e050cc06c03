"""A memory bank without some images: nearly the bank that would have been chosen without them."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.detectors.bank import Candidates, LayerBank
from blemish.detectors.base import FitRequest
from blemish.detectors.coreset import covering_radius, select_coreset
from blemish.detectors.leave_out import bank_without, fold_distances, fold_numbers
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import Backbone
from blemish.testing.tiny import TinyProduct

NUM_IMAGES, OF_EACH, SIZE = 12, 60, 90


def learned(seed: int = 0) -> tuple[LayerBank, Candidates]:
    """A bank of patches of images that resemble each other, each with a few patches of its own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(OF_EACH, 6))
    points = np.concatenate([common + 0.3 * rng.normal(size=(OF_EACH, 6)) for _ in range(NUM_IMAGES)])
    points = points.astype(np.float32)
    owners = np.repeat(np.arange(NUM_IMAGES), OF_EACH)
    chosen = select_coreset(points, SIZE)
    bank = LayerBank(
        np.zeros(6, np.float32),
        np.eye(6, dtype=np.float32),
        points[chosen],
        owners[chosen],
        np.ones(SIZE, np.float32),
    )
    return bank, Candidates(points, owners, mean_spacing=1.0)


def without(bank: LayerBank, candidates: Candidates, folds: list[np.ndarray], fold: int) -> LayerBank:
    numbers = fold_numbers(folds, NUM_IMAGES)
    return bank_without(bank, candidates, fold_distances(bank, candidates, numbers), numbers, fold, spacing=1.0)


def test_nothing_of_the_left_out_images_remains_and_the_size_stays() -> None:
    bank, candidates = learned()
    part = without(bank, candidates, [np.array([0, 5]), np.array([3])], 0)
    assert not np.isin(part.owners, [0, 5]).any()
    assert len(part.entries) == SIZE
    assert (np.diff(part.spacings) >= 0).all()


def test_the_gap_is_closed_nearly_as_well_as_by_choosing_anew() -> None:
    """Taking entries out alone leaves patches of other images uncovered that they had covered."""
    bank, candidates = learned()
    for fold in range(4):
        others = candidates.points[candidates.owners != fold]
        anew = covering_radius(others, others[select_coreset(others, SIZE)])
        torn = covering_radius(others, bank.entries[bank.owners != fold])
        closed = covering_radius(others, without(bank, candidates, [np.array([i]) for i in range(4)], fold).entries)
        assert closed <= 1.05 * anew
        assert torn > closed


def test_distances_to_the_other_folds_are_those_of_a_search_by_hand() -> None:
    bank, candidates = learned(1)
    numbers = fold_numbers([np.array([1, 2]), np.array([4])], NUM_IMAGES)
    found = fold_distances(bank, candidates, numbers)
    squared = ((candidates.points[:, None].astype(np.float64) - bank.entries) ** 2).sum(axis=2)
    for fold in (0, 1):
        expected = squared[:, numbers[bank.owners] != fold].min(axis=1)
        np.testing.assert_allclose(found.without(fold), expected, atol=2e-4)


def test_a_bank_without_entries_of_the_fold_is_the_same_object() -> None:
    bank, candidates = learned()
    only = LayerBank(bank.center, bank.projection, bank.entries, np.full(SIZE, 7), bank.spacings)
    assert without(only, candidates, [np.array([3])], 0) is only


def test_a_fold_of_all_images_is_refused() -> None:
    bank, candidates = learned()
    with pytest.raises(ValueError, match="nothing is left"):
        without(bank, candidates, [np.arange(NUM_IMAGES)], 0)


def test_held_out_scores_are_nearly_those_of_fitting_anew(backbone: Backbone, product: TinyProduct) -> None:
    """Of the tiny product's images each is left out once, by the quick way and by the long one.

    The quick way lies a little higher, on the safe side: usual distances are those with all images in the bank.
    """
    module = load_detector("patchcore")
    images = [*product.good, *product.held_out]
    folds = [np.array([place]) for place in range(len(images))]
    request = FitRequest(images=images, settings=module.INFO.settings(), backbone=backbone, folds=folds)
    quick = module.fit(request).held_out
    assert quick is not None
    anew = []
    for place in range(len(images)):
        rest = [image for number, image in enumerate(images) if number != place]
        graph = module.fit(FitRequest(images=rest, settings=module.INFO.settings(), backbone=backbone)).graph
        anew.append(Session(graph).predict([images[place]])[0].anomaly_score)
    relative = quick.anomaly_scores / np.array(anew) - 1
    assert -0.01 < np.median(relative) < 0.06
    assert np.abs(relative).max() < 0.15
