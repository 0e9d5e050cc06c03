"""What the tests of the station share: a station in a temporary folder, its database, a lane that judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ImageError
from blemish.inspection.inspector import Inspector
from blemish.line.events import Item, Origin
from blemish.model import Model
from blemish.station.core.lane_file import ActiveRecipe, LaneFile
from blemish.station.journal import Disk, Durability, Journal
from blemish.station.lane.lane import Lane, Shown
from blemish.station.run import prepare
from blemish.station.settings import Settings, read_settings
from blemish.station.store.database import Engine, open_database
from blemish.station.store.plant import name_station
from blemish.testing.tiny import TinyProduct

from .postgres import running_server, server_programs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = read_settings(None, tmp_path / "station-data")
    prepare(made)
    return made


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = open_database(settings.data)
    name_station(made, settings.name)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    pytest.importorskip("psycopg", reason="the extra `station-postgres` is not installed")
    programs = server_programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    with running_server(programs) as address:
        yield address


@pytest.fixture(scope="session")
def inspector(model: Model) -> Inspector:
    return model.make_inspector()


MakeLane = Callable[..., Lane]


@pytest.fixture
def make_lane(inspector: Inspector, product: TinyProduct, tmp_path: Path) -> Iterator[MakeLane]:
    """`make_lane()` begins the life of a lane over the journal in `tmp_path / "journal"`."""
    journals: list[Journal] = []

    def make(
        *,
        folder: Path = tmp_path / "journal",
        durability: Durability = "process",
        disk: Disk | None = None,
        pictures: Callable[[float], Item] | None = None,
        shown: list[Shown] | None = None,
        machine_boot: str = "machine",
        boot: str = "",
    ) -> Lane:
        journal = Journal(folder, durability=durability, disk=disk, reserve_bytes=4096)
        journals.append(journal)
        into: list[Shown] = [] if shown is None else shown
        lane = LaneFile(1, "station", "lane", recipe=ActiveRecipe(1, 1, "tiny", "0" * 64), is_live=True)
        return Lane(
            lane,
            journal,
            inspector,
            boot=boot or f"boot{len(journals)}",
            machine_boot=machine_boot,
            now=Clock(),
            take_picture=pictures or (lambda seconds: good_item(product)),
            show=into.append,
            keep=lambda each: None,
        )

    yield make
    for journal in journals:
        journal.close()


class Clock:
    """Microseconds that go on by a thousand each time somebody looks."""

    def __init__(self, start: int = 1_800_000_000_000_000) -> None:
        self.now = start

    def __call__(self) -> int:
        self.now += 1000
        return self.now


def good_item(product: TinyProduct) -> Item:
    return Item(Origin("good"), product.held_out[0])


def defective_item(product: TinyProduct) -> Item:
    return Item(Origin("defective"), product.defects[0].image)


def broken_item() -> Item:
    return Item(Origin("broken"), ImageError("broken: this is no image"))


def noise(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
