"""What a bundle says of itself: one frozen record, read and written as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from blemish.errors import SettingsError
from blemish.schema import AS_THEY_ARE, Alignment, ReadSettings, Reduction, Tiling
from blemish.schema.meaning import Many, check_text

FORMAT_VERSION = 5
"""The newest that is read. Written is the oldest that says all there is to say (`Manifest.version_needed`)."""
MAX_SIDE = 8192
"""The largest height and width of a graph's input."""


def _one_line(text: str) -> str:
    check_text("the text", text)
    return text


Line: TypeAlias = Annotated[str, AfterValidator(_one_line)]
"""A text without line breaks and control characters."""
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side: TypeAlias = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Epoch(BaseModel):
    """One epoch of a training; numbers that were not finite are null."""

    epoch: float
    train_loss: float | None = None
    validation_loss: float | None = None
    separation_ratio: float | None = None


class Teaching(BaseModel):
    """One teaching: the id of the bundle that was taught, what it was shown (hashes), by whom and why."""

    parent: Line
    created: Line
    by: Line
    reason: Line
    shown: list[Line]
    kinds: list[Line]
    confirmed_good: list[Line]
    accepted_regression: Line


class KnownFacts(BaseModel):
    """The facts of a fit that this package reads again; detectors may add others."""

    preset: Line | None = None
    fit_seconds: Seconds = 0.0
    seconds_by_part: dict[str, Seconds] = {}
    peak_memory_mb: Seconds | None = None
    skipped: list[Any] = []
    suspicious: list[Any] = []
    notes: list[str] = []
    num_tiles: Count = 0
    num_possible_tiles: Count = 0
    history: list[Epoch] = []
    best_epoch: Count | None = None
    train_seconds: Seconds | None = None
    num_train: Count | None = None
    num_validation: Count | None = None
    num_parameters: Count | None = None
    lineage: list[Teaching] = []


class Record(BaseModel):
    """A part of the manifest; unknown names are refused, so that a misspelled one is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneFacts(Record):
    """Which pretrained network the graph holds, and under which licence."""

    name: Line
    sha256: Line
    licence: Line
    source: Line


class DataFacts(Record):
    """Which images the detector was fitted and calibrated on; `fingerprint` is the data set's, "" for arrays.

    `image_sha256` holds the first 16 hex digits of each image file used, so that none of them is taken for a new one.
    """

    name: Line
    fingerprint: Line
    num_fit: Count
    num_calibration: Count
    image_sha256: Many[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]] = ()


class Manifest(Record):
    """The facts of a fit. `input_hw` is the size that images are resized to, by the rule named `resize_rule`.

    With `tiling`, tiles of images are. `bits` and `page` say what image files do not say of themselves (see
    `ReadSettings`). With an `alignment` the frame of the part is cut out of each image first. `members` maps each other
    file in the bundle to its SHA-256.
    """

    format_version: int = Field(ge=1, le=FORMAT_VERSION)
    created: Line
    detector: Line
    settings: dict[str, Any]
    seed: int = Field(ge=-(2**63), lt=2**64)
    input_hw: tuple[Side, Side]
    resize_rule: Line
    reduction: Reduction
    backbone: BackboneFacts | None
    data: DataFacts
    facts: dict[str, Any]
    versions: dict[str, Line]
    tiling: Tiling | None = None
    bits: int | None = None
    page: int | None = None
    alignment: Alignment | None = None
    members: dict[str, Sha256] = {}

    @field_validator("facts")
    @classmethod
    def _check_facts(cls, facts: dict[str, Any]) -> dict[str, Any]:
        KnownFacts.model_validate(facts)
        return facts

    @model_validator(mode="after")
    def _check_reading(self) -> Manifest:
        self.reading()
        return self

    @model_validator(mode="after")
    def _check_version(self) -> Manifest:
        if self.format_version < self.version_needed:
            what = {2: "tiles", 3: "a sensitivity", 4: "bits or a page", 5: "an alignment or ancestors"}
            raise ValueError(f"{what[self.version_needed]} in a bundle of format version {self.format_version}")
        if self.tiling is not None and self.input_hw[0] != self.input_hw[1]:
            raise ValueError(f"tiles are squares, but the input is {self.input_hw[0]} x {self.input_hw[1]} pixels")
        if self.tiling is not None and self.alignment is not None:
            raise ValueError("tiles and an alignment do not go together")
        if self.tiling is not None and not 2 * self.tiling.overlap_px <= min(self.input_hw):
            raise ValueError(f"tiles of {self.input_hw[0]} pixels cannot share {self.tiling.overlap_px}")
        return self

    @property
    def version_needed(self) -> int:
        """The oldest format version that can say this.

        A reader of version 1 would take a whole image for a tile; one of version 2 knows no sensitivity; one of version
        3 would take other values or another page for the part; one of version 4 would take the picture for the frame,
        and knows no ancestors.
        """
        if self.alignment is not None or any(name.startswith("ancestors/") for name in self.members):
            return 5
        if self.bits is not None or self.page is not None:
            return 4
        if "sensitivity.json" in self.members:
            return 3
        return 1 if self.tiling is None else 2

    @property
    def deciding(self) -> str:
        """What of the manifest has a part in verdicts, as JSON on one line with sorted names."""
        names = {"input_hw", "resize_rule", "reduction", "tiling"}
        names |= {name for name in ("bits", "page", "alignment") if getattr(self, name) is not None}
        facts = self.model_dump(mode="json", include=names)
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))

    def to_json(self) -> bytes:
        """As it is written; what version 1 does not know is left out where it says nothing."""
        silent = {name for name in ("tiling", "bits", "page", "alignment") if getattr(self, name) is None}
        return self.model_dump_json(indent=1, exclude=silent).encode()

    def reading(self, given: ReadSettings = AS_THEY_ARE) -> ReadSettings:
        """How images are read for this bundle: with its bits; with the page given, else its own.

        Raises SettingsError where other bits are given: with these the same part would look different.
        """
        if given.bits not in (None, self.bits):
            has = "16 bits as usual" if self.bits is None else f"{self.bits} bits"
            raise SettingsError(
                f"{given.bits} bits: the bundle was trained on values of {has}; train anew to change that"
            )
        return replace(given, bits=self.bits, page=given.page or self.page)
