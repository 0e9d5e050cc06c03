"""The process that brings the journals into the database: `python -m blemish.station.store.process DATA`."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from blemish.errors import BlemishError
from blemish.files import locked, write_file
from blemish.station.process import Life, now_us, run_child, say
from blemish.station.settings import Settings, settings_of
from blemish.station.store.database import Engine, open_database
from blemish.station.store.images import keep_quota, kept_bytes
from blemish.station.store.tables import alarm
from blemish.station.store.writer import LaneWriter
from blemish.text import json_text

STEP_SECONDS = 0.1
CARE_SECONDS = 3.0
SEGMENTS_KEPT = 64
"""Closed segments of a journal that stay, so that `verify` can compare the database with them."""
FULL_BYTES = 256 << 20
"""Less than this is a full disk."""


def state_path(data: Path) -> Path:
    return data / "run" / "store.json"


class Store:
    """Follows the journals of all lanes; goes on by itself when the database is back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data = settings.data
        self._engine: Engine | None = None
        self._writers: dict[int, LaneWriter] = {}
        self._fault, self._since = "", 0.0
        self._cared = 0.0

    def step(self) -> int:
        """Writes what has come; gives how many parts that were."""
        try:
            if self._engine is None:
                self._engine = open_database(self._data, self._settings.database)
            num_parts = sum(self._write(self._engine, lane_id) for lane_id in self._lane_ids())
            if time.monotonic() - self._cared > CARE_SECONDS:
                self._cared = time.monotonic()
                self._care(self._engine)
        except (sa.exc.SQLAlchemyError, OSError, BlemishError) as error:
            self._tell(str(getattr(error, "orig", None) or error).strip().split("\n")[0])
            return 0
        self._tell("")
        return num_parts

    def _lane_ids(self) -> list[int]:
        folder = self._data / "journal"
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def _write(self, engine: Engine, lane_id: int) -> int:
        writer = self._writers.get(lane_id)
        if writer is None:
            writer = self._writers[lane_id] = LaneWriter(engine, self._data / "journal" / str(lane_id), lane_id)
        num_parts = writer.step(now_us())
        for sentence in writer.damage:
            say(sentence)
            _raise_alarm(engine, "journal", sentence, lane_id)
        writer.damage.clear()
        return num_parts

    def _care(self, engine: Engine) -> None:
        """Segments, quota and room on the disk."""
        for writer in self._writers.values():
            writer.close_segments(now_us(), keep=SEGMENTS_KEPT)
        save = self._settings.save
        quota = int(save.quota_gb * 1e9)
        days = {"accept": save.keep_days.accept, "review": save.keep_days.review, "reject": save.keep_days.reject}
        keep_quota(engine, self._data / "images", quota, days, now_us())
        with engine.connect() as connection:
            share = kept_bytes(connection) / quota
        free = shutil.disk_usage(self._data).free
        _keep_alarm(engine, "quota", "" if share < 0.85 else f"pictures take {share:.0%} of their quota")
        is_full = free < min(FULL_BYTES, shutil.disk_usage(self._data).total // 20)
        _keep_alarm(engine, "disk", f"only {free / 1e6:,.0f} MB are free on the disk" if is_full else "")

    def _tell(self, fault: str) -> None:
        """Says in its file how the database is, when that changes."""
        if fault == self._fault and self._since:
            return
        if fault != self._fault or not self._since:
            self._fault, self._since = fault, time.time()
            say(f"the database cannot be used: {fault}" if fault else "the database is there")
            content = json_text({"fault": fault, "since": self._since}).encode()
            try:
                write_file(state_path(self._data), content, survives_power_cut=False)
            except BlemishError as error:
                say(str(error))


def _keep_alarm(engine: Engine, kind: str, text: str) -> None:
    """An alarm of the whole station stands as long as there is a text."""
    here = alarm.c.lane_id.is_(None) & (alarm.c.kind == kind) & alarm.c.ended_at.is_(None)
    with engine.begin() as connection:
        is_there = connection.execute(sa.select(alarm.c.id).where(here)).first() is not None
        if text and not is_there:
            connection.execute(alarm.insert().values(lane_id=None, kind=kind, text=text, since=now_us()))
        elif not text and is_there:
            connection.execute(alarm.update().where(here).values(ended_at=now_us()))


def _raise_alarm(engine: Engine, kind: str, text: str, lane_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(alarm.insert().values(lane_id=lane_id, kind=kind, text=text, since=now_us()))


def main() -> int:
    settings = settings_of(Path(sys.argv[1]))
    life = Life()
    with locked(settings.data / "run" / "store", patience_seconds=30.0):
        store = Store(settings)
        life.ready()
        while not life.is_ending.is_set():
            life.beat()
            num_parts = store.step()
            life.is_ending.wait(0.0 if num_parts >= 400 else STEP_SECONDS)
        store.step()
    return 0


if __name__ == "__main__":
    run_child(main)
