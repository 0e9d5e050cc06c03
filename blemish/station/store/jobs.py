"""Jobs in the database: asked for on a page, done in a folder, taken in when they are done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from blemish.errors import BlemishError
from blemish.station.job_files import JobState, ask_to_cancel, is_over, job_folder, put_job, read_state
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor, write_audit
from blemish.station.store.database import Engine
from blemish.station.store.plant import add_recipe
from blemish.station.store.tables import job

BUNDLE = "trained.blemish"


def now_us() -> int:
    return time.time_ns() // 1000


def ask_for_training(
    engine: Engine, settings: Settings, actor: Actor, product_id: int, params: Mapping[str, Any]
) -> int:
    """The id of a new job that trains a product."""
    now = now_us()
    with engine.begin() as connection:
        job_id = int(
            connection.execute(
                job.insert()
                .values(
                    kind="train",
                    product_id=product_id,
                    params=dict(params),
                    state="waiting",
                    asked_by=actor.name,
                    asked_at=now,
                )
                .returning(job.c.id)
            ).scalar_one()
        )
        write_audit(connection, actor, "training asked for", f"product {product_id}", now, after=params)
    put_job(settings.data, job_id, dict(params))
    return job_id


def cancel_job(engine: Engine, settings: Settings, actor: Actor, job_id: int) -> None:
    ask_to_cancel(job_folder(settings.data, job_id))
    with engine.begin() as connection:
        write_audit(connection, actor, "training cancelled", f"job {job_id}", now_us())


def take_in_jobs(engine: Engine, settings: Settings) -> list[int]:
    """Takes in what jobs have left; gives the ids of those that are over now."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(job).where(job.c.ended_at.is_(None))).all()
    ended = []
    for row in rows:
        folder = job_folder(settings.data, row.id)
        if not (folder / "job.json").exists():
            put_job(settings.data, row.id, dict(row.params))
        state = read_state(folder)
        if not is_over(state):
            continue
        result = state.fault
        if state.state == "done":
            try:
                actor = Actor(row.asked_by, "training")
                recipe_id = add_recipe(engine, settings.data, actor, row.product_id, folder / BUNDLE, job_id=row.id)
                result = str(recipe_id)
            except (BlemishError, OSError) as error:
                state = JobState("failed", fault=str(error))
                result = state.fault
        with engine.begin() as connection:
            connection.execute(
                job.update().where(job.c.id == row.id).values(state=state.state, ended_at=now_us(), result=result)
            )
        ended.append(row.id)
    return ended


def jobs_of(engine: Engine, settings: Settings, product_id: int) -> list[tuple[int, JobState, str]]:
    """The jobs of a product, newest first: id, how it goes, and who asked."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(job).where(job.c.product_id == product_id).order_by(job.c.id.desc()).limit(20)
        ).all()
    found = []
    for row in rows:
        state = read_state(job_folder(settings.data, row.id))
        if row.ended_at is not None:
            state = JobState(row.state, fault="" if row.state == "done" else row.result or "")
        elif is_over(state):  # it is being taken in
            state = JobState("running")
        found.append((row.id, state, row.asked_by))
    return found


def ended_recipe(engine: Engine, job_id: int) -> int | None:
    """The version that a job made, None where it made none."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(job.c.state, job.c.result).where(job.c.id == job_id)).one_or_none()
    return int(row.result) if row is not None and row.state == "done" else None
