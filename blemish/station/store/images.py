"""Pictures take no more room than they may: accepted ones go first, rejected ones last, old before new."""

from __future__ import annotations

import contextlib
from pathlib import Path

import sqlalchemy as sa

from blemish.station.core.pictures import picture_path
from blemish.station.core.save_rule import pictures_to_drop
from blemish.station.store.database import Connection, Engine
from blemish.station.store.tables import image

MOST_AT_ONCE = 2000
FILL = 0.95
"""Pictures are deleted from this share of the quota on."""
DAY_US = 86_400_000_000


def kept_bytes(connection: Connection) -> int:
    total = connection.execute(sa.select(sa.func.sum(image.c.num_bytes)).where(image.c.state == "kept")).scalar()
    return int(total or 0)


def keep_quota(engine: Engine, folder: Path, quota_bytes: int, keep_days: dict[str, int], now: int) -> int:
    """Deletes pictures beyond the quota or too old; gives how many. What the database does not know is never deleted.

    The row says `expired` before the file goes, so a kill between the two leaves a file too many, none too few.
    """
    order = sa.case({"accept": 0, "review": 1}, value=image.c.decision, else_=2)
    with engine.begin() as connection:
        rows = connection.execute(
            sa.select(image.c.sha256, image.c.num_bytes, image.c.format, image.c.decision, image.c.kept_at)
            .where(image.c.state == "kept")
            .order_by(order, image.c.kept_at)
            .limit(MOST_AT_ONCE)
        ).all()
        forms = {row.sha256: row.format for row in rows}
        dropped = set(
            pictures_to_drop(
                ((row.sha256, row.num_bytes) for row in rows), kept_bytes(connection), int(quota_bytes * FILL)
            )
        )
        for name, days in keep_days.items():
            is_named = image.c.decision == name if name != "reject" else image.c.decision.not_in(["accept", "review"])
            old = connection.execute(
                sa.select(image.c.sha256, image.c.format)
                .where(image.c.state == "kept", is_named, image.c.kept_at < now - days * DAY_US)
                .limit(MOST_AT_ONCE)
            ).all()
            forms |= {row.sha256: row.format for row in old}
            dropped |= set(forms) & {row.sha256 for row in old}
        for sha256 in dropped:
            connection.execute(image.update().where(image.c.sha256 == sha256).values(state="expired"))
    for sha256 in dropped:
        with contextlib.suppress(OSError):
            picture_path(folder, sha256, forms[sha256]).unlink(missing_ok=True)
    return len(dropped)
