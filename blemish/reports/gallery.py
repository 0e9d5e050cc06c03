"""Evaluated parts as a page shows them: a small photograph, its anomaly map, regions and true defects as layers."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.zones import zone_mask
from blemish.inspection.look import zone_of
from blemish.inspection.overlay import color_map, fade_outside, frame_outline, map_scale, mask_contours
from blemish.schema import (
    DEFECTIVE,
    GOOD,
    AnomalyMap,
    Calibration,
    Decision,
    Evaluation,
    Image,
    ImageItem,
    ImageResult,
    Mask,
    Picture,
    Region,
    Verdict,
    Zone,
)
from blemish.text import score_text

PHOTO_SIDE = 448
MAP_SIDE = 128
PHOTO_QUALITY = 82
MAP_QUALITY = 70
NUM_OPEN = 8
"""Tiles of a group that are seen at once; the rest is folded."""
WIDE = 1.6
"""Pictures wider than this by their height are put above their overlay instead of beside it."""


_GROUPS: tuple[tuple[str, str, int, Decision, bool, str], ...] = (
    ("escapes", "Escapes: defective parts accepted", DEFECTIVE, "accept", True, "lowest score first"),
    ("false-rejects", "False rejects: good parts rejected", GOOD, "reject", False, "highest score first"),
    ("review-defective", "Defective parts put up for review", DEFECTIVE, "review", True, "lowest score first"),
    ("review-good", "Good parts put up for review", GOOD, "review", False, "highest score first"),
    ("hits", "Defective parts rejected", DEFECTIVE, "reject", False, "highest score first"),
    ("accepted", "Good parts accepted", GOOD, "accept", False, "nearest to the threshold first"),
)


@dataclass(frozen=True)
class Tile:
    """One part: pictures as data URIs, outlines as SVG paths in pixels of the original image, and its numbers."""

    name: str
    picture: Picture
    photo: str
    heat: str
    reconstruction: str
    region_path: str
    mask_path: str
    zone_path: str
    frame_path: str
    peak: tuple[float, float]
    overlap: str

    @property
    def hw(self) -> tuple[int, int]:
        return self.picture.image.shape[0], self.picture.image.shape[1]

    @property
    def is_mistake(self) -> bool:
        """Whether a defective part was accepted or a good one rejected."""
        return self.picture.verdict.decision == ("reject" if self.picture.item.is_good else "accept")

    @property
    def is_wide(self) -> bool:
        """Whether photograph and overlay are best put one above the other."""
        return self.hw[1] > WIDE * self.hw[0]

    @property
    def alt(self) -> str:
        """What a person hears who cannot see the picture."""
        verdict, item = self.picture.verdict, self.picture.item
        state = "good part" if item.is_good else f"part with defect {item.defect_type}"
        count = len(verdict.regions)
        regions = "no region" if count == 0 else "1 region" if count == 1 else f"{count} regions"
        score = score_text(verdict.display_score)
        return f"{self.name}: {state}, {verdict.decision}, score {score} of 100, {regions} marked"


@dataclass(frozen=True)
class ComparedPart:
    """One test image under each detector: `verdicts` and color `scales` (see `overlay.map_scale`) by detector."""

    category: str
    item: ImageItem
    image: Image
    mask: Mask | None
    verdicts: Mapping[str, Verdict]
    scales: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Group:
    """A part of the gallery: `total` counts all such images, of which `tiles` shows some, `NUM_OPEN` at once."""

    key: str
    title: str
    note: str
    total: int
    tiles: tuple[Tile, ...]


def make_tile(picture: Picture, scale: tuple[float, float], zone: Zone | None = None) -> Tile:
    """The tile of one evaluated image; `scale` as in `overlay.color_map`, `zone` as the calibration has it."""
    height, width = picture.image.shape[:2]
    # A thousandth of the image's side is under a pixel of any screen this is shown on.
    tolerance = max(height, width) / 1000.0
    redrawn = picture.verdict.reconstruction
    mask = picture.mask if picture.mask is not None and picture.mask.any() else None
    lying = zone_of(zone, picture.verdict)
    return Tile(
        name=_short_name(picture.verdict.path or str(picture.item.path)),
        picture=picture,
        photo=photo_uri(picture.image),
        heat=heat_uri(picture.verdict, scale, (height, width)),
        reconstruction="" if redrawn is None else photo_uri(redrawn),
        region_path="".join(_region_path(region, tolerance) for region in picture.verdict.regions),
        mask_path="" if mask is None else mask_outline(mask),
        zone_path="" if lying is None else mask_outline(zone_mask(lying, (height, width))),
        frame_path=_frame_path(picture.verdict),
        peak=_peak(picture.verdict.anomaly_map, (height, width)),
        overlap="" if mask is None else _overlap_words(mask, picture.verdict),
    )


def color_scale(evaluation: Evaluation, calibration: Calibration | None) -> tuple[float, float]:
    """The scale of map colors: the calibration's, else from the maps of the good parts that are shown."""
    if calibration is not None:
        return map_scale(calibration)
    shown = [picture for picture in evaluation.pictures if picture.item.is_good] or list(evaluation.pictures)
    if not shown:
        return 0.0, 1.0
    values = [picture.verdict.anomaly_map for picture in shown]
    return float(np.median([np.median(value) for value in values])), float(np.max([np.max(value) for value in values]))


@dataclass(frozen=True)
class Frame:
    """The form of picture that all tiles of a page share: its width by its height."""

    aspect: float

    @property
    def is_wide(self) -> bool:
        return self.aspect > WIDE


def frame_of(pictures: Sequence[Picture]) -> Frame:
    """A frame that suits most pictures; those of another form are fitted into it whole."""
    if not pictures:
        return Frame(1.0)
    aspects = [picture.image.shape[1] / picture.image.shape[0] for picture in pictures]
    return Frame(round(float(np.clip(np.median(aspects), 0.45, 3.0)), 3))


def groups_of(
    pictures: Sequence[Picture],
    results: Sequence[ImageResult],
    scale: tuple[float, float],
    zone: Zone | None = None,
) -> list[Group]:
    """The pictures in groups, mistakes first, each group in its telling order; empty groups of mistakes are kept."""
    if not pictures:
        return []
    groups = []
    for key, title, label, decision, lowest_first, order in _GROUPS:
        total = sum(result.label == label and result.decision == decision for result in results)
        chosen = [
            picture for picture in pictures if picture.item.label == label and picture.verdict.decision == decision
        ]
        chosen.sort(key=lambda picture: picture.verdict.score, reverse=not lowest_first)
        is_mistake = key in ("escapes", "false-rejects")
        if not total and not is_mistake:
            continue
        tiles = tuple(make_tile(picture, scale, zone) for picture in chosen)
        groups.append(Group(key, title, _note(total, len(tiles), order), total, tiles))
    return groups


def _note(total: int, shown: int, order: str) -> str:
    if total == 0:
        return "none"
    if shown == 0:
        return f"{total:,}, none kept to show"
    return f"{total:,}, {order}" if shown == total else f"{shown:,} of {total:,} kept to show, {order}"


def mask_outline(mask: Mask) -> str:
    """The outlines of a mask as an SVG path in its pixels."""
    tolerance = max(mask.shape) / 1000.0
    return "".join(_outline(contour, tolerance) for contour in mask_contours(mask))


def photo_uri(image: Image, side: int = PHOTO_SIDE) -> str:
    """A WebP of the image as a data URI, of an area of at most `side` by `side`, never enlarged."""
    height, width = image.shape[:2]
    shrink = min(1.0, side / (height * width) ** 0.5)
    if shrink < 1.0:
        small_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = np.asarray(cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return _webp_uri(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR), PHOTO_QUALITY)


def heat_uri(verdict: Verdict, scale: tuple[float, float], image_hw: tuple[int, int]) -> str:
    """The colored anomaly map as a transparent WebP, at most `MAP_SIDE` on a side: the page scales it smoothly.

    Colors fade outside the outlines of the regions, which are in pixels of an image of `image_hw`.
    """
    anomaly_map: AnomalyMap = verdict.anomaly_map
    height, width = anomaly_map.shape
    shrink = min(1.0, MAP_SIDE / max(height, width))
    if shrink < 1.0:
        small_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
        anomaly_map = np.asarray(
            cv2.resize(anomaly_map.astype(np.float32), small_wh, interpolation=cv2.INTER_AREA), np.float32
        )
    rgba = color_map(anomaly_map, scale)
    strength = fade_outside(verdict.regions, image_hw)
    if strength is not None:
        small = cv2.resize(strength, (rgba.shape[1], rgba.shape[0]), interpolation=cv2.INTER_AREA)
        rgba[..., 3] = np.rint(rgba[..., 3] * (np.asarray(small, np.float32) / 255)).astype(np.uint8)
    return picture_uri(rgba) if rgba[..., 3].any() else ""


def picture_uri(rgba: NDArray[np.uint8]) -> str:
    """A transparent WebP of RGBA pixels as a data URI."""
    return _webp_uri(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), MAP_QUALITY)


def _webp_uri(pixels: NDArray[np.uint8] | cv2.typing.MatLike, quality: int) -> str:
    _, encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _frame_path(verdict: Verdict) -> str:
    """The frame of a part that was laid straight; empty where it was not."""
    points = [] if verdict.pose is None else frame_outline(verdict.pose)
    return "M" + "L".join(f"{x + 0.5:.1f} {y + 0.5:.1f}" for x, y in points) + "Z" if points else ""


def _region_path(region: Region, tolerance: float) -> str:
    return _outline(np.asarray(region.contour, dtype=np.int32).reshape(-1, 1, 2), tolerance) if region.contour else ""


def _outline(contour: NDArray[np.int32], tolerance: float) -> str:
    """A closed path through the pixels' centers."""
    points = np.asarray(cv2.approxPolyDP(contour, tolerance, True)).reshape(-1, 2).tolist()
    return "M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in points) + "Z"


def _peak(anomaly_map: AnomalyMap, hw: tuple[int, int]) -> tuple[float, float]:
    """Where the map is largest, x and y in pixels of the image."""
    row, column = divmod(int(np.argmax(anomaly_map)), anomaly_map.shape[1])
    return (column + 0.5) * hw[1] / anomaly_map.shape[1], (row + 0.5) * hw[0] / anomaly_map.shape[0]


def _overlap_words(mask: Mask, verdict: Verdict) -> str:
    """How the regions found meet the true defects, in words."""
    regions = verdict.regions
    marked, labels = _parts(mask)
    defects = "marked defect" if marked == 1 else "marked defects"
    if not regions:
        x, y = _peak(verdict.anomaly_map, (mask.shape[0], mask.shape[1]))
        place = "lies in a true defect" if mask[int(y), int(x)] else "lies elsewhere"
        return f"None of {marked} {defects} found; the largest map value {place}"
    found = np.zeros(mask.shape, dtype=np.uint8)
    contours = [np.asarray(region.contour, dtype=np.int32).reshape(-1, 1, 2) for region in regions if region.contour]
    cv2.drawContours(found, contours, -1, 1, cv2.FILLED)
    hit = len(np.unique(labels[(found > 0) & mask]))
    both = int(np.count_nonzero((found > 0) & mask))
    either = int(np.count_nonzero((found > 0) | mask))
    return f"{hit} of {marked} {defects} found, overlap (IoU) {both / either:.2f}"


def _parts(mask: Mask) -> tuple[int, NDArray[np.int32]]:
    """The number of connected parts of a mask, and which pixel belongs to which."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count - 1, np.asarray(labels, np.int32)


def _short_name(path: str) -> str:
    parts = PurePath(path.replace("\\", "/")).parts
    return "/".join(parts[-2:]) if parts else "image"
