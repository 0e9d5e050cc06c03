"""Good images -> how the part is found in a picture, and whether laying it straight is worth it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.alignment.pose import (
    MOST_REST,
    Outline,
    asymmetry,
    distance_from_background,
    find_outline,
    frame_matrix,
    pose_of,
    shrink,
)
from blemish.schema import Alignment, Image

LEAST_CONTRAST = 6.0
LEAST_RATIO = 1.25
"""The least ratio of a part's axes at which its axis is taken for its direction."""
LEAST_ASYMMETRY = 0.08
"""The least difference of a part's ends at which they are told; see `Outline`."""
LEAST_SIDE_SKEW = 0.15
SCALES_FROM = 0.06
"""The deviation of parts' sizes, as a share, from which they are brought to one size."""
MARGIN = 0.06
"""What is seen around the part, as a share of its longer side."""
ODD_SIZE = 3.0
"""Things so many times smaller or larger than the usual one are no part."""
SLACK = 1.5
"""How far areas may go beyond those of the good images, as a factor; two parts side by side are twice as large."""
TURNS_FROM, MOVES_FROM, FILLS_LESS = 4.0, 0.04, 0.12
"""When laying straight is worth it: the pose's deviation in degrees or in shares of the picture, or a small part."""


@dataclass(frozen=True)
class Look:
    """A small form of one picture: how far each pixel is from the background, and how plain that is."""

    distance: NDArray[np.uint8]
    image_hw: tuple[int, int]
    noise: float
    contrast: float


@dataclass(frozen=True)
class FittedPart:
    """An alignment and the poses of the good images it comes from; None where a picture shows no single whole part.

    `turns_by` is the poses' deviation in degrees, `moves_by` in shares of the picture's sides, `fills` the frame's
    median share of the picture.
    """

    alignment: Alignment
    is_sure: tuple[bool, ...]
    turns_by: float
    moves_by: float
    fills: float

    @property
    def is_worth_it(self) -> bool:
        """Whether parts lie clearly otherwise from picture to picture, or far more of the picture is background."""
        return self.turns_by >= TURNS_FROM or self.moves_by >= MOVES_FROM or self.fills < FILLS_LESS


def look_at(image: Image) -> Look | None:
    """What fitting needs of a picture; None where its border shows no plain background."""
    seen = distance_from_background(shrink(image))
    if seen is None:
        return None
    distance, shows = seen
    otsu, _ = cv2.threshold(distance, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return Look(
        distance,
        (image.shape[0], image.shape[1]),
        float(np.percentile(distance[shows], 99)),
        float(otsu),
    )


def common_contrast(looks: Sequence[Look]) -> float:
    """From how many gray levels on a pixel belongs to the part: over the background's noise, well below the part's."""
    noise = float(np.median([look.noise for look in looks]))
    otsu = float(np.median([look.contrast for look in looks]))
    return max(LEAST_CONTRAST, 1.5 * noise, 0.5 * otsu)


def fit_part(looks: Sequence[Look | None]) -> FittedPart | None:
    """How the part is found, from the good images; None where not more than half of them show one whole part."""
    plain = [look for look in looks if look is not None]
    if 2 * len(plain) <= len(looks):
        return None
    contrast = round(common_contrast(plain), 2)
    seen = [None if look is None else _whole(look, contrast) for look in looks]
    whole = [outline for outline in seen if outline is not None]
    if 2 * len(whole) <= len(looks):
        return None
    usual = float(np.median([outline.area for outline in whole]))
    kept = [outline for outline in whole if usual / ODD_SIZE <= outline.area <= usual * ODD_SIZE]
    alignment = _alignment(kept, contrast)
    is_sure = tuple(outline is not None and not pose_of(outline, alignment).fault for outline in seen)
    hws = [look.image_hw for look, is_one in zip(looks, is_sure, strict=True) if look is not None and is_one]
    sure = [outline for outline, is_one in zip(seen, is_sure, strict=True) if outline is not None and is_one]
    if 2 * len(sure) <= len(looks):
        return None
    frame = alignment.frame_hw[0] * alignment.frame_hw[1]
    return FittedPart(
        alignment,
        is_sure,
        turns_by=_turns_by(sure, alignment),
        moves_by=_moves_by(sure, hws),
        fills=float(np.median([frame / (height * width) for height, width in hws])),
    )


def _whole(look: Look, contrast: float) -> Outline | None:
    outline = find_outline(look.distance, contrast, look.image_hw)
    return outline if outline is not None and not outline.is_cut and outline.rest <= MOST_REST else None


def _alignment(outlines: Sequence[Outline], contrast: float) -> Alignment:
    areas = np.array([outline.area for outline in outlines])
    ratios = np.array([outline.ratio for outline in outlines])
    ends, differs = _ends(outlines)
    sides = np.array([outline.side_skew for outline in outlines])
    has_axis = bool(np.percentile(ratios, 5) >= LEAST_RATIO)
    has_ends = has_axis and bool(np.percentile(differs, 5) >= LEAST_ASYMMETRY)
    has_sides = has_ends and bool(np.percentile(np.abs(sides), 10) >= LEAST_SIDE_SKEW)
    is_scaled = bool(np.log(areas).std() / 2 >= SCALES_FROM)
    first = Alignment(
        kind="part",
        frame_hw=(16, 16),
        anchor=(0.0, 0.0),
        contrast=contrast,
        turn="direction" if has_ends else "axis" if has_axis else "none",
        area_px=(max(1.0, round(float(areas.min()) / SLACK, 1)), round(float(areas.max()) * SLACK, 1)),
        least_ratio=max(1.0, round(float(ratios.min()) / 1.3, 3)) if has_axis else 1.0,
        ends=ends,
        least_asymmetry=round(float(differs.min()) / 3, 4) if has_ends else 0.0,
        usual_area_px=round(float(np.median(areas)), 1) if is_scaled else None,
        is_mirrored_too=has_sides and 0.1 <= float((sides < 0).mean()) <= 0.9,
    )
    return _framed(first, outlines)


def _ends(outlines: Sequence[Outline]) -> tuple[Literal["weight", "width"], NDArray[np.float64]]:
    """What tells the ends best, and how different they are by it."""
    weight, width = (np.array([abs(asymmetry(outline, ends)) for outline in outlines]) for ends in ("weight", "width"))
    return ("weight", weight) if np.percentile(weight, 5) >= np.percentile(width, 5) else ("width", width)


def _framed(alignment: Alignment, outlines: Sequence[Outline]) -> Alignment:
    """The alignment with a frame that holds the part of each outline and a margin."""
    reaches = []
    for outline in outlines:
        matrix = frame_matrix(pose_of(outline, alignment), alignment)
        places = np.linalg.solve(matrix[:, :2], (outline.points - matrix[:, 2]).T)
        reaches.append((-places.min(axis=1), places.max(axis=1)))
    before = np.max([reach[0] for reach in reaches], axis=0)
    after = np.max([reach[1] for reach in reaches], axis=0)
    if alignment.turn == "axis":  # either end may lie on either side
        before = after = np.maximum(before, after)
    margin = max(4.0, MARGIN * float((before + after).max()))
    width, height = np.ceil(before + after + 2 * margin).astype(int).tolist()
    return replace(
        alignment,
        frame_hw=(max(16, height), max(16, width)),
        anchor=(round(float(before[0]) + margin, 1), round(float(before[1]) + margin, 1)),
    )


def _turns_by(outlines: Sequence[Outline], alignment: Alignment) -> float:
    """The circular deviation of the angles in degrees; 0 where a rotation cannot be told."""
    if alignment.turn == "none":
        return 0.0
    turns = 2 if alignment.turn == "axis" else 1  # half a turn looks like none
    angles = np.radians([turns * pose_of(outline, alignment).angle for outline in outlines])
    length = min(1.0, float(np.abs(np.exp(1j * angles).mean())))
    return min(90.0, math.degrees(math.sqrt(-2 * math.log(max(length, 1e-9))) / turns))


def _moves_by(outlines: Sequence[Outline], image_hws: Sequence[tuple[int, int]]) -> float:
    places = [
        (outline.center[0] / width, outline.center[1] / height)
        for outline, (height, width) in zip(outlines, image_hws, strict=True)
    ]
    return float(np.std(places, axis=0).max())
