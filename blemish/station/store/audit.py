"""Who did what: rows chained by their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from blemish.station.core.chain import START, link_hash
from blemish.station.store.database import Connection
from blemish.station.store.tables import audit


@dataclass(frozen=True)
class Actor:
    """Who acts: a user's name with the roles that he has, "console" at the machine itself."""

    name: str = "console"
    role: str = "console"
    ip: str = ""


def write_audit(
    connection: Connection,
    actor: Actor,
    action: str,
    subject: str,
    at: int,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    station_id: int = 1,
) -> None:
    """Adds a row to the chain, in the transaction of what it speaks of."""
    last = connection.execute(
        sa.select(audit.c.number, audit.c.hash)
        .where(audit.c.station_id == station_id)
        .order_by(audit.c.number.desc())
        .limit(1)
    ).first()
    number, previous = (1, START) if last is None else (last.number + 1, last.hash)
    row = {
        "station_id": station_id,
        "number": number,
        "at": at,
        "actor": actor.name,
        "role": actor.role,
        "ip": actor.ip,
        "action": action,
        "subject": subject,
        "before": None if before is None else dict(before),
        "after": None if after is None else dict(after),
        "reason": reason,
    }
    row |= {"previous_hash": previous, "hash": link_hash(previous, row)}
    connection.execute(audit.insert().values(row))


def audit_faults(connection: Connection) -> Iterator[str]:
    """A sentence on each row that breaks the chain."""
    previous, expected = START, 1
    for row in connection.execute(sa.select(audit).order_by(audit.c.station_id, audit.c.number)).mappings():
        content = {name: value for name, value in row.items() if name not in ("previous_hash", "hash")}
        if row["number"] != expected:
            yield f"audit row {expected}: is missing"
        elif row["previous_hash"] != previous or row["hash"] != link_hash(previous, content):
            yield f"audit row {row['number']}: was changed after it was written"
        previous, expected = row["hash"], row["number"] + 1
