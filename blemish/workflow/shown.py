"""What people show a bundle: defects as they come from review, and good parts that were rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.datasets.index import DatasetIndex, hash_files, open_dataset
from blemish.datasets.listing import is_folder, list_images
from blemish.errors import DataError, SettingsError
from blemish.images.decode import read_image
from blemish.inspection.inspector import Inspector
from blemish.schema import DEFECTIVE, AnomalyMap, ImageItem, Mask

CLICK_REACH = 1 / 16
"""How far around a click the defect is looked for, in shares of the image's shorter side."""
PLAIN = "plain"
"""The layout of a folder of images alone."""
UNNAMED = "defect"
"""The kind of a defect that nobody has named."""


@dataclass(frozen=True)
class Mark:
    """Where a person points: a box of pixels of the image, `x`, `y`, `width`, `height`; a click is a box of no size."""

    x: int
    y: int
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if min(self.x, self.y, self.width, self.height) < 0:
            raise SettingsError(f"the mark {self.x},{self.y},{self.width},{self.height}: no number may be below 0")
        if (self.width == 0) != (self.height == 0):
            raise SettingsError(f"a box of {self.width} x {self.height} pixels holds nothing; give x,y,width,height")


def parse_mark(text: str) -> tuple[str, Mark]:
    """The name of an image and a mark on it: `name.png:x,y` is a click, `name.png:x,y,width,height` a box.

    >>> parse_mark("bent/004.png:120,80")
    ('bent/004.png', Mark(x=120, y=80, width=0, height=0))
    """
    match = re.fullmatch(r"(.+):(\d+),(\d+)(?:,(\d+),(\d+))?", text)
    if match is None:
        raise SettingsError(f"--mark {text}: give IMAGE:x,y for a click or IMAGE:x,y,width,height for a box, in pixels")
    name, *numbers = match.groups()
    return name, Mark(*(int(number) for number in numbers if number is not None))


@dataclass(frozen=True)
class Pictures:
    """What was found in the places given: defects with the masks that are known, and good images beside them."""

    defects: tuple[ImageItem, ...]
    good: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find_defects(places: Sequence[Path]) -> Pictures:
    """The labelled defects of data sets, and all images of plain folders and files, which then have no mask.

    Raises DataError where there is none.
    """
    found = Pictures(())
    for place in places:
        one = _defects_in(place)
        found = Pictures(found.defects + one.defects, found.good + one.good, found.notes + one.notes)
    if not found.defects:
        named = ", ".join(map(str, places))
        raise DataError(
            f"{named or 'no place'}: no defective images; give a data set with labelled defects or a folder"
        )
    return found


def _defects_in(place: Path) -> Pictures:
    if not is_folder(place):
        return Pictures(tuple(ImageItem(path, "test", DEFECTIVE, UNNAMED) for path in _listed(place)))
    index = open_dataset(place)
    if index.layout == PLAIN:
        name = place.resolve().name or UNNAMED
        defects = tuple(ImageItem(item.path, "test", DEFECTIVE, name) for item in index.items)
        return Pictures(defects, notes=index.notes)
    defects = tuple(item for item in index.items if item.label == DEFECTIVE)
    if not defects:
        raise DataError(f"{place}: a data set without labelled defects; give the folder of the defective images itself")
    return Pictures(defects, tuple(item.path for item in index.items if item.is_good), _notes(index))


def _notes(index: DatasetIndex) -> tuple[str, ...]:
    return tuple(note for note in index.notes if "kept for the test" not in note)


def find_good(places: Sequence[Path]) -> tuple[Path, ...]:
    """The images of files, folders and of the good part of data sets."""
    paths: list[Path] = []
    for place in places:
        if is_folder(place):
            index = open_dataset(place)
            paths += [item.path for item in index.items if item.is_good]
        else:
            paths += _listed(place)
    return tuple(dict.fromkeys(paths))


def _listed(place: Path) -> tuple[Path, ...]:
    return list_images([place]).checked().images


def without_copies(items: Sequence[ImageItem], threads: int) -> tuple[tuple[ImageItem, ...], tuple[str, ...]]:
    """The items with their hashes, each content once, and a line about the copies."""
    hashes = hash_files([item.path for item in items], threads=threads)
    first: dict[str, ImageItem] = {}
    for item, sha256 in zip(items, hashes, strict=True):
        kept = first.setdefault(sha256, replace(item, sha256=sha256))
        if kept.mask_path is None and item.mask_path is not None:
            first[sha256] = replace(item, sha256=sha256)
    num_copies = len(items) - len(first)
    if not num_copies:
        return tuple(first.values()), ()
    note = f"{num_copies} of {len(items)} shown images are copies of others: each image counts once"
    return tuple(first.values()), (note,)


def with_marks(
    items: Sequence[ImageItem], marks: Mapping[str, Mark], inspector: Inspector, folder: Path
) -> tuple[ImageItem, ...]:
    """The items with a mask drawn into `folder` for each mark: what the bundle finds odd in the box or at the click.

    A mark belongs to the image whose path ends in its name. Raises SettingsError where there is none or several.
    """
    marked: dict[Path, Mark] = {}
    for name, mark in marks.items():
        ends = [
            item.path
            for item in items
            if item.path.as_posix().endswith("/" + name.lstrip("/")) or str(item.path) == name
        ]
        if len(ends) != 1:
            found = "no shown image has" if not ends else f"{len(ends)} shown images have"
            raise SettingsError(f"mark on {name}: {found} this name; give as much of its path as names one image")
        marked[ends[0]] = mark
    made = []
    for number, item in enumerate(items):
        if item.path in marked:
            image = read_image(item.path, inspector.reading)
            prediction = inspector.inspect_image(image, str(item.path)).anomaly_map
            mask = odd_part(prediction, marked[item.path], (image.shape[0], image.shape[1]), str(item.path))
            path = folder / f"{number:04}.png"
            cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
            item = replace(item, mask_path=path)
        made.append(item)
    return tuple(made)


def odd_part(anomaly_map: AnomalyMap, mark: Mark, image_hw: tuple[int, int], name: str = "the image") -> Mask:
    """What of a marked place is odd: where the map is over half its height there.

    Raises SettingsError for a mark outside the image.

    >>> bright = np.zeros((8, 8), np.float32)
    >>> bright[2:4, 2:4] = 1
    >>> int(odd_part(bright, Mark(0, 0, 6, 6), (8, 8)).sum())
    4
    """
    height, width = image_hw
    if mark.x + mark.width > width or mark.y + mark.height > height or mark.x >= width or mark.y >= height:
        raise SettingsError(f"mark on {name}: it lies outside the image, which is {width} x {height} pixels")
    if mark.width:
        top, left, bottom, right = mark.y, mark.x, mark.y + mark.height, mark.x + mark.width
    else:
        reach = max(1, round(CLICK_REACH * min(image_hw)))
        top, left = max(mark.y - reach, 0), max(mark.x - reach, 0)
        bottom, right = min(mark.y + reach + 1, height), min(mark.x + reach + 1, width)
    values: NDArray[np.float32] = np.asarray(
        cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    inside = values[top:bottom, left:right]
    mask = np.zeros(image_hw, np.bool_)
    largest, usual = float(inside.max()), float(np.median(values))
    mask[top:bottom, left:right] = inside >= min(largest, (largest + usual) / 2)
    return mask
