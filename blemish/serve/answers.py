"""The answers of the server, as its OpenAPI page describes them; `inspect --json` prints the same rows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class RegionAnswer(BaseModel):
    """A connected part of the anomaly mask, in pixels of the image; the `_mm` values are null without a known scale."""

    box: tuple[int, int, int, int] = Field(description="x, y, width, height")
    contour: list[tuple[int, int]]
    area_px: float | None
    centroid: tuple[float | None, float | None]
    peak: tuple[int, int]
    peak_score: float | None
    mean_score: float | None
    length_px: float | None
    area_mm2: float | None
    length_mm: float | None


class VerdictAnswer(BaseModel):
    """The verdict on an image."""

    path: str = Field(description="the name that was given")
    time: str | None = Field(description="when the image came, ISO 8601")
    decision: Literal["accept", "review", "reject"]
    score: float | None = Field(description="raw anomaly score")
    threshold: float | None = Field(description="raw score over which a part is rejected")
    p_value: float | None
    display_score: float | None = Field(description="0 to 100, 50 at the threshold")
    num_regions: int
    regions: list[RegionAnswer]
    milliseconds: float | None
    bundle_id: str
    reasons: list[str]
    part_id: str
    lot_id: str


class ErrorAnswer(BaseModel):
    """Why there is no verdict, in one line."""

    path: str = ""
    error: str


class ManyAnswer(BaseModel):
    """The verdicts on several images, in their order; an image that cannot be read has an error in its place."""

    results: list[VerdictAnswer | ErrorAnswer]


class Health(BaseModel):
    """Whether the server is there."""

    status: Literal["ok"]


class BundleAnswer(BaseModel):
    """What the server judges with, and what it takes."""

    bundle_id: str
    detector: str
    data: str = Field(description="what the bundle learned from")
    threshold: float
    promise: str
    engine: str
    version: str
    max_image_bytes: int
    max_images: int
    images_per_second: float
