"""What the journal of a lane says of its parts, record by record, and what a part comes to when they are put together.

Times are microseconds since 1970 in UTC. A part is one trigger: its ticket is written when the trigger comes, its
verdict before anybody is told, and how it was told after that.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Outcome = Literal["accept", "review", "reject", "error", "lost", "missed"]
"""What became of a part. Only `accept` says that it may pass."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
WITHOUT_VERDICT: tuple[Outcome, ...] = ("error", "lost", "missed")
_WORST_FIRST: tuple[Outcome, ...] = ("error", "reject", "review", "accept")


@dataclass(frozen=True)
class Begin:
    """A lane process has begun. Parts that are open then will never be finished: they are lost.

    `machine_boot` names the run of the machine, "" where nobody knows: after another one, what was not synced is gone.
    """

    boot: str
    machine_boot: str
    at: int


@dataclass(frozen=True)
class Ticket:
    """A trigger. `counter` is the PLC's number of it, None where no PLC counts; `source` names the picture's place."""

    seq: int
    counter: int | None
    part_id: str
    lot_id: str
    recipe: int | None
    at: int
    is_simulated: bool = False


@dataclass(frozen=True)
class ViewVerdict:
    """What was found on one picture of a part; `doc` holds regions and reasons, None for an accepted one."""

    number: int
    decision: Outcome
    source: str = ""
    score: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    display_score: float | None = None
    inspect_ms: float | None = None
    num_regions: int = 0
    doc: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Decided:
    """The verdict of a part, with those of its views. `fault` says why there is none where it is `error`."""

    seq: int
    decision: Outcome
    at: int
    views: tuple[ViewVerdict, ...] = ()
    fault: str = ""
    recipe: int | None = None


@dataclass(frozen=True)
class Late:
    """No verdict was durable in time: `error` is what is told, whatever is decided later."""

    seq: int
    at: int
    fault: str


@dataclass(frozen=True)
class Answered:
    """The verdict was told; `fault` says why it was not taken."""

    seq: int
    at: int
    answer_ms: float
    fault: str = ""


@dataclass(frozen=True)
class Picture:
    """The picture of a view was kept as a file named by its SHA-256."""

    seq: int
    view: int
    sha256: str
    format: str
    num_bytes: int
    height: int
    width: int
    at: int


@dataclass(frozen=True)
class Missed:
    """Triggers that the PLC counted while nobody took them; each is a part of its own."""

    first_seq: int
    first_counter: int
    count: int
    recipe: int | None
    at: int


@dataclass(frozen=True)
class LotBegun:
    """A new lot: the counters of the lane begin anew."""

    lot_id: str
    at: int


@dataclass(frozen=True)
class Trouble:
    """Something that a person should know, `is_over` when it has ended."""

    kind: str
    text: str
    at: int
    is_over: bool = False


Record: TypeAlias = Begin | Ticket | Decided | Late | Answered | Picture | Missed | LotBegun | Trouble
_KINDS: dict[str, type] = {
    "begin": Begin,
    "ticket": Ticket,
    "decided": Decided,
    "late": Late,
    "answered": Answered,
    "picture": Picture,
    "missed": Missed,
    "lot": LotBegun,
    "trouble": Trouble,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def record_json(record: Record) -> bytes:
    """The record as the journal holds it."""
    fields = {"record": _NAMES[type(record)], **dataclasses.asdict(record)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def read_record(content: bytes) -> Record:
    """The record in what the journal holds. Raises ValueError, KeyError or TypeError where it is none.

    >>> read_record(record_json(LotBegun("A7", 5)))
    LotBegun(lot_id='A7', at=5)
    """
    fields = json.loads(content)
    kind = _KINDS[fields.pop("record")]
    if kind is Decided:
        fields["views"] = tuple(ViewVerdict(**view) for view in fields["views"])
    record: Record = kind(**fields)
    return record


def worst(decisions: tuple[Outcome, ...]) -> Outcome:
    """The decision on a part of several views; one that is missing is an error.

    >>> worst(("accept", "reject", "review")), worst(())
    ('reject', 'error')
    """
    return next((each for each in _WORST_FIRST if each in decisions), "error")


@dataclass(frozen=True)
class Memory:
    """What a lane must know when it begins again: it heads each segment of the journal.

    `counts` are those of the lot. `counter` is the last number that the PLC gave, `asked_seq` the part that it was
    given for and `asked_decision` what became of it, None while nobody knows.
    """

    next_seq: int = 1
    counter: int | None = None
    lot_id: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    recent: tuple[str, ...] = ()
    open_seq: int | None = None
    asked_seq: int | None = None
    asked_decision: Outcome | None = None

    def take(self, record: Record) -> Memory:
        """What is known after one more record."""
        if isinstance(record, Ticket):
            before = self.closed()
            if record.counter is not None and record.lot_id != self.lot_id:  # the PLC has begun another lot
                before = dataclasses.replace(before, lot_id=record.lot_id, counts={}, recent=())
            after = dataclasses.replace(before, next_seq=record.seq + 1, open_seq=record.seq)
            if record.counter is None:
                return after
            return dataclasses.replace(after, counter=record.counter, asked_seq=record.seq, asked_decision=None)
        if isinstance(record, (Decided, Late)):
            decision = record.decision if isinstance(record, Decided) else "error"
            after = self
            if record.seq == self.asked_seq and self.asked_decision != "error":
                after = dataclasses.replace(after, asked_decision=decision)
            if record.seq != self.open_seq:  # decided after it was too late
                return after
            return dataclasses.replace(after._counted(decision), open_seq=None)
        if isinstance(record, Missed):
            counter = record.first_counter + record.count - 1
            after = dataclasses.replace(
                self, next_seq=record.first_seq + record.count, counter=counter, asked_seq=None, asked_decision=None
            )
            return after._counted("missed", record.count)
        if isinstance(record, LotBegun):
            return dataclasses.replace(self, lot_id=record.lot_id, counts={}, recent=())
        return self

    def closed(self) -> Memory:
        """What is known when the part that is open will never be decided."""
        return self if self.open_seq is None else dataclasses.replace(self._counted("lost"), open_seq=None)

    def _counted(self, decision: str, count: int = 1) -> Memory:
        counts = {**self.counts, decision: self.counts.get(decision, 0) + count}
        return dataclasses.replace(self, counts=counts, recent=(*self.recent, *([decision] * min(count, 20)))[-20:])


@dataclass
class Part:
    """A part as its records come in; `decision` is what it comes to."""

    ticket: Ticket
    decided: Decided | None = None
    late: Late | None = None
    answered: Answered | None = None

    def take(self, record: Decided | Late | Answered) -> None:
        if isinstance(record, Decided):
            self.decided = record
        elif isinstance(record, Late):
            self.late = record
        else:
            self.answered = record

    @property
    def decision(self) -> Outcome:
        if self.late is not None:
            return "error"
        return "lost" if self.decided is None else self.decided.decision

    @property
    def fault(self) -> str:
        """Why the part has no verdict that counts, or why nobody took it."""
        if self.late is not None:
            return self.late.fault
        found = "" if self.decided is None else self.decided.fault
        return found or ("" if self.answered is None else self.answered.fault)
