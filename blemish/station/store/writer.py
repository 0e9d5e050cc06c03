"""From a lane's journal into the database: each part once, whatever dies when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blemish.station.core.parts import (
    Answered,
    Begin,
    Decided,
    Late,
    Missed,
    Part,
    Picture,
    Record,
    Ticket,
    Trouble,
    read_record,
)
from blemish.station.journal import START, Place, Tail, segment_hash, segment_numbers, segment_path
from blemish.station.store.database import Connection, Engine
from blemish.station.store.tables import alarm, image, journal_place, picture, segment, tally, verdict, view

ANSWER_WAIT_US = 1_000_000
"""So long a verdict waits for word that it was told, so that its row is written once."""
HOUR_US = 3_600_000_000
MOST_ROWS = 500


@dataclass
class _Batch:
    """The rows that one transaction adds."""

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


class LaneWriter:
    """Follows the journal of one lane. `step` writes what has come, in one transaction."""

    def __init__(self, engine: Engine, journal: Path, lane_id: int, *, station_id: int = 1) -> None:
        self._engine, self._journal = engine, journal
        self._lane_id, self._station_id = lane_id, station_id
        self.damage: list[str] = []
        self._restart()

    def _restart(self) -> None:
        """Goes back to what the database knows."""
        with self._engine.connect() as connection:
            row = connection.execute(
                sa.select(journal_place).where(journal_place.c.lane_id == self._lane_id)
            ).one_or_none()
        place = Place() if row is None else Place(row.segment, row.offset)
        self._boot = "" if row is None else row.boot_id
        self._tail = Tail(self._journal, place)
        self._records = self._tail.read()
        self._open: dict[int, tuple[Part, Place, str]] = {}
        self._saved = place, self._boot

    def step(self, now: int) -> int:
        """Writes what has come and is complete; gives how many parts that were. Raises what the database raises."""
        batch = _Batch()
        try:
            num_read = self._read(batch, now)
            place = min((begun for _, begun, _ in self._open.values()), default=self._tail.place, key=_order)
            boot = next((boot for _, begun, boot in self._open.values() if begun == place), self._boot)
            if batch.verdicts or batch.pictures or batch.troubles or (place, boot) != self._saved:
                with self._engine.begin() as connection:
                    self._write(connection, batch)
                    self._save_place(connection, place, boot)
                self._saved = place, boot
        except BaseException:
            self._restart()
            raise
        self.damage += self._tail.damage
        self._tail.damage.clear()
        return len(batch.verdicts) if num_read or batch.verdicts else 0

    def _read(self, batch: _Batch, now: int) -> int:
        num_read = 0
        while len(batch.verdicts) < MOST_ROWS:
            given = next(self._records, None)
            if given is None:
                self._records = self._tail.read()
                break
            content, begun, _ = given
            num_read += 1
            try:
                record = read_record(content)
            except (ValueError, KeyError, TypeError) as error:
                self.damage.append(f"{self._journal}: a record is of another version ({error}); it is left out")
                continue
            self._take(record, begun, batch)
        for seq, (part, _, boot) in list(self._open.items()):
            if _is_complete(part, now):
                self._finish(seq, part, boot, batch)
        return num_read

    def _take(self, record: Record, begun: Place, batch: _Batch) -> None:
        if isinstance(record, Begin):
            for seq, (part, _, boot) in list(self._open.items()):
                self._finish(seq, part, boot, batch)
            self._boot = record.boot
        elif isinstance(record, Ticket):
            self._open[record.seq] = Part(record), begun, self._boot
        elif isinstance(record, (Decided, Late, Answered)):
            if record.seq in self._open:
                part, _, boot = self._open[record.seq]
                part.take(record)
                if _is_complete(part, 0):
                    self._finish(record.seq, part, boot, batch)
        elif isinstance(record, Missed):
            batch.verdicts.extend(self._missed_rows(record))
        elif isinstance(record, Picture):
            batch.pictures.append(record)
        elif isinstance(record, Trouble):
            batch.troubles.append(record)

    def _finish(self, seq: int, part: Part, boot: str, batch: _Batch) -> None:
        del self._open[seq]
        ticket, decided, answered = part.ticket, part.decided, part.answered
        key = {"station_id": self._station_id, "lane_id": self._lane_id, "seq": seq}
        views = () if decided is None else decided.views
        batch.verdicts.append(
            {
                **key,
                "boot_id": boot,
                "plc_counter": ticket.counter,
                "part_id": ticket.part_id,
                "lot_id": ticket.lot_id,
                "taken_at": ticket.at,
                "recipe_id": ticket.recipe,
                "decision": part.decision,
                "display_score": max((each.display_score or 0.0 for each in views), default=None),
                "answer_ms": None if answered is None else answered.answer_ms,
                "is_simulated": ticket.is_simulated,
                "answered_at": None if answered is None or answered.fault else answered.at,
                "answer_fault": part.fault or None,
            }
        )
        for each in views:
            batch.views.append(
                {
                    **key,
                    "view_no": each.number,
                    "decision": each.decision,
                    "source": each.source,
                    "score": each.score,
                    "threshold": each.threshold,
                    "p_value": each.p_value,
                    "display_score": each.display_score,
                    "inspect_ms": each.inspect_ms,
                    "num_regions": each.num_regions,
                    "doc": None if each.doc is None else dict(each.doc),
                }
            )

    def _missed_rows(self, missed: Missed) -> Iterable[dict[str, Any]]:
        for number in range(missed.count):
            yield {
                "station_id": self._station_id,
                "lane_id": self._lane_id,
                "seq": missed.first_seq + number,
                "boot_id": self._boot,
                "plc_counter": missed.first_counter + number,
                "part_id": "",
                "lot_id": "",
                "taken_at": missed.at,
                "recipe_id": missed.recipe,
                "decision": "missed",
                "display_score": None,
                "answer_ms": None,
                "is_simulated": False,
                "answered_at": None,
                "answer_fault": None,
            }

    def _write(self, connection: Connection, batch: _Batch) -> None:
        rows = self._new_rows(connection, verdict, batch.verdicts)
        if rows:
            connection.execute(verdict.insert(), rows)
            self._count(connection, rows)
        views = self._new_rows(connection, view, batch.views)
        if views:
            connection.execute(view.insert(), views)
        if batch.pictures:
            self._write_pictures(connection, batch.pictures)
        for trouble in batch.troubles:
            self._write_trouble(connection, trouble)

    def _new_rows(self, connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those rows of parts that are not there yet: this process alone writes them."""
        if not rows:
            return []
        numbers = [row["seq"] for row in rows]
        known = set(
            connection.execute(
                sa.select(table.c.seq).where(
                    table.c.station_id == self._station_id,
                    table.c.lane_id == self._lane_id,
                    table.c.seq.between(min(numbers), max(numbers)),
                )
            ).scalars()
        )
        return [row for row in rows if row["seq"] not in known]

    def _count(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        groups: dict[tuple[int, int, str], list[float]] = {}
        for row in rows:
            key = row["recipe_id"] or 0, row["taken_at"] // HOUR_US, row["decision"]
            groups.setdefault(key, []).append(row["answer_ms"] or 0.0)
        for (recipe_id, hour, decision), times in groups.items():
            here = (
                (tally.c.lane_id == self._lane_id)
                & (tally.c.recipe_id == recipe_id)
                & (tally.c.hour == hour)
                & (tally.c.decision == decision)
            )
            before = connection.execute(sa.select(tally).where(here)).one_or_none()
            if before is None:
                values = {"num_parts": len(times), "sum_answer_ms": sum(times), "max_answer_ms": max(times)}
                key_values = {"lane_id": self._lane_id, "recipe_id": recipe_id, "hour": hour, "decision": decision}
                connection.execute(tally.insert().values(**key_values, **values))
            else:
                connection.execute(
                    tally.update()
                    .where(here)
                    .values(
                        num_parts=before.num_parts + len(times),
                        sum_answer_ms=before.sum_answer_ms + sum(times),
                        max_answer_ms=max(before.max_answer_ms, *times),
                    )
                )

    def _write_pictures(self, connection: Connection, pictures: list[Picture]) -> None:
        rows = [
            {
                "station_id": self._station_id,
                "lane_id": self._lane_id,
                "seq": each.seq,
                "view_no": each.view,
                "image_sha256": each.sha256,
            }
            for each in pictures
        ]
        new = self._new_rows(connection, picture, rows)
        if new:
            connection.execute(picture.insert(), new)
        added = {row["seq"] for row in new}
        pictures = [each for each in pictures if each.seq in added]
        found_decisions = connection.execute(
            sa.select(verdict.c.seq, verdict.c.decision).where(
                verdict.c.station_id == self._station_id,
                verdict.c.lane_id == self._lane_id,
                verdict.c.seq.in_([each.seq for each in pictures]),
            )
        ).all()
        decisions = {row.seq: row.decision for row in found_decisions}
        for each in pictures:
            decision = decisions.get(each.seq) or _open_decision(self._open.get(each.seq))
            found = connection.execute(
                sa.select(image.c.state, image.c.decision).where(image.c.sha256 == each.sha256)
            ).one_or_none()
            if found is None:
                connection.execute(
                    image.insert().values(
                        sha256=each.sha256,
                        station_id=self._station_id,
                        format=each.format,
                        num_bytes=each.num_bytes,
                        width=each.width,
                        height=each.height,
                        decision=decision,
                        kept_at=each.at,
                        state="kept",
                    )
                )
            else:  # the same picture again: it stays as long as the more important of the two parts
                keeps = decision if found.decision == "accept" else found.decision
                here = image.c.sha256 == each.sha256
                connection.execute(image.update().where(here).values(state="kept", decision=keeps, kept_at=each.at))

    def _write_trouble(self, connection: Connection, trouble: Trouble) -> None:
        here = (alarm.c.lane_id == self._lane_id) & (alarm.c.kind == trouble.kind) & alarm.c.ended_at.is_(None)
        connection.execute(alarm.update().where(here & (alarm.c.since < trouble.at)).values(ended_at=trouble.at))
        if trouble.is_over:
            return
        same = (alarm.c.lane_id == self._lane_id) & (alarm.c.kind == trouble.kind) & (alarm.c.since == trouble.at)
        if connection.execute(sa.select(alarm.c.id).where(same)).first() is None:
            connection.execute(
                alarm.insert().values(lane_id=self._lane_id, kind=trouble.kind, text=trouble.text, since=trouble.at)
            )

    def _save_place(self, connection: Connection, place: Place, boot: str) -> None:
        here = journal_place.c.lane_id == self._lane_id
        values = {"segment": place.segment, "offset": place.offset, "boot_id": boot}
        if not connection.execute(journal_place.update().where(here).values(values)).rowcount:
            connection.execute(journal_place.insert().values(lane_id=self._lane_id, **values))

    def close_segments(self, now: int, *, keep: int) -> None:
        """Notes the hashes of segments that are closed, and deletes the oldest that are in the database."""
        numbers = segment_numbers(self._journal)
        with self._engine.begin() as connection:
            here = segment.c.lane_id == self._lane_id
            known = set(connection.execute(sa.select(segment.c.number).where(here)).scalars())
            for number in numbers[:-1]:
                path = segment_path(self._journal, number)
                if number in known or path.stat().st_size == 0:
                    continue
                digest, previous = segment_hash(path)
                connection.execute(
                    segment.insert().values(
                        station_id=self._station_id,
                        lane_id=self._lane_id,
                        number=number,
                        num_bytes=path.stat().st_size,
                        sha256=digest,
                        previous_sha256=previous or START,
                        closed_at=now,
                    )
                )
                known.add(number)
        done = [number for number in numbers[:-1] if number in known and number < self._saved[0].segment]
        for number in done[: max(0, len(done) - keep)]:
            segment_path(self._journal, number).unlink(missing_ok=True)


def _order(place: Place) -> tuple[int, int]:
    return place.segment, place.offset


def _is_complete(part: Part, now: int) -> bool:
    if part.answered is not None:
        return True
    verdict_at = part.late.at if part.late is not None else None if part.decided is None else part.decided.at
    return verdict_at is not None and now - verdict_at > ANSWER_WAIT_US


def _open_decision(opened: tuple[Part, Place, str] | None) -> str:
    return "reject" if opened is None else opened[0].decision
