"""What a bundle says of itself: one frozen record, read and written as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blemish.schema import Reduction, Tiling

FORMAT_VERSION = 3
"""The newest that is read. Written is the oldest that says all there is to say (`Manifest.version_needed`)."""


class Record(BaseModel):
    """A part of the manifest; unknown names are refused, so that a misspelled one is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneFacts(Record):
    """Which pretrained network the graph holds, and under which licence."""

    name: str
    sha256: str
    licence: str
    source: str


class DataFacts(Record):
    """Which images the detector was fitted and calibrated on; `fingerprint` is the data set's, "" for arrays.

    `image_sha256` holds the first 16 hex digits of each image file used, so that none of them is taken for a new one.
    """

    name: str
    fingerprint: str
    num_fit: int = Field(ge=0)
    num_calibration: int = Field(ge=0)
    image_sha256: tuple[str, ...] = ()


class Manifest(Record):
    """The facts of a fit. `input_hw` is the size that images are resized to, by the rule named `resize_rule`.

    With `tiling`, tiles of images are. `members` maps each other file in the bundle to its SHA-256.
    """

    format_version: int
    created: str
    detector: str
    settings: dict[str, Any]
    seed: int
    input_hw: tuple[int, int]
    resize_rule: str
    reduction: Reduction
    backbone: BackboneFacts | None
    data: DataFacts
    facts: dict[str, Any]
    versions: dict[str, str]
    tiling: Tiling | None = None
    members: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_version(self) -> Manifest:
        if self.format_version < self.version_needed:
            what = "tiles" if self.version_needed == 2 else "a sensitivity"
            raise ValueError(f"{what} in a bundle of format version {self.format_version}")
        if self.tiling is not None and not 0 < 2 * self.tiling.overlap_px <= min(self.input_hw):
            raise ValueError(f"tiles of {self.input_hw[0]} pixels cannot share {self.tiling.overlap_px}")
        return self

    @property
    def version_needed(self) -> int:
        """The oldest format version that can say this.

        A reader of version 1 would take a whole image for a tile; one of version 2 knows no sensitivity.
        """
        if "sensitivity.json" in self.members:
            return 3
        return 1 if self.tiling is None else 2

    def to_json(self) -> bytes:
        """As it is written; what version 1 does not know is left out where it says nothing."""
        return self.model_dump_json(indent=1, exclude={"tiling"} if self.tiling is None else None).encode()
