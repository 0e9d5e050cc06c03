"""Whether a station can run here: folder, disk and what it promises, address, database, lanes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import BlemishError
from blemish.files import make_folder
from blemish.station.core.lane_file import lane_ids, read_lane
from blemish.station.run import check_address, prepare
from blemish.station.settings import Settings
from blemish.station.store.database import open_database

NUM_FLUSHES = 60


@dataclass(frozen=True)
class Finding:
    """One thing that was tried; `is_fault` where it would keep the station from working."""

    name: str
    text: str
    is_fault: bool = False


def measure_flush(folder: Path, count: int = NUM_FLUSHES) -> tuple[float, float]:
    """Median and 99th percentile of the milliseconds that a small record takes to get to the disk."""
    path = make_folder(folder) / "flush-test"
    flush = getattr(os, "fdatasync", os.fsync)
    times = []
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(count):
            os.write(number, b"x" * 400)
            start = time.perf_counter()
            flush(number)
            times.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(number)
        path.unlink(missing_ok=True)
    return statistics.median(times), sorted(times)[min(count - 1, int(count * 0.99))]


def check_station(settings: Settings) -> Iterator[Finding]:
    """Tries all that the station needs."""
    try:
        prepare(settings)
    except BlemishError as error:
        yield Finding("data", str(error), is_fault=True)
        return
    yield Finding("data", str(settings.data))
    median, p99 = measure_flush(settings.data / "run")
    if settings.durability == "power":
        promise = "a verdict that was told survives a power cut, if the disk keeps what it has flushed"
    else:
        promise = "a verdict that was told survives the end of any process, and not a power cut"
    yield Finding(
        "disk", f"a flush takes {median:.1f} ms (99 %: {p99:.1f} ms); durability {settings.durability}: {promise}"
    )
    if p99 > settings.answer_within_ms / 2 and settings.durability == "power":
        yield Finding("disk", f"the disk is too slow for answers within {settings.answer_within_ms} ms", is_fault=True)
    for name, attempt in (("address", check_address), ("database", _open)):
        try:
            attempt(settings)
        except BlemishError as error:
            yield Finding(name, str(error), is_fault=True)
        else:
            yield Finding(
                name, settings.web.listen if name == "address" else settings.database.partition("@")[2] or "sqlite"
            )
    for lane_id in lane_ids(settings.data):
        try:
            lane = read_lane(settings.data, lane_id)
            place = lane.source.place
            if lane.source.kind in ("watch", "replay") and not Path(place).is_dir():
                yield Finding(f"lane {lane.name}", f"{place}: there is no such folder", is_fault=True)
            else:
                recipe = "no product" if lane.recipe is None else f"{lane.recipe.product} v{lane.recipe.version}"
                yield Finding(f"lane {lane.name}", f"{lane.source.kind} {place}, {recipe}".replace(" ,", ","))
        except BlemishError as error:
            yield Finding(f"lane {lane_id}", str(error), is_fault=True)


def _open(settings: Settings) -> None:
    open_database(settings.data, settings.database).dispose()
