"""Painted defects of given size and strength: what the sensitivity of a detector is measured with.

`blemish.synthesis.painted` draws whatever may go wrong with a part. These are graded as test pieces are: a scratch so
many pixels wide, a spot so many pixels across, so much lighter or darker than the surface that it lies on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import DataError
from blemish.schema import GradedKind, Image, Mask
from blemish.synthesis.painted import MIN_SIDE, perlin_noise

GRADED_KINDS: Mapping[GradedKind, str] = MappingProxyType(
    {
        "scratch": "width of a slightly curved line, 15 times as long as wide",
        "spot": "diameter of a speck or stain",
        "missing": "diameter of a hole where a piece broke out of the surface",
        "texture": "diameter of a patch with another surface",
    }
)
"""Every kind with what its size is."""

SCRATCH_LENGTH = 15.0
"""How many times as long as wide a scratch is."""

_Float: TypeAlias = NDArray[np.float32]


PLAIN_CONTRAST = 10.0
MOST_VARIATION = 30.0
"""Gray levels that a defect of strength 1 differs by on a plain surface, and the most that are added on a busy one."""


@dataclass(frozen=True)
class GradedDefect:
    """A defect to paint: its `size_px` (see `GRADED_KINDS`) and its `strength`.

    A defect of strength 1 differs from its surface by `PLAIN_CONTRAST` gray levels and as many more as the surface
    itself varies by (its standard deviation about the place, `MOST_VARIATION` at most), on average over the defect: so
    it is seen as well on a busy surface as on a plain one. `seed` draws what is left open: outline, direction, lighter
    or darker, tint.
    """

    kind: GradedKind
    size_px: float
    strength: float
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in GRADED_KINDS:
            raise ValueError(f"kind {self.kind!r}: give one of {', '.join(GRADED_KINDS)}")
        if not 0.5 <= self.size_px <= 10_000:
            raise ValueError(f"a size of {self.size_px} pixels: painted defects measure 0.5 to 10,000")
        if not 0 < self.strength <= 100:
            raise ValueError(f"a strength of {self.strength}: give more than 0 and at most 100")


def paint_graded(image: Image, defect: GradedDefect, place: tuple[float, float]) -> tuple[Image, Mask]:
    """A copy of the image with the defect about `place` (x, y), and the mask of the pixels that it changed.

    Outside the mask the image is untouched. The mask is empty where the defect is too small and faint to change a gray
    level. The same defect at the same place gives the same picture; gray images stay gray. Raises `DataError` for
    other arrays than uint8 RGB with sides of at least `MIN_SIDE`.

    >>> image = np.full((64, 64, 3), 128, np.uint8)
    >>> painted, mask = paint_graded(image, GradedDefect("spot", 8.0, 4.0, seed=0), (32.0, 32.0))
    >>> bool((painted[~mask] == 128).all()), bool(45 < mask.sum() < 160)
    (True, True)
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < MIN_SIDE:
        raise DataError(
            f"cannot paint a defect on an image of shape {image.shape} and type {image.dtype}: "
            f"give uint8 RGB with sides of at least {MIN_SIDE} pixels"
        )
    if not (0 <= place[0] <= image.shape[1] - 1 and 0 <= place[1] <= image.shape[0] - 1):
        raise DataError(f"cannot paint a defect at {place}, outside an image of {image.shape[1]} x {image.shape[0]}")
    rng = np.random.default_rng(defect.seed)
    stroke = _STROKES[defect.kind](defect.size_px, rng)
    box, cover, relief = _on_image(stroke, place, image.shape[:2])
    before = image[box].astype(np.float32)
    contrast = np.float32(min(defect.strength * surface_contrast(image, place), 255.0))
    change = _color(before, cover, rng) * (_scaled(cover, relief) * contrast)[..., None]
    if defect.kind == "missing":  # the bare ground of a hole is smoother than the surface around it
        smooth = cv2.GaussianBlur(before, (0, 0), max(1.0, defect.size_px / 4))
        change += 0.7 * cover[..., None] * (smooth - before)
    after = np.clip(np.rint(before + change), 0, 255).astype(np.uint8)
    painted, mask = image.copy(), np.zeros(image.shape[:2], np.bool_)
    painted[box] = after
    mask[box] = (after != image[box]).any(axis=2)
    return painted, mask


def surface_contrast(image: Image, place: tuple[float, float]) -> float:
    """The gray levels that a defect of strength 1 at a place (x, y) differs by.

    What varies is looked at within an eighth of the image's shorter side.
    """
    reach = max(6, min(image.shape[:2]) // 16)
    x, y = round(place[0]), round(place[1])
    around = image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return PLAIN_CONTRAST + min(float(around.mean(axis=2).std()), MOST_VARIATION)


@dataclass(frozen=True)
class _Stroke:
    """A drawn defect on a square canvas about its middle: how much of each pixel it covers, 0 to 1, and its relief.

    The relief says how far each pixel goes the way of the defect, about 1; below 0 where it goes the other way.
    """

    cover: _Float
    relief: _Float


def _scratch(size: float, rng: np.random.Generator) -> _Stroke:
    """A nearly straight line of varying strength that thins out at its ends; raised material edges one side of it."""
    reach = size * SCRATCH_LENGTH / 2
    side = _side(2 * (reach + 2 * size))
    time = np.linspace(-1, 1, 33)
    turn = rng.uniform(0, 2 * np.pi)
    along = time * reach
    across = rng.uniform(-0.2, 0.2) * reach * (1 - time**2) + rng.uniform(0, 0.3) * size * _wander(time, rng)
    half = size / 2 * np.clip(1 - np.abs(time) ** 4, 0.1, 1)

    def ribbon(low: float, high: float) -> _Float:
        edges = [np.stack([along, across + share * half], axis=1) for share in (low, high)]
        return _filled(side, _turned(np.concatenate([edges[0], edges[1][::-1]]), turn))

    core, lip = ribbon(-1.0, 1.0), ribbon(1.0, 1.7)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    place = (x * np.cos(turn) + y * np.sin(turn)) / reach
    strength = np.interp(place, np.linspace(-1, 1, 9), rng.uniform(0.6, 1.2, 9)).astype(np.float32)
    cover = np.minimum(core + lip, 1)
    return _Stroke(cover, np.asarray(strength * (core - 0.4 * lip) / np.maximum(cover, 1e-6), np.float32))


def _spot(size: float, rng: np.random.Generator) -> _Stroke:
    """An irregular blot, hard or soft at its edge, of uneven strength."""
    side = _side(1.8 * size)
    blot = _filled(side, _blot(size, rng, swing=0.35))
    cover = _soft(blot, size * rng.uniform(0.02, 0.12))
    uneven = 1 + 0.25 * perlin_noise((side, side), int(rng.integers(2, 6)), rng)
    return _Stroke(cover, uneven)


def _missing(size: float, rng: np.random.Generator) -> _Stroke:
    """A hole with a jagged outline, one wall in shadow and the other in light."""
    side = _side(1.8 * size)
    hole = _filled(side, _blot(size, rng, swing=0.5, corners=12))
    cover = _soft(hole, min(0.04 * size, 1.0))
    light = rng.uniform(0, 2 * np.pi)
    depth = _soft(hole, size / 8)
    slope_y, slope_x = np.gradient(depth * size / 4)
    shade = np.cos(light) * slope_x + np.sin(light) * slope_y
    floor = 1 + 0.2 * perlin_noise((side, side), 4, rng)
    return _Stroke(cover, (floor + 1.2 * shade).astype(np.float32))


def _texture(size: float, rng: np.random.Generator) -> _Stroke:
    """A patch with soft edges where another grain, lighter and darker, lies over the surface."""
    side = _side(1.8 * size)
    cover = _soft(_filled(side, _blot(size, rng, swing=0.5)), size * rng.uniform(0.05, 0.12))
    cells = max(3, round(side / rng.uniform(4, 12)))
    grain = perlin_noise((side, side), cells, rng) + 0.5 * perlin_noise((side, side), 2 * cells, rng)
    return _Stroke(cover, grain)


_STROKES: Mapping[GradedKind, Callable[[float, np.random.Generator], _Stroke]] = MappingProxyType(
    {"scratch": _scratch, "spot": _spot, "missing": _missing, "texture": _texture}
)


def _side(width: float) -> int:
    """The side of a canvas for a stroke of that width, an odd number: its middle is that of a pixel."""
    return 2 * int(np.ceil(width / 2)) + 3


def _wander(time: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth random function over -1 to 1 with values within about -1 and 1."""
    waves = [np.sin(np.pi * frequency * time + rng.uniform(0, 2 * np.pi)) / frequency for frequency in (1, 2, 3)]
    return np.asarray(rng.uniform(0.3, 1.0) * np.sum(waves, axis=0))


def _turned(points: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    cosine, sine = np.cos(turn), np.sin(turn)
    turned: NDArray[np.float64] = points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _blot(size: float, rng: np.random.Generator, *, swing: float, corners: int = 64) -> NDArray[np.float64]:
    """The outline (x, y) of an irregular round area of the diameter `size`: that of a disc of the same area."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = np.ones(corners)
    for harmonic in range(2, 6):
        reach += rng.uniform(0, swing) / harmonic * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    stretch = np.sqrt(rng.uniform(0.6, 1.0))
    points = np.stack([reach * np.cos(angle) / stretch, reach * np.sin(angle) * stretch], axis=1)
    x, y = points.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return _turned(points * (size / 2 * np.sqrt(np.pi / area)), rng.uniform(0, 2 * np.pi))


def _filled(side: int, outline: NDArray[np.float64]) -> _Float:
    """How much of each pixel of a canvas lies inside an outline about its middle, 0 to 1."""
    fine = int(np.clip(1024 // side, 1, 8))
    middle = (side * fine - 1) / 2
    drawn = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(drawn, [np.rint((outline * fine + middle) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    small = cv2.resize(drawn.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small / 255, np.float32)


def _soft(cover: _Float, sigma: float) -> _Float:
    return cover if sigma < 0.2 else np.asarray(cv2.GaussianBlur(cover, (0, 0), sigma), np.float32)


def _on_image(
    stroke: _Stroke, place: tuple[float, float], hw: tuple[int, ...]
) -> tuple[tuple[slice, slice], _Float, _Float]:
    """The part of the image that a stroke about `place` (x, y) lies on, and the stroke's values there."""
    side = len(stroke.cover)
    left, top = round(place[0]) - side // 2, round(place[1]) - side // 2
    rows = slice(max(0, top), max(0, min(hw[0], top + side)))
    columns = slice(max(0, left), max(0, min(hw[1], left + side)))
    part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return (rows, columns), stroke.cover[part], stroke.relief[part]


def _scaled(cover: _Float, relief: _Float) -> _Float:
    """The change of each pixel in shares of the contrast: its mean is 1 where the relief goes the way of the defect."""
    change = cover * relief
    body = relief > 0
    return np.asarray(change * (cover[body].sum() / max(float(change[body].sum()), 1e-6)), np.float32)


def _color(before: _Float, cover: _Float, rng: np.random.Generator) -> _Float:
    """Factors (3,) of the change: lighter or darker, where there is room, with a slight tint on images in color."""
    local = float((before.mean(axis=2) * cover).sum() / max(float(cover.sum()), 1e-6))
    sign = 1.0 if local < rng.uniform(64, 192) else -1.0
    tint = rng.uniform(0.7, 1.0, 3)
    is_gray = bool((before[..., 0] == before[..., 1]).all() and (before[..., 0] == before[..., 2]).all())
    return (sign * (np.ones(3) if is_gray else tint / tint.mean())).astype(np.float32)
