"""Synthetic defects: seen, on the part, of their kind, and the same for the same generator state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import DataError
from blemish.schema import Image, Mask
from blemish.synthesis.painted import DEFECT_KINDS, MIN_SIDE, DefectKind, estimate_part, make_defect

KINDS = list(DEFECT_KINDS)


def textured(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def plate_on_white(side: int = 96) -> tuple[Image, Mask]:
    """A gray, slightly grained disc before a white background, and where it is."""
    rows, columns = np.mgrid[:side, :side]
    disc = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (0.35 * side) ** 2
    image = np.full((side, side, 3), 250, np.uint8)
    image[disc] = np.random.default_rng(1).integers(80, 120, (int(disc.sum()), 3))
    return image, disc


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15)
@given(height=st.integers(MIN_SIDE, 80), width=st.integers(MIN_SIDE, 80), seed=st.integers(0, 2**32 - 1))
def test_only_the_mask_is_changed_and_it_is_changed_visibly(
    kind: DefectKind, height: int, width: int, seed: int
) -> None:
    image = textured(height, width, seed=3)
    damaged, mask = make_defect(image, np.random.default_rng(seed), kind)
    assert damaged.shape == image.shape
    assert damaged.dtype == np.uint8
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(damaged[~mask], image[~mask])
    assert mask.sum() >= 4
    assert np.abs(damaged[mask].astype(int) - image[mask].astype(int)).max(axis=1).mean() >= 10


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_the_same_generator_state_gives_the_same_defect(kind: DefectKind | None) -> None:
    image = textured(48, 64)
    before = image.copy()
    first, first_mask = make_defect(image, np.random.default_rng(7), kind)
    second, second_mask = make_defect(image, np.random.default_rng(7), kind)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first_mask, second_mask)
    np.testing.assert_array_equal(image, before)
    other, _ = make_defect(image, np.random.default_rng(8), kind)
    assert (other != first).any()


@pytest.mark.parametrize("kind", KINDS)
def test_defects_lie_on_the_part_and_leave_most_of_it(kind: DefectKind) -> None:
    image, disc = plate_on_white()
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, mask = make_defect(image, rng, kind)
        assert (mask & disc).sum() >= 0.3 * mask.sum()
        if kind != "shifted":  # a moved edge of the part changes the background too
            assert mask[~disc].sum() <= 0.1 * mask.sum()
        assert mask.sum() <= 0.35 * disc.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_gray_images_stay_gray(kind: DefectKind) -> None:
    gray = np.repeat(textured(64, 64)[..., :1], 3, axis=2)
    for seed in range(10):
        damaged, _ = make_defect(gray, np.random.default_rng(seed), kind)
        assert (damaged[..., 0] == damaged[..., 1]).all()
        assert (damaged[..., 0] == damaged[..., 2]).all()


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_a_uniform_image_still_gets_a_visible_defect(kind: DefectKind, level: int) -> None:
    image = np.full((40, 40, 3), level, np.uint8)
    damaged, mask = make_defect(image, np.random.default_rng(0), kind)
    assert mask.any()
    assert (damaged[mask] != level).any(axis=1).mean() > 0.9


def test_every_kind_is_drawn_where_none_is_asked_for() -> None:
    """Scratches are thinner than spots: the areas drawn without a kind spread over those of all kinds."""
    image = textured(64, 64)
    areas = [make_defect(image, np.random.default_rng(seed))[1].sum() for seed in range(60)]
    assert min(areas) < 40 < 200 < max(areas)


def test_kinds_differ_in_shape() -> None:
    """A scar is long and thin, a spot is compact: mask area over the area of its square box."""

    def fill(kind: DefectKind, seed: int) -> float:
        rows, columns = np.nonzero(make_defect(textured(128, 128), np.random.default_rng(seed), kind)[1])
        return rows.size / max(np.ptp(rows) + 1, np.ptp(columns) + 1) ** 2

    scars, spots = (np.median([fill(kind, seed) for seed in range(30)]) for kind in ("cutpaste_scar", "spot"))
    assert scars < 0.35 < 0.45 < spots


def test_a_missing_piece_shows_background_or_surface_only() -> None:
    image, disc = plate_on_white()
    shown = []
    for seed in range(30):
        damaged, mask = make_defect(image, np.random.default_rng(seed), "missing")
        shown.append(damaged[mask & disc].mean())
    assert max(shown) > 240  # background
    assert min(shown) < 150  # bare surface


def test_the_part_is_found_before_a_plain_background_of_any_brightness() -> None:
    image, disc = plate_on_white()
    for picture in (image, 255 - image):
        found = estimate_part(picture)
        assert (found & disc).sum() >= 0.98 * (found | disc).sum()


def test_without_a_plain_background_everything_is_part() -> None:
    assert estimate_part(textured(64, 64)).all()
    assert estimate_part(np.full((64, 64, 3), 90, np.uint8)).all()
    grained = np.random.default_rng(0).normal(60, 8, (96, 96, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    assert estimate_part(grained).all()


def test_a_given_part_is_kept_to() -> None:
    image = textured(64, 64)
    part = np.zeros((64, 64), np.bool_)
    part[:, :20] = True
    for seed in range(10):
        _, mask = make_defect(image, np.random.default_rng(seed), "perlin", part=part)
        assert not mask[:, 20:].any()


def test_a_part_too_small_for_any_defect_is_left_aside() -> None:
    part = np.zeros((32, 32), np.bool_)
    part[3, 3] = True
    _, mask = make_defect(textured(32, 32), np.random.default_rng(0), "scratch", part=part)
    assert mask.sum() >= 4


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((MIN_SIDE - 1, 40, 3), np.uint8),
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((40, 40, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused_with_their_shape(image: Image) -> None:
    with pytest.raises(DataError, match=r"shape \(.*uint8 RGB"):
        make_defect(image, np.random.default_rng(0))
