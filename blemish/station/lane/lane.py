"""The loop of a lane: trigger, ticket, picture, verdict, answer. Nothing is told that is not in the journal."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from blemish.errors import ImageError
from blemish.inspection.inspector import Inspector
from blemish.line.events import Item
from blemish.schema import Image, Verdict
from blemish.station.core.lane_file import LaneFile
from blemish.station.core.parts import (
    Answered,
    Begin,
    Decided,
    Late,
    LotBegun,
    Memory,
    Missed,
    Outcome,
    Record,
    Ticket,
    Trouble,
    ViewVerdict,
    read_record,
    record_json,
    worst,
)
from blemish.station.journal import Journal, JournalError
from blemish.station.lane.look import Look, decode_item, view_verdict

MOST_MISSED = 10_000
"""A PLC whose counter jumps further has begun to count anew."""
MOST_WAITING = 64
PATIENCE_SECONDS = 10.0
"""How long a verdict that nobody waits for by the clock may take to get to the disk."""


@dataclass(frozen=True)
class Answer:
    """What is told about a part."""

    seq: int
    counter: int | None
    decision: Outcome
    display_score: float | None = None
    fault: str = ""
    view: ViewVerdict | None = field(default=None, repr=False)


class Reply(Protocol):
    """How an answer gets to whoever triggered; gives why it was not taken, "" where it was."""

    def __call__(self, answer: Answer) -> str: ...


def nobody(answer: Answer) -> str:
    """The reply to a trigger that nobody waits for."""
    return ""


@dataclass(frozen=True)
class Trigger:
    """A part has come. `item` is its picture; without one the lane takes it from its source.

    `within_ms` is how long whoever triggered waits for an answer; afterwards it is `error`.
    """

    reply: Reply = nobody
    item: Item | None = None
    counter: int | None = None
    part_id: str = ""
    lot_id: str = ""
    is_simulated: bool = False
    within_ms: float | None = None
    came: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Shown:
    """A part as the live page shows it: picture, verdict, and the counters after it."""

    answer: Answer
    ticket: Ticket
    image: Image | None
    verdict: Verdict | None
    memory: Memory
    answer_ms: float


@dataclass
class _OpenPart:
    """A part that is under way: it is told once, by whoever comes first."""

    ticket: Ticket
    trigger: Trigger
    is_told: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        with self.lock:
            was, self.is_told = self.is_told, True
        return not was


Now: TypeAlias = Callable[[], int]


class Lane:
    """One lane. `run_part` is called by one thread; `show` and `keep` get each part when it was told.

    `take_picture(seconds)` gives the next picture of the source, or raises ImageError.
    """

    def __init__(
        self,
        lane: LaneFile,
        journal: Journal,
        inspector: Inspector | None,
        *,
        boot: str,
        machine_boot: str,
        now: Now,
        take_picture: Callable[[float], Item],
        show: Callable[[Shown], object],
        keep: Callable[[Shown], object],
    ) -> None:
        self.lane, self.inspector = lane, inspector
        self.fault = ""
        self.waiting: queue.Queue[Trigger] = queue.Queue(MOST_WAITING)
        self._journal, self._now, self._take_picture = journal, now, take_picture
        self._show, self._keep = show, keep
        self._lock = threading.Lock()
        self._last_answer: Answer | None = None
        self._next: tuple[LaneFile, Inspector | None] | None = None
        self._troubles: dict[str, str] = {}
        self._deadline = _Deadline(self._too_late)
        self.memory, before = _recovered(journal)
        self.unfinished_names = tuple(_names_decided(journal))
        skip = 0
        if before is not None and (not machine_boot or before.machine_boot != machine_boot):
            # After a power cut, numbers may have been read by others that the disk does not know.
            skip = 100
            self.memory = dataclasses.replace(self.memory, next_seq=self.memory.next_seq + 10_000)
        self.memory = self.memory.closed()
        if self.memory.asked_seq is not None:  # a PLC that asks again gets what is in the journal
            known = self.memory.asked_decision
            fault = "" if known else "the part was lost when the lane ended"
            self._last_answer = Answer(self.memory.asked_seq, self.memory.counter, known or "error", None, fault)
        journal.begin(self._head(), skip=skip)
        self.note(Begin(boot, machine_boot, now()))
        for first, end in journal.found.gaps:
            self.trouble("journal", f"the journal is damaged from byte {first} to {end}; `blemish station verify`")

    def note(self, record: Record) -> int:
        """Puts a record into the journal; gives what `Journal.wait` waits for. Raises JournalError."""
        content = record_json(record)
        with self._lock:
            position = self._journal.append(content)
            self.memory = self.memory.take(record)
        return position

    def trouble(self, kind: str, text: str) -> None:
        """Something that a person should know, until `relieve`; told once while it lasts."""
        if self._troubles.get(kind) != text:
            self._troubles[kind] = text
            self._try_note(Trouble(kind, text, self._now()))

    def relieve(self, kind: str) -> None:
        if self._troubles.pop(kind, None) is not None:
            self._try_note(Trouble(kind, "", self._now(), is_over=True))

    @property
    def troubles(self) -> dict[str, str]:
        return dict(self._troubles)

    @property
    def why_not_ready(self) -> str:
        """Why no part is judged; "" where they are."""
        if self.fault:
            return self.fault
        if self.inspector is None:
            return "no product is active"
        return "" if self.lane.is_live else "paused"

    def begin_lot(self, lot_id: str) -> None:
        self.note(LotBegun(lot_id, self._now()))

    def change(self, lane: LaneFile, inspector: Inspector | None) -> None:
        """Other settings, from the next part on."""
        self._next = lane, inspector

    def offer(self, trigger: Trigger) -> bool:
        """Whether the trigger will be answered; not where too many wait."""
        try:
            self.waiting.put_nowait(trigger)
        except queue.Full:
            return False
        return True

    def run_waiting(self, seconds: float) -> bool:
        """Judges the next part that waits; False where none came within that time."""
        self._take_over()
        try:
            trigger = self.waiting.get(timeout=seconds)
        except queue.Empty:
            return False
        self.run_part(trigger)
        return True

    def _take_over(self) -> None:
        if self._next is not None:
            (self.lane, self.inspector), self._next = self._next, None

    def run_part(self, trigger: Trigger) -> Answer:
        """Judges a part, and tells it."""
        self._take_over()
        if self.why_not_ready:
            return self._refuse(trigger, self.why_not_ready)
        last = self._last_answer
        if trigger.counter is not None and last is not None and trigger.counter == last.counter:
            trigger.reply(last)  # asked again: the part is the same
            return last
        try:
            if self._journal.is_full():
                self._journal.turn(self._head())
            part = self._open(trigger)
        except JournalError as error:
            self.fault = str(error)
            return self._refuse(trigger, str(error))
        return self._judge(part)

    def recover(self) -> None:
        """Tries whether the journal can be written to again."""
        try:
            if self.fault and self._journal.try_reserve():
                self.note(Trouble("journal", "", self._now(), is_over=True))
                self.fault = ""
        except JournalError as error:
            self.fault = str(error)
        if self._journal.is_reserve_used and not self._journal.try_reserve():
            self.trouble("disk", "the disk is full; the journal lives on its reserve")
        else:
            self.relieve("disk")

    def _open(self, trigger: Trigger) -> _OpenPart:
        recipe = None if self.lane.recipe is None else self.lane.recipe.id
        memory = self.memory
        if trigger.counter is not None and memory.counter is not None:
            first = memory.counter + 1
            missed = trigger.counter - first
            if 0 < missed <= MOST_MISSED:
                self.note(Missed(memory.next_seq, first, missed, recipe, self._now()))
            elif missed:
                self.trouble("counter", f"the PLC's counter went from {memory.counter} to {trigger.counter}")
                self.relieve("counter")
        ticket = Ticket(
            seq=self.memory.next_seq,
            counter=trigger.counter,
            part_id=trigger.part_id,
            lot_id=trigger.lot_id or self.memory.lot_id,
            recipe=recipe,
            at=self._now(),
            is_simulated=trigger.is_simulated or self.lane.is_simulated,
        )
        self.note(ticket)
        part = _OpenPart(ticket, trigger)
        if trigger.within_ms is not None:
            self._deadline.arm(part, trigger.came + trigger.within_ms / 1000)
        return part

    def _judge(self, part: _OpenPart) -> Answer:
        ticket, trigger, inspector = part.ticket, part.trigger, self.inspector
        assert inspector is not None
        look = self._look(trigger, inspector)
        view = look.view
        decision = worst((view.decision,))
        decided = Decided(ticket.seq, decision, self._now(), (view,), look.fault, ticket.recipe)
        answer = Answer(ticket.seq, ticket.counter, decision, view.display_score, look.fault, view)
        try:
            position = self.note(decided)
            limit = PATIENCE_SECONDS if trigger.within_ms is None else trigger.within_ms / 1000
            is_durable = self._journal.wait(position, trigger.came + limit - time.monotonic())
        except JournalError as error:
            self.fault = str(error)
            self._deadline.disarm()
            return self._tell_error(part, str(error))
        if not is_durable:
            self._deadline.disarm()
            return self._tell_error(part, "the verdict was not on the disk in time")
        self._deadline.disarm()
        if part.claim():
            self._tell(part, answer)
        else:
            answer = dataclasses.replace(answer, decision="error", fault="too late")
        self._last_answer = answer
        shown = Shown(answer, ticket, look.image, look.verdict, self.memory, _since(trigger.came))
        self._show(shown)
        self._keep(shown)
        return answer

    def _look(self, trigger: Trigger, inspector: Inspector) -> Look:
        """What is seen of the part; a fault of one picture is a fault of one part."""
        name = ""
        image = None
        start = time.monotonic()
        try:
            limit = PATIENCE_SECONDS if trigger.within_ms is None else trigger.within_ms / 1000
            item = trigger.item or self._take_picture(trigger.came + limit - time.monotonic())
            name = item.origin.name
            image = decode_item(item, inspector.reading)
            verdict = inspector.inspect_image(image, name)
        except Exception as error:
            if isinstance(error, ImageError) and image is None and trigger.item is None:
                self.trouble("camera", str(error))
            view = ViewVerdict(1, "error", name)
            return Look(view, image, None, f"{type(error).__name__}: {error}"[:500])
        self.relieve("camera")
        return Look(view_verdict(verdict, inspector, (time.monotonic() - start) * 1000), image, verdict)

    def _tell(self, part: _OpenPart, answer: Answer) -> None:
        fault = part.trigger.reply(answer)
        self._try_note(Answered(answer.seq, self._now(), _since(part.trigger.came), fault))

    def _tell_error(self, part: _OpenPart, fault: str) -> Answer:
        """Tells `error` where nothing better was durable in time."""
        answer = Answer(part.ticket.seq, part.ticket.counter, "error", None, fault)
        if part.claim():
            self._try_note(Late(answer.seq, self._now(), fault))
            self._tell(part, answer)
        self._last_answer = answer
        return answer

    def _too_late(self, part: _OpenPart) -> None:
        limit = part.trigger.within_ms or 0
        if part.claim():
            answer = Answer(part.ticket.seq, part.ticket.counter, "error", None, f"no verdict within {limit:g} ms")
            self._last_answer = answer
            self._try_note(Late(answer.seq, self._now(), answer.fault))
            self._tell(part, answer)

    def _refuse(self, trigger: Trigger, fault: str) -> Answer:
        """Answers a trigger that no part was made of; the PLC's counter will show it as missed."""
        answer = Answer(0, trigger.counter, "error", None, fault)
        trigger.reply(answer)
        return answer

    def _try_note(self, record: Record) -> None:
        try:
            self.note(record)
        except JournalError as error:
            self.fault = str(error)

    def _head(self) -> dict[str, Any]:
        return {"lane": self.lane.id, "memory": dataclasses.asdict(self.memory)}


def _recovered(journal: Journal) -> tuple[Memory, Begin | None]:
    """What the journal of the time before says, and how that time began."""
    begin = None
    try:
        memory = _memory_in(journal.found.head)
        for content in journal.found.contents:
            record = read_record(content)
            memory = memory.take(record)
            begin = record if isinstance(record, Begin) else begin
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{journal.folder}: was written by another version of blemish; run that version, or move the folder away"
        ) from error
    return memory, begin


def _memory_in(head: dict[str, Any]) -> Memory:
    kept = head.get("memory")
    if kept is None:
        return Memory()
    return Memory(**{**kept, "recent": tuple(kept["recent"])})


def _names_decided(journal: Journal) -> list[str]:
    """The names of the pictures that the last segment has verdicts on."""
    records = map(read_record, journal.found.contents)
    return [view.source for record in records if isinstance(record, Decided) for view in record.views if view.source]


def _since(came: float) -> float:
    return round((time.monotonic() - came) * 1000, 3)


class _Deadline:
    """Calls `expire` with the part that is armed when its time has come, from a thread of its own."""

    def __init__(self, expire: Callable[[_OpenPart], None]) -> None:
        self._expire = expire
        self._changed = threading.Condition()
        self._armed: tuple[_OpenPart, float] | None = None
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def arm(self, part: _OpenPart, at: float) -> None:
        with self._changed:
            self._armed = part, at
            self._changed.notify()

    def disarm(self) -> None:
        with self._changed:
            self._armed = None

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._armed is None:
                    self._changed.wait()
                    continue
                part, at = self._armed
                left = at - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self._armed = None
            self._expire(part)
