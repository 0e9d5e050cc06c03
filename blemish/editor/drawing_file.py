"""What people draw on one image: zones, defects and a scale; checked, written to files, and read again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blemish.datasets.drawn import FORMAT, KINDS, MAX_CORNERS, VERSION, Points, read_drawn
from blemish.errors import DataError, SettingsError
from blemish.files import write_file
from blemish.schema import Mask
from blemish.schema.calibration import MM_PER_PX
from blemish.schema.meaning import check_number


@dataclass(frozen=True)
class Drawing:
    """Polygons in pixels of an image of `image_hw`, and its scale in millimeters a pixel, where that was measured."""

    image_hw: tuple[int, int]
    inspect: tuple[Points, ...] = ()
    ignore: tuple[Points, ...] = ()
    defects: tuple[Points, ...] = ()
    mm_per_px: float | None = field(default=None)

    def __post_init__(self) -> None:
        height, width = self.image_hw
        polygons = (*self.inspect, *self.ignore, *self.defects)
        if sum(map(len, polygons)) > MAX_CORNERS:
            raise SettingsError(f"more than {MAX_CORNERS:,} corners: draw with fewer")
        for polygon in polygons:
            if len(polygon) < 3:
                raise SettingsError(f"a shape of {len(polygon)} corners holds nothing: draw at least three")
            for x, y in polygon:
                if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= width and 0 <= y <= height):
                    raise SettingsError(f"the corner {x:g}, {y:g} lies outside of the image")
        if self.mm_per_px is not None:
            check_number("the scale in millimeters a pixel", self.mm_per_px, *MM_PER_PX, error=SettingsError)

    @property
    def defect_mask(self) -> Mask:
        """Where defects are drawn, bool (height, width)."""
        mask = np.zeros(self.image_hw, np.uint8)
        for polygon in self.defects:
            # Corners lie between pixels: half a pixel less is the middle of the pixel right below it.
            corners = np.rint((np.array(polygon) - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(mask, [corners.reshape(-1, 1, 2)], 1, shift=4)
        return mask.astype(np.bool_)


def parse_drawing(value: Any, image_hw: tuple[int, int]) -> Drawing:
    """The drawing in a request of the page. Raises SettingsError for anything else."""
    if not isinstance(value, Mapping):
        raise SettingsError("the request holds no drawing")
    try:
        shapes = {
            kind: tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in value.get(kind, ()))
            for kind in KINDS
        }
        scale = value.get("mm_per_px")
        return Drawing(image_hw, **shapes, mm_per_px=None if scale is None else float(scale))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"the request holds no drawing: {error}") from error


def mask_path(path: Path, image: Path) -> Path:
    """Where the mask of drawn defects goes: beside the zones, named as masks of MVTec AD are."""
    return path.parent / f"{image.stem}_mask.png"


def write_drawing(drawing: Drawing, path: Path, image: Path) -> tuple[Path, ...]:
    """The files written: the zones as JSON, and the mask of the defects where some are drawn. Raises OutputError."""
    try:
        named = os.path.relpath(image, path.parent)
    except ValueError:  # another drive
        named = str(image.resolve())
    found = {
        "format": FORMAT,
        "version": VERSION,
        "image": Path(named).as_posix(),
        "image_hw": drawing.image_hw,
        "mm_per_px": drawing.mm_per_px,
        "inspect": drawing.inspect,
        "ignore": drawing.ignore,
        "defects": drawing.defects,
    }
    written = [write_file(path, (json.dumps(found, indent=1) + "\n").encode())]
    if drawing.defects:
        mask = drawing.defect_mask.astype(np.uint8) * 255
        written.append(write_file(mask_path(path, image), cv2.imencode(".png", mask)[1].tobytes()))
    return tuple(written)


def read_drawing(path: Path, image_hw: tuple[int, int]) -> Drawing:
    """What was drawn before, to go on with it. Raises DataError where the file is damaged or of another image size."""
    [found] = read_drawn(path)
    if found.image_hw != image_hw:
        drawn = "an unknown size" if found.image_hw is None else f"{found.image_hw[1]} x {found.image_hw[0]} pixels"
        raise DataError(
            f"{path}: drawn on an image of {drawn}, this one has {image_hw[1]} x {image_hw[0]}; write to another file "
            "with -o"
        )
    shapes = {kind: tuple(shape.points for shape in found.shapes if shape.label == kind) for kind in KINDS}
    return Drawing(image_hw, **shapes, mm_per_px=found.mm_per_px)
