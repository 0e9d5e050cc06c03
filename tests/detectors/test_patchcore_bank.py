"""What patchcore keeps of good images, and what it takes to be usual."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from blemish.detectors.alignment import usual_pattern
from blemish.detectors.bank import (
    MOST_STEPS,
    SPACING_STEP,
    LayerBank,
    candidates_of_each,
    cover_images,
    distances_to_other_images,
    fit_bank,
    layer_weights,
    usual_distances,
)
from blemish.detectors.coreset import cover_orders, covering_radius, select_coreset
from blemish.graph.embedding import PackedLayer
from blemish.graph.grid import Grid
from blemish.registry import load_detector
from blemish.schema import Backbone, silent
from blemish.testing.tiny import TinyProduct

FINE = PackedLayer(slice(0, 64 * 3), Grid((8, 8), 8, 4), 3)
COARSE = PackedLayer(slice(64 * 3, 64 * 3 + 16 * 5), Grid((4, 4), 16, 8), 5)


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, COARSE.places.stop)).astype(np.float32)


def make_banks(good: np.ndarray, size: int = 200) -> list[LayerBank]:
    places = np.arange(len(good))
    return [
        fit_bank(
            good, places, layer, cover_images(good, layer, 256, silent), size, 0.5, 1.0, silent, num_images=len(good)
        )
        for layer in (FINE, COARSE)
    ]


def test_the_cover_of_each_image_is_the_greedy_choice_among_its_points() -> None:
    points = np.random.default_rng(0).normal(size=(5, 300, 6)).astype(np.float32)
    assert cover_orders(points, 40).tolist() == [select_coreset(image, 40).tolist() for image in points]


def test_a_cover_of_copies_holds_each_point_once() -> None:
    assert [sorted(order) for order in cover_orders(np.ones((2, 9, 2), np.float32), 9)] == [list(range(9))] * 2


def test_a_shorter_cover_is_the_beginning_of_a_longer_one() -> None:
    good = embeddings(20)
    few, many = (cover_images(good, FINE, count, silent) for count in (10, 40))
    assert (few == many[:, :10]).all()


def test_the_more_images_the_fewer_candidates_of_each() -> None:
    assert [candidates_of_each(count) for count in (10, 1000, 100_000)] == [256, 100, 64]


def test_a_patch_that_one_image_alone_shows_is_in_the_bank() -> None:
    good = embeddings(60)
    good[17, FINE.places][5 * 3 : 6 * 3] = 40
    bank = make_banks(good)[0]
    patch = np.full((1, 3), 40, np.float32)
    scaled = (patch - bank.center) @ bank.projection
    assert covering_radius(scaled, bank.entries) < 1e-2
    assert 17 in bank.owners


def test_entries_know_the_image_that_they_are_of() -> None:
    good = embeddings(5)
    for layer, bank in zip((FINE, COARSE), make_banks(good), strict=True):
        for entry, owner in zip(bank.entries[:50], bank.owners[:50], strict=True):
            patches = (good[owner, layer.places].reshape(layer.shape) - bank.center) @ bank.projection
            assert np.linalg.norm(patches - entry, axis=1).min() < 1e-3


def test_usual_distances_are_those_to_other_images() -> None:
    """Each patch is in the bank itself: what counts is the nearest patch of another image, in units of its spacing."""
    good = embeddings(6)
    banks = make_banks(good, size=10_000)
    units, maps = usual_distances(good, np.arange(6), (FINE, COARSE), banks, silent)
    bank = banks[0]
    scaled = (good[:, FINE.places].reshape(6, 64, 3) - bank.center) @ bank.projection
    nearest = [
        (np.linalg.norm(bank.entries - patch, axis=1) / bank.spacings)[bank.owners != image].min()
        for image in range(6)
        for patch in scaled[image]
    ]
    assert units[0] == pytest.approx(np.mean(nearest), rel=1e-3)
    assert maps.shape == (6, 8, 8)
    assert maps.mean() == pytest.approx(1, abs=0.05)


def test_spacings_are_distances_to_entries_of_other_images() -> None:
    rng = np.random.default_rng(0)
    entries, owners = rng.normal(size=(300, 4)).astype(np.float32), rng.integers(0, 9, 300)
    apart = cdist(entries, entries) + np.where(owners[:, None] == owners, np.inf, 0)
    expected = np.sort(apart, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(distances_to_other_images(entries, owners), expected, rtol=1e-3)


def test_one_image_has_no_spacings() -> None:
    assert (distances_to_other_images(np.eye(4, dtype=np.float32), np.zeros(4, np.intp)) == 1).all()


def test_a_bank_is_in_the_order_of_its_spacings() -> None:
    for bank in make_banks(embeddings(20)):
        assert (np.diff(bank.spacings) >= 0).all()
        assert SPACING_STEP**-MOST_STEPS <= bank.spacings.min() < 1 < bank.spacings.max() <= SPACING_STEP**MOST_STEPS
        assert len(bank.spacings) == len(bank.entries) == len(bank.owners)


def test_a_layer_of_half_the_stride_counts_twice() -> None:
    assert layer_weights((FINE, COARSE)).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_copies_of_one_image_have_a_unit() -> None:
    good = np.repeat(embeddings(1), 5, axis=0)
    units, maps = usual_distances(good, np.arange(5), (FINE, COARSE), make_banks(good), silent)
    assert min(units) > 0
    assert np.isfinite(maps).all()


def test_a_pattern_that_all_share_is_found_under_noise() -> None:
    rng = np.random.default_rng(0)
    shared = np.kron(rng.normal(size=(4, 4)), np.ones((4, 4)))
    pattern, alignment = usual_pattern((shared + rng.normal(0, 1, (60, 16, 16))).astype(np.float32))
    variance = shared.var()
    assert alignment == pytest.approx(variance / (variance + 1), abs=0.05)
    assert np.corrcoef(pattern.ravel(), shared.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_maps_have_no_pattern(count: int) -> None:
    pattern, alignment = usual_pattern(np.random.default_rng(0).normal(size=(count, 4, 4)).astype(np.float32))
    assert alignment == 0
    assert not pattern.any()


def test_parts_that_lie_anyhow_are_not_aligned(product: TinyProduct, backbone: Backbone) -> None:
    module = load_detector("patchcore")
    rng = np.random.default_rng(0)
    shifted = [np.roll(image, tuple(rng.integers(0, 64, 2)), (0, 1)) for image in product.good]
    facts = [
        module.fit(images, module.INFO.settings(), backbone=backbone, seed=0, folds=(), progress=silent).facts
        for images in (product.good, shifted)
    ]
    assert facts[0]["alignment"] > facts[1]["alignment"] + 0.1
