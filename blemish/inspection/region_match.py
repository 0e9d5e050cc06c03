"""Regions found against the true defects of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.schema import Mask, Region


@dataclass(frozen=True)
class RegionMatch:
    """How many marked defects are touched by a region, and how many regions touch a defect.

    A defect is a connected part of the mask (8 neighbors).
    """

    num_defects: int = 0
    num_defects_found: int = 0
    num_regions: int = 0
    num_regions_on_defects: int = 0

    def __add__(self, other: RegionMatch) -> RegionMatch:
        return RegionMatch(
            self.num_defects + other.num_defects,
            self.num_defects_found + other.num_defects_found,
            self.num_regions + other.num_regions,
            self.num_regions_on_defects + other.num_regions_on_defects,
        )


def match_regions(regions: Sequence[Region], mask: Mask) -> RegionMatch:
    """The match of one image; `mask` has the image's size, in whose pixels the regions are.

    >>> match_regions((), np.eye(4, dtype=np.bool_))
    RegionMatch(num_defects=1, num_defects_found=0, num_regions=0, num_regions_on_defects=0)
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    found: set[int] = set()
    on_defects = 0
    for region in regions:
        x, y, width, height = region.box
        inside = np.asarray(labels)[y : y + height, x : x + width]
        touched = set(np.unique(inside[_filled(region)]).tolist()) - {0}
        found |= touched
        on_defects += bool(touched)
    return RegionMatch(count - 1, len(found), len(regions), on_defects)


def _filled(region: Region) -> NDArray[np.bool_]:
    """The pixels of its box that a region covers."""
    x, y, width, height = region.box
    canvas = np.zeros((height, width), np.uint8)
    if region.contour:
        contour = np.asarray(region.contour, dtype=np.int32).reshape(-1, 1, 2)
        cv2.drawContours(canvas, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
    return canvas.astype(np.bool_)
