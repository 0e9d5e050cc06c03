"""Fitting and calibrating on tiles of large images; detectors see tiles as images and know nothing of it.

Folds, scores and thresholds are of images, never of tiles: a held-out image is cut, scored and stitched whole, by a
model that saw none of its tiles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.sequence import ImageFiles
from blemish.detectors.base import Detector, FitRequest
from blemish.errors import DataError, SettingsError
from blemish.inspection.predict import TileGrid
from blemish.schema import Fit, Image, Progress, Tiling, Zone, silent
from blemish.workflow.calibrate import GoodScores, score_images

MAX_FIT_PIXELS = 2**25
"""Most pixels at the input size that are learned from: 512 tiles of 256 x 256, or 128 of 512 x 512."""
OVERLAP_SHARE = 0.25
"""Share of a tile that its neighbor sees too, to the next multiple of 32 pixels: what a network sees around a spot."""
GOLDEN = 0.5 * (5**0.5 - 1)


@dataclasses.dataclass(frozen=True)
class FitTiles:
    """The tiles that are learned from, uint8 at the input size; `owners` are the images they were cut from."""

    tiles: tuple[Image, ...]
    owners: NDArray[np.intp]
    num_possible: int

    def of_images(self, places: NDArray[np.intp]) -> list[Image]:
        return [self.tiles[index] for index in np.flatnonzero(np.isin(self.owners, places))]


def make_tiling(tile_px: int, size: int | None, image_hws: Sequence[tuple[int, int]]) -> tuple[Tiling, int]:
    """The tiling, and the side of the graph's input: `size`, or the tile's own side to the next multiple of 32."""
    side = size if size is not None else 32 * max(2, round(tile_px / 32))
    if side % 32 or not 64 <= side <= 1024:
        raise SettingsError(
            f"--tile {tile_px}: its size for the detector would be {side} pixels; "
            "give --size, a multiple of 32 from 64 to 1024, for example 512"
        )
    try:
        tiling = Tiling(tile_px, 32 * max(1, round(side * OVERLAP_SHARE / 32)))
    except ValueError as error:
        raise SettingsError(f"--tile {tile_px}: {error}") from None
    largest = max(max(hw) for hw in image_hws)
    if largest <= tile_px:
        raise SettingsError(
            f"--tile {tile_px}: no image is larger than a tile (the longest side is {largest} pixels); leave it out"
        )
    return tiling, side


def cut_fit_tiles(
    images: ImageFiles, image_hws: Sequence[tuple[int, int]], tiling: Tiling, side: int, progress: Progress
) -> FitTiles:
    """Tiles of good images to learn from: all of them, or `MAX_FIT_PIXELS`, spread evenly over images and places."""
    grids = [TileGrid.of(hw, tiling, (side, side)) for hw in image_hws]
    num_possible = sum(len(grid) for grid in grids)
    budget = max(1, MAX_FIT_PIXELS // side**2)
    used = np.unique(np.linspace(0, len(grids) - 1, min(budget, len(grids))).round().astype(np.intp))
    tiles: list[Image] = []
    owners: list[int] = []
    for done, number in enumerate(used.tolist(), start=1):
        share = len(grids[number]) if num_possible <= budget else max(1, budget // len(used))
        image = images[number]
        for tile in spread_over(len(grids[number]), share, number):
            tiles.append(grids[number].cut(image, tile))
            owners.append(number)
        progress("cutting tiles", done, len(used))
    return FitTiles(tuple(tiles), np.array(owners, np.intp), num_possible)


def spread_over(num_tiles: int, share: int, number: int) -> list[int]:
    """At most `share` of an image's tiles at even steps; from image to image the first moves on by the golden section.

    >>> [spread_over(6, 2, number) for number in range(4)]
    [[0, 3], [1, 4], [0, 3], [2, 5]]
    """
    share = min(share, num_tiles)
    first = (number * GOLDEN) % 1
    return sorted({int((place + first) * num_tiles / share) for place in range(share)})


def fit_on_tiles(
    module: Detector,
    request: FitRequest[Any],
    cut: FitTiles,
    images: ImageFiles,
    *,
    tiling: Tiling,
    folds: Sequence[NDArray[np.intp]] | None,
    held: NDArray[np.intp],
    zone: Zone | None,
) -> tuple[Fit, GoodScores, NDArray[np.intp]]:
    """The fit on tiles, scores of whole good images by models that saw none of their tiles, and the places of these.

    `images` are those that the tiles were cut from; `request` is to fit on all tiles. Without `folds` the images
    `held` are kept out of the fit.
    """
    everything = np.arange(len(images))

    def fit(places: NDArray[np.intp], request: FitRequest[Any]) -> Fit:
        part = cut.of_images(places)
        if len(part) < module.INFO.min_images:
            raise DataError(
                f"{len(part)} tiles to learn from, {module.INFO.name} needs at least {module.INFO.min_images}: "
                "add images"
            )
        return module.fit(dataclasses.replace(request, images=part))

    def score(made: Fit, places: NDArray[np.intp], report: Progress) -> GoodScores:
        part = images.subset(places)
        return score_images(
            made.graph, part, made.reduction, tiling=tiling, zone=zone, progress=report, threads=request.threads
        )

    if folds is None:
        kept = np.setdiff1d(everything, held)
        if len(held) < 2:
            raise DataError(
                f"{len(images)} good images are too few to keep a part for calibration: "
                "add images or use --calibration cross"
            )
        made = fit(kept, request)
        return made, score(made, held, request.report), held
    made = fit(everything, request)
    parts: list[GoodScores] = []
    for number, fold in enumerate(folds, start=1):
        other = fit(np.setdiff1d(everything, fold), dataclasses.replace(request, progress=silent))
        request.report("fitting without some images", number, len(folds))

        def tell(task: str, done: int, total: int, before: int = sum(len(part.scores) for part in parts)) -> None:
            request.report(task, before + done, len(images))

        parts.append(score(other, fold, tell))
    scores = GoodScores(
        np.concatenate([part.scores for part in parts]), np.concatenate([part.map_maxima for part in parts])
    )
    return made, scores, np.concatenate(folds)
