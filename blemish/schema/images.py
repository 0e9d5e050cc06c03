"""Images, masks and maps as arrays, and what is known of an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blemish.errors import SettingsError

Image: TypeAlias = NDArray[np.uint8]
"""uint8 (height, width, 3), RGB."""
AnomalyMap: TypeAlias = NDArray[np.float32]
"""float32 (height, width), raw units, higher = more anomalous."""
Mask: TypeAlias = NDArray[np.bool_]
"""bool (height, width)."""

GOOD = 0
DEFECTIVE = 1
"""Labels; defective is the positive class."""

Split = Literal["train", "test"]

MAX_PIXELS = 500_000_000
"""Largest number of pixels of an image: 20,000 x 20,000 is allowed, 30,000 x 30,000 is not."""


@dataclass(frozen=True)
class ReadSettings:
    """What image files do not say of themselves, and how large they may be.

    `bits` is how many bits the values of 16-bit files and arrays really have, where a camera stores them unshifted
    (8 to 16; None: all 16). `page` is the page of files with several (from 1 on; None: the first). Files of more than
    `max_pixels` are refused before they are decoded.

    >>> ReadSettings(bits=12).bits
    12
    """

    bits: int | None = None
    page: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.bits is not None and not 8 <= self.bits <= 16:
            raise SettingsError(
                f"{self.bits} bits: give how many the camera's values have, 8 to 16 (10, 12 and 14 are usual)"
            )
        if self.page is not None and self.page < 1:
            raise SettingsError(f"page {self.page}: pages are counted from 1")
        if self.max_pixels < 1:
            raise SettingsError(f"at most {self.max_pixels} pixels: no image is so small")


AS_THEY_ARE = ReadSettings()
"""Files are taken at their word."""


@dataclass(frozen=True)
class ImageItem:
    """One image file of a data set; `label` is None where the true state is not known."""

    path: Path
    split: Split
    label: int | None
    defect_type: str = "good"
    mask_path: Path | None = None
    sha256: str = ""

    @property
    def is_good(self) -> bool:
        return self.label == GOOD
