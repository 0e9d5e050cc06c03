"""Painted defects on good images: what detectors are trained and checked against where no real defect is known.

The kinds follow CutPaste (Li et al., CVPR 2021), DRAEM (Zavrtanik et al., ICCV 2021) and what is seen on real parts:
scratches, spots, missing and displaced pieces. A defect lies on the part: where the background is plain, the part is
told from it by its color.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import DataError
from blemish.schema import Image, Mask

DefectKind = Literal["cutpaste", "cutpaste_scar", "perlin", "scratch", "spot", "missing", "shifted"]

DEFECT_KINDS: Mapping[DefectKind, str] = MappingProxyType(
    {
        "cutpaste": "a rectangle of the part pasted elsewhere on it",
        "cutpaste_scar": "a long thin rectangle of the part pasted elsewhere, turned",
        "perlin": "irregular areas of foreign texture",
        "scratch": "a thin curved line, lighter or darker",
        "spot": "a stain or grain of another color",
        "missing": "a piece that is not there: background or bare surface in its place",
        "shifted": "a piece moved and turned by a little",
    }
)
"""Every kind with what it looks like."""

MIN_SIDE = 16
"""The shortest side, in pixels, of an image that a defect can be painted on."""

_LEVELS = 6  # a pixel counts as changed from this many gray levels on
_TRIES = 8

_Float: TypeAlias = NDArray[np.float32]
_Painted: TypeAlias = tuple[NDArray[Any], Mask]
_Painter: TypeAlias = Callable[[_Float, np.random.Generator, Mask], _Painted]


def make_defect(
    image: Image, rng: np.random.Generator, kind: DefectKind | None = None, *, part: Mask | None = None
) -> tuple[Image, Mask]:
    """A copy of a good image with one painted defect, and the mask of the pixels that it changed.

    Outside the mask the image is untouched; the mask is never empty. Without `kind` one is drawn from
    `DEFECT_KINDS`. `part` is where defects may lie (default: `estimate_part`). The same generator state gives the same
    defect. Gray images stay gray. A kind that can't be seen on this image (a piece of a uniform surface pasted onto
    itself) is painted as a spot, and where `part` is too small for any, anywhere. Raises `DataError` for images with a
    side below `MIN_SIDE`.

    >>> image = np.full((64, 64, 3), 128, np.uint8)
    >>> damaged, mask = make_defect(image, np.random.default_rng(0), "scratch")
    >>> bool(mask.any()), bool((damaged[~mask] == 128).all())
    (True, True)
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < MIN_SIDE:
        raise DataError(
            f"cannot paint a defect on an image of shape {image.shape} and type {image.dtype}: "
            f"give uint8 RGB with sides of at least {MIN_SIDE} pixels"
        )
    if kind is None:
        kind = list(_PAINTERS)[int(rng.integers(len(_PAINTERS)))]
    if part is None:
        part = estimate_part(image)
    pixels = image.astype(np.float32)
    spot = _PAINTERS["spot"]
    for painter, where in ((_PAINTERS[kind], part), (spot, part), (spot, np.ones_like(part))):
        for _ in range(_TRIES):
            result = _keep_visible(image, *painter(pixels, rng, where))
            if result is not None:
                return result
    raise DataError("no defect could be painted that is seen on this image")


def estimate_part(image: Image) -> Mask:
    """The mask of the part where the image's border shows a plain background, else all True.

    >>> image = np.full((64, 64, 3), 255, np.uint8)
    >>> image[16:48, 16:48] = 40
    >>> round(float(estimate_part(image).mean()), 2)
    0.25
    """
    height, width = image.shape[:2]
    everything = np.ones((height, width), np.bool_)
    ring = np.ones((height, width), np.bool_)
    rim = max(1, min(height, width) // 50)
    ring[rim:-rim, rim:-rim] = False
    background = np.median(image[ring], axis=0)
    distance = np.abs(image.astype(np.float32) - background.astype(np.float32)).max(axis=2)
    if (distance[ring] <= 12).mean() < 0.6:
        return everything
    raw = (distance > 20).astype(np.uint8)
    size = 2 * (min(height, width) // 100) + 3
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(cv2.morphologyEx(raw, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: Mask = cv2.drawContours(np.zeros_like(opened), contours, -1, 1, cv2.FILLED).astype(np.bool_)
    # A textured surface passes the border test by chance, but what is left of it is thin, faint or nearly everything.
    is_compact = (raw.astype(np.bool_) & filled).sum() >= 0.85 * raw.sum()
    if not is_compact or not 0.03 <= filled.mean() <= 0.97 or distance[filled].mean() < 30:
        return everything
    return filled


def _keep_visible(image: Image, painted: NDArray[Any], support: Mask) -> tuple[Image, Mask] | None:
    """The painted image inside the visibly changed part of `support`, None if too little is seen."""
    box = _box(support)
    rounded = np.clip(np.rint(painted[box]), 0, 255).astype(np.uint8)
    difference = cv2.absdiff(rounded, np.ascontiguousarray(image[box])) if rounded.size else rounded
    change = np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2])
    seen = ((change >= _LEVELS) & support[box]).astype(np.uint8)
    if seen.sum() < max(4, 0.0002 * support.size):
        return None
    closed = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(np.bool_) & support[box]
    if change[closed].mean() < 2 * _LEVELS:
        return None
    mask = np.zeros_like(support)
    mask[box] = closed
    result = image.copy()
    result[box][closed] = rounded[closed]
    return result, mask


def _cutpaste(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    area = part.sum() * np.exp(rng.uniform(np.log(0.003), np.log(0.06)))
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    return _paste(pixels, rng, part, (np.sqrt(area * aspect), np.sqrt(area / aspect)), angle=0.0)


def _cutpaste_scar(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    extent = _extent(part)
    sides = (extent * rng.uniform(0.012, 0.05), extent * rng.uniform(0.08, 0.25))
    return _paste(pixels, rng, part, sides, angle=float(rng.uniform(0, 180)))


def _paste(pixels: _Float, rng: np.random.Generator, part: Mask, sides: tuple[float, float], angle: float) -> _Painted:
    """A rectangle of the part, slightly recolored, on another place of the part."""
    (source_y, source_x), (y, x) = _place(rng, part), _place(rng, part)
    moved = _move(pixels, (source_x, source_y), (x, y), angle) * _gains(rng, pixels, 0.12)
    box = cv2.boxPoints(((x, y), (max(sides[1], 2.0), max(sides[0], 2.0)), -angle))
    return moved, _fill(part.shape, box) & part


def _perlin(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    support = _blob(part.shape, _place(rng, part), _extent(part) * rng.uniform(0.06, 0.25), rng) & part
    box = _box(support)
    noise = perlin_noise(support[box].shape, int(rng.integers(2, 13)), rng)
    support[box] &= noise > np.quantile(noise[support[box]], rng.uniform(0.3, 0.7))
    if rng.random() < 0.5:  # the part's own material from elsewhere, turned
        (source_y, source_x), (y, x) = _place(rng, part), _place(rng, part)
        texture = _move(pixels, (source_x, source_y), (x, y), float(rng.uniform(30, 330))) * _gains(rng, pixels, 0.4)
    else:
        grain = perlin_noise(support[box].shape, int(rng.integers(4, 17)), rng)
        texture = np.zeros_like(pixels)
        texture[box] = _color(rng, pixels) + (grain * rng.uniform(20, 90))[..., None]
    opacity = rng.uniform(0.35, 0.95)
    return pixels + opacity * (texture - pixels), support


def _scratch(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    extent = _extent(part)
    y, x = _place(rng, part)
    direction = rng.uniform(0, 2 * np.pi)
    reach = extent * rng.uniform(0.06, 0.25) * np.array([np.cos(direction), np.sin(direction)])
    bend = np.array([-reach[1], reach[0]]) * rng.uniform(-0.6, 0.6)
    time = np.linspace(0, 1, 24)[:, None]
    start, end, middle = np.array([x, y]) - reach, np.array([x, y]) + reach, np.array([x, y]) + bend
    curve = (1 - time) ** 2 * start + 2 * time * (1 - time) * middle + time**2 * end
    width = max(1, round(extent * rng.uniform(0.004, 0.016)))
    drawn = np.zeros(part.shape, np.uint8)
    cv2.polylines(drawn, [np.rint(curve * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    coverage = drawn.astype(np.float32)[..., None] / 255
    support = (drawn > 0) & part
    change = _contrast(pixels, rng, support, low=25, high=90)
    return pixels + coverage * change, support


def _spot(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    radius = max(1.5, _extent(part) * np.exp(rng.uniform(np.log(0.012), np.log(0.09))))
    blob = _blob(part.shape, _place(rng, part), radius, rng)
    soft = cv2.GaussianBlur(blob.astype(np.float32), (0, 0), max(0.5, radius * rng.uniform(0.05, 0.25)))
    support = (soft > 0.1) & part
    coverage = np.minimum(1.0, 1.5 * soft)[..., None] * rng.uniform(0.6, 1.0)
    if rng.random() < 0.5:
        return pixels + coverage * _contrast(pixels, rng, support, low=40, high=110), support
    color = _color(rng, pixels)
    local = pixels[support].mean(axis=0) if support.any() else color
    if np.abs(color - local).max() < 40:
        color = local + _contrast(pixels, rng, support, low=40, high=110)
    return pixels + coverage * (color - pixels), support


def _missing(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    extent = _extent(part)
    edge = part & ~cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(np.bool_)
    has_background = bool((~part).any()) and bool(edge.any())
    is_bite = has_background and rng.random() < 0.6
    center = _place(rng, edge if is_bite else part)
    blob = _blob(part.shape, center, max(2.0, extent * rng.uniform(0.03, 0.12)), rng)
    if is_bite or (has_background and rng.random() < 0.3):
        outside = pixels[~part]
        grain = rng.normal(0.0, min(float(outside.std(axis=0).mean()), 4.0), part.shape).astype(np.float32)
        return np.median(outside, axis=0) + grain[..., None], blob & part
    # Bare surface: the colors around the piece run together where it was.
    sigma = max(2.0, extent * 0.06)
    known = (~blob & part).astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
    spread = cv2.GaussianBlur(pixels * known[..., None], (0, 0), sigma)
    return spread / np.maximum(weight, 1e-3), blob & part


def _shifted(pixels: _Float, rng: np.random.Generator, part: Mask) -> _Painted:
    extent = _extent(part)
    y, x = _place(rng, part)
    piece = _blob(part.shape, (y, x), max(4.0, extent * rng.uniform(0.08, 0.22)), rng)
    direction = rng.uniform(0, 2 * np.pi)
    step = max(1.5, extent * rng.uniform(0.015, 0.06))
    target = (x + step * np.cos(direction), y + step * np.sin(direction))
    return _move(pixels, (x, y), target, float(rng.uniform(-15, 15))), piece


_PAINTERS: Mapping[DefectKind, _Painter] = MappingProxyType(
    {
        "cutpaste": _cutpaste,
        "cutpaste_scar": _cutpaste_scar,
        "perlin": _perlin,
        "scratch": _scratch,
        "spot": _spot,
        "missing": _missing,
        "shifted": _shifted,
    }
)


def _extent(part: Mask) -> float:
    """The side of the square with the part's area, in pixels."""
    return float(np.sqrt(part.sum()))


def _box(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold all of a mask; empty for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _place(rng: np.random.Generator, where: Mask) -> tuple[float, float]:
    """A random pixel (y, x) of a mask."""
    candidates = np.flatnonzero(where)
    y, x = divmod(int(candidates[rng.integers(len(candidates))]), where.shape[1])
    return float(y), float(x)


def _move(pixels: _Float, source: tuple[float, float], target: tuple[float, float], angle: float) -> _Float:
    """The image turned by `angle` degrees about `source` and carried so that `source` lies on `target` (x, y)."""
    matrix = cv2.getRotationMatrix2D(source, angle, 1.0)
    matrix[:, 2] += np.array(target) - np.array(source)
    height, width = pixels.shape[:2]
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32)


def _fill(shape: tuple[int, ...], polygon: NDArray[Any]) -> Mask:
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(polygon).astype(np.int32)], 1)
    return drawn.astype(np.bool_)


def _blob(shape: tuple[int, ...], center: tuple[float, float], radius: float, rng: np.random.Generator) -> Mask:
    """An irregular round area: an ellipse whose radius swings with the angle."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    reach = np.ones_like(angle)
    for harmonic in range(2, 6):
        reach += rng.uniform(0, 0.5) / harmonic * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    squeeze, turn = np.sqrt(rng.uniform(0.4, 1.0)), rng.uniform(0, np.pi)
    along, across = radius * reach * np.cos(angle) / squeeze, radius * reach * np.sin(angle) * squeeze
    x = center[1] + along * np.cos(turn) - across * np.sin(turn)
    y = center[0] + along * np.sin(turn) + across * np.cos(turn)
    return _fill(shape, np.stack([x, y], axis=1))


def _is_gray(pixels: _Float) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())


def _color(rng: np.random.Generator, pixels: _Float) -> _Float:
    """A random color (3,), gray on gray images."""
    color = rng.uniform(0, 255, 3)
    return (np.full(3, color[0]) if _is_gray(pixels) else color).astype(np.float32)


def _gains(rng: np.random.Generator, pixels: _Float, spread: float) -> _Float:
    """Factors (3,) for the channels within 1 +- spread, equal ones on gray images."""
    common = rng.uniform(1 - spread, 1 + spread)
    tint = rng.uniform(1 - spread / 2, 1 + spread / 2, 3)
    return (np.full(3, common) if _is_gray(pixels) else common * tint).astype(np.float32)


def _contrast(pixels: _Float, rng: np.random.Generator, where: Mask, low: float, high: float) -> _Float:
    """A change of color (3,) of `low` to `high` gray levels, in a direction that has room on that place."""
    local = pixels[where].mean() if where.any() else 128.0
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if not high < local < 255 - high:
        sign = 1.0 if local < 128 else -1.0
    tint = rng.uniform(0.6, 1.0, 3)
    return (sign * rng.uniform(low, high) * (np.ones(3) if _is_gray(pixels) else tint)).astype(np.float32)


def perlin_noise(shape: tuple[int, ...], cells: int, rng: np.random.Generator) -> _Float:
    """Perlin's gradient noise in about [-1, 1], `cells` grid cells along the longer side."""
    height, width = shape
    scale = cells / max(height, width)
    y, x = np.arange(height) * scale, np.arange(width) * scale
    row, column = y.astype(np.intp), x.astype(np.intp)
    angle = rng.uniform(0, 2 * np.pi, (int(row[-1]) + 2, int(column[-1]) + 2))
    gradient_y, gradient_x = np.sin(angle), np.cos(angle)
    dy, dx = (y - row)[:, None], (x - column)[None, :]

    def corner(down: int, right: int) -> NDArray[np.float64]:
        index = np.ix_(row + down, column + right)
        product: NDArray[np.float64] = gradient_y[index] * (dy - down) + gradient_x[index] * (dx - right)
        return product

    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (dy, dx))
    top = corner(0, 0) + fade_x * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade_x * (corner(1, 1) - corner(1, 0))
    return np.asarray(np.sqrt(2) * (top + fade_y * (bottom - top)), np.float32)
