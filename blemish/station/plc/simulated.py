"""A PLC for demonstrations and tests: it counts triggers and sends them to a lane.

`python -m blemish.station.plc.simulated DATA LANE RATE`
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from blemish.files import write_file
from blemish.station import wire
from blemish.station.process import Life, run_child
from blemish.text import json_text

PARTS_IN_LOT = 500


@dataclass
class Counters:
    """What the PLC knows: its triggers, and the answers that it took."""

    triggered: int = 0
    answered: int = 0
    accepted: int = 0
    reviewed: int = 0
    rejected: int = 0
    errors: int = 0
    unanswered: int = 0

    def take(self, decision: str) -> None:
        self.answered += 1
        if decision == "accept":
            self.accepted += 1
        elif decision == "review":
            self.reviewed += 1
        elif decision == "reject":
            self.rejected += 1
        else:
            self.errors += 1


def _counters_path(data: Path, lane_id: int) -> Path:
    return data / "run" / f"plc-{lane_id}.json"


def read_counters(data: Path, lane_id: int) -> Counters:
    """As they were left: a PLC keeps its counters."""
    import json

    try:
        return Counters(**json.loads(_counters_path(data, lane_id).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Counters()


def main() -> int:
    data, lane_id, rate = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    life = Life()
    counters = read_counters(data, lane_id)
    connection = None
    due = time.monotonic()
    life.ready()
    while not life.is_ending.is_set():
        life.beat()
        due = max(due + 1 / rate, time.monotonic())
        if life.is_ending.wait(max(0.0, due - time.monotonic())):
            break
        try:
            if connection is None:
                connection = wire.connect(data, f"lane-{lane_id}")
                wire.send(connection, {"do": "state"})
                state, _ = wire.receive(connection, 5.0)
                is_ready = not state["why_not_ready"]
            elif not is_ready:
                wire.send(connection, {"do": "state"})
                state, _ = wire.receive(connection, 5.0)
                is_ready = not state["why_not_ready"]
            if not is_ready:
                continue
            counters.triggered += 1
            write_file(_counters_path(data, lane_id), json_text(asdict(counters)).encode(), survives_power_cut=False)
            message = {
                "do": "trigger",
                "counter": counters.triggered,
                "part_id": f"S{counters.triggered:07}",
                "lot_id": f"DEMO-{counters.triggered // PARTS_IN_LOT + 1}",
                "plc": asdict(counters),
            }
            wire.send(connection, message)
            answer, _ = wire.receive(connection, 30.0)
            if answer.get("decision"):
                counters.take(answer["decision"])
                is_ready = answer.get("seq") != 0  # 0: the lane is not ready
            else:
                counters.unanswered += 1
        except wire.UnreachableError:
            counters.unanswered += connection is not None
            connection = None
            time.sleep(0.5)
    return 0


if __name__ == "__main__":
    run_child(main)
