"""Screws in any pose on a plain background, drawn by code: what alignment is tested and measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.schema import Image, Mask
from blemish.testing.tiny import write_png

ScrewDefect = Literal["scratch", "dent", "stripped_thread", "broken_tip", "stain"]
SCREW_DEFECTS: tuple[ScrewDefect, ...] = ("scratch", "dent", "stripped_thread", "broken_tip", "stain")
LENGTH, HEAD, NECK, THREAD = 0.62, 0.085, 0.036, 0.046
"""The screw in shares of the picture's side: its length, and half the widths of head, neck and thread."""
STEP = 3
"""The screw is drawn so many times finer than the picture, then brought to its pose by one warp."""
_COLORS: Mapping[bool, tuple[float, float]] = MappingProxyType({True: (205.0, 95.0), False: (38.0, 150.0)})


@dataclass(frozen=True)
class ScrewPose:
    """The middle of the screw's length (x, y) in shares of the side, and where its tip points, in degrees."""

    center: tuple[float, float]
    angle: float


@dataclass(frozen=True)
class Screw:
    """A picture of a screw; `mask` is where it is defective."""

    image: Image
    mask: Mask
    pose: ScrewPose


def draw_screw(
    side: int,
    rng: np.random.Generator,
    *,
    pose: ScrewPose | None = None,
    defect: ScrewDefect | None = None,
    is_dark: bool = True,
) -> Screw:
    """A square picture of one screw; dark on a bright ground or the other way round; in any pose."""
    straight, defective = _draw_straight(side * STEP, rng, defect, is_dark=is_dark)
    if pose is None:
        reach = LENGTH / 2 + 0.03
        pose = ScrewPose((rng.uniform(reach, 1 - reach), rng.uniform(reach, 1 - reach)), rng.uniform(-180, 180))
    middle = side * STEP / 2 - 0.5
    matrix = np.array(cv2.getRotationMatrix2D((middle, middle), -pose.angle, 1.0), np.float64)
    matrix[:, 2] += (np.array(pose.center) - 0.5) * side * STEP
    fine = cv2.warpAffine(
        straight, matrix, (side * STEP, side * STEP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    turned = cv2.warpAffine(defective.astype(np.float32), matrix, (side * STEP, side * STEP))
    gray = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    mask = np.asarray(cv2.resize(turned, (side, side), interpolation=cv2.INTER_AREA) > 0.3, np.bool_)
    across, down = np.meshgrid(np.linspace(-0.5, 0.5, side), np.linspace(-0.5, 0.5, side))
    light = rng.uniform(0.96, 1.04) + rng.uniform(-0.05, 0.05) * across + rng.uniform(-0.05, 0.05) * down
    color = (gray * light)[..., None] * np.array([1.0, 0.99, 0.97]) + rng.normal(0, 2.5, (side, side, 1))
    return Screw(np.asarray(np.clip(np.rint(color), 0, 255), np.uint8), mask, pose)


def write_screws(
    folder: Path, *, side: int, num_good: int, num_test_good: int, num_of_each: int, seed: int = 0
) -> Path:
    """`folder`, now a data set in MVTec AD layout: good screws, and `num_of_each` kind of defect with masks."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", num_good), ("test", num_test_good)):
        for number in range(count):
            write_png(folder / split / "good" / f"{number:03}.png", draw_screw(side, rng).image)
    for defect in SCREW_DEFECTS:
        for number in range(num_of_each):
            screw = draw_screw(side, rng, defect=defect)
            write_png(folder / "test" / defect / f"{number:03}.png", screw.image)
            write_png(folder / "ground_truth" / defect / f"{number:03}_mask.png", screw.mask.astype(np.uint8) * 255)
    return folder


def _draw_straight(
    side: int, rng: np.random.Generator, defect: ScrewDefect | None, *, is_dark: bool
) -> tuple[NDArray[np.float32], Mask]:
    """The screw in the middle, its tip to the right, gray float32, and where it is defective."""
    ground, metal = _COLORS[is_dark]
    length = LENGTH * side * rng.uniform(0.99, 1.01)
    y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5 - side / 2
    along = (x + length / 2) / length  # 0 at the head's top, 1 at the tip
    cut = 1.0 if defect != "broken_tip" else float(rng.uniform(0.88, 0.94))
    turn, pitch = rng.uniform(0, 2 * math.pi), 0.032
    wave = np.cos(2 * math.pi * along / pitch + turn)
    is_threaded = (along > 0.42) & (along < 0.95)
    depth = np.where(is_threaded, 0.006 * wave, 0.0)
    bare = np.zeros_like(along, bool)
    if defect == "stripped_thread":
        start = rng.uniform(0.48, 0.8)
        bare = (along > start) & (along < start + rng.uniform(0.05, 0.09))
        depth = np.where(bare, -0.005, depth)
    half = np.select(
        [along < 0.1, along < 0.14, along < 0.42, along < 0.95],
        [HEAD - 0.02 * (1 - along / 0.1) ** 2, NECK + (HEAD - NECK) * (0.14 - along) / 0.04, NECK, THREAD],
        THREAD * (1 - along) / 0.05,
    )
    reach = (half + depth) * side
    inside = np.clip(reach - np.abs(y) + 0.5, 0, 1) * (along > 0) * (along < cut)
    round_light = 1 + 0.35 * np.cos(np.clip(y / np.maximum(reach, 1), -1, 1) * math.pi * 0.5 + 0.4)
    threads = np.where(is_threaded & ~bare, 1 + 0.18 * np.cos(2 * math.pi * (along / pitch - y / side * 3) + turn), 1.0)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), STEP) * STEP * 3
    surface = metal * rng.uniform(0.96, 1.04) * round_light * threads / 1.2 + grain
    spoiled = np.zeros((side, side), np.float32)
    surface = _spoil(surface, spoiled, rng, defect, length)
    shown = spoiled * inside
    if defect == "broken_tip":
        shown = ((along >= cut) & (along < 1) & (np.abs(y) < reach)).astype(np.float32)
    if defect == "stripped_thread":
        shown = (bare & (np.abs(y) < (THREAD + 0.006) * side)).astype(np.float32)
    return np.asarray(ground + inside * (surface - ground), np.float32), shown > 0.3


def _spoil(
    surface: NDArray[np.float32],
    spoiled: NDArray[np.float32],
    rng: np.random.Generator,
    defect: ScrewDefect | None,
    length: float,
) -> NDArray[np.float32]:
    """The surface with a defect painted on it; what is painted is written into `spoiled`."""
    if defect not in ("scratch", "dent", "stain"):
        return surface
    side = surface.shape[0]
    place = np.array([side / 2 + length * rng.uniform(-0.42, 0.36), side / 2 + side * rng.uniform(-0.02, 0.02)])
    if defect == "scratch":
        turn, reach = rng.uniform(0.3, 2.8), side * rng.uniform(0.015, 0.03)
        ends = np.rint(
            [
                place - reach * np.array([math.cos(turn), math.sin(turn)]),
                place + reach * np.array([math.cos(turn), math.sin(turn)]),
            ]
        )
        cv2.line(spoiled, ends[0].astype(int).tolist(), ends[1].astype(int).tolist(), 1.0, max(2, round(side * 0.004)))
        return surface + spoiled * float(rng.uniform(60, 90))
    radius = side * (rng.uniform(0.008, 0.014) if defect == "dent" else rng.uniform(0.014, 0.022))
    axes = (round(radius), round(radius * rng.uniform(0.6, 1)))
    cv2.ellipse(
        spoiled, (np.rint(place).astype(int).tolist(), (2 * axes[0], 2 * axes[1]), rng.uniform(0, 180)), 1.0, -1
    )
    soft = cv2.GaussianBlur(spoiled, (0, 0), radius / 4)
    return surface - soft * float(rng.uniform(55, 80) if defect == "dent" else rng.uniform(30, 45))
