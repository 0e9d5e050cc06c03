"""Between a picture and the frame of its part: pictures and masks there, maps, regions and masks back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.alignment.pose import Matrix, cut_frame, find_part, frame_matrix
from blemish.schema import Alignment, AnomalyMap, Image, Mask, Pose, Region

MAX_MAP_PIXELS = 4_000_000
"""The largest map of a picture; larger ones are made at a fraction of their size."""


@dataclass(frozen=True, eq=False)
class Straight:
    """A picture laid straight: the frame cut out of it, and where the part lies in the picture."""

    image: Image
    pose: Pose


def locate(image: Image, alignment: Alignment) -> Pose:
    """Where the part lies in a picture; `fault` says why that is unsure.

    >>> image = np.full((64, 64, 3), 200, np.uint8)
    >>> image[20:30, 10:50] = 40
    >>> alignment = Alignment("part", (20, 50), (25.0, 10.0), contrast=50.0, turn="axis", area_px=(300, 500))
    >>> pose = locate(image, alignment)
    >>> pose.fault, round(pose.center[0]), round(pose.center[1]), round(pose.angle)
    ('', 30, 24, 0)
    """
    found = find_part(image, alignment)
    matrix = frame_matrix(found, alignment)
    height, width = alignment.frame_hw
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5
    return Pose(
        center=found.center,
        angle=found.angle,
        scale=found.scale,
        is_mirrored=found.is_mirrored,
        corners=tuple((round(x, 2), round(y, 2)) for x, y in _moved(corners, matrix).tolist()),
        fault=found.fault,
    )


def straighten(image: Image, alignment: Alignment) -> Straight:
    """The part's frame cut out of a picture by one warp, also where the pose is unsure: then as far as it is known."""
    pose = locate(image, alignment)
    return Straight(cut_frame(image, frame_matrix(pose, alignment), alignment.frame_hw), pose)


def mask_in_frame(mask: Mask, pose: Pose, alignment: Alignment) -> Mask:
    """A mask (height, width) of the picture in the frame, each pixel that of the nearest in the picture."""
    height, width = alignment.frame_hw
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(mask.astype(np.uint8), frame_matrix(pose, alignment), (width, height), flags=flags)
    return np.asarray(cut, np.bool_)


def mask_in_picture(mask: Mask, pose: Pose, alignment: Alignment, image_hw: tuple[int, int]) -> Mask:
    """A mask at the frame's size in the picture; outside of the frame it is False."""
    turned = cv2.warpAffine(
        mask.astype(np.uint8), frame_matrix(pose, alignment), image_hw[::-1], flags=cv2.INTER_NEAREST
    )
    return np.asarray(turned, np.bool_)


def mask_between(mask: Mask, pose: Pose, image_hw: tuple[int, int]) -> Mask:
    """A mask of the frame, of any size, between the corners of a pose; outside of the frame it is False."""
    height, width = mask.shape
    corners = np.array([(0, 0), (width, 0), (width, height)], np.float32) - 0.5
    matrix = cv2.getAffineTransform(corners, np.array(pose.corners[:3], np.float32))
    turned = cv2.warpAffine(mask.astype(np.uint8), matrix, image_hw[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(turned, np.bool_)


def map_in_picture(anomaly_map: AnomalyMap, pose: Pose, alignment: Alignment, image_hw: tuple[int, int]) -> AnomalyMap:
    """A map of the frame as one of the picture, about as fine; outside of the frame it has the map's least value."""
    matrix, hw = frame_matrix(pose, alignment), _map_hw(anomaly_map, pose, alignment, image_hw)
    from_map = _pixels(anomaly_map.shape, alignment.frame_hw)
    to_map = _pixels(image_hw, hw)
    whole = to_map @ np.vstack([matrix, (0, 0, 1)]) @ from_map
    least = float(anomaly_map.min())
    turned = cv2.warpAffine(
        anomaly_map, whole[:2], hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=least
    )
    return np.asarray(turned, np.float32)


def region_in_picture(region: Region, pose: Pose, alignment: Alignment, image_hw: tuple[int, int]) -> Region:
    """A region measured in pixels of the frame, in those of the picture; what lies outside is drawn to the edge."""
    matrix, (height, width) = frame_matrix(pose, alignment), image_hw
    most = np.array([width - 1, height - 1])
    contour = np.clip(np.rint(_moved(np.array(region.contour, np.float64), matrix)), 0, most).astype(int)
    x, y, box_width, box_height = region.box
    corners = contour
    if not len(contour):
        edges = [(x, y), (x + box_width, y), (x, y + box_height), (x + box_width, y + box_height)]
        corners = np.clip(np.rint(_moved(np.array(edges, np.float64) - 0.5, matrix)), 0, most).astype(int)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    [center, peak] = np.clip(_moved(np.array([region.centroid, region.peak], np.float64), matrix), 0, most).tolist()
    return replace(
        region,
        box=(left, top, right - left + 1, bottom - top + 1),
        contour=tuple((px, py) for px, py in contour.tolist()),
        area_px=region.area_px * pose.scale**2,
        centroid=(center[0], center[1]),
        peak=(round(peak[0]), round(peak[1])),
        length_px=region.length_px * pose.scale,
        area_mm2=None if region.area_mm2 is None else region.area_mm2 * pose.scale**2,
        length_mm=None if region.length_mm is None else region.length_mm * pose.scale,
    )


def _moved(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points.reshape(-1, 2) @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _map_hw(anomaly_map: AnomalyMap, pose: Pose, alignment: Alignment, image_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of the picture's map: a pixel of it is about as large as one of the frame's."""
    fineness = max(side / whole for side, whole in zip(anomaly_map.shape, alignment.frame_hw, strict=True)) / pose.scale
    fineness = min(1.0, fineness, math.sqrt(MAX_MAP_PIXELS / (image_hw[0] * image_hw[1])))
    return max(1, round(image_hw[0] * fineness)), max(1, round(image_hw[1] * fineness))


def _pixels(hw: tuple[int, ...], other_hw: tuple[int, ...]) -> NDArray[np.float64]:
    """(3, 3): from pixels of one size to those of another, whose edges lie on each other."""
    down, across = other_hw[0] / hw[0], other_hw[1] / hw[1]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
