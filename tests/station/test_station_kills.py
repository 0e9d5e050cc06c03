"""A whole station, its processes killed at random moments: what was told is kept, once, and every trigger has a row."""

from __future__ import annotations

import random
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from blemish.station.store.backup import verify
from blemish.station.store.database import open_database
from blemish.testing.station import CountingPlc, RunningStation, wrong_rows

NUM_KILLS = 5


@pytest.fixture
def station(tmp_path: Path, bundle_path: Path, product_folder: Path) -> Iterator[RunningStation]:
    made = RunningStation(tmp_path, bundle_path, product_folder / "test")
    yield made
    made.end()


@pytest.mark.slow
def test_no_kill_costs_or_changes_or_doubles_a_verdict_that_was_told(station: RunningStation) -> None:
    chance = random.Random(1)
    station.start()
    plc = CountingPlc(station.data, rate=40)
    plc.start()
    names = ["lane-1", "store", "lane-1", "web", "supervisor"]
    num_killed = 0
    while num_killed < NUM_KILLS:
        time.sleep(chance.uniform(0.2, 1.5))
        num_killed += station.kill(names[num_killed % len(names)])
    station.wait_ready()
    plc.stop()
    assert wrong_rows(station, plc) == []
    assert len(plc.told) > 20
    assert urllib.request.urlopen(f"{station.address}/health/ready", timeout=5).status == 200
    assert station.stop() == 0
    engine = open_database(station.data)
    assert list(verify(engine, station.data)) == []
    engine.dispose()
