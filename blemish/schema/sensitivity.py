"""What a bundle found of defects that were painted on good images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from blemish.errors import CalibrationError
from blemish.schema.meaning import Many, check_choice, check_count, check_number

GradedKind = Literal["scratch", "spot", "missing", "texture"]
"""The kinds of painted defects of given size and strength; `blemish.synthesis.graded` says what these are."""
MAX_SIZE_PX, MAX_STRENGTH = 10_001, 101
"""What sizes and strengths of painted defects stay under."""


@dataclass(frozen=True)
class PaintedTrial:
    """One painted defect and the verdict on the image with it.

    `place` (x, y) is in shares of the image's width and height, `score` the raw anomaly score of the image, `is_found`
    whether it was rejected.
    """

    kind: GradedKind
    size_px: float
    strength: float
    place: tuple[float, float]
    score: float
    is_found: bool

    def __post_init__(self) -> None:
        check_choice("the kind of a painted defect", self.kind, get_args(GradedKind))
        check_number("size_px of a painted defect", self.size_px, 0, MAX_SIZE_PX, is_open=True)
        check_number("strength of a painted defect", self.strength, 0, MAX_STRENGTH, is_open=True)
        for share in self.place:
            check_number("the place of a painted defect, in shares of the image's sides,", share, 0, 1)
        check_number("score of a painted defect", self.score)


@dataclass(frozen=True)
class Sensitivity:
    """Painted defects on `num_images` good images of `image_hw`, each judged as a part is.

    Painted on were good images that are accepted as they are; `num_rejected` more were not. `image_threshold` is the
    one that was in force; rules, if any, decided too.
    """

    trials: Many[PaintedTrial] = field(repr=False)
    num_images: int
    num_rejected: int
    image_hw: tuple[int, int]
    image_threshold: float

    def __post_init__(self) -> None:
        if not self.trials:
            raise CalibrationError("trials is empty; a sensitivity is that of at least one painted defect")
        check_count("num_images", self.num_images, 1)
        check_count("num_rejected", self.num_rejected)
        for side in self.image_hw:
            check_count("image_hw", side, 1)
        check_number("image_threshold", self.image_threshold)

    @property
    def share_found(self) -> float:
        """The share of all painted defects that were found."""
        return sum(trial.is_found for trial in self.trials) / len(self.trials)
