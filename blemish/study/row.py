"""The form of a kept result, as far as tables and pages read it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from blemish.bundle.manifest import KnownFacts
from blemish.study.tables import COLUMNS

Count = Annotated[int, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]


class Result(BaseModel):
    """What was decided about one test image."""

    path: str
    label: Literal[0, 1]
    defect_type: str
    score: Number
    decision: Literal["accept", "review", "reject"]
    reconstruction_mse: Number | None = None


class ModelFacts(BaseModel):
    """What of the bundle is shown."""

    image_threshold: Number | None = None
    facts: KnownFacts = KnownFacts()


class Row(BaseModel):
    """One detector on one category from one seed; `columns` are the numbers that tables show."""

    key: str
    bundle_sha256: str
    category: str
    detector: str
    seed: int
    num_good: Count
    num_defective: Count
    bundle_bytes: Count | None = None
    columns: dict[str, Number | None]
    intervals: dict[str, tuple[Number, Number] | None] = {}
    results: list[Result] = []
    model: ModelFacts = ModelFacts()


class Kept(BaseModel):
    """The file that a row is kept in."""

    row: dict[str, Any]
    seal: str


def read_row(content: bytes) -> tuple[dict[str, Any], str]:
    """The row in a file and its seal. Raises pydantic's ValidationError where it is of another form."""
    kept = Kept.model_validate_json(content)
    Row.model_validate({**kept.row, "columns": {column.name: kept.row.get(column.name) for column in COLUMNS}})
    return kept.row, kept.seal
