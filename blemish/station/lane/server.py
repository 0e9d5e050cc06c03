"""The lane's socket: others trigger, send pictures, watch it live and change what it does."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime, timezone
from multiprocessing.connection import Connection, Listener
from typing import Any

from blemish.line.events import Item, Origin
from blemish.station import wire
from blemish.station.lane.lane import Answer, Lane, Shown, Trigger
from blemish.station.lane.look import contours, live_jpeg

STATE_SECONDS = 1.0
"""How often those who watch get the state where no part comes."""
SHUTDOWN_SECONDS = 60.0


class LaneServer:
    """Answers those who connect to a lane, each in a thread of its own.

    `plc` is what a simulated PLC last said of itself.
    """

    def __init__(self, lane: Lane, listener: Listener) -> None:
        self._lane = lane
        self._changed = threading.Condition()
        self._shown: Shown | None = None
        self._message = b""
        self._message_of: Shown | None = None
        self._number = 0
        self.plc: dict[str, Any] = {}
        threading.Thread(target=self._accept, args=(listener,), name="socket", daemon=True).start()

    def show(self, shown: Shown) -> None:
        """A part was told: those who watch get it. Never waits."""
        with self._changed:
            self._shown = shown
            self._number += 1
            self._changed.notify_all()

    def state(self) -> dict[str, Any]:
        """What the lane does now, for a page."""
        lane, memory = self._lane, self._lane.memory
        recipe = lane.lane.recipe
        return {
            "kind": "state",
            "lane": lane.lane.id,
            "name": lane.lane.name,
            "product": "" if recipe is None else recipe.product,
            "version": None if recipe is None else recipe.version,
            "is_simulated": lane.lane.is_simulated,
            "why_not_ready": lane.why_not_ready,
            "troubles": list(lane.troubles.values()),
            "lot": memory.lot_id,
            "counts": dict(memory.counts),
            "recent": list(memory.recent),
            "next_seq": memory.next_seq,
            "plc": self.plc,
            "at": time.time(),
        }

    def _accept(self, listener: Listener) -> None:
        for connection in wire.connections(listener):
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection[Any, Any]) -> None:
        with connection, contextlib.suppress(wire.UnreachableError):
            while True:
                fields, payload = wire.receive(connection)
                if fields.get("do") == "watch":
                    self._watched(connection)
                    return
                wire.send(connection, self._do(fields, payload))

    def _do(self, fields: dict[str, Any], payload: bytes) -> dict[str, Any]:
        doing = fields.get("do")
        if doing in ("trigger", "inspect"):
            return self._trigger(fields, payload if doing == "inspect" else None)
        if doing == "lot":
            self._lane.begin_lot(str(fields.get("lot_id", ""))[:64])
        elif doing != "state":
            return {"fault": f"a lane cannot do {doing!r}"}
        return self.state()

    def _trigger(self, fields: dict[str, Any], picture: bytes | None) -> dict[str, Any]:
        """Waits for the part's answer."""
        done = threading.Event()
        answers: list[Answer] = []

        def reply(answer: Answer) -> str:
            answers.append(answer)
            done.set()
            return ""

        item = None
        if picture is not None:
            origin = Origin(str(fields.get("name") or "uploaded"), time=datetime.now(timezone.utc))
            item = Item(origin, picture)
        if "plc" in fields:
            self.plc = dict(fields["plc"])
        counter = fields.get("counter")
        trigger = Trigger(
            reply=reply,
            item=item,
            counter=int(counter) if counter is not None else None,
            part_id=str(fields.get("part_id") or "")[:64],
            lot_id=str(fields.get("lot_id") or "")[:64],
            is_simulated=bool(fields.get("is_simulated")),
            within_ms=None if counter is None else self._lane.lane.answer_within_ms,
        )
        if not self._lane.offer(trigger):
            return {"fault": "too many parts wait"}
        if not done.wait(SHUTDOWN_SECONDS):
            return {"fault": "the lane does not answer"}
        return answer_json(answers[0])

    def _watched(self, connection: Connection[Any, Any]) -> None:
        """Sends the newest part whenever there is one, and the state when there is none."""
        seen = 0
        try:
            wire.send(connection, self.state())
            while True:
                with self._changed:
                    if self._number == seen:
                        self._changed.wait(STATE_SECONDS)
                    shown, is_new = self._shown, self._number != seen
                    seen = self._number
                if is_new and shown is not None:
                    connection.send_bytes(self._message_for(shown))
                else:
                    wire.send(connection, self.state())
        except OSError:
            return

    def _message_for(self, shown: Shown) -> bytes:
        """The picture and the verdict of a part in one message; made once for all who watch."""
        with self._changed:
            if self._message_of is shown:
                return self._message
        memory, answer = shown.memory, shown.answer
        fields = {
            **self.state(),
            "kind": "part",
            **answer_json(answer),
            "part_id": shown.ticket.part_id,
            "lot": shown.ticket.lot_id,
            "taken_at": shown.ticket.at / 1e6,
            "answer_ms": shown.answer_ms,
            "counts": dict(memory.counts),
            "recent": list(memory.recent),
            "contours": [] if shown.verdict is None else contours(shown.verdict),
        }
        message = wire.pack(fields, b"" if shown.image is None else live_jpeg(shown.image))
        with self._changed:
            self._message, self._message_of = message, shown
        return message


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer for other programs."""
    fields: dict[str, Any] = {
        "seq": answer.seq,
        "counter": answer.counter,
        "decision": answer.decision,
        "display_score": answer.display_score,
        "fault": answer.fault,
    }
    view = answer.view
    if view is not None:
        doc = view.doc or {}
        fields |= {
            "score": view.score,
            "threshold": view.threshold,
            "p_value": view.p_value,
            "milliseconds": view.inspect_ms,
            "num_regions": view.num_regions,
            "regions": doc.get("regions", []),
            "reasons": doc.get("reasons", []),
        }
    return fields
