"""Good images -> whether and how parts are laid straight, and what that changes of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.alignment.fit import FittedPart, Look, fit_part, look_at
from blemish.alignment.frame import locate, mask_in_frame
from blemish.datasets.sequence import ImageFiles
from blemish.decisions.zones import check_zone, zone_from_mask, zone_mask
from blemish.errors import CalibrationError, DataError, ImageError, SettingsError
from blemish.images.decode import read_image
from blemish.images.resize import choose_input_hw
from blemish.runtime.pipeline import map_in_order
from blemish.schema import AS_THEY_ARE, Align, Alignment, Image, Progress, ReadSettings, Zone, silent

NUM_SAMPLED = 24
"""Good images that are looked at first, evenly spread: most products need no more to see that nothing is to be done."""
MOST_UNSURE_SAMPLED = 2
"""So many of these may show no single whole part; how many of all do is looked into then."""
MOST_UNSURE = 0.02
"""Share of good images without a sure pose up to which "auto" lays parts straight."""
FRAME_PIXELS = 1.5
"""Pixels of the input for the frame of a long part, in squares of the size: between a square and a long input."""


@dataclass(frozen=True, eq=False)
class LaidStraight:
    """What was decided, and why in one line. `kept` are the places of the good images whose pose is sure."""

    alignment: Alignment | None
    reason: str
    kept: NDArray[np.intp] = field(default_factory=lambda: np.arange(0))
    notes: tuple[str, ...] = ()


def choose_alignment(
    sources: Sequence[Path | Image],
    names: Sequence[str],
    wanted: Align,
    *,
    false_reject: float,
    reading: ReadSettings = AS_THEY_ARE,
    threads: int = 1,
    progress: Progress = silent,
) -> LaidStraight:
    """How the good images are to be laid straight.

    "auto" does so where each of some good images shows one part on a plain background, and the part lies clearly
    otherwise from picture to picture or is small in it. It looks at no defect. Raises DataError where "part" is asked
    for and too many good images show no single whole part: these would be parts for review, beyond `false_reject`.
    """
    if wanted == "off":
        return LaidStraight(None, "")
    images = ImageFiles(sources, reading)
    if wanted == "auto":
        sampled = np.unique(np.linspace(0, len(images) - 1, NUM_SAMPLED).round().astype(np.intp))
        first = fit_part(_looks(images.subset(sampled), threads))
        if first is None or first.is_sure.count(False) > MOST_UNSURE_SAMPLED:
            return LaidStraight(None, "off: the good images do not all show one whole part on a plain background")
        if not first.is_worth_it:
            return LaidStraight(None, f"off: the part lies alike in all good images ({_told(first)})")
    fitted = fit_part(_looks(images, threads, progress))
    num_unsure = len(images) if fitted is None else len(images) - sum(fitted.is_sure)
    if wanted == "auto" and num_unsure > MOST_UNSURE * len(images):
        return LaidStraight(None, f"off: {num_unsure:,} of {len(images):,} good images show no single whole part")
    if fitted is None or num_unsure > false_reject * len(images):
        unsure = (
            [] if fitted is None else [name for name, is_one in zip(names, fitted.is_sure, strict=True) if not is_one]
        )
        raise DataError(
            f"--align part: {num_unsure:,} of {len(images):,} good images show no single whole part on a plain "
            f"background, the first {(unsure or names)[0]}; take them out, or train with --align off"
        )
    notes: tuple[str, ...] = ()
    if num_unsure:
        first_name = names[fitted.is_sure.index(False)]
        notes = (
            f"the part is not found on {num_unsure:,} of {len(images):,} good images, the first {first_name}: they are "
            "left out, and such parts are put up for review",
        )
    reason = f"part: {_told(fitted)}; {_told_turn(fitted.alignment)}"
    return LaidStraight(fitted.alignment, reason, np.flatnonzero(fitted.is_sure), notes)


def _looks(images: ImageFiles, threads: int, progress: Progress = silent) -> list[Look | None]:
    looks = []
    for done, look in enumerate(map_in_order(look_at, images, threads), start=1):
        looks.append(look)
        progress("finding the part", done, len(images))
    return looks


def _told(fitted: FittedPart) -> str:
    return (
        f"it turns by {fitted.turns_by:.0f} degrees and moves by {fitted.moves_by:.0%} of the picture, its frame is "
        f"{fitted.fills:.0%} of it"
    )


def _told_turn(alignment: Alignment) -> str:
    height, width = alignment.frame_hw
    how = {
        "none": "shifted alone, since it has no axis",
        "axis": "turned by its axis, its ends are alike",
        "direction": f"turned by its axis, the end of more {alignment.ends} lies left",
    }[alignment.turn]
    sized = "" if alignment.usual_area_px is None else ", brought to one size"
    face = ", turned over where it lies on its other face" if alignment.is_mirrored_too else ""
    return f"each is cut out as {width} x {height} pixels, {how}{sized}{face}"


def frame_input_hw(frame_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """The input size (height, width) for a frame: a long one has `FRAME_PIXELS` times the pixels of a square.

    >>> frame_input_hw((254, 718), 256), frame_input_hw((300, 310), 256)
    ((192, 544), (256, 256))
    """
    ratio = min(4.0, max(frame_hw) / min(frame_hw))
    shorter = size if ratio <= FRAME_PIXELS else size * math.sqrt(FRAME_PIXELS / ratio)
    return choose_input_hw([frame_hw], max(64, 32 * round(shorter / 32)))


def zone_in_frame(zone: Zone, drawn_on: Path | None, alignment: Alignment, reading: ReadSettings) -> Zone:
    """The zone that was drawn on a picture, in the frame of its part: it moves with the part from then on."""
    if drawn_on is None:
        raise SettingsError(
            "the parts are laid straight, so that a zone moves with the part: name the good picture that the zone was "
            "drawn on with --zone-on"
        )
    image = read_image(drawn_on, reading)
    image_hw = (image.shape[0], image.shape[1])
    pose = locate(image, alignment)
    if pose.fault:
        raise ImageError(f"{drawn_on}: part not found: {pose.fault}; draw the zone on a picture of one whole part")
    check_zone(zone, image_hw, str(drawn_on))
    inside = mask_in_frame(zone_mask(zone, image_hw), pose, alignment)
    if not inside.any():
        raise CalibrationError(f"{drawn_on}: the zone lies wholly outside of the part's frame; draw it on the part")
    return zone_from_mask(inside, alignment.frame_hw)
