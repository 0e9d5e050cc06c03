"""Graded defects: of the size and strength asked for, where they were asked for, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import DataError
from blemish.schema import GradedKind, Image
from blemish.synthesis.graded import (
    GRADED_KINDS,
    MOST_VARIATION,
    PLAIN_CONTRAST,
    SCRATCH_LENGTH,
    GradedDefect,
    paint_graded,
)

KINDS = list(GRADED_KINDS)


def plain(height: int = 160, width: int = 200, level: int = 128) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def textured(height: int = 160, width: int = 200, spread: float = 20.0, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(128, spread, (height, width, 1))
    return np.clip(noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(
    size=st.floats(0.5, 60),
    strength=st.floats(0.1, 10),
    x=st.floats(0, 63),
    y=st.floats(0, 39),
    seed=st.integers(0, 2**31),
)
def test_only_the_mask_is_changed(
    kind: GradedKind, size: float, strength: float, x: float, y: float, seed: int
) -> None:
    image = textured(40, 64)
    before = image.copy()
    painted, mask = paint_graded(image, GradedDefect(kind, size, strength, seed), (x, y))
    assert (painted.shape, painted.dtype, mask.shape, mask.dtype) == (image.shape, np.uint8, (40, 64), np.bool_)
    np.testing.assert_array_equal(painted[~mask], image[~mask])
    assert (painted[mask] != image[mask]).any(axis=1).all()
    np.testing.assert_array_equal(image, before)
    assert (painted[..., 0] == painted[..., 1]).all(), "gray images stay gray"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_defect_gives_the_same_picture_and_another_seed_another(kind: GradedKind) -> None:
    image = textured()
    first, _ = paint_graded(image, GradedDefect(kind, 12.0, 3.0, seed=5), (90.0, 70.0))
    again, _ = paint_graded(image, GradedDefect(kind, 12.0, 3.0, seed=5), (90.0, 70.0))
    other, _ = paint_graded(image, GradedDefect(kind, 12.0, 3.0, seed=6), (90.0, 70.0))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("size", [3.0, 10.0, 40.0])
@pytest.mark.parametrize("kind", ["spot", "missing", "texture"])
def test_round_defects_are_as_wide_as_asked_for(kind: GradedKind, size: float) -> None:
    """Averaged over many outlines, half of the height lies at the radius."""
    image = plain()
    change = np.zeros(image.shape[:2])
    for seed in range(60):
        painted, _ = paint_graded(image, GradedDefect(kind, size, 4.0, seed), (100.0, 80.0))
        change += np.abs(painted.astype(float) - image).mean(axis=2)
    inside = change[80 - round(size / 6) : 81 + round(size / 6), 100 - round(size / 6) : 101 + round(size / 6)].mean()
    assert 0.85 < np.sqrt((change > inside / 2).sum() / (np.pi / 4)) / size < 1.2


@pytest.mark.parametrize("width", [1.0, 2.5, 8.0])
def test_scratches_are_as_wide_as_asked_for_and_15_times_as_long(width: float) -> None:
    image = plain(400, 400)
    widths, lengths = [], []
    for seed in range(20):
        painted, _ = paint_graded(image, GradedDefect("scratch", width, 8.0, seed), (200.0, 200.0))
        change = (painted.astype(float) - image).mean(axis=2)
        rows, columns = np.nonzero(np.abs(change) > 8)
        lengths.append(np.hypot(np.ptp(rows), np.ptp(columns)))
        core = np.clip(change * np.sign(change.flat[np.abs(change).argmax()]), 0, None)
        widths.append(core.sum() / (8 * PLAIN_CONTRAST) / lengths[-1])
    assert 0.85 < np.median(lengths) / (SCRATCH_LENGTH * width) < 1.15
    assert 0.7 < np.median(widths) / width < 1.3


@pytest.mark.parametrize("strength", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("kind", ["spot", "missing"])
def test_on_a_plain_surface_a_strength_is_ten_gray_levels(kind: GradedKind, strength: float) -> None:
    image = plain(300, 300)
    changes = []
    for seed in range(10):
        painted, _ = paint_graded(image, GradedDefect(kind, 40.0, strength, seed), (150.0, 150.0))
        changes.append(np.abs(painted.astype(float) - image)[145:156, 145:156].mean())
    assert np.mean(changes) == pytest.approx(PLAIN_CONTRAST * strength, rel=0.15)


def test_defects_stand_out_as_much_on_a_busy_surface() -> None:
    def contrast(spread: float) -> float:
        image = textured(300, 300, spread)
        painted, mask = paint_graded(image, GradedDefect("spot", 40.0, 2.0, seed=1), (150.0, 150.0))
        return float(np.abs(painted.astype(float) - image).mean(axis=2)[mask].mean())

    assert contrast(20) / contrast(0.5) == pytest.approx((PLAIN_CONTRAST + 20) / (PLAIN_CONTRAST + 0.5), rel=0.15)
    assert contrast(100) / contrast(0.5) < 1.1 * (PLAIN_CONTRAST + MOST_VARIATION) / PLAIN_CONTRAST


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_surfaces_are_painted_on_where_there_is_room(kind: GradedKind, level: int) -> None:
    painted, mask = paint_graded(plain(level=level), GradedDefect(kind, 10.0, 4.0, seed=2), (100.0, 80.0))
    assert mask.any()
    assert np.abs(painted.astype(int) - level)[mask].max() > 30


def test_a_defect_at_the_edge_is_cut_off_there() -> None:
    for place in ((0.0, 0.0), (199.0, 159.0), (0.0, 159.0)):
        _, mask = paint_graded(plain(), GradedDefect("spot", 30.0, 4.0, seed=0), place)
        assert 0 < mask.sum() < 0.7 * np.pi / 4 * 30**2


def test_color_images_get_slightly_tinted_defects() -> None:
    image = plain()
    image[..., 2] = 90
    painted, mask = paint_graded(image, GradedDefect("spot", 20.0, 4.0, seed=3), (100.0, 80.0))
    change = np.abs(painted.astype(int) - image)[mask].mean(axis=0)
    assert change.max() / change.min() < 1.8
    assert change.max() > change.min()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "crack"},
        {"size_px": 0.1},
        {"size_px": float("nan")},
        {"strength": 0.0},
        {"strength": float("nan")},
        {"strength": 1000.0},
    ],
)
def test_sizes_and_strengths_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    values: dict[str, object] = {"kind": "spot", "size_px": 5.0, "strength": 2.0, "seed": 0, **wrong}
    with pytest.raises(ValueError, match=f"{values[next(iter(wrong))]}"):
        GradedDefect(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image", [np.zeros((15, 40, 3), np.uint8), np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32)]
)
def test_other_arrays_are_refused_with_their_shape(image: Image) -> None:
    with pytest.raises(DataError, match=r"shape \(.*uint8 RGB"):
        paint_graded(image, GradedDefect("spot", 5.0, 2.0, seed=0), (5.0, 5.0))


@pytest.mark.parametrize("place", [(-1.0, 5.0), (5.0, 160.0), (200.0, 5.0), (float("nan"), 5.0)])
def test_places_outside_the_image_are_refused(place: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="outside an image of 200 x 160"):
        paint_graded(plain(), GradedDefect("spot", 5.0, 2.0, seed=0), place)
