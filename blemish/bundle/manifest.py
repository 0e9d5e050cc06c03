"""What a bundle says of itself: one frozen record, read and written as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from blemish.schema import Reduction

FORMAT_VERSION = 1


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

    `members` maps each other file in the bundle to its SHA-256.
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
    members: dict[str, str] = {}
