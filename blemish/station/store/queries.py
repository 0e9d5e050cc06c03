"""What the pages ask the database: parts, counts, alarms, the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from blemish.station.store.audit import Actor, write_audit
from blemish.station.store.database import Engine
from blemish.station.store.tables import (
    activation,
    alarm,
    audit,
    bundle,
    image,
    lane,
    picture,
    product,
    recipe,
    tally,
    verdict,
    view,
)

PAGE_ROWS = 50
Row = Mapping[str, Any]


@dataclass(frozen=True)
class PartFilter:
    """Which parts are asked for. Times are microseconds; `part` and `lot` are whole ids, `seq` a number."""

    lane: int | None = None
    decision: str | None = None
    part: str | None = None
    lot: str | None = None
    seq: int | None = None
    since: int | None = None
    until: int | None = None


def find_parts(
    engine: Engine, wanted: PartFilter, *, before: tuple[int, int] | None = None, limit: int = PAGE_ROWS
) -> list[Row]:
    """Parts, the newest first; `before` (time and number of the last one shown) gives those behind it."""
    asked = sa.select(verdict)
    if wanted.lane is not None:
        asked = asked.where(verdict.c.lane_id == wanted.lane)
    if wanted.decision:
        asked = asked.where(verdict.c.decision == wanted.decision)
    if wanted.part:
        asked = asked.where(verdict.c.part_id == wanted.part)
    if wanted.lot:
        asked = asked.where(verdict.c.lot_id == wanted.lot)
    if wanted.seq is not None:
        asked = asked.where(verdict.c.seq == wanted.seq)
    if wanted.since is not None:
        asked = asked.where(verdict.c.taken_at >= wanted.since)
    if wanted.until is not None:
        asked = asked.where(verdict.c.taken_at < wanted.until)
    if before is not None:
        asked = asked.where(sa.tuple_(verdict.c.taken_at, verdict.c.seq) < before)
    asked = asked.order_by(verdict.c.taken_at.desc(), verdict.c.seq.desc()).limit(limit)
    chosen = asked.subquery()
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(chosen, picture.c.image_sha256, image.c.state)
            .outerjoin(
                picture,
                (picture.c.station_id == chosen.c.station_id)
                & (picture.c.lane_id == chosen.c.lane_id)
                & (picture.c.seq == chosen.c.seq)
                & (picture.c.view_no == 1),
            )
            .outerjoin(image, image.c.sha256 == picture.c.image_sha256)
            .order_by(chosen.c.taken_at.desc(), chosen.c.seq.desc())
        ).mappings()
        return [dict(row) for row in rows]


@dataclass(frozen=True)
class PartDetails:
    """All that is known of one part."""

    verdict: Row
    views: list[Row]
    recipe: Row | None
    activation: Row | None
    lane_name: str


def part_details(engine: Engine, lane_id: int, seq: int) -> PartDetails | None:
    with engine.connect() as connection:
        here = (verdict.c.lane_id == lane_id) & (verdict.c.seq == seq)
        found = connection.execute(sa.select(verdict).where(here)).mappings().one_or_none()
        if found is None:
            return None
        views = connection.execute(
            sa.select(view, picture.c.image_sha256, image.c.state, image.c.width, image.c.height, image.c.format)
            .outerjoin(
                picture,
                (picture.c.station_id == view.c.station_id)
                & (picture.c.lane_id == view.c.lane_id)
                & (picture.c.seq == view.c.seq)
                & (picture.c.view_no == view.c.view_no),
            )
            .outerjoin(image, image.c.sha256 == picture.c.image_sha256)
            .where(view.c.lane_id == lane_id, view.c.seq == seq)
            .order_by(view.c.view_no)
        ).mappings()
        judged_by = (
            connection.execute(
                sa.select(recipe, product.c.name, bundle.c.detector, bundle.c.bundle_id, bundle.c.graph_sha256)
                .join(product, product.c.id == recipe.c.product_id)
                .join(bundle, bundle.c.sha256 == recipe.c.bundle_sha256)
                .where(recipe.c.id == found["recipe_id"])
            )
            .mappings()
            .one_or_none()
        )
        activated = (
            connection.execute(
                sa.select(activation)
                .where(
                    activation.c.lane_id == lane_id,
                    activation.c.recipe_id == found["recipe_id"],
                    activation.c.at <= found["taken_at"],
                )
                .order_by(activation.c.id.desc())
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
        name = connection.execute(sa.select(lane.c.name).where(lane.c.id == lane_id)).scalar_one_or_none()
        return PartDetails(
            dict(found),
            [dict(row) for row in views],
            None if judged_by is None else dict(judged_by),
            None if activated is None else dict(activated),
            name or str(lane_id),
        )


def find_image(engine: Engine, sha256: str) -> Row | None:
    with engine.connect() as connection:
        row = connection.execute(sa.select(image).where(image.c.sha256 == sha256)).mappings().one_or_none()
        return None if row is None else dict(row)


def latest_rejects(engine: Engine, lane_id: int, limit: int = 6) -> list[Row]:
    """The newest rejected parts that have a picture."""
    return [
        row
        for row in find_parts(engine, PartFilter(lane=lane_id, decision="reject"), limit=limit)
        if row["state"] == "kept"
    ]


def count_parts(engine: Engine, since_hour: int) -> list[Row]:
    """Parts by lane and decision since an hour (counted from 1970)."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(
                tally.c.lane_id,
                tally.c.decision,
                sa.func.sum(tally.c.num_parts).label("num_parts"),
                sa.func.sum(tally.c.sum_answer_ms).label("sum_answer_ms"),
                sa.func.max(tally.c.max_answer_ms).label("max_answer_ms"),
            )
            .where(tally.c.hour >= since_hour)
            .group_by(tally.c.lane_id, tally.c.decision)
        ).mappings()
        return [dict(row) for row in rows]


def list_alarms(engine: Engine, *, limit: int = 100) -> list[Row]:
    """Alarms: those that last first, then the newest."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(alarm)
            .order_by(sa.case((alarm.c.ended_at.is_(None), 0), else_=1), alarm.c.since.desc())
            .limit(limit)
        ).mappings()
        return [dict(row) for row in rows]


def acknowledge(engine: Engine, actor: Actor, alarm_id: int, reason: str, at: int) -> None:
    with engine.begin() as connection:
        done = connection.execute(
            alarm.update()
            .where(alarm.c.id == alarm_id, alarm.c.acknowledged_at.is_(None))
            .values(acknowledged_by=actor.name, acknowledged_at=at, reason=reason[:500])
        )
        if done.rowcount:
            write_audit(connection, actor, "alarm acknowledged", f"alarm {alarm_id}", at, reason=reason[:500])


def list_audit(engine: Engine, *, before: int | None = None, limit: int = 100) -> list[Row]:
    asked = sa.select(audit)
    if before is not None:
        asked = asked.where(audit.c.number < before)
    with engine.connect() as connection:
        rows = connection.execute(asked.order_by(audit.c.number.desc()).limit(limit)).mappings()
        return [dict(row) for row in rows]
