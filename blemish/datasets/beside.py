"""Masks beside their images: known by name (`a_mask.png`, or `a.png` beside `a.jpg`) and by look (two values)."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.images.decode import read_stored_pixels

NUM_LOOKED_AT = 6
"""Pairs of one kind of name that are looked at; where they agree the others are taken to be alike."""
MOST_VALUES = 8
"""A picture of so few values is drawn, not taken by a camera."""
NEAR = 32
NEAR_SHARE = 0.95
"""In a mask that was compressed with losses, this share of the pixels is within so much of its darkest or brightest."""

_MARK = r"(?:mask|label|gt|seg|segmentation|ground_?truth|annotation)s?"
_MARKED = re.compile(rf"(?:{_MARK}[-_. ](?P<after>.+)|(?P<before>.+?)[-_. ]?(?P<mark>{_MARK}))", re.IGNORECASE)


def masks_beside(names: Iterable[str], looks_like_mask: Callable[[str], bool]) -> dict[str, str]:
    """The masks among the image files of one folder, each with the name of its image; see `looks_like_mask`.

    By its name a mask is `<stem>_mask`, `<stem>_label`, `<stem>_GT` and the like beside `<stem>`, or has the very stem
    of another file. Then the look of some pairs of each kind of name decides: two photographs are both images.

    >>> masks_beside(["1.jpg", "1.png", "2.jpg"], lambda name: name.endswith("png"))
    {'1.png': '1.jpg'}
    """
    found: dict[str, str] = {}
    for pairs in _pairs_by_kind(names).values():
        step = max(1, len(pairs) // NUM_LOOKED_AT)
        seen = {_is_pair(pair, looks_like_mask) for pair in pairs[::step]}
        if seen == {True}:
            found.update((mask, image) for mask, image, _ in pairs)
        elif True in seen:
            found.update((mask, image) for mask, image, same in pairs if _is_pair((mask, image, same), looks_like_mask))
    return found


def looks_like_mask(pixels: NDArray[Any]) -> bool:
    """Whether a picture, gray (height, width) or in color, has two values, give or take what compression leaves."""
    values = pixels[..., :3].max(axis=2) if pixels.ndim == 3 else pixels
    low, high = float(values.min()), float(values.max())
    near = NEAR if values.dtype == np.uint8 and high - low > 2 * NEAR else 0
    if float(((values <= low + near) | (values >= high - near)).mean()) >= NEAR_SHARE:
        return True
    return len(np.unique(values)) <= MOST_VALUES


def file_looks_like_mask(path: Path) -> bool:
    """The same of an image file; what cannot be read is none."""
    try:
        return looks_like_mask(read_stored_pixels(path))
    except ImageError:
        return False


def file_is_photograph(path: Path) -> bool:
    """Whether an image file shows more than the values of a mask; what cannot be read does not."""
    try:
        return not looks_like_mask(read_stored_pixels(path))
    except ImageError:
        return False


_Pair = tuple[str, str, bool]
"""A file that may be a mask, its image, and whether only their endings differ."""


def _pairs_by_kind(names: Iterable[str]) -> Mapping[tuple[str, str, str], list[_Pair]]:
    of_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        of_stem[os.path.splitext(name)[0]].append(name)
    pairs: defaultdict[tuple[str, str, str], list[_Pair]] = defaultdict(list)
    for stem, same in of_stem.items():
        for mask, image in permutations(same, 2):
            pairs[("", os.path.splitext(mask)[1].lower(), os.path.splitext(image)[1].lower())].append(
                (mask, image, True)
            )
        image_stem = stem_of_image(stem)
        for image in of_stem.get(image_stem, ())[:1]:
            mark = stem.replace(image_stem, "", 1)
            for mask in same:
                pairs[(mark, os.path.splitext(mask)[1].lower(), "")].append((mask, image, False))
    return pairs


def stem_of_image(stem: str) -> str:
    """`1` of `1_mask`, `1_GT` or `label-1`; empty where nothing in the name of the file speaks of a mask."""
    match = _MARKED.fullmatch(stem)
    return "" if match is None else match["after"] or match["before"]


def _is_pair(pair: _Pair, looks_like_mask: Callable[[str], bool]) -> bool:
    mask, image, only_endings_differ = pair
    return looks_like_mask(mask) and not (only_endings_differ and looks_like_mask(image))
