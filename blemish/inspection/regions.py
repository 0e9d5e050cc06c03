"""Anomaly map -> regions: connected parts of the anomaly mask, measured in pixels of the inspected image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.zones import zone_mask
from blemish.schema import AnomalyMap, Calibration, Mask, Region, RegionSettings

MAX_REGIONS = 1000
"""Regions of an image that are measured and listed; the others are counted. Real defects are few."""
Box = tuple[int, int, int, int]
"""Left, top, width and height."""


@dataclass(frozen=True)
class FoundRegions:
    """The regions of a map, the one with the largest peak first, and how many more there are."""

    regions: tuple[Region, ...] = ()
    num_more: int = 0


def find_regions(anomaly_map: AnomalyMap, calibration: Calibration, image_hw: tuple[int, int]) -> FoundRegions:
    """The regions of a raw anomaly map, at most `MAX_REGIONS`; `image_hw` is the inspected image's size.

    Where any value inside the zone is over the pixel threshold there is at least one region, whatever the settings.
    """
    if anomaly_map.max() <= calibration.pixel_threshold:
        return FoundRegions()
    if calibration.zone is not None:
        inside = zone_mask(calibration.zone, (anomaly_map.shape[0], anomaly_map.shape[1]))
        # Outside the zone nothing may be seen, whatever its value: least is below every threshold.
        anomaly_map = np.where(inside, anomaly_map, -np.inf).astype(np.float32)
        if anomaly_map.max() <= calibration.pixel_threshold:
            return FoundRegions()
    labels, boxes = _labels(anomaly_map, calibration.pixel_threshold, calibration.regions)
    is_over = anomaly_map > calibration.pixel_threshold
    found = np.flatnonzero(np.bincount(labels[is_over]))
    found = found[found > 0]
    chosen = _strongest(found, labels[is_over], anomaly_map[is_over])
    regions = [
        _region(anomaly_map, labels, label, boxes[label], image_hw, calibration.mm_per_px) for label in chosen.tolist()
    ]
    return FoundRegions(tuple(sorted(regions, key=lambda region: -region.peak_score)), len(found) - len(chosen))


def _strongest(found: NDArray[np.intp], labels: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.intp]:
    """The labels of the `MAX_REGIONS` regions with the largest values, in order; `labels` are those of the values."""
    if len(found) <= MAX_REGIONS:
        return found
    peaks = np.full(int(found.max()) + 1, -np.inf, np.float32)
    np.maximum.at(peaks, labels, values)
    return np.sort(found[np.argsort(-peaks[found], kind="stable")[:MAX_REGIONS]])


def _labels(
    anomaly_map: AnomalyMap, pixel_threshold: float, settings: RegionSettings
) -> tuple[NDArray[np.int32], dict[int, Box]]:
    """int32 (height, width), 0 outside and one number per region, and a box that holds the region for each number."""
    base = min(settings.grow_threshold, pixel_threshold)
    inside = anomaly_map > base
    if settings.flank_px:
        window = np.ones((2 * settings.flank_px + 1,) * 2, np.uint8)
        inside &= anomaly_map - base > (cv2.dilate(anomaly_map, window) - base) / 2
    mask = inside.astype(np.uint8)
    if settings.opening_px > 1:
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(settings.opening_px)), np.uint8)
        # Opening trims hairs but never a peak: what is over the pixel threshold has to be shown.
        mask |= (inside & (anomaly_map > pixel_threshold)).astype(np.uint8)
    if settings.closing_px > 1:
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(settings.closing_px)), np.uint8)
        mask[np.isneginf(anomaly_map)] = 0
    reach = (settings.join_px + 1) // 2
    joined = np.asarray(cv2.dilate(mask, _disc(2 * reach + 1)) if reach else mask, np.uint8)
    labels = np.asarray(cv2.connectedComponents(joined, connectivity=8)[1], np.int32)
    boxes = _boxes(joined, labels)
    labels *= mask
    if settings.min_area_px2 > 1:
        areas = np.bincount(labels.ravel())
        kept = areas >= settings.min_area_px2
        kept[labels.flat[int(anomaly_map.argmax())]] = True
        labels = np.where(kept, np.arange(len(kept), dtype=np.int32), 0)[labels]
    return labels, boxes


def _disc(diameter: int) -> NDArray[np.uint8]:
    """A disc of an odd diameter: with an even one, closing would shift a mask instead of only filling it."""
    diameter |= 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)), np.uint8)


def _boxes(mask: NDArray[np.uint8], labels: NDArray[np.int32]) -> dict[int, Box]:
    """The box of each connected part of a mask, by its label; quicker than `connectedComponentsWithStats`."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = () if hierarchy is None else hierarchy[0, :, 3].tolist()
    found = {}
    for contour, parent in zip(contours, parents, strict=True):
        if parent < 0:  # an outline and not that of a hole
            x, y = contour[0, 0].tolist()
            left, top, width, height = cv2.boundingRect(contour)
            found[int(labels[y, x])] = (left, top, width, height)
    return found


def _region(
    anomaly_map: AnomalyMap,
    labels: NDArray[np.int32],
    label: int,
    box: Box,
    image_hw: tuple[int, int],
    mm_per_px: float | None,
) -> Region:
    left, top, width, height = box
    found = (labels[top : top + height, left : left + width] == label).astype(np.uint8)
    inner_left, inner_top, width, height = cv2.boundingRect(found)
    mask = found[inner_top : inner_top + height, inner_left : inner_left + width].view(bool)
    left, top = left + inner_left, top + inner_top
    values = anomaly_map[top : top + height, left : left + width]
    peak_row, peak_column = divmod(int(np.where(mask, values, -np.inf).argmax()), width)
    in_columns, in_rows = mask.sum(axis=0), mask.sum(axis=1)
    num_pixels = int(in_rows.sum())
    center_x = left + float(in_columns @ np.arange(width)) / num_pixels
    center_y = top + float(in_rows @ np.arange(height)) / num_pixels
    scale_x, scale_y = image_hw[1] / anomaly_map.shape[1], image_hw[0] / anomaly_map.shape[0]

    def in_image(x: float, y: float) -> tuple[float, float]:
        return (x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5

    outline = _outline(mask) + np.array((left, top))
    contour = np.rint((outline + 0.5) * (scale_x, scale_y) - 0.5).astype(int)
    x0, y0 = int(left * scale_x), int(top * scale_y)
    x1, y1 = int(np.ceil((left + width) * scale_x)), int(np.ceil((top + height) * scale_y))
    area_px = num_pixels * scale_x * scale_y
    length_px = _length(outline, scale_x, scale_y)
    return Region(
        box=(x0, y0, min(x1, image_hw[1]) - x0, min(y1, image_hw[0]) - y0),
        contour=tuple((x, y) for x, y in contour.tolist()),
        area_px=area_px,
        centroid=in_image(center_x, center_y),
        peak=(int((left + peak_column + 0.5) * scale_x), int((top + peak_row + 0.5) * scale_y)),
        peak_score=float(values[peak_row, peak_column]),
        mean_score=float(values[mask].mean(dtype=np.float64)),
        length_px=length_px,
        area_mm2=None if mm_per_px is None else area_px * mm_per_px**2,
        length_mm=None if mm_per_px is None else length_px * mm_per_px,
    )


def _outline(mask: Mask) -> NDArray[np.int32]:
    """Points (n, 2) x, y around a mask; around its convex hull where the mask is of several parts."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = np.concatenate([np.asarray(contour, np.int32) for contour in contours])
    if len(contours) > 1:
        points = np.asarray(cv2.convexHull(points), np.int32)
    return points.reshape(-1, 2)


def _length(outline: NDArray[np.int32], scale_x: float, scale_y: float) -> float:
    """The largest distance between two edge midpoints of the pixels on an outline (maximum Feret diameter)."""
    hull = cv2.convexHull(outline.astype(np.int32)).reshape(-1, 2)
    steps = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
    x, y = ((hull[:, None, :] + steps).reshape(-1, 2) * (scale_x, scale_y)).T
    return float(np.sqrt((np.subtract.outer(x, x) ** 2 + np.subtract.outer(y, y) ** 2).max()))
