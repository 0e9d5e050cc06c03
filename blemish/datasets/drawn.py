"""Shapes that people drew on images with other tools: LabelMe, COCO, CVAT, VIA, and the files of `blemish zones edit`.

One reader for each format, told apart by what the file holds. All give the same: named polygons in pixels.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from blemish.boundary import boundary, check_json, read_bytes
from blemish.errors import DataError

MAX_BYTES = 16 * 2**20
MAX_CORNERS = 20_000
"""Corners of all shapes of a file."""
CIRCLE_CORNERS = 48
FORMAT = "blemish-zones"
KINDS = ("inspect", "ignore", "defects")
"""The shapes that files of `blemish zones edit` hold."""
VERSION = 1
SUFFIXES = (".json", ".xml", ".csv")
"""Files with these endings hold shapes; all others are mask images."""
REMEDY = "export it again as JSON (LabelMe, COCO, VIA), as XML (CVAT) or as CSV (VIA)"

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """A named polygon: corners (x, y) in pixels."""

    label: str
    points: Points


@dataclass(frozen=True)
class DrawnImage:
    """The shapes on one image; its size (height, width) is None where the file does not say it.

    `mm_per_px` is the scale that was measured on it, if any.
    """

    name: str
    image_hw: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    mm_per_px: float | None = None


def read_drawn(path: Path) -> tuple[DrawnImage, ...]:
    """The images of a file with their shapes. Raises DataError, on one line, for a file that cannot be understood."""
    content = read_bytes(path, MAX_BYTES, DataError, REMEDY)
    with boundary(path, DataError, REMEDY):
        images = tuple(_read(path, content))
        num_corners = sum(len(shape.points) for image in images for shape in image.shapes)
        if num_corners > MAX_CORNERS:
            raise ValueError(f"its shapes have {num_corners:,} corners, at most {MAX_CORNERS:,} are read")
        for shape in (shape for image in images for shape in image.shapes):
            if len(shape.points) < 3:
                raise ValueError(f"the shape '{shape.label}' has {len(shape.points)} corners, an area has at least 3")
            if not all(math.isfinite(value) for point in shape.points for value in point):
                raise ValueError(f"the shape '{shape.label}' has corners that are no numbers")
        for image in images:
            if image.image_hw is not None and min(image.image_hw) < 1:
                raise ValueError(f"{image.name} is said to be {image.image_hw[1]} x {image.image_hw[0]} pixels")
        return images


def _read(path: Path, content: bytes) -> Iterator[DrawnImage]:
    text = content.decode("utf-8-sig")
    if path.suffix.lower() == ".csv":
        return _via_csv(text)
    if text.lstrip().startswith("<"):
        return _cvat(text)
    check_json(content, path, DataError, REMEDY)
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("holds no object with images and shapes")
    if found.get("format") == FORMAT:
        return _own(found)
    if "shapes" in found and "imagePath" in found:
        return _labelme(found)
    if "images" in found and "annotations" in found:
        return _coco(found)
    images = found.get("_via_img_metadata", found)
    if (
        isinstance(images, dict)
        and images
        and all(isinstance(one, dict) and "regions" in one for one in images.values())
    ):
        return _via(images)
    raise ValueError("is of no format that is known, or of another version of it")


def _own(found: Mapping[str, Any]) -> Iterator[DrawnImage]:
    if found["version"] != VERSION:
        raise ValueError(f"has version {found['version']!r}, this program reads version {VERSION}")
    shapes = [Shape(kind, _pairs(points)) for kind in KINDS for points in found.get(kind, ())]
    height, width = (int(side) for side in found["image_hw"])
    scale = found.get("mm_per_px")
    yield DrawnImage(str(found["image"]), (height, width), tuple(shapes), None if scale is None else float(scale))


def _labelme(found: Mapping[str, Any]) -> Iterator[DrawnImage]:
    shapes = []
    for shape in found["shapes"]:
        kind, points = shape.get("shape_type", "polygon"), _pairs(shape["points"])
        if kind == "rectangle" and len(points) == 2:
            points = _box(*points[0], *points[1])
        elif kind == "circle" and len(points) == 2:
            radius = math.dist(*points)
            points = _ellipse(*points[0], radius, radius)
        elif kind not in ("polygon", "rectangle"):
            raise ValueError(f"the shape '{shape['label']}' is a {kind}; draw a polygon, a rectangle or a circle")
        shapes.append(Shape(str(shape["label"]), points))
    height, width = found.get("imageHeight"), found.get("imageWidth")
    hw = None if height is None or width is None else (int(height), int(width))
    yield DrawnImage(str(found["imagePath"]), hw, tuple(shapes))


def _coco(found: Mapping[str, Any]) -> Iterator[DrawnImage]:
    labels = {one["id"]: str(one["name"]) for one in found.get("categories", ())}
    shapes: dict[Any, list[Shape]] = {image["id"]: [] for image in found["images"]}
    for one in found["annotations"]:
        label, drawn = labels[one["category_id"]], one.get("segmentation") or []
        if isinstance(drawn, dict):
            raise ValueError(f"the shape '{label}' is a mask in run lengths (RLE); export polygons")
        if not drawn:
            x, y, width, height = one["bbox"]
            shapes[one["image_id"]].append(Shape(label, _box(x, y, x + width, y + height)))
        for flat in drawn:
            shapes[one["image_id"]].append(Shape(label, _pairs(list(zip(flat[::2], flat[1::2], strict=True)))))
    for image in found["images"]:
        hw = (int(image["height"]), int(image["width"]))
        yield DrawnImage(str(image["file_name"]), hw, tuple(shapes[image["id"]]))


def _cvat(text: str) -> Iterator[DrawnImage]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("declares entities, which no annotation file needs")
    root = ElementTree.fromstring(text)
    if root.tag != "annotations":
        raise ValueError(f"is XML of another kind: its outermost element is {root.tag[:40]!r}")
    for image in root.iter("image"):
        shapes = []
        for one in image:
            if one.tag == "box":
                corners = (float(one.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
                shapes.append(Shape(one.attrib["label"], _box(*corners)))
            elif one.tag == "ellipse":
                numbers = (float(one.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
                shapes.append(Shape(one.attrib["label"], _ellipse(*numbers)))
            elif one.tag == "polygon":
                pairs = [pair.split(",") for pair in one.attrib["points"].split(";")]
                shapes.append(Shape(one.attrib["label"], _pairs(pairs)))
            elif one.tag != "tag":
                raise ValueError(f"a {one.tag[:40]} is no area; draw polygons, boxes or ellipses")
        hw = int(image.attrib["height"]), int(image.attrib["width"])
        yield DrawnImage(image.attrib["name"], hw, tuple(shapes))


def _via(images: Mapping[str, Any]) -> Iterator[DrawnImage]:
    for image in images.values():
        regions = image["regions"]
        listed = regions.values() if isinstance(regions, dict) else regions  # VIA 1 numbers them, VIA 2 lists them
        shapes = [_via_shape(one["shape_attributes"], one["region_attributes"]) for one in listed]
        yield DrawnImage(str(image["filename"]), None, tuple(shapes))


def _via_csv(text: str) -> Iterator[DrawnImage]:
    shapes: dict[str, list[Shape]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        drawn = json.loads(row["region_shape_attributes"])
        found = shapes.setdefault(row["filename"], [])
        if drawn:
            found.append(_via_shape(drawn, json.loads(row["region_attributes"])))
    if not shapes:
        raise ValueError("holds no rows")
    for name, found in shapes.items():
        yield DrawnImage(name, None, tuple(found))


def _via_shape(drawn: Mapping[str, Any], attributes: Mapping[str, Any]) -> Shape:
    label = next((str(value) for value in attributes.values() if isinstance(value, str) and value.strip()), "")
    kind = drawn["name"]
    if kind == "polygon":
        return Shape(label, _pairs(list(zip(drawn["all_points_x"], drawn["all_points_y"], strict=True))))
    if kind == "rect":
        x, y = drawn["x"], drawn["y"]
        return Shape(label, _box(x, y, x + drawn["width"], y + drawn["height"]))
    if kind == "circle":
        return Shape(label, _ellipse(drawn["cx"], drawn["cy"], drawn["r"], drawn["r"]))
    if kind == "ellipse":
        return Shape(label, _ellipse(drawn["cx"], drawn["cy"], drawn["rx"], drawn["ry"]))
    raise ValueError(f"a {str(kind)[:40]} is no area; draw polygons, rectangles, circles or ellipses")


def _pairs(points: Any) -> Points:
    return tuple((float(x), float(y)) for x, y in points)


def _box(x0: Any, y0: Any, x1: Any, y1: Any) -> Points:
    left, top, right, bottom = (float(value) for value in (x0, y0, x1, y1))
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _ellipse(x: Any, y: Any, across: Any, down: Any) -> Points:
    turns = [2 * math.pi * number / CIRCLE_CORNERS for number in range(CIRCLE_CORNERS)]
    return tuple((float(x) + float(across) * math.cos(turn), float(y) + float(down) * math.sin(turn)) for turn in turns)
