"""What a category's images are like, before anything is trained: counts, sizes, gray values, texture, defect areas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.schema import Image, ImageItem, Mask

NUM_GRAYS = 64
"""Bins of the gray value histograms."""
EXAMPLES = 3
"""Images kept as examples of each type."""
_LEVELS = 16
_TEXTURE_SIDE = 256

TEXTURES = {
    "contrast": "mean squared step between neighbors, in gray levels of 16",
    "homogeneity": "1 where neighbors are alike, towards 0 where they differ",
    "energy": "1 on a flat image, towards 0 on a busy one",
    "correlation": "how well a pixel foretells its neighbor",
}
"""Haralick's statistics of the co-occurrence of gray levels, right and below neighbors together."""


@dataclass(frozen=True)
class TypeSummary:
    """The images of one type of one split.

    `sizes` counts (width, height); `grays` is the share of pixels in each of `NUM_GRAYS` equal bins; `mean_grays`
    (0 to 255) and each entry of `textures` have one value per image; `areas` are the shares of the image that each
    connected true defect covers. `examples` are images with their masks.
    """

    split: str
    defect_type: str
    num_images: int
    num_masks: int
    sizes: Mapping[tuple[int, int], int]
    grays: NDArray[np.float64]
    mean_grays: tuple[float, ...]
    textures: Mapping[str, tuple[float, ...]]
    areas: tuple[float, ...]
    examples: tuple[tuple[Image, Mask | None], ...] = field(repr=False, default=())


@dataclass(frozen=True)
class CategorySummary:
    """All types of a category, the images fitted on first, then good and defective test images."""

    name: str
    types: tuple[TypeSummary, ...]

    @property
    def num_images(self) -> int:
        return sum(found.num_images for found in self.types)


def summarize_category(name: str, parts: Iterable[tuple[ImageItem, Image, Mask | None]]) -> CategorySummary:
    """The summary of a category's images; each is looked at once and, but for a few examples, let go."""
    types: dict[tuple[str, str], _Gathered] = {}
    for item, image, mask in parts:
        types.setdefault((item.split, item.defect_type), _Gathered()).add(image, mask)
    order = sorted(types, key=lambda key: (key[0] != "train", key[1] != "good", key[1]))
    return CategorySummary(name, tuple(types[key].summary(*key) for key in order))


def texture_of(image: Image) -> dict[str, float]:
    """The `TEXTURES` of one image, at a longer side of 256 pixels at most so that sizes compare.

    >>> texture_of(np.full((8, 8, 3), 100, np.uint8))["energy"]
    1.0
    """
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    shrink = _TEXTURE_SIDE / max(gray.shape)
    if shrink < 1.0:
        small_wh = max(1, round(gray.shape[1] * shrink)), max(1, round(gray.shape[0] * shrink))
        gray = cv2.resize(gray, small_wh, interpolation=cv2.INTER_AREA)
    return _cooccurrence_statistics(np.asarray(gray, np.uint8) // (256 // _LEVELS))


def _cooccurrence_statistics(levels: NDArray[np.uint8]) -> dict[str, float]:
    counts = np.zeros((_LEVELS, _LEVELS))
    for first, second in ((levels[:, :-1], levels[:, 1:]), (levels[:-1], levels[1:])):
        pairs = first.astype(np.intp).ravel() * _LEVELS + second.ravel()
        counts += np.bincount(pairs, minlength=_LEVELS**2).reshape(_LEVELS, _LEVELS)
    counts += counts.T
    shares = counts / max(counts.sum(), 1.0)
    rows, columns = np.indices(shares.shape)
    step = rows - columns
    mean = float((rows * shares).sum())
    variance = float(((rows - mean) ** 2 * shares).sum())
    together = float(((rows - mean) * (columns - mean) * shares).sum())
    return {
        "contrast": float((step**2 * shares).sum()),
        "homogeneity": float((shares / (1 + step**2)).sum()),
        "energy": float(np.sqrt((shares**2).sum())),
        # A flat image foretells itself.
        "correlation": together / variance if variance > 1e-12 else 1.0,
    }


class _Gathered:
    """What has been seen of one type so far."""

    def __init__(self) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.grays = np.zeros(NUM_GRAYS)
        self.mean_grays: list[float] = []
        self.textures: dict[str, list[float]] = {name: [] for name in TEXTURES}
        self.areas: list[float] = []
        self.num_masks = 0
        self.examples: list[tuple[Image, Mask | None]] = []

    def add(self, image: Image, mask: Mask | None) -> None:
        height, width = image.shape[:2]
        self.sizes[width, height] += 1
        gray = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY))
        counts = np.bincount(gray.ravel() // (256 // NUM_GRAYS), minlength=NUM_GRAYS)
        # Each image counts alike, whatever its size.
        self.grays += counts / gray.size
        self.mean_grays.append(float(gray.mean()))
        for name, value in texture_of(image).items():
            self.textures[name].append(value)
        if mask is not None and mask.any():
            self.num_masks += 1
            _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            self.areas.extend((statistics[1:, cv2.CC_STAT_AREA] / mask.size).tolist())
        if len(self.examples) < EXAMPLES:
            self.examples.append((image, mask))

    def summary(self, split: str, defect_type: str) -> TypeSummary:
        num_images = len(self.mean_grays)
        return TypeSummary(
            split=split,
            defect_type=defect_type,
            num_images=num_images,
            num_masks=self.num_masks,
            sizes=dict(self.sizes.most_common()),
            grays=self.grays / num_images,
            mean_grays=tuple(self.mean_grays),
            textures={name: tuple(values) for name, values in self.textures.items()},
            areas=tuple(self.areas),
            examples=tuple(self.examples),
        )
