"""Large images by tiles: where they lie, and how their maps become one without seams.

Tiles overlap. Of the pixels that two of them share, those next to the edge of a tile, where the network sees less of
the surroundings, count for nothing; in between the maps pass over into each other. Tiles begin at multiples of the
strides of the network, so that a spot gives the same features whichever tile it lies in; only the last of a row or
column ends with the image, wherever that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.reduction import reduce_map
from blemish.errors import BundleError
from blemish.images.resize import resize_image, resize_map
from blemish.runtime.pipeline import map_in_order
from blemish.schema import AnomalyMap, Image, Prediction, Reduction, Tiling

MAX_MAP_PIXELS = 4_000_000
"""Larger maps are kept at a whole fraction of their size, of each square of values the largest."""
EDGE_SHARE, RAMP_SHARE = 0.25, 0.5
"""Shares of the overlap: what counts for nothing at the edge of a tile, and where two maps pass over."""


class Predicts(Protocol):
    """A session as `blemish.runtime.session.Session`."""

    @property
    def input_hw(self) -> tuple[int, int]: ...

    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image: its `length` in pixels, and the side of the graph's input."""

    length: int
    tiling: Tiling
    input_px: int

    @property
    def scale(self) -> float:
        """Pixels of the image for each pixel of the map."""
        return self.tiling.tile_px / self.input_px

    @property
    def map_px(self) -> int:
        """Length of the map that belongs to the image."""
        return max(1, round(self.length / self.scale))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where tiles begin, in pixels of the map."""
        step = self.input_px - self.tiling.overlap_px
        last = max(0, self.map_px - self.input_px)
        return tuple(min(number * step, last) for number in range(math.ceil(last / step) + 1))

    def image_start(self, number: int) -> int:
        """Where a tile begins, in pixels of the image."""
        return max(0, min(round(self.starts[number] * self.scale), self.length - self.tiling.tile_px))

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """How much each tile counts at each of its pixels: (tiles, input_px); at each place of the map the sum is 1."""
        overlap, side = self.tiling.overlap_px, self.input_px
        from_edge = np.arange(side) + 0.5
        raw = np.ones((len(self.starts), side))
        for number in range(len(self.starts)):
            distance = np.full(side, np.inf)
            if number > 0:
                distance = np.minimum(distance, from_edge)
            if number < len(self.starts) - 1:
                distance = np.minimum(distance, from_edge[::-1])
            raw[number] = np.clip((distance - EDGE_SHARE * overlap) / (RAMP_SHARE * overlap), 0, 1)
        total = np.zeros(self.starts[-1] + side)
        for start, row in zip(self.starts, raw, strict=True):
            total[start : start + side] += row
        for start, row in zip(self.starts, raw, strict=True):
            row /= total[start : start + side]
        return raw.astype(np.float32)


@dataclass(frozen=True)
class TileGrid:
    """The tiles of an image, row by row."""

    rows: Axis
    columns: Axis

    @staticmethod
    def of(image_hw: tuple[int, int], tiling: Tiling, input_hw: tuple[int, int]) -> TileGrid:
        if input_hw[0] != input_hw[1]:
            raise BundleError(
                f"tiles are squares, but the graph takes {input_hw[0]} x {input_hw[1]} pixels; train anew"
            )
        return TileGrid(Axis(image_hw[0], tiling, input_hw[0]), Axis(image_hw[1], tiling, input_hw[0]))

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def divisor(self) -> int:
        """How many values of the map, across and down, are kept as one."""
        return max(1, math.ceil(math.sqrt(self.rows.map_px * self.columns.map_px / MAX_MAP_PIXELS)))

    def cut(self, image: Image, number: int) -> Image:
        """A tile at the input size; beyond the edge of a small image its mirror image goes on."""
        row, column = divmod(number, len(self.columns.starts))
        side = self.rows.tiling.tile_px
        top, left = self.rows.image_start(row), self.columns.image_start(column)
        tile = image[top : top + side, left : left + side]
        below, right = side - tile.shape[0], side - tile.shape[1]
        if below or right:
            tile = np.asarray(cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
        return resize_image(tile, (self.rows.input_px, self.rows.input_px))

    def stitch(self, maps: Iterable[AnomalyMap]) -> AnomalyMap:
        """The map of the image from those of its tiles, in their order; a few rows of tiles are held at a time."""
        height, width, side = self.rows.map_px, self.columns.map_px, self.rows.input_px
        kept = np.full((-(-height // self.divisor), -(-width // self.divisor)), -np.inf, np.float32)
        band = np.zeros((side, self.columns.starts[-1] + side), np.float32)
        maps = iter(maps)
        for number, top in enumerate(self.rows.starts):
            for left, weights, tile_map in zip(self.columns.starts, self.columns.weights, maps, strict=False):
                blended = resize_map(tile_map, (side, side)) * weights * self.rows.weights[number][:, None]
                band[:, left : left + side] += blended
            bottom = self.rows.starts[number + 1] if number + 1 < len(self.rows.starts) else height
            _keep_largest(kept, band[: bottom - top, :width], top, self.divisor)
            band[: side - (bottom - top)] = band[bottom - top :]
            band[side - (bottom - top) :] = 0
        return kept


def _keep_largest(kept: AnomalyMap, rows: AnomalyMap, top: int, divisor: int) -> None:
    """Takes finished rows of the map, the first of them row `top`, into the map that is kept."""
    bottom = top + len(rows)
    if divisor == 1:
        kept[top:bottom] = rows
        return
    squares = np.maximum.reduceat(rows, np.arange(0, rows.shape[1], divisor), axis=1)
    first = -(-(top + 1) // divisor) * divisor
    edges = [top, *range(first, bottom, divisor)]
    largest = np.maximum.reduceat(squares, np.array(edges) - top, axis=0)
    part = kept[top // divisor : top // divisor + len(largest)]
    np.maximum(part, largest, out=part)


def predict_image(
    session: Predicts, image: Image, reduction: Reduction, tiling: Tiling | None, *, num_threads: int = 1
) -> tuple[Prediction, Reduction]:
    """What a graph says of an image of any size, and by what reduction its score comes from its map.

    With `tiling` the map is stitched from those of the tiles, and the session used by `num_threads` at a time.
    Where `divisor` x `divisor` values are kept as one, a top mean takes so many fewer. A score that comes from features
    is the largest of any tile. Reconstructions of tiles are left out.
    """
    if tiling is None:
        [prediction] = session.predict([resize_image(image, session.input_hw)])
        return prediction, reduction
    grid = TileGrid.of((image.shape[0], image.shape[1]), tiling, session.input_hw)
    scores: list[float] = []

    def predict(number: int) -> Prediction:
        [prediction] = session.predict([grid.cut(image, number)])
        return prediction

    def maps() -> Iterator[AnomalyMap]:
        for prediction in map_in_order(predict, range(len(grid)), num_threads):
            scores.append(prediction.anomaly_score)
            yield prediction.anomaly_map

    stitched = grid.stitch(maps())
    kept = Reduction(reduction.kind, max(1, reduction.count // grid.divisor**2))
    score = max(scores) if reduction.kind == "features" else reduce_map(stitched, kept)
    return Prediction(score, stitched), kept
