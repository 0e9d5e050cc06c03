"""Good images as canvases, and a plan of painted defects on them: which kind, how large, how strong, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.sensitivity import STRENGTHS
from blemish.decisions.zones import check_zone, zone_mask
from blemish.schema import GradedKind, Image, Mask, Zone
from blemish.synthesis.graded import GradedDefect, paint_graded
from blemish.synthesis.painted import estimate_part

SIZES: Mapping[GradedKind, tuple[float, float]] = MappingProxyType(
    {"scratch": (0.002, 0.03), "spot": (0.005, 0.15), "missing": (0.005, 0.15), "texture": (0.01, 0.2)}
)
"""The smallest and the largest defects that are painted, in shares of the part's extent."""
BLOCK = len(SIZES) * len(STRENGTHS)
"""Painted defects of which each is of another kind or strength; a plan is made of such blocks."""

_GRID_SIDE = 192  # places are chosen on a grid of at most so many cells a side
_COARSE = 16


@dataclass(frozen=True)
class Canvas:
    """A good image and where defects may be painted on it.

    `places` are cells (row, column) of a grid of `grid_hw` over the image, neighbors mostly beside each other. `extent`
    is the side in pixels of a square as large as the part, at most the image's shorter side.
    """

    image: Image
    grid_hw: tuple[int, int]
    places: NDArray[np.intp]
    extent: float

    def place(self, share: float, jitter: tuple[float, float]) -> tuple[float, float]:
        """The place (x, y) in pixels that lies so far along all of them; `jitter`, 0 to 1, is where in its cell."""
        row, column = self.places[min(int(share * len(self.places)), len(self.places) - 1)]
        height, width = self.image.shape[:2]
        x = (column + jitter[0]) / self.grid_hw[1] * width
        y = (row + jitter[1]) / self.grid_hw[0] * height
        return min(float(x), width - 1.0), min(float(y), height - 1.0)


@dataclass(frozen=True)
class PlannedDefect:
    """A defect to paint on the canvas of a number, at the place that lies so far along all of its places."""

    canvas: int
    defect: GradedDefect
    place_share: float
    jitter: tuple[float, float]

    def paint(self, canvases: Sequence[Canvas]) -> tuple[Image, tuple[float, float]]:
        """The image with the defect, and its place (x, y) in shares of the image's sides."""
        canvas = canvases[self.canvas]
        x, y = canvas.place(self.place_share, self.jitter)
        painted, _ = paint_graded(canvas.image, self.defect, (x, y))
        return painted, (x / canvas.image.shape[1], y / canvas.image.shape[0])


def make_canvas(image: Image, zone: Zone | None = None) -> Canvas:
    """The canvas of a good image: its part inside the zone, or all of the zone where the part lies outside."""
    height, width = image.shape[:2]
    if zone is not None:
        check_zone(zone, (height, width), "good image")
    shrink = min(1.0, _GRID_SIDE / max(height, width))
    grid_hw = max(1, round(height * shrink)), max(1, round(width * shrink))
    part = _part(image, grid_hw)
    inside = np.ones(grid_hw, np.bool_) if zone is None else zone_mask(zone, grid_hw)
    where = part & inside if (part & inside).any() else inside
    rows, columns = np.nonzero(where)
    # Cell by cell of a coarse grid, so that a share along the places is a place on the part.
    cells = max(1, max(grid_hw) // _COARSE)
    order = np.lexsort((columns, rows, columns // cells, rows // cells))
    covered = float(where.sum()) / (grid_hw[0] * grid_hw[1]) * height * width
    extent = min(covered**0.5, float(height), float(width))
    return Canvas(image, grid_hw, np.stack([rows, columns], axis=1)[order], extent)


def plan_defects(
    num_painted: int, canvases: Sequence[Canvas], seed: int, sizes: Mapping[GradedKind, tuple[float, float]] = SIZES
) -> Iterator[PlannedDefect]:
    """`num_painted` defects, as evenly spread over kinds, strengths, sizes, places and canvases as can be.

    That holds for every whole number of blocks from the first on: so a plan may be cut off. Sizes are spread evenly
    over their logarithm.
    """
    rng = np.random.default_rng(seed)
    extent = median(canvas.extent for canvas in canvases)
    cases = list(product(sizes, STRENGTHS.values()))
    starts = rng.random((len(cases), 2))
    order: list[int] = []
    for number in range(num_painted):
        if not order:
            order = rng.permutation(len(canvases)).tolist()
        round_number, case = divmod(number, len(cases))
        kind, strength = cases[case]
        low, high = size_range(sizes[kind], extent)
        share = (starts[case, 0] + round_number * _GOLDEN) % 1
        place_share = (starts[case, 1] + round_number * _SILVER) % 1
        defect = GradedDefect(kind, low * float(high / low) ** float(share), strength, int(rng.integers(2**31)))
        yield PlannedDefect(order.pop(), defect, float(place_share), (float(rng.random()), float(rng.random())))


_GOLDEN, _SILVER = 0.7548776662466927, 0.5698402909980532  # steps that fill a square evenly (Roberts 2018)


def size_range(shares: tuple[float, float], extent: float) -> tuple[float, float]:
    """The smallest and the largest size in pixels: at least one pixel, and four times that."""
    low = max(1.0, shares[0] * extent)
    return low, max(4 * low, shares[1] * extent)


def _part(image: Image, hw: tuple[int, int]) -> Mask:
    """The mask of the part at another, smaller size."""
    height, width = image.shape[:2]
    shrink = min(1.0, 512 / max(height, width))
    small_hw = max(1, round(height * shrink)), max(1, round(width * shrink))
    small = np.asarray(cv2.resize(image, small_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    part = cv2.resize(estimate_part(small).astype(np.uint8), hw[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(part, np.bool_)
