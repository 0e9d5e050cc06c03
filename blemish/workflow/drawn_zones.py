"""What people draw or type about where to look -> a zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blemish.datasets.drawn import SUFFIXES, DrawnImage, Points, read_drawn
from blemish.decisions.zones import zone_from_mask, zone_from_polygons
from blemish.errors import CalibrationError, DataError, SettingsError
from blemish.images.decode import read_image_hw
from blemish.images.mask import read_mask
from blemish.schema import Polygon, Zone

INSPECT = ("inspect", "zone", "roi", "include")
IGNORE = ("ignore", "exclude", "mask")
"""Names of shapes in annotation files: where to look, and where not."""

DEFECTS = "defects"


@dataclass(frozen=True)
class DrawnZone:
    """A zone, the image it was drawn on where that is known and there, and the scale that was measured on it."""

    zone: Zone
    image: Path | None = None
    mm_per_px: float | None = None


def read_zone(path: Path, drawn_on: Path | None = None) -> DrawnZone:
    """The zone of a mask image, white where to look, or of shapes in an annotation file (see `read_drawn`).

    Shapes named as in `INSPECT` say where to look, those named as in `IGNORE` where not. Where a file holds several
    images, `drawn_on` names one. Raises DataError, CalibrationError.
    """
    if path.suffix.lower() not in SUFFIXES:
        mask = read_mask(path)
        return DrawnZone(zone_from_mask(mask, (mask.shape[0], mask.shape[1])))
    image = _image_of(path, read_drawn(path), drawn_on)
    beside = path.parent / image.name.replace("\\", "/")
    source = drawn_on or (beside if beside.is_file() else None)
    hw = image.image_hw
    if source is not None:
        found = read_image_hw(source)
        if hw is not None and hw != found:
            raise DataError(
                f"{path}: its shapes were drawn on {hw[1]} x {hw[0]} pixels, but {source} has {found[1]} x {found[0]}; "
                "draw them again on this image"
            )
        hw = found
    if hw is None:
        raise DataError(
            f"{path}: it does not say how large {image.name} is; put the image beside it, or name it with --zone-on"
        )
    inspect: list[Polygon] = []
    ignore: list[Polygon] = []
    for shape in image.shapes:
        name = shape.label.strip().lower()
        if name == DEFECTS:  # drawn on the same page, and no place to look or not to look
            continue
        if name not in (*INSPECT, *IGNORE):
            raise DataError(
                f"{path}: the shape '{shape.label}' is no zone: name zones {' or '.join(INSPECT)}, and those to leave "
                f"out {' or '.join(IGNORE)}"
            )
        (inspect if name in INSPECT else ignore).append(_in_shares(shape.points, hw))
    if not inspect and not ignore:
        raise DataError(f"{path}: no shape is drawn on {image.name}; draw zones named inspect or ignore")
    try:
        return DrawnZone(zone_from_polygons(inspect, ignore), source, image.mm_per_px)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error


def _image_of(path: Path, images: Sequence[DrawnImage], drawn_on: Path | None) -> DrawnImage:
    drawn = [image for image in images if image.shapes] or list(images)
    if drawn_on is not None and len(drawn) > 1:
        drawn = [image for image in drawn if Path(image.name.replace("\\", "/")).name == drawn_on.name]
    if len(drawn) != 1:
        found = "no image" if not drawn else f"{len(drawn)} images"
        raise DataError(f"{path}: it holds {found} with shapes; a zone is drawn on one: name it with --zone-on IMAGE")
    return drawn[0]


def _in_shares(points: Points, hw: tuple[int, int]) -> Polygon:
    """Corners in shares of the sides; those a little outside, as drawn at the edge, are brought to it."""
    return tuple((min(max(x / hw[1], 0.0), 1.0), min(max(y / hw[0], 0.0), 1.0)) for x, y in points)


def parse_polygon(text: str, option: str = "--inspect-zone") -> Polygon:
    """`x,y x,y x,y` in shares of width and height -> its corners. Raises SettingsError.

    >>> parse_polygon("0,0 1,0 1,0.1 0,0.1")
    ((0.0, 0.0), (1.0, 0.0), (1.0, 0.1), (0.0, 0.1))
    """
    try:
        corners = tuple((float(x), float(y)) for x, y in (pair.split(",") for pair in text.replace(";", " ").split()))
    except ValueError:
        corners = ()
    is_inside = all(math.isfinite(value) and 0 <= value <= 1 for corner in corners for value in corner)
    if len(corners) < 3 or not is_inside:
        raise SettingsError(
            f"{option} '{text}': give at least three corners x,y in shares of the image's width and height, 0 to 1, "
            "for example '0,0 1,0 1,0.1 0,0.1'"
        )
    return corners


def drawn_zone(
    path: Path | None, inspect: Sequence[str] | None, ignore: Sequence[str] | None, drawn_on: Path | None
) -> DrawnZone | None:
    """The zone of a file and of polygons as text together; None where neither is given."""
    inside = tuple(parse_polygon(text, "--inspect-zone") for text in inspect or ())
    outside = tuple(parse_polygon(text, "--ignore-zone") for text in ignore or ())
    found = None if path is None else read_zone(path, drawn_on)
    if not inside and not outside:
        return found
    if found is None:
        return DrawnZone(Zone(inside, outside), drawn_on)
    zone = replace(found.zone, inspect=(*found.zone.inspect, *inside), ignore=(*found.zone.ignore, *outside))
    return replace(found, zone=zone)
