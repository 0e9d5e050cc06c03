"""What patchcore keeps of good images, and what it takes to be usual."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from scipy.spatial.distance import cdist

from blemish.detectors import patchcore
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
    witness_distances,
)
from blemish.detectors.base import FitRequest
from blemish.detectors.coreset import cover_orders, covering_radius, select_coreset
from blemish.detectors.positions import DOUBT, usual_maxima
from blemish.graph.embedding import PackedLayer
from blemish.graph.grid import Grid
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import Backbone, silent

FINE = PackedLayer(slice(0, 64 * 3), Grid((8, 8), 8, 4), 3)
COARSE = PackedLayer(slice(64 * 3, 64 * 3 + 16 * 5), Grid((4, 4), 16, 8), 5)


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, COARSE.places.stop)).astype(np.float32)


def make_banks(good: np.ndarray, size: int = 200) -> list[LayerBank]:
    places = np.arange(len(good))
    return [
        fit_bank(
            good, places, layer, cover_images(good, layer, 256, silent), size, 0.5, 1.0, silent, num_images=len(good)
        )[0]
        for layer in (FINE, COARSE)
    ]


def usual(good: np.ndarray, banks: list[LayerBank]) -> tuple[list[float], np.ndarray]:
    witnesses = witness_distances(good, np.arange(len(good)), (FINE, COARSE), banks, silent)
    return usual_distances(witnesses, (FINE, COARSE), banks)


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
    units, maps = usual(good, banks)
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
    units, maps = usual(good, make_banks(good))
    assert min(units) > 0
    assert np.isfinite(maps).all()


def lively_half(count: int, seed: int = 0) -> np.ndarray:
    """Maps of 16 x 24 whose right half lies higher and varies four times as much from image to image."""
    deviations = np.repeat([0.1, 0.4], 12)
    return np.random.default_rng(seed).normal(5 + 3 * deviations, deviations, (count, 16, 24)).astype(np.float32)


def test_what_is_usual_is_as_its_formula_says() -> None:
    """Against scipy's filters, away from borders: mean and deviation of the maxima, and eight images of doubt."""
    maps = lively_half(30)
    level, spread = usual_maxima(maps, len(maps))
    maxima = np.stack([scipy.ndimage.maximum_filter(one, 5, mode="constant", cval=-np.inf) for one in maps])
    mean, variance = (scipy.ndimage.gaussian_filter(of(axis=0), 2.0) for of in (maxima.mean, maxima.var))
    expected = np.sqrt(30 * variance + DOUBT * variance.mean())
    inner = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(level[inner], ((30 * mean + DOUBT * mean.mean()) / (30 + DOUBT))[inner], rtol=5e-3)
    np.testing.assert_allclose((spread / spread[8, 12])[inner], (expected / expected[8, 12])[inner], rtol=5e-3)
    assert spread.mean() == pytest.approx(1, rel=1e-5)


def test_scores_by_position_rise_evenly() -> None:
    """The highest values of good maps come from all parts of the image."""
    level, spread = usual_maxima(lively_half(2000), 2000)
    fresh = lively_half(400, seed=1)
    for maps, low, high in ((fresh, 0.99, 1), ((fresh - level) / spread, 0.2, 0.8)):
        places = maps.reshape(len(maps), -1).argmax(axis=1) % 24
        assert low <= (places >= 12).mean() <= high


@pytest.mark.parametrize("count", [1, 2, 4, 48])
def test_few_maps_say_little_of_positions(count: int) -> None:
    _, spread = usual_maxima(lively_half(count), count)
    assert 0.9 < spread[:, -6:].mean() / spread[:, :6].mean() < 1 + 3 * count / (count + DOUBT)


def test_maps_that_are_all_alike_have_no_spread() -> None:
    level, spread = usual_maxima(np.full((5, 6, 7), 0.25, np.float32), 5)
    np.testing.assert_allclose(level, 0.25, rtol=1e-6)
    assert (spread == 1).all()


def lively_images(count: int) -> list[np.ndarray]:
    """Noise of 128 x 256 pixels, fifteen times as strong in the right half."""
    noise = np.random.default_rng(0).normal(0, np.repeat([2, 30], 128)[:, None], (count, 128, 256, 3))
    return list(np.clip(128 + noise, 0, 255).astype(np.uint8))


def maps_of(backbone: Backbone, good: list[np.ndarray], images: list[np.ndarray], **settings: object) -> np.ndarray:
    module = load_detector("patchcore")
    options = module.INFO.settings(**settings)
    found = module.fit(FitRequest(images=good, settings=options, backbone=backbone))
    return np.stack([one.anomaly_map for one in Session(found.graph).predict(images)])


def test_maps_are_centered_and_divided_by_what_is_usual(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from where level and spread change, the map is the raw one by the formula."""
    level, spread = (
        np.repeat(np.array(values, np.float32)[None], 16, 0).repeat(16, 1) for values in ((2, 5), (0.5, 4))
    )
    monkeypatch.setattr(patchcore, "usual_maxima", lambda maps, num_images: (level, spread))
    images = lively_images(30)
    raw, found = (maps_of(backbone, images[:20], images[20:], by_position=chosen) for chosen in (False, True))
    for columns, usual, unit in ((np.s_[:, :, :80], 2, 0.5), (np.s_[:, :, -80:], 5, 4)):
        np.testing.assert_allclose(found[columns], (raw[columns] - usual) / unit + 3.5, rtol=1e-4, atol=1e-4)


def test_what_is_usual_counts_turned_copies_where_these_are_good(backbone: Backbone) -> None:
    """Mirrored good images, whose lively half lies where it never did, score no higher than others."""
    images = lively_images(60)
    fresh = [*images[40:], *(np.ascontiguousarray(image[:, ::-1]) for image in images[40:])]
    scores = maps_of(backbone, images[:40], fresh, symmetries=("flip_horizontal",)).max(axis=(1, 2))
    assert scores[20:].mean() < scores[:20].mean() + scores[:20].std()
