"""Anomaly map -> regions: connected parts of the anomaly mask, measured in pixels of the inspected image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.inspection.zones import zone_mask
from blemish.schema import AnomalyMap, Calibration, Mask, Region, RegionSettings


def find_regions(anomaly_map: AnomalyMap, calibration: Calibration, image_hw: tuple[int, int]) -> tuple[Region, ...]:
    """The regions of a raw anomaly map, the one with the largest peak first; `image_hw` is the inspected image's size.

    Where any value inside the zone is over the pixel threshold there is at least one region, whatever the settings.
    """
    if anomaly_map.max() <= calibration.pixel_threshold:
        return ()
    if calibration.zone is not None:
        inside = zone_mask(calibration.zone, (anomaly_map.shape[0], anomaly_map.shape[1]))
        # Outside the zone nothing may be seen, whatever its value: least is below every threshold.
        anomaly_map = np.where(inside, anomaly_map, -np.inf).astype(np.float32)
        if anomaly_map.max() <= calibration.pixel_threshold:
            return ()
    labels = _labels(anomaly_map, calibration.pixel_threshold, calibration.regions)
    found = np.unique(labels[(labels > 0) & (anomaly_map > calibration.pixel_threshold)])
    boxes = _boxes(labels)
    regions = [
        _region(anomaly_map, labels, int(label), boxes[int(label)], image_hw, calibration.mm_per_px) for label in found
    ]
    return tuple(sorted(regions, key=lambda region: -region.peak_score))


def _labels(anomaly_map: AnomalyMap, pixel_threshold: float, settings: RegionSettings) -> NDArray[np.int32]:
    """int32 (height, width): 0 outside, one number per region."""
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
    joined = cv2.dilate(mask, _disc(2 * reach + 1)) if reach else mask
    labels = np.asarray(cv2.connectedComponents(joined, connectivity=8)[1], np.int32)
    labels[mask == 0] = 0
    if settings.min_area_px2 > 1:
        areas = np.bincount(labels.ravel())
        kept = areas >= settings.min_area_px2
        kept[labels.flat[int(anomaly_map.argmax())]] = True
        labels[~kept[labels]] = 0
    return labels


def _disc(diameter: int) -> NDArray[np.uint8]:
    """A disc of an odd diameter: with an even one, closing would shift a mask instead of only filling it."""
    diameter |= 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)), np.uint8)


def _boxes(labels: NDArray[np.int32]) -> dict[int, tuple[int, int, int, int]]:
    """Left, top, width and height of each label, in one pass over the map: a large map may hold many regions."""
    rows, columns = np.nonzero(labels)
    values = labels[rows, columns]
    order = np.argsort(values, kind="stable")  # rows stay sorted within a label
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.flatnonzero(np.diff(values, prepend=0))
    ends = np.append(starts[1:], len(values)) - 1
    lefts, rights = np.minimum.reduceat(columns, starts), np.maximum.reduceat(columns, starts)
    return {
        int(values[start]): (int(left), int(rows[start]), int(right - left) + 1, int(rows[end] - rows[start]) + 1)
        for start, end, left, right in zip(starts, ends, lefts, rights, strict=True)
    }


def _region(
    anomaly_map: AnomalyMap,
    labels: NDArray[np.int32],
    label: int,
    box: tuple[int, int, int, int],
    image_hw: tuple[int, int],
    mm_per_px: float | None,
) -> Region:
    left, top, width, height = box
    mask = labels[top : top + height, left : left + width] == label
    rows, columns = np.nonzero(mask)
    rows, columns = rows + top, columns + left
    values = anomaly_map[rows, columns]
    peak = int(values.argmax())
    scale_x, scale_y = image_hw[1] / anomaly_map.shape[1], image_hw[0] / anomaly_map.shape[0]

    def in_image(x: float, y: float) -> tuple[float, float]:
        return (x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5

    outline = _outline(mask) + np.array((left, top))
    contour = np.rint((outline + 0.5) * (scale_x, scale_y) - 0.5).astype(int)
    x0, y0 = int(left * scale_x), int(top * scale_y)
    x1, y1 = int(np.ceil((left + width) * scale_x)), int(np.ceil((top + height) * scale_y))
    area_px = len(rows) * scale_x * scale_y
    length_px = _length(outline, scale_x, scale_y)
    return Region(
        box=(x0, y0, min(x1, image_hw[1]) - x0, min(y1, image_hw[0]) - y0),
        contour=tuple((x, y) for x, y in contour.tolist()),
        area_px=area_px,
        centroid=in_image(float(columns.mean()), float(rows.mean())),
        peak=(int((columns[peak] + 0.5) * scale_x), int((rows[peak] + 0.5) * scale_y)),
        peak_score=float(values[peak]),
        mean_score=float(values.mean(dtype=np.float64)),
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
