"""The station's promises, measured: added latency, kills that cost nothing, throughput, and pages over many verdicts.

    python benchmarks/station.py [--parts 600] [--kills 200] [--verdicts 1000000] [-o benchmarks/results]

- latency: a PLC triggers 20 parts a second, with each durability. Added latency is the time from the trigger's arrival
  to the told answer without taking and inspecting the picture. Beside it: what one flush of the disk takes.
- throughput: parts a second, triggered one after the other for ten seconds; rows a second from a journal into SQLite.
- kills: SIGKILL to a process of a running station, in turn and at random moments, while a PLC triggers; then every
  answer that was told is compared with the database. `wrong` must be 0.
- history: a database of so many verdicts; the history page's questions, with 95th percentiles.

The parts are those of the tiny product. Under five minutes on an idle machine with two cores; `--most-seconds` ends the
kills earlier, and the number that was reached is written down. Other programs on the machine slow everything down: the
load before the measurement is written down too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from record import RESULTS, origin, write_record

from blemish.model import train
from blemish.station.check import measure_flush
from blemish.station.core.parts import Answered, Decided, Ticket, ViewVerdict, record_json
from blemish.station.journal import Journal
from blemish.station.store.database import open_database
from blemish.station.store.queries import PartFilter, find_parts
from blemish.station.store.tables import verdict, view
from blemish.station.store.writer import LaneWriter
from blemish.testing.station import CountingPlc, RunningStation, wrong_rows
from blemish.testing.tiny import make_tiny_product, write_tiny_product

RATE = 20.0
KILLED = ("lane-1", "store", "web", "lane-1", "store", "supervisor")
BARS = {
    "added_ms_process": "median <= 2, p99 <= 10",
    "added_ms_power": "median <= 10, p99 <= flush p99 + 5",
    "wrong": 0,
    "history_page_p95_ms": 300,
    "lot_search_p95_ms": 100,
}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {"p95": 0.95, "p99": 0.99}
    found = {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) for name, share in at.items()}
    return {"median": round(statistics.median(ordered), 3), **found}


def measure_latency(folder: Path, bundle: Path, images: Path, num_parts: int) -> dict[str, Any]:
    found: dict[str, Any] = {"parts": num_parts, "rate": RATE}
    durabilities: tuple[Literal["process", "power"], ...] = ("process", "power")
    for durability in durabilities:
        station = RunningStation(folder / durability, bundle, images, durability=durability, save="1 in 10")
        try:
            found[f"start_seconds_{durability}"] = round(station.start(), 1)
            plc = CountingPlc(station.data, rate=RATE)
            plc.start()
            while plc.counter < num_parts:
                time.sleep(0.1)
            plc.stop()
            found[f"wrong_{durability}"] = len(wrong_rows(station, plc))
            found[f"added_ms_{durability}"] = percentiles(added_milliseconds(station))
            if durability == "process":
                found["parts_per_second"] = measure_rate(station, plc)
            station.stop()
        finally:
            station.end()
        median, p99 = measure_flush(folder, 200)
        found[f"flush_ms_{durability}"] = {"median": round(median, 2), "p99": round(p99, 2)}
    return found


def added_milliseconds(station: RunningStation) -> list[float]:
    """Of each told part: its answer without picture and inspection."""
    engine = open_database(station.data)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(verdict.c.answer_ms, view.c.inspect_ms)
            .join(view, (view.c.lane_id == verdict.c.lane_id) & (view.c.seq == verdict.c.seq))
            .where(verdict.c.answer_ms.is_not(None))
            .order_by(verdict.c.seq)
        ).all()
    engine.dispose()
    return [row.answer_ms - row.inspect_ms for row in rows][5:]  # the first parts warm the graph up


def measure_rate(station: RunningStation, before: CountingPlc) -> float:
    """Parts a second, each triggered as soon as the one before was answered."""
    plc = CountingPlc(station.data, rate=100_000.0, counter=before.counter)
    start = time.perf_counter()
    plc.start()
    time.sleep(10)
    plc.stop()
    return round(len(plc.told) / (time.perf_counter() - start), 1)


def measure_store(folder: Path, num_parts: int = 20_000) -> float:
    """Rows a second from a journal into SQLite."""
    journal = Journal(folder / "journal", durability="process")
    journal.begin({})
    for seq in range(1, num_parts + 1):
        at = seq * 100_000
        view_verdict = ViewVerdict(1, "accept", "x.png", 1.0, 2.0, 0.5, 25.0, 10.0)
        journal.append(record_json(Ticket(seq, seq, f"P{seq}", "lot", 1, at)))
        journal.append(record_json(Decided(seq, "accept", at + 5, (view_verdict,))))
        journal.append(record_json(Answered(seq, at + 6, 12.0)))
    journal.close()
    engine = open_database(folder)
    writer = LaneWriter(engine, folder / "journal", 1)
    start = time.perf_counter()
    while writer.step(0):
        pass
    rate = num_parts / (time.perf_counter() - start)
    engine.dispose()
    return round(rate)


def measure_kills(folder: Path, bundle: Path, images: Path, num_kills: int, most_seconds: float) -> dict[str, Any]:
    chance = random.Random(0)
    station = RunningStation(folder, bundle, images, save="1 in 10")
    killed = dict.fromkeys(dict.fromkeys(KILLED), 0)
    try:
        station.start()
        plc = CountingPlc(station.data, rate=40)
        plc.start()
        start, number = time.monotonic(), 0
        while sum(killed.values()) < num_kills and time.monotonic() - start < most_seconds:
            name = KILLED[number % len(KILLED)]
            number += 1
            time.sleep(chance.uniform(0.05, 0.8))
            with contextlib.suppress(TimeoutError):
                killed[name] += station.kill(name)
        station.wait_ready()
        plc.stop()
        faults = wrong_rows(station, plc, 60.0)
        station.stop()
    finally:
        station.end()
    answers = sum(map(len, plc.told.values()))
    found = {"kills": sum(killed.values()), "by_process": killed, "triggers": plc.counter, "answers_told": answers}
    return {**found, "seconds": round(time.monotonic() - start), "wrong": len(faults), "faults": faults[:10]}


def measure_history(folder: Path, num_verdicts: int) -> dict[str, Any]:
    folder.mkdir()
    engine = open_database(folder)
    start = time.perf_counter()
    with engine.begin() as connection:
        for first in range(1, num_verdicts + 1, 50_000):
            connection.exec_driver_sql(
                "INSERT INTO verdict (station_id, lane_id, seq, boot_id, plc_counter, part_id, lot_id, taken_at, "
                "recipe_id, decision, display_score, answer_ms, is_simulated, answered_at) "
                "VALUES (1, 1, ?, 'boot', ?, ?, ?, ?, 1, ?, 30.0, 12.0, 0, 1)",
                [
                    (seq, seq, f"P{seq}", f"L{seq // 5000}", seq * 100_000, "reject" if seq % 50 == 0 else "accept")
                    for seq in range(first, min(first + 50_000, num_verdicts + 1))
                ],
            )
    filled = time.perf_counter() - start
    chance = random.Random(0)

    def timed(ask: Callable[[int], object]) -> float:
        times = []
        for _ in range(40):
            seq = chance.randrange(1, num_verdicts)
            begun = time.perf_counter()
            ask(seq)
            times.append((time.perf_counter() - begun) * 1000)
        return percentiles(times)["p95"]

    found = {
        "verdicts": num_verdicts,
        "fill_seconds": round(filled, 1),
        "database_mb": round((folder / "station.db").stat().st_size / 1e6),
        "history_page_p95_ms": timed(lambda seq: find_parts(engine, PartFilter(), before=(seq * 100_000, seq))),
        "rejects_p95_ms": timed(
            lambda seq: find_parts(engine, PartFilter(decision="reject"), before=(seq * 100_000, seq))
        ),
        "lot_search_p95_ms": timed(lambda seq: find_parts(engine, PartFilter(lot=f"L{seq // 5000}"))),
        "part_search_p95_ms": timed(lambda seq: find_parts(engine, PartFilter(part=f"P{seq}"))),
    }
    engine.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=600)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--most-seconds", type=float, default=150.0)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="blemish-station-"))
    try:
        product = write_tiny_product(folder / "product", make_tiny_product(num_good=24, num_held_out=20, num_defects=6))
        bundle = train(product / "train" / "good", size=64, detector="template").save(folder / "tiny.blemish")
        images = product / "test"
        record: dict[str, Any] = {**origin("blemish", "sqlalchemy", "fastapi", "uvicorn"), "bars": BARS}
        record["load_average_before"] = round(os.getloadavg()[0], 1)
        path = arguments.output / "station.json"
        for name, measure in (
            ("latency", lambda: measure_latency(folder / "latency", bundle, images, arguments.parts)),
            ("store_rows_per_second", lambda: measure_store(folder / "store")),
            ("history", lambda: measure_history(folder / "history", arguments.verdicts)),
            (
                "kills",
                lambda: measure_kills(folder / "kills", bundle, images, arguments.kills, arguments.most_seconds),
            ),
        ):
            record[name] = measure()
            print(name, record[name], flush=True)
            write_record(path, record)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
