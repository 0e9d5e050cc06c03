"""What is seen on one picture: decoded, inspected, and put into the words of the journal."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blemish.errors import ImageError
from blemish.images.decode import as_image, decode_image, read_image
from blemish.inspection.inspector import Inspector
from blemish.inspection.overlay import color_map, map_scale
from blemish.line.events import Item
from blemish.schema import Image, ReadSettings, Region, Verdict
from blemish.station.core.parts import ViewVerdict

MOST_REGIONS = 50
"""Of a part in the journal; `num_regions` counts all."""
MOST_POINTS = 200
LIVE_SIDE = 1280
LIVE_QUALITY = 80


@dataclass(frozen=True)
class Look:
    """One picture of a part: its verdict in the journal's words, and what the pages show."""

    view: ViewVerdict
    image: Image | None
    verdict: Verdict | None
    fault: str = ""


def decode_item(item: Item, reading: ReadSettings) -> Image:
    """The picture of an item. Raises ImageError."""
    content = item.content
    if isinstance(content, ImageError):
        raise content
    if isinstance(content, Path):
        return read_image(content, reading)
    if isinstance(content, bytes):
        return decode_image(content, item.origin.name, reading)
    return as_image(content, reading)


def view_verdict(verdict: Verdict, inspector: Inspector, milliseconds: float) -> ViewVerdict:
    """A verdict as the journal holds it; regions, reasons and the map only where the part was not accepted."""
    doc = None
    if verdict.decision != "accept":
        doc = {
            "regions": [_region(region) for region in verdict.regions[:MOST_REGIONS]],
            "reasons": list(verdict.reasons),
            "image_hw": list(verdict.image_hw),
            "map": base64.b64encode(map_png(verdict, inspector)).decode(),
        }
    return ViewVerdict(
        number=1,
        decision=verdict.decision,
        source=verdict.path,
        score=_finite(verdict.score),
        threshold=_finite(verdict.threshold),
        p_value=_finite(verdict.p_value),
        display_score=_finite(verdict.display_score),
        inspect_ms=round(milliseconds, 3),
        num_regions=len(verdict.regions) + verdict.num_more_regions,
        doc=doc,
    )


def map_png(verdict: Verdict, inspector: Inspector) -> bytes:
    """The anomaly map in color, of its own size, to be laid over the picture."""
    rgba = color_map(verdict.anomaly_map, map_scale(inspector.bundle.calibration))
    bgra = np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])
    ok, encoded = cv2.imencode(".png", bgra)
    return encoded.tobytes() if ok else b""


def contours(verdict: Verdict) -> list[list[list[float]]]:
    """The outlines of the regions, in shares of the picture's width and height."""
    height, width = verdict.image_hw
    return [
        [[round(x / width, 4), round(y / height, 4)] for x, y in _thinned(region.contour)]
        for region in verdict.regions[:MOST_REGIONS]
    ]


def live_jpeg(image: Image) -> bytes:
    """The picture for a screen: at most `LIVE_SIDE` pixels a side."""
    height, width = image.shape[:2]
    scale = LIVE_SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = np.ascontiguousarray(image[..., ::-1])
    ok, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, LIVE_QUALITY])
    return encoded.tobytes() if ok else b""


def picture_file(image: Image, form: str) -> bytes:
    """The picture as a file to be kept: "png", or "jpeg95". Raises OSError where it cannot be made."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    if form == "png":
        ok, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    else:
        ok, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not ok:
        raise OSError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be written as {form}")
    return encoded.tobytes()


def _region(region: Region) -> dict[str, Any]:
    return {
        "box": list(region.box),
        "contour": [list(point) for point in _thinned(region.contour)],
        "area_px": round(region.area_px, 1),
        "length_px": round(region.length_px, 1),
        "peak": list(region.peak),
        "peak_score": _finite(region.peak_score),
        "area_mm2": region.area_mm2,
        "length_mm": region.length_mm,
    }


def _thinned(contour: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return contour[:: max(1, math.ceil(len(contour) / MOST_POINTS))]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
