"""Shapes drawn with other tools: every format gives the same polygons, and what cannot be understood costs one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.datasets.drawn import read_drawn
from blemish.decisions.zones import zone_mask
from blemish.errors import BlemishError, DataError, SettingsError
from blemish.testing.tiny import write_png
from blemish.workflow.drawn_zones import drawn_zone, parse_polygon, read_zone

HW = (40, 80)
CORNERS = [[8, 4], [72, 4], [72, 36], [8, 36]]
FLAT = [float(value) for corner in CORNERS for value in corner]


def labelme(label: str = "inspect", **changes: Any) -> dict[str, Any]:
    shape = {"label": label, "points": CORNERS, "shape_type": "polygon", **changes}
    return {"version": "5.4", "shapes": [shape], "imagePath": "a.png", "imageHeight": HW[0], "imageWidth": HW[1]}


def coco(**changes: Any) -> dict[str, Any]:
    shape = {"id": 1, "image_id": 7, "category_id": 2, "segmentation": [FLAT], "bbox": [8, 4, 64, 32], **changes}
    image = {"id": 7, "file_name": "a.png", "height": HW[0], "width": HW[1]}
    return {"images": [image], "annotations": [shape], "categories": [{"id": 2, "name": "inspect"}]}


def via(shape: dict[str, Any] | None = None) -> dict[str, Any]:
    polygon = {"name": "polygon", "all_points_x": FLAT[::2], "all_points_y": FLAT[1::2]}
    region = {"shape_attributes": shape or polygon, "region_attributes": {"zone": "inspect"}}
    image = {"filename": "a.png", "size": 100, "regions": [region], "file_attributes": {}}
    return {"_via_settings": {}, "_via_img_metadata": {"a.png100": image}}


def cvat(shape: str = '<polygon label="inspect" points="8,4;72,4;72,36;8,36"/>') -> str:
    return f'<?xml version="1.0"?><annotations><image name="a.png" width="80" height="40">{shape}</image></annotations>'


def own(**changes: Any) -> dict[str, Any]:
    found = {"format": "blemish-zones", "version": 1, "image": "a.png", "image_hw": HW, "mm_per_px": 0.5}
    return {**found, "inspect": [CORNERS], "ignore": [], **changes}


VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    'a.png,100,{},1,0,"{""name"":""rect"",""x"":8,""y"":4,""width"":64,""height"":32}","{""zone"":""inspect""}"\n'
)

REGION = via()["_via_img_metadata"]["a.png100"]["regions"][0]
ENDLESS = '{"shapes":[{"label":"inspect","points":[[1e999,1],[1,2],[2,2]]}],"imagePath":"a.png"}'

FILES: dict[str, tuple[str, Any]] = {
    "LabelMe": ("a.json", labelme()),
    "LabelMe, a rectangle": ("a.json", labelme(points=[[8, 4], [72, 36]], shape_type="rectangle")),
    "COCO": ("a.json", coco()),
    "COCO, a box": ("a.json", coco(segmentation=[])),
    "CVAT": ("a.xml", cvat()),
    "CVAT, a box": ("a.xml", cvat('<box label="inspect" xtl="8" ytl="4" xbr="72" ybr="36"/>')),
    "VIA": ("a.json", via()),
    "VIA, a rectangle": ("a.json", via({"name": "rect", "x": 8, "y": 4, "width": 64, "height": 32})),
    "VIA 1": ("a.json", {"k": {"filename": "a.png", "regions": {"0": REGION}}}),
    "VIA, CSV": ("a.csv", VIA_CSV),
    "zones edit": ("a.json", own()),
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes an annotation file beside the image `a.png`."""
    write_png(tmp_path / "a.png", np.zeros((*HW, 3), np.uint8))

    def write_file(name: str, content: Any) -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_file


@pytest.mark.parametrize("kind", FILES)
def test_every_format_gives_the_same_zone(kind: str, write: Callable[[str, Any], Path]) -> None:
    path = write(*FILES[kind])
    drawn = read_zone(path)
    inside = zone_mask(drawn.zone, HW)
    expected = np.zeros(HW, bool)
    expected[4:36, 8:72] = True
    assert (inside == expected).all()
    assert drawn.image == path.parent / "a.png"


def test_a_measured_scale_comes_along(write: Callable[[str, Any], Path]) -> None:
    assert read_zone(write("a.json", own())).mm_per_px == 0.5


def test_zones_to_look_at_and_to_leave_out(write: Callable[[str, Any], Path]) -> None:
    found = labelme()
    found["shapes"].append({"label": "Ignore", "points": [[20, 20], [26, 20]], "shape_type": "circle"})
    inside = zone_mask(read_zone(write("a.json", found)).zone, HW)
    assert inside[5, 10]
    assert not inside[20, 20]


def test_corners_a_little_outside_are_brought_to_the_edge(write: Callable[[str, Any], Path]) -> None:
    zone = read_zone(write("a.json", labelme(points=[[-3, -2], [85, -2], [85, 44], [-3, 44]]))).zone
    assert zone_mask(zone, HW).all()


BROKEN: dict[str, tuple[str, Any, str]] = {
    "no JSON": ("a.json", "{", "JSON|Expecting"),
    "a list": ("a.json", [1, 2], "holds no object"),
    "another tool": ("a.json", {"project": {}}, "no format that is known"),
    "another version of ours": ("a.json", own(version=2), "has version 2"),
    "a line": ("a.json", labelme(shape_type="linestrip"), "draw a polygon"),
    "two corners": ("a.json", labelme(points=[[1, 1], [2, 2]]), "2 corners"),
    "corners of words": ("a.json", labelme(points=[["a", 1], [2, 2], [3, 3]]), "could not convert"),
    "endless corners": ("a.json", ENDLESS, "no numbers"),
    "a defect": ("a.json", labelme("scratch"), "'scratch' is no zone: name zones inspect"),
    "run lengths": ("a.json", coco(segmentation={"counts": [1, 2], "size": HW}), "run lengths"),
    "an unknown category": ("a.json", coco(category_id=9), "lacks 9"),
    "another size": ("a.json", {**labelme(), "imageWidth": 90}, "drawn on 90 x 40 pixels"),
    "other XML": ("a.xml", "<html></html>", "XML of another kind"),
    "XML cut off": ("a.xml", "<annotations><image", "unclosed|not well-formed|no element"),
    "XML with entities": ("a.xml", '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotations/>', "declares entities"),
    "XML without shapes": ("a.xml", cvat(""), "no shape is drawn"),
    "points alone": ("a.xml", cvat('<points label="inspect" points="1,2"/>'), "a points is no area"),
    "a table of others": ("a.csv", "a,b\n1,2\n", "lacks 'region_shape_attributes'"),
    "an empty file": ("a.json", "", "."),
    "VIA, a point": ("a.json", via({"name": "point", "cx": 1, "cy": 2}), "a point is no area"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_understood_costs_one_line(case: str, write: Callable[[str, Any], Path]) -> None:
    name, content, says = BROKEN[case]
    path = write(name, content)
    with pytest.raises(BlemishError, match=says) as caught:
        read_zone(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_several_images_needs_one_to_be_named(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    found = coco()
    found["images"].append({"id": 8, "file_name": "other/b.png", "height": 40, "width": 80})
    found["annotations"].append({**found["annotations"][0], "image_id": 8, "segmentation": [[0, 0, 9, 0, 9, 9]]})
    path = write("all.json", found)
    with pytest.raises(DataError, match=r"2 images with shapes.*--zone-on"):
        read_zone(path)
    write_png(tmp_path / "b.png", np.zeros((*HW, 3), np.uint8))
    assert zone_mask(read_zone(path, tmp_path / "b.png").zone, HW).sum() < 50
    with pytest.raises(DataError, match="no image with shapes"):
        read_zone(path, write_png(tmp_path / "c.png", np.zeros((*HW, 3), np.uint8)))


def test_a_size_that_nobody_says(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    path = write("a.json", via())
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"does not say how large a\.png is"):
        read_zone(path)


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b"[" + b"1," * 9_000_000)
    with pytest.raises(DataError, match="16,777,216 bytes"):
        read_drawn(path)


def test_polygons_as_text() -> None:
    assert parse_polygon("0,0 1,0; 0.5,1") == ((0, 0), (1, 0), (0.5, 1))
    drawn = drawn_zone(None, ["0,0 1,0 1,1 0,1"], ["0,0 0.5,0 0.5,1 0,1"], None)
    assert drawn is not None
    inside = zone_mask(drawn.zone, HW)
    assert not inside[:, :40].any()
    assert inside[:, 40:].all()
    assert drawn_zone(None, None, None, None) is None


@pytest.mark.parametrize("text", ["", "0,0 1,1", "0,0 1,0 2,1", "a,b c,d e,f", "0,0,0 1,1,1 2,2,2", "nan,0 1,0 1,1"])
def test_text_that_is_no_polygon(text: str) -> None:
    with pytest.raises(SettingsError, match="--ignore-zone"):
        parse_polygon(text, "--ignore-zone")


def test_text_and_a_file_go_together(write: Callable[[str, Any], Path]) -> None:
    drawn = drawn_zone(write("a.json", labelme()), None, ["0,0 1,0 1,0.5 0,0.5"], None)
    assert drawn is not None
    inside = zone_mask(drawn.zone, HW)
    assert not inside[:20].any()
    assert inside[20:36, 8:72].all()
