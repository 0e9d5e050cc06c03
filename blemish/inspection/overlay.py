"""Pictures that show where a part is anomalous: map in color, region contours, decision badge."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import OutputError
from blemish.files import write_file
from blemish.schema import AnomalyMap, Calibration, Decision, Image, Mask, Region, Verdict

# Violet, red, orange, pale yellow: lightness rises steadily, so the order is seen without telling hues apart.
_STOPS = np.array([(64, 16, 110), (158, 32, 110), (224, 68, 56), (249, 148, 30), (252, 232, 150)], dtype=np.float64)
_MAX_OPACITY = 0.62
_NUM_LEVELS = 1024
_BAND_ROWS = 512
OVERLAY_PIXELS = 16_000_000
"""Overlays of larger images are drawn at a whole fraction of their size."""
_HALO = (16, 18, 22)
_REGION_COLOR = (255, 255, 255)
_MASK_COLOR = (34, 211, 238)
_BADGE_COLORS: dict[Decision, tuple[int, int, int]] = {
    "accept": (15, 107, 99),
    "review": (146, 84, 8),
    "reject": (176, 42, 26),
}


def map_scale(calibration: Calibration) -> tuple[float, float]:
    """The raw map values that pictures are colored by: the largest of a usual good part, and the pixel threshold."""
    return calibration.regions.grow_threshold, calibration.pixel_threshold


def color_map(anomaly_map: AnomalyMap, scale: tuple[float, float]) -> NDArray[np.uint8]:
    """RGBA uint8 of the map's own size: transparent up to `scale[0]`, strong from `scale[1]` on.

    `scale` is two raw values: the largest of a usual good part, and the pixel threshold. Color and opacity grow from
    the first on, stand at half at the second and are full as far again above it. The scale is that of the product,
    not of the image, so a good part stays quiet.

    >>> import numpy as np
    >>> color_map(np.array([[0.0, 1.0, 2.0, 9.0]], dtype=np.float32), (1.0, 2.0))[0, :, 3].tolist()
    [0, 0, 79, 158]
    """
    low, threshold = scale
    span = 2.0 * max(threshold - low, np.finfo(np.float32).tiny)
    level = np.clip((np.nan_to_num(anomaly_map.astype(np.float64), nan=low) - low) / span, 0.0, 1.0)
    colors: NDArray[np.uint8] = _LEVEL_COLORS[np.rint(level * (_NUM_LEVELS - 1)).astype(np.intp)]
    return colors


def _level_colors() -> NDArray[np.uint8]:
    """RGBA of each level from nothing to the most."""
    level = np.linspace(0.0, 1.0, _NUM_LEVELS)
    colors = [np.interp(level * (len(_STOPS) - 1), np.arange(len(_STOPS)), channel) for channel in _STOPS.T]
    return np.asarray(np.rint(np.stack([*colors, level * _MAX_OPACITY * 255.0], axis=1)), np.uint8)


_LEVEL_COLORS = _level_colors()


def blend_map(image: Image, anomaly_map: AnomalyMap, scale: tuple[float, float]) -> Image:
    """The image with its anomaly map in color over it (see `color_map` for `scale`)."""
    height, width = image.shape[:2]
    full = np.asarray(
        cv2.resize(anomaly_map.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    blended: Image = image.copy()
    for top in range(0, height, _BAND_ROWS):  # what is computed between takes many times the memory of the image
        band = full[top : top + _BAND_ROWS]
        if not (band > scale[0]).any():
            continue
        rgba = color_map(band, scale).astype(np.uint16)
        opacity = rgba[..., 3:]
        mixed = blended[top : top + _BAND_ROWS] * (255 - opacity) + rgba[..., :3] * opacity
        blended[top : top + _BAND_ROWS] = (mixed + 127) // 255
    return blended


def draw_overlay(image: Image, verdict: Verdict, scale: tuple[float, float]) -> Image:
    """A new picture of the image's size: anomaly map in color, contours of the regions, decision badge.

    `scale` is two raw map values: the largest of a usual good part, and the pixel threshold (see `color_map`). An image
    of more than `OVERLAY_PIXELS` is drawn smaller.
    """
    image, verdict = shrink_picture(image, verdict, OVERLAY_PIXELS)
    picture = blend_map(image, verdict.anomaly_map, scale)
    picture = draw_regions(picture, verdict.regions)
    return _draw_badge(picture, verdict)


def shrink_picture(image: Image, verdict: Verdict, max_pixels: int) -> tuple[Image, Verdict]:
    """The image at the smallest whole fraction of its size that has at most `max_pixels`, and its verdict in these.

    Everything in pixels is in those of the smaller image then; millimetres stay.
    """
    height, width = image.shape[:2]
    divisor = math.ceil(math.sqrt(height * width / max_pixels))
    if divisor <= 1:
        return image, verdict
    hw = max(1, height // divisor), max(1, width // divisor)
    across, down = hw[1] / width, hw[0] / height
    regions = tuple(_scale_region(region, across, down) for region in verdict.regions)
    small = np.asarray(cv2.resize(image, hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return small, dataclasses.replace(verdict, regions=regions, image_hw=hw)


def _scale_region(region: Region, across: float, down: float) -> Region:
    x, y, width, height = region.box
    return dataclasses.replace(
        region,
        box=(int(x * across), int(y * down), math.ceil(width * across), math.ceil(height * down)),
        contour=tuple((int(x * across), int(y * down)) for x, y in region.contour),
        area_px=region.area_px * across * down,
        centroid=(region.centroid[0] * across, region.centroid[1] * down),
        peak=(int(region.peak[0] * across), int(region.peak[1] * down)),
        length_px=region.length_px * math.sqrt(across * down),
    )


def draw_regions(image: Image, regions: tuple[Region, ...]) -> Image:
    """The image with the contour of each region drawn on it: white, edged dark, seen on any ground."""
    contours = [np.asarray(region.contour, dtype=np.int32).reshape(-1, 1, 2) for region in regions if region.contour]
    return _draw_outlines(image, contours, _REGION_COLOR)


def draw_mask_outline(image: Image, mask: Mask) -> Image:
    """The image with the outline of a ground-truth mask in cyan; `mask` has the image's height and width."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask: expected {image.shape[:2]} as the image, got {mask.shape}")
    return _draw_outlines(image, mask_contours(mask), _MASK_COLOR)


def mask_contours(mask: Mask) -> list[NDArray[np.int32]]:
    """Closed outlines of a mask, holes included, each int32 (points, 1, 2) in x, y."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(contour, dtype=np.int32) for contour in found]


def write_png(path: Path, image: Image) -> Path:
    """`path`, now holding the image as PNG; never half written, any letters in the path.

    `OutputError` names what stands in the way: a folder that cannot be made, a file that cannot be replaced.
    """
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError(f"{path}: an image of {image.shape[1]} x {image.shape[0]} pixels cannot be written as PNG")
    return write_file(path, encoded.tobytes(), survives_power_cut=False)  # a tenth of the time of a run otherwise


def _draw_outlines(image: Image, contours: list[NDArray[np.int32]], color: tuple[int, int, int]) -> Image:
    picture: Image = np.ascontiguousarray(image).copy()
    line = max(1, round(min(image.shape[:2]) / 300))
    cv2.drawContours(picture, contours, -1, _HALO, line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, line, cv2.LINE_AA)
    return picture


def _draw_badge(image: Image, verdict: Verdict) -> Image:
    """Decision and display score on a plate in the upper left corner; a bar at the top where a plate does not fit."""
    height, width = image.shape[:2]
    color = _BADGE_COLORS[verdict.decision]
    text = f"{verdict.decision.upper()}  {verdict.display_score:.0f}"
    plate = int(np.clip(0.055 * min(height, width), 18, 72))
    scale = plate / 44.0
    line = max(1, round(plate / 22))
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, line)
    margin = plate // 3
    right, bottom = margin + plate + text_width + margin, margin + plate
    if right + margin > width or bottom + margin > height:
        cv2.rectangle(image, (0, 0), (width - 1, max(2, height // 24) - 1), color, cv2.FILLED)
        return image
    cv2.rectangle(image, (margin, margin), (right, bottom), color, cv2.FILLED, cv2.LINE_AA)
    _draw_sign(image, verdict.decision, (margin + plate // 2, margin + plate // 2), plate / 5.0, line)
    base = (margin + plate, margin + (plate + text_height) // 2)
    cv2.putText(image, text, base, cv2.FONT_HERSHEY_DUPLEX, scale, (255, 255, 255), line, cv2.LINE_AA)
    return image


def _draw_sign(image: Image, decision: Decision, center: tuple[int, int], radius: float, line: int) -> None:
    """A tick, a bar or a cross: the decision without its color."""
    strokes: dict[Decision, list[list[tuple[float, float]]]] = {
        "accept": [[(-1.0, 0.1), (-0.3, 0.8), (1.0, -0.7)]],
        "review": [[(-0.9, 0.0), (0.9, 0.0)]],
        "reject": [[(-0.8, -0.8), (0.8, 0.8)], [(-0.8, 0.8), (0.8, -0.8)]],
    }
    for stroke in strokes[decision]:
        points = np.rint(np.asarray(stroke) * radius + center).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(image, [points], False, (255, 255, 255), line + 1, cv2.LINE_AA)
