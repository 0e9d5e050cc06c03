"""Where one part lies on a plain background: its outline, its axes, its heavier end. Pure functions over arrays.

Nothing here knows of the rest of the package: `blemish export` writes this file beside its sample programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

WORK_SIDE = 256
"""The longer side in pixels of the picture that the part is looked for in; the time stays the same for all sizes."""
PLAIN_SHARE = 0.6
"""The least share of the border that shows a background."""
MOST_UNEVEN = 48.0
"""The furthest in gray levels that a plain background may be from a plane of colors."""
MOST_REST = 0.2
"""The largest second thing beside the part, as a share of its area, that is dirt and no second part."""
MOST_BORDER = 1500
"""Pixels of the border that the background is taken from."""
LEAST_SHARE = 0.002
"""The least part, as a share of the picture."""

Matrix = NDArray[np.float64]
"""(2, 3): from pixels of the frame to pixels of the picture."""


@dataclass(frozen=True)
class Outline:
    """What is seen of the largest thing on the background, in pixels of the picture.

    `angle` is that of the longer axis in degrees, from -90 to 90; `ratio` that of the axes, 1 or more. Third moments
    in units of the deviations tell the ends: `skew` along the axis is above 0 where the end it points to is lighter,
    `narrowing` where it is narrower; `side_skew` is that across the axis. `points` (n, 2) run around the thing. `rest`
    is the area of the second largest thing as a share of this one's.
    """

    area: float
    center: tuple[float, float]
    angle: float
    ratio: float
    skew: float
    narrowing: float
    side_skew: float
    points: NDArray[np.float32]
    rest: float
    is_cut: bool


@dataclass(frozen=True)
class Found:
    """A pose: the middle (x, y), `angle` in degrees, `scale`, and why it is unsure ("" where it is not)."""

    center: tuple[float, float]
    angle: float = 0.0
    scale: float = 1.0
    is_mirrored: bool = False
    fault: str = ""


def distance_from_background(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    """How far each pixel of a small picture is from the background in gray levels, and which of its border show that.

    The background is a plane of colors through the border's pixels: light that falls off to one side is allowed.
    Brighter and darker parts are told alike. None where the border shows no background.
    """
    height, width = image.shape[:2]
    rim = max(1, round(min(height, width) / 50))
    is_border = np.ones((height, width), np.bool_)
    is_border[rim:-rim, rim:-rim] = False
    rows, columns = np.nonzero(is_border)
    step = max(1, len(rows) // MOST_BORDER)
    rows, columns = rows[::step], columns[::step]
    colors = image[rows, columns].astype(np.float32)
    off = np.abs(colors - np.median(colors, axis=0)).max(axis=1)
    kept = off <= max(12.0, min(MOST_UNEVEN, 3.0 * float(np.median(off))))
    if kept.mean() < PLAIN_SHARE:
        return None
    places = np.stack([columns / width - 0.5, rows / height - 0.5, np.ones(len(rows))], axis=1)
    plane = np.zeros((3, 3))
    for _ in range(2):  # the second time without what the plane itself shows to be no background
        chosen = places[kept]
        plane = np.linalg.solve(chosen.T @ chosen + 1e-3 * np.eye(3), chosen.T @ colors[kept])
        off = np.abs(colors - places @ plane).max(axis=1)
        kept = off <= max(8.0, min(MOST_UNEVEN, 4.0 * float(np.median(off))))
        if kept.mean() < PLAIN_SHARE:
            return None
    # The plane is drawn from its corners: linear between them, as fast as a resize.
    corners = np.array([[[x, y, 1.0] for x in (-0.5, 0.5)] for y in (-0.5, 0.5)]) @ plane
    to_picture = np.array([[width, 0.0, 0.0], [0.0, height, 0.0]])
    background = cv2.warpAffine(
        np.clip(corners, 0, 255).astype(np.float32), to_picture, (width, height), flags=cv2.INTER_LINEAR
    ).astype(np.uint8)
    channels = cv2.split(cv2.absdiff(image, background))
    distance = np.asarray(cv2.max(cv2.max(channels[0], channels[1]), channels[2]), np.uint8)
    shows = np.zeros((height, width), np.bool_)
    shows[rows[kept], columns[kept]] = True
    return distance, shows


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with a longer side of at most `WORK_SIDE` pixels."""
    factor = WORK_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    hw = max(8, round(image.shape[0] * factor)), max(8, round(image.shape[1] * factor))
    # Few pixels of a very large picture are enough, and averaging all of them takes most of the time.
    step = max(1, int(1 / factor) // 2)
    return np.asarray(cv2.resize(image[::step, ::step], hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def find_outline(distance: NDArray[np.uint8], contrast: float, image_hw: tuple[int, int]) -> Outline | None:
    """The largest thing of a small picture that is further than `contrast` from the background; None without any."""
    height, width = distance.shape
    mask = (distance > contrast).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    mask = np.asarray(cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    sized = sorted(((cv2.contourArea(contour), place) for place, contour in enumerate(contours)), reverse=True)
    if not sized or sized[0][0] < max(12.0, LEAST_SHARE * height * width):
        return None
    outline = np.asarray(contours[sized[0][1]], np.float32).reshape(-1, 2)
    left, top = outline.min(axis=0)
    right, bottom = outline.max(axis=0)
    scale = np.array([image_hw[1] / width, image_hw[0] / height], np.float32)
    points = (outline + 0.5) * scale - 0.5
    moments = cv2.moments(points)
    area = max(moments["m00"], 1e-6)
    center = (moments["m10"] / area, moments["m01"] / area)
    xx, xy, yy = (moments[name] / area for name in ("mu20", "mu11", "mu02"))
    spread = math.hypot(xx - yy, 2 * xy)
    long, short = max(1e-6, (xx + yy + spread) / 2), max(1e-6, (xx + yy - spread) / 2)
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    skew, widening, side_skew = _third_moments(moments, angle)
    return Outline(
        area=area,
        center=center,
        angle=math.degrees(angle),
        ratio=math.sqrt(long / short),
        skew=skew / area / long**1.5,
        narrowing=-widening / area / math.sqrt(long) / short,
        side_skew=side_skew / area / short**1.5,
        points=np.asarray(points, np.float32),
        rest=sized[1][0] / sized[0][0] if len(sized) > 1 else 0.0,
        is_cut=bool(left <= 0 or top <= 0 or right >= width - 1 or bottom >= height - 1),
    )


def _third_moments(moments: Any, angle: float) -> tuple[float, float, float]:
    """The third central moments along an axis, along it by the square of the width, and across it."""
    cos, sin = math.cos(angle), math.sin(angle)
    m30, m21, m12, m03 = (float(moments[name]) for name in ("mu30", "mu21", "mu12", "mu03"))
    along = cos**3 * m30 + 3 * cos**2 * sin * m21 + 3 * cos * sin**2 * m12 + sin**3 * m03
    across = -(sin**3) * m30 + 3 * sin**2 * cos * m21 - 3 * sin * cos**2 * m12 + cos**3 * m03
    both = (
        cos * sin**2 * m30 + (sin**3 - 2 * sin * cos**2) * m21 + (cos**3 - 2 * cos * sin**2) * m12 + sin * cos**2 * m03
    )
    return along, both, across


def find_part(image: NDArray[np.uint8], alignment: Any) -> Found:
    """The pose of the part in a picture, uint8 (height, width, 3), by an alignment of the kind "part"."""
    height, width = image.shape[:2]
    nowhere = ((width - 1) / 2, (height - 1) / 2)
    seen = distance_from_background(shrink(image))
    if seen is None:
        return Found(nowhere, fault="the border of the picture shows no plain background")
    outline = find_outline(seen[0], alignment.contrast, (height, width))
    if outline is None:
        return Found(nowhere, fault="nothing lies on the background")
    return pose_of(outline, alignment)


def pose_of(outline: Outline, alignment: Any) -> Found:
    """The pose that an outline stands for, and what of it is unsure."""
    angle, side_skew = 0.0, outline.side_skew
    if alignment.turn != "none":
        angle = outline.angle
    if alignment.turn == "direction" and asymmetry(outline, alignment.ends) < 0:
        angle, side_skew = math.remainder(angle + 180, 360), -side_skew
    scale = 1.0
    if alignment.usual_area_px is not None:
        scale = min(max(math.sqrt(outline.area / alignment.usual_area_px), 1e-2), 1e2)
    is_mirrored = bool(alignment.is_mirrored_too and side_skew < 0)
    return Found(outline.center, angle, scale, is_mirrored, _fault(outline, alignment))


def asymmetry(outline: Outline, ends: str) -> float:
    """How different the ends are by their "weight" or their "width", above 0 where the first is the larger one."""
    return outline.skew if ends == "weight" else outline.narrowing


def _fault(outline: Outline, alignment: Any) -> str:
    least, most = alignment.area_px
    if outline.is_cut:
        return "it is cut off by the edge of the picture"
    if outline.rest > MOST_REST:
        return "two parts lie in the picture"
    if outline.area < least:
        return "what lies there is smaller than a part"
    if outline.area > most:
        return "what lies there is larger than a part"
    if alignment.turn != "none" and outline.ratio < alignment.least_ratio:
        return "its axis is unsure"
    if alignment.turn == "direction" and abs(asymmetry(outline, alignment.ends)) < alignment.least_asymmetry:
        return "which end is which is unsure"
    return ""


def frame_matrix(found: Any, alignment: Any) -> Matrix:
    """From pixels of the frame to pixels of the picture."""
    turn = math.radians(found.angle)
    cos, sin = math.cos(turn) * found.scale, math.sin(turn) * found.scale
    across = -1.0 if found.is_mirrored else 1.0
    linear = np.array([[cos, -sin * across], [sin, cos * across]])
    shift = np.array(found.center) - linear @ np.array(alignment.anchor)
    return np.hstack([linear, shift[:, None]])


def cut_frame(image: NDArray[np.uint8], matrix: Matrix, frame_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame cut out of a picture by one warp; beyond the picture its edge goes on."""
    cut = cv2.warpAffine(
        image,
        matrix,
        (frame_hw[1], frame_hw[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, np.uint8)
