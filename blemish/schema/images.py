"""Images, masks and maps as arrays, and what is known of an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
