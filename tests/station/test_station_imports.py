"""Who may import whom within the station: the process of a lane needs neither database nor web."""

from __future__ import annotations

from pathlib import Path

import pytest

import blemish
from tests.test_imports import imported_names

STATION = Path(blemish.__file__).parent / "station"
WEB = {"fastapi", "starlette", "uvicorn", "jinja2"}
DATABASE = {"sqlalchemy", "argon2"}
STORE, PAGES, LANE = "blemish.station.store", "blemish.station.web", "blemish.station.lane"
MAY_NOT = {
    "core": {*WEB, *DATABASE, STORE, PAGES, LANE, "blemish.line", "blemish.inspection", "blemish.model"},
    "lane": {*WEB, *DATABASE, STORE, PAGES},
    "plc": {*WEB, *DATABASE, STORE, PAGES, LANE},
    "store": {*WEB, PAGES, LANE, "blemish.model", "blemish.inspection"},
    "web": {*DATABASE, LANE, "blemish.station.plc", "blemish.model", "blemish.inspection"},
    "work": {*WEB, PAGES, LANE},
    "journal.py": {*WEB, *DATABASE, STORE, PAGES, LANE, "blemish.station.core", "numpy"},
}


@pytest.mark.parametrize("part", MAY_NOT)
def test_each_part_of_the_station_keeps_to_itself(part: str) -> None:
    place = STATION / part
    found = [
        f"{path.relative_to(STATION)} imports {name}"
        for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
        for name in imported_names(path)
        if any(name == other or name.startswith(f"{other}.") for other in MAY_NOT[part])
    ]
    assert found == []
