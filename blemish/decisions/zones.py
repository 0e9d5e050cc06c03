"""Zones: where to look, from mask images or polygons, and as masks at the size of a map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blemish.errors import CalibrationError, ImageError
from blemish.schema import Mask, Polygon, Zone, ZoneMask


def zone_from_mask(mask: NDArray[np.generic], image_hw: tuple[int, int]) -> Zone:
    """The zone of a mask image (height, width), non-zero where to look, drawn on an image of `image_hw`."""
    if mask.ndim != 2:
        raise CalibrationError(f"a zone mask is a gray image; found an array of shape {mask.shape}")
    if mask.shape != tuple(image_hw):
        raise CalibrationError(
            f"the zone mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"but the images are {image_hw[1]} x {image_hw[0]}; "
            "draw the mask on one of the images, at its full size"
        )
    inside = np.asarray(mask != 0).ravel()
    if not inside.any():
        raise CalibrationError("the zone mask is black everywhere; paint white where to look")
    changes = np.flatnonzero(np.diff(inside.astype(np.int8))) + 1
    bounds = np.concatenate(([0], changes, [inside.size]))
    runs = np.diff(bounds).tolist()
    return Zone(mask=ZoneMask(image_hw=(mask.shape[0], mask.shape[1]), runs=tuple([0, *runs] if inside[0] else runs)))


def zone_from_polygons(inspect: Sequence[Polygon] = (), ignore: Sequence[Polygon] = ()) -> Zone:
    """The zone of polygons with corners (x, y) in shares of the image's width and height; they fit any image size.

    >>> zone_from_polygons(ignore=[[(0, 0), (1, 0), (1, 0.1), (0, 0.1)]]).ignore
    (((0.0, 0.0), (1.0, 0.0), (1.0, 0.1), (0.0, 0.1)),)
    """
    inside, outside = (
        tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in polygons) for polygons in (inspect, ignore)
    )
    return Zone(inside, outside)


def fits_zone(zone: Zone, image_hw: tuple[int, int]) -> bool:
    """Whether a zone can be laid over images of this size: polygons fit all, a mask those it was drawn for."""
    return zone.mask is None or zone.mask.image_hw == tuple(image_hw)


def check_zone(zone: Zone, image_hw: tuple[int, int], name: str) -> None:
    """Raises `ImageError` for an image of another size than the one the zone's mask was drawn for."""
    if zone.mask is not None and not fits_zone(zone, image_hw):
        height, width = zone.mask.image_hw
        raise ImageError(
            f"{name or 'image'}: it is {image_hw[1]} x {image_hw[0]} pixels, but the zone was drawn for images of "
            f"{width} x {height}; take the picture at that size, or calibrate again with a zone for this one"
        )


def check_zone_of_all(zone: Zone | None, image_hws: Sequence[tuple[int, int]], names: Sequence[str]) -> None:
    """Raises where a zone's mask was drawn for another size than that of the good images it is given with."""
    if zone is None or zone.mask is None:
        return
    others = [place for place, image_hw in enumerate(image_hws) if not fits_zone(zone, image_hw)]
    if others:
        (height, width), (zone_height, zone_width) = image_hws[others[0]], zone.mask.image_hw
        raise CalibrationError(
            f"the zone mask is {zone_width} x {zone_height} pixels, but {len(others)} of {len(names)} images are of "
            f"another size, the first {names[others[0]]} with {width} x {height}; draw the mask on one of the images, "
            "at its full size" + ("" if len(others) == len(names) else ", and give images of one size")
        )


@lru_cache(maxsize=8)
def zone_mask(zone: Zone, map_hw: tuple[int, int]) -> Mask:
    """Where to look, bool (height, width) at the size of a map; read-only. A pixel counts by where its center lies."""
    height, width = map_hw
    inside = np.ones((height, width), dtype=bool)
    if zone.mask is not None:
        full = _decoded(zone.mask)
        rows = (np.arange(height) * 2 + 1) * full.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * full.shape[1] // (2 * width)
        inside &= full[np.ix_(rows, columns)]
    if zone.inspect:
        inside &= _filled(zone.inspect, map_hw)
    if zone.ignore:
        inside &= ~_filled(zone.ignore, map_hw)
    if not inside.any():
        raise CalibrationError("the zone leaves nothing of the image to look at; check its polygons and mask")
    inside.flags.writeable = False
    return inside


def _decoded(mask: ZoneMask) -> Mask:
    height, width = mask.image_hw
    values = np.arange(len(mask.runs)) % 2 == 1
    return np.repeat(values, mask.runs).reshape(height, width)


def _filled(polygons: tuple[Polygon, ...], map_hw: tuple[int, int]) -> Mask:
    """Pixels whose center lies in any of the polygons."""
    height, width = map_hw
    centers_x = (np.arange(width) + 0.5) / width
    centers_y = ((np.arange(height) + 0.5) / height)[:, None]
    filled = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        inside = np.zeros((height, width), dtype=bool)
        # Even-odd rule: a center lies inside when a ray to the right crosses an odd number of edges.
        for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            if y0 == y1:
                continue
            crosses = (y0 > centers_y) != (y1 > centers_y)
            inside ^= crosses & (centers_x < (x1 - x0) * (centers_y - y0) / (y1 - y0) + x0)
        filled |= inside
    return filled
