"""A whole station of processes for tests: started, killed piece by piece, and compared with what its PLC was told."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from blemish.station import wire
from blemish.station.core.lane_file import LaneSource
from blemish.station.run import prepare
from blemish.station.settings import read_settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import open_database
from blemish.station.store.plant import activate, add_lane, add_product, add_recipe, change_lane, name_station
from blemish.station.store.tables import verdict

READY_SECONDS = 180.0
NOT_ACCEPTED = ("error", "lost", "missed")


def free_port() -> int:
    """A port of the loopback device that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningStation:
    """A station in a folder, with live lanes that judge the images of `images` by `bundle` when a PLC triggers.

    It begins with `start`; `kill` ends one of its processes at once, "supervisor" among them.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        images: Path,
        *,
        durability: Literal["power", "process"] = "process",
        save: str = "all",
        num_lanes: int = 1,
    ) -> None:
        self.data, self.port = folder / "station-data", free_port()
        self._file = folder / "station.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(
            f'durability = "{durability}"\nanswer_within_ms = 5000\n[web]\nlisten = "127.0.0.1:{self.port}"\n'
            f'[save]\naccept = "{save}"\nformat = "jpeg95"\n',
            encoding="utf-8",
        )
        self.settings = read_settings(self._file, self.data)
        prepare(self.settings)
        engine = open_database(self.data)
        actor = Actor("test")
        name_station(engine, "test")
        product_id = add_product(engine, actor, "part")
        recipe_id = add_recipe(engine, self.data, actor, product_id, bundle)
        for number in range(1, num_lanes + 1):
            source = LaneSource("replay", str(images), trigger="plc")
            lane_id = add_lane(engine, self.settings, actor, f"lane {number}", source)
            activate(engine, self.settings, actor, lane_id, recipe_id, "test")
            change_lane(engine, self.settings, actor, lane_id, is_live=True)
        engine.dispose()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Starts it; gives the seconds until all its processes are up."""
        begun = time.monotonic()
        command = [sys.executable, "-m", "blemish.cli.main", "station"]
        options = ["--settings", str(self._file), "--data", str(self.data)]
        log = (self.data.parent / "console.log").open("ab")
        with log:
            self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait_ready()
        return time.monotonic() - begun

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline:
                log = (self.data.parent / "console.log").read_text("utf-8", "replace")
                raise TimeoutError(f"the station is not ready: {log[-500:]}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        state = self._state()
        if self._process is None or state.get("pid") != self._process.pid:
            return False
        return len(state["processes"]) >= 3 and all(each["is_ready"] for each in state["processes"])

    def _state(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.data / "run" / "processes.json").read_text("utf-8")))
        except (OSError, ValueError):
            return {}

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        found: dict[str, int] = {}
        for each in self._state().get("processes", []):
            if each["pid"] is not None:
                found[each["name"]] = each["pid"]
        if self._process is not None:
            found["supervisor"] = self._process.pid
        return found

    def kill(self, name: str) -> bool:
        """Whether that process ran, and was killed. A killed supervisor is started again."""
        pid = self.pids().get(name)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        if name == "supervisor":
            assert self._process is not None
            self._process.wait()
            self.start()
        return True

    def stop(self, seconds: float = 40.0) -> int:
        """Asks it to end; gives its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(seconds)
        self._process = None
        return status

    def end(self) -> None:
        """Ends all that is left of it."""
        pids = self.pids()
        for pid in pids.values():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


@dataclass
class CountingPlc:
    """Triggers a lane, counts, and keeps what it was told. What it was not told it counts on from.

    Where an answer does not come, it asks again for the same part half of the time.
    """

    data: Path
    lane_id: int = 1
    rate: float = 50.0
    seed: int = 0
    counter: int = 0
    told: dict[int, list[str]] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    num_unanswered: int = 0

    def __post_init__(self) -> None:
        self._is_over = threading.Event()
        self._chance = random.Random(self.seed)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the part under way, then waits for one more that is answered: so that every gap is seen."""
        self._is_over.set()
        self._thread.join()
        deadline = time.monotonic() + READY_SECONDS
        self._is_over.clear()
        while time.monotonic() < deadline:
            self.counter += 1
            with contextlib.suppress(wire.UnreachableError), wire.connect(self.data, f"lane-{self.lane_id}") as line:
                if self._trigger(line):
                    return
            time.sleep(0.1)
        raise TimeoutError("no part was answered any more")

    def _run(self) -> None:
        line = None
        due = time.monotonic()
        is_again = False
        while not self._is_over.is_set():
            due = max(due + 1 / self.rate, time.monotonic())
            self._is_over.wait(max(0.0, due - time.monotonic()))
            if not is_again:
                self.counter += 1
            is_again = False
            try:
                line = line or wire.connect(self.data, f"lane-{self.lane_id}")
                if not self._trigger(line):
                    time.sleep(0.05)
            except wire.UnreachableError:
                line = None
                self.num_unanswered += 1
                is_again = self._chance.random() < 0.5
                time.sleep(0.02)

    def _trigger(self, line: Connection[Any, Any]) -> bool:
        start = time.perf_counter()
        wire.send(line, {"do": "trigger", "counter": self.counter, "part_id": f"P{self.counter}"})
        answer, _ = wire.receive(line, 20.0)
        self.milliseconds.append((time.perf_counter() - start) * 1000)
        if not answer.get("seq"):
            return False
        self.told.setdefault(self.counter, []).append(answer["decision"])
        return True


def wrong_rows(station: RunningStation, plc: CountingPlc, seconds: float = 30.0) -> list[str]:
    """What the database says otherwise than the PLC was told, a sentence each; waits for its rows to be written."""
    engine = open_database(station.data)
    asked = sa.select(verdict.c.plc_counter, verdict.c.decision).where(verdict.c.lane_id == plc.lane_id)
    deadline = time.monotonic() + seconds
    while True:
        with engine.connect() as connection:
            rows = connection.execute(asked).all()
        if any(row.plc_counter == plc.counter for row in rows) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    engine.dispose()
    found: list[str] = []
    counts = Counter(row.plc_counter for row in rows)
    decisions = {row.plc_counter: row.decision for row in rows}
    found += [f"counter {counter} has {number} rows" for counter, number in counts.items() if number > 1]
    first = min(decisions, default=0)
    found += [f"counter {number} has no row" for number in range(first, plc.counter + 1) if number not in decisions]
    for counter, answers in plc.told.items():
        kept = decisions.get(counter)
        for told in set(answers):
            is_same = told == kept or (told == "error" and kept in NOT_ACCEPTED)
            if not is_same:
                found.append(f"counter {counter} was told {told}, its row says {kept}")
    return found
