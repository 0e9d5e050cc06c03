"""What a lane is to do: the file that the pages write and the lane's process reads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from blemish.boundary import parse_json, read_bytes
from blemish.errors import SettingsError
from blemish.files import write_file
from blemish.station.core.save_rule import SaveRule
from blemish.text import json_text

SourceKind = Literal["upload", "watch", "replay", "camera"]


@dataclass(frozen=True)
class LaneSource:
    """Where pictures come from: sent one by one, a watched folder, a folder again and again, or a camera or stream.

    `place` is the folder or the address, "" for `upload`. `rate` is the most pictures a second of a `replay`. With
    `trigger` "plc" a picture is taken when the PLC asks for it.
    """

    kind: SourceKind = "upload"
    place: str = ""
    rate: float = 2.0
    trigger: Literal["source", "plc"] = "source"

    def __post_init__(self) -> None:
        if self.kind != "upload" and not self.place:
            raise SettingsError(f"a source of kind {self.kind} needs a place; give a folder or an address")
        if not 0 < self.rate <= 1000:
            raise SettingsError(f"a rate of {self.rate:g} pictures a second; give a number above 0, up to 1000")


@dataclass(frozen=True)
class ActiveRecipe:
    """The recipe in force: a product's version, and the bundle that judges it."""

    id: int
    version: int
    product: str
    bundle_sha256: str


@dataclass(frozen=True)
class LaneFile:
    """A lane as its process needs it."""

    id: int
    station: str
    name: str
    source: LaneSource = field(default_factory=LaneSource)
    recipe: ActiveRecipe | None = None
    is_live: bool = False
    durability: Literal["power", "process"] = "power"
    answer_within_ms: int = 1000
    save: SaveRule = field(default_factory=SaveRule)
    save_format: Literal["png", "jpeg95"] = "png"
    is_simulated: bool = False
    plc_rate: float | None = None


_ADAPTER = TypeAdapter(LaneFile)
_REMEDY = "save the lane on its page again"


def lane_path(data: Path, lane_id: int) -> Path:
    return data / "lanes" / f"{lane_id}.json"


def lane_ids(data: Path) -> list[int]:
    """The lanes that have a file."""
    folder = data / "lanes"
    stems = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read_lane(data: Path, lane_id: int) -> LaneFile:
    """The lane in its file. Raises SettingsError."""
    path = lane_path(data, lane_id)
    content = read_bytes(path, 1 << 20, SettingsError, _REMEDY)
    return parse_json(content, _ADAPTER, path, SettingsError, _REMEDY)


def write_lane(data: Path, lane: LaneFile) -> None:
    """Puts the lane into its file. Raises OutputError."""
    write_file(lane_path(data, lane.id), json_text(dataclasses.asdict(lane), indent=2).encode())
