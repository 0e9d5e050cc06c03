"""Divides labelled defects into a part to learn from and a part to judge by, so that nothing is in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from blemish.errors import DataError, SettingsError
from blemish.schema import ImageItem


def by_content(item: ImageItem) -> str:
    """What tells copies of one image: the hash of its file, or its path where it was not hashed."""
    return item.sha256 or str(item.path)


def split_defects(
    items: Sequence[ImageItem], share: float, seed: int, *, group: Callable[[ImageItem], str] = by_content
) -> tuple[tuple[ImageItem, ...], tuple[ImageItem, ...]]:
    """Defective images to learn from and to judge by, both in the order of `items`; about `share` of each type judges.

    Images of one group stay together: copies of a file by default; give another `group` where several images show one
    part (`lambda item: item.path.stem.split("_")[0]`). Within a type the judging part is one block of neighbors by
    path, since images taken one after the other are alike; the seed chooses where it begins. A type with a single
    group is learned from only. Raises `DataError` for items that are not known to be defective or if nothing is left
    to judge by.

    >>> from pathlib import Path
    >>> items = [ImageItem(Path(f"{n}.png"), "test", 1, "scratch") for n in range(4)]
    >>> learn, judge = split_defects(items, 0.5, seed=0)
    >>> len(learn), len(judge)
    (2, 2)
    """
    if not 0 < share < 1:
        raise SettingsError(f"the share of defects to judge by is {share:g}; give a value between 0 and 1")
    for item in items:
        if item.label != 1:
            raise DataError(f"{item.path} is not labelled as defective: give defective images only")
    first_of: dict[str, ImageItem] = {}
    for item in sorted(items, key=lambda item: str(item.path)):
        first_of.setdefault(group(item), item)
    types: dict[str, list[str]] = {}
    for name, item in first_of.items():
        types.setdefault(item.defect_type, []).append(name)
    judging: set[str] = set()
    rng = np.random.default_rng(seed)
    for _, names in sorted(types.items()):
        start = int(rng.integers(len(names)))
        if len(names) > 1:
            count = min(max(round(share * len(names)), 1), len(names) - 1)
            judging.update(names[(start + place) % len(names)] for place in range(count))
    if not judging:
        raise DataError(
            f"{len(items)} defective images of {len(types)} types leave none to judge by: "
            "give at least two different images of one type"
        )
    learn = tuple(item for item in items if group(item) not in judging)
    return learn, tuple(item for item in items if group(item) in judging)
