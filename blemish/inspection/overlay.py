"""Pictures that show where a part is anomalous: map in color, region contours, zone, and a caption below."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.zones import fits_zone, zone_mask
from blemish.errors import OutputError
from blemish.inspection.caption import draw_caption
from blemish.schema import AnomalyMap, Calibration, Image, Mask, Pose, Region, Verdict, Zone

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
_LEAST_WIDTH = 256
"""Narrower images are drawn larger, so that outlines and words can be read."""
_ENLARGED_SIDE = 2048
_OUTSIDE = 0.25
"""How strong colors are far from every outline, by their strength inside."""
_FADE_SIDE = 256
_ZONE_DIM = 0.45
_ZONE_COLOR = (245, 208, 66)
_FRAME_COLOR = (250, 204, 21)


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


def blend_map(
    image: Image, anomaly_map: AnomalyMap, scale: tuple[float, float], strength: NDArray[np.uint8] | None = None
) -> Image:
    """The image with its anomaly map in color over it (see `color_map` for `scale`).

    `strength`, 0 to 255 at the image's size, weakens the colors; without it they are everywhere as strong.
    """
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
        if strength is not None:
            opacity = (opacity * strength[top : top + _BAND_ROWS, :, np.newaxis] + 127) // 255
        mixed = blended[top : top + _BAND_ROWS] * (255 - opacity) + rgba[..., :3] * opacity
        blended[top : top + _BAND_ROWS] = (mixed + 127) // 255
    return blended


def fade_outside(regions: tuple[Region, ...], hw: tuple[int, int]) -> NDArray[np.uint8] | None:
    """How strong colors are at each pixel, 0 to 255: full inside the outlines, a quarter far from them.

    None where there is no outline: then all colors lie below the limit and are weak by themselves.
    """
    contours = [np.asarray(region.contour, dtype=np.float32) for region in regions if region.contour]
    if not contours:
        return None
    shrink = min(1.0, _FADE_SIDE / max(hw))
    small_hw = max(1, round(hw[0] * shrink)), max(1, round(hw[1] * shrink))
    inside = np.zeros(small_hw, np.uint8)
    points = [np.rint((contour + 0.5) * shrink - 0.5).astype(np.int32).reshape(-1, 1, 2) for contour in contours]
    cv2.drawContours(inside, points, -1, 255, cv2.FILLED)
    # Twice the blurred mask is full inside up to the outline and fades over about a fiftieth of the side outside.
    blurred = cv2.GaussianBlur(inside, (0, 0), max(0.8, max(small_hw) / 80)).astype(np.float32)
    strength = np.maximum(np.minimum(2 * blurred, 255) * (1 - _OUTSIDE) + 255 * _OUTSIDE, inside)
    faded: NDArray[np.uint8] = np.asarray(cv2.resize(np.rint(strength).astype(np.uint8), (hw[1], hw[0])), np.uint8)
    return faded


def color_bar(num_colors: int = 256) -> NDArray[np.uint8]:
    """RGB colors over a gray ground, from the largest map value of a usual good part on; the limit is in the middle.

    >>> color_bar(3).shape
    (3, 3)
    """
    rgba = _LEVEL_COLORS[np.linspace(0, _NUM_LEVELS - 1, num_colors).astype(np.intp)].astype(np.float64)
    opacity = rgba[:, 3:] / 255
    bar: NDArray[np.uint8] = np.rint(rgba[:, :3] * opacity + 128 * (1 - opacity)).astype(np.uint8)
    return bar


def draw_overlay(
    image: Image, verdict: Verdict, scale: tuple[float, float], *, zone: Zone | None = None, time: str = ""
) -> Image:
    """A new picture: the image with its anomaly map in color and the contours of the regions, above a caption.

    `scale` is two raw map values: the largest of a usual good part, and the pixel threshold (see `color_map`). Colors
    fade outside the contours. Outside the `zone` the image is dimmed. Where the part was laid straight, its frame is
    drawn, with a mark at its right side. The caption says decision, display score, limit, scale of colors, file name,
    and the `time` given. An image of more than `OVERLAY_PIXELS` is drawn smaller, one less than 256 pixels wide larger
    by a whole factor.
    """
    full_hw = image.shape[0], image.shape[1]
    image, verdict = shrink_picture(image, verdict, OVERLAY_PIXELS)
    image, verdict = _enlarge_picture(image, verdict)
    hw = image.shape[0], image.shape[1]
    picture = blend_map(image, verdict.anomaly_map, scale, fade_outside(verdict.regions, hw))
    if zone is not None and fits_zone(zone, full_hw):
        picture = _draw_zone(picture, zone_mask(zone, hw))
    if verdict.pose is not None:
        picture = _draw_frame(picture, verdict.pose)
    picture = draw_regions(picture, verdict.regions)
    caption = draw_caption(hw[1], verdict, color_bar(), time)
    return np.concatenate([picture, caption])


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
    pose = None if verdict.pose is None else _scale_pose(verdict.pose, across, down)
    small = np.asarray(cv2.resize(image, hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return small, dataclasses.replace(verdict, regions=regions, image_hw=hw, pose=pose)


def _enlarge_picture(image: Image, verdict: Verdict) -> tuple[Image, Verdict]:
    """A narrow image at the whole multiple of its size that makes it wide enough, if it stays small enough."""
    height, width = image.shape[:2]
    factor = min(math.ceil(_LEAST_WIDTH / width), max(1, _ENLARGED_SIDE // max(height, width)))
    if factor <= 1:
        return image, verdict
    hw = height * factor, width * factor
    regions = tuple(_scale_region(region, factor, factor) for region in verdict.regions)
    pose = None if verdict.pose is None else _scale_pose(verdict.pose, factor, factor)
    large = np.asarray(cv2.resize(image, hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    return large, dataclasses.replace(verdict, regions=regions, image_hw=hw, pose=pose)


def _draw_zone(image: Image, inside: Mask) -> Image:
    """The image dimmed outside the zone, with the zone's edge."""
    picture: Image = image.copy()
    for top in range(0, image.shape[0], _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        picture[band][~inside[band]] = (picture[band][~inside[band]] * _ZONE_DIM).astype(np.uint8)
    cv2.drawContours(picture, mask_contours(inside), -1, _ZONE_COLOR, max(1, round(min(image.shape[:2]) / 400)))
    return picture


def _scale_pose(pose: Pose, across: float, down: float) -> Pose:
    return dataclasses.replace(
        pose,
        center=(pose.center[0] * across, pose.center[1] * down),
        corners=tuple((x * across, y * down) for x, y in pose.corners),
    )


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


def frame_outline(pose: Pose) -> list[tuple[float, float]]:
    """Points (x, y) along the frame of a part, with a mark that points out of the middle of its right side."""
    if len(pose.corners) != 4:
        return []
    corners = np.array(pose.corners)
    middle, side = (corners[1] + corners[2]) / 2, corners[2] - corners[1]
    outward = (corners[1] - corners[0]) / max(float(np.linalg.norm(corners[1] - corners[0])), 1e-6)
    reach = 0.06 * float(np.linalg.norm(side))
    unit = side / max(float(np.linalg.norm(side)), 1e-6)
    mark = [middle - reach * unit, middle + 1.5 * reach * outward, middle + reach * unit]
    points = [corners[0], corners[1], *mark, corners[2], corners[3]]
    return [(float(x), float(y)) for x, y in points]


def _draw_frame(image: Image, pose: Pose) -> Image:
    outline = np.rint(np.array(frame_outline(pose)).reshape(-1, 1, 2)).astype(np.int32)
    return _draw_outlines(image, [outline], _FRAME_COLOR) if len(outline) else image


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


def png_bytes(image: Image) -> bytes:
    """The image as a PNG file. Raises OutputError where it is too large for one."""
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be written as PNG")
    return encoded.tobytes()


def _draw_outlines(image: Image, contours: list[NDArray[np.int32]], color: tuple[int, int, int]) -> Image:
    picture: Image = np.ascontiguousarray(image).copy()
    line = max(1, round(min(image.shape[:2]) / 300))
    cv2.drawContours(picture, contours, -1, _HALO, line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, line, cv2.LINE_AA)
    return picture
