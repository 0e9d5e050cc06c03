"""Copies of a station while it runs, brought back elsewhere, checked, and written out for others."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from blemish.errors import OutputError, SettingsError
from blemish.files import hash_file, make_folder, replace_file
from blemish.station.core.pictures import picture_path
from blemish.station.journal import START, scan, segment_hash, segment_numbers, segment_path
from blemish.station.settings import Settings
from blemish.station.store.audit import audit_faults
from blemish.station.store.database import Engine
from blemish.station.store.queries import PartFilter, find_parts
from blemish.station.store.tables import image, segment, tally, verdict
from blemish.text import json_value, table_cell

FOLDERS = ("journal", "bundles", "lanes", "images", "products")
DATABASE = "station.db"
MARK = "station.json"
_LEFT_OUT = ("reserve", "lock", ".part")


def back_up(settings: Settings, target: Path) -> int:
    """Writes a backup as one zip file; gives the number of files in it. Raises OutputError or SettingsError.

    The database is copied first, then what it speaks of: a file that comes later is no fault.
    """
    if settings.database != "sqlite":
        raise SettingsError(
            "the database is PostgreSQL: back it up with pg_dump, and the data folder with this command"
        )
    if target.exists():
        raise OutputError(f"{target}: is there already; name another file")
    count = 0

    def write(place: Path) -> None:
        nonlocal count
        with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
            for path, name in _files_to_keep(settings):
                try:
                    archive.write(path, name)
                    count += 1
                except FileNotFoundError:  # deleted meanwhile by the quota
                    continue

    make_folder(target.parent)
    try:
        replace_file(target, write)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({(error.strerror or str(error)).lower()}); free the disk"
        ) from error
    return count


def _files_to_keep(settings: Settings) -> Iterator[tuple[Path, str]]:
    copy = make_folder(settings.data / "run") / "backup.db"
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(settings.data / DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    yield copy, DATABASE
    copy.unlink(missing_ok=True)
    yield settings.data / MARK, MARK
    for name in FOLDERS:
        folder = settings.data / name
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not path.name.endswith(_LEFT_OUT):
                yield path, path.relative_to(settings.data).as_posix()


def restore(archive_path: Path, data: Path) -> int:
    """Brings a backup into a new folder; gives the number of files. Raises SettingsError."""
    if data.exists() and any(data.iterdir()):
        raise SettingsError(f"{data}: is not empty; name a new folder")
    count = 0
    try:
        with zipfile.ZipFile(archive_path) as archive:
            names = archive.namelist()
            if MARK not in names or DATABASE not in names:
                raise SettingsError(f"{archive_path}: is no backup of a station ({MARK} or {DATABASE} is missing)")
            for name in names:
                parts = PurePosixPath(name).parts
                if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name or ":" in name:
                    raise SettingsError(f"{archive_path}: names a file outside of the folder ({name}); do not use it")
            for name in names:
                place = data.joinpath(*PurePosixPath(name).parts)
                make_folder(place.parent)
                with archive.open(name) as source, place.open("wb") as target:
                    shutil.copyfileobj(source, target)
                count += 1
    except (zipfile.BadZipFile, OSError) as error:
        raise SettingsError(f"{archive_path}: cannot be read ({error}); name a backup that `backup` wrote") from error
    return count


def verify(engine: Engine, data: Path, *, with_images: bool = True) -> Iterator[str]:
    """A sentence on each thing that is not as it was written."""
    with engine.connect() as connection:
        yield from audit_faults(connection)
        yield from _segment_faults(engine, data)
        counted = sa.select(
            verdict.c.lane_id,
            sa.func.coalesce(verdict.c.recipe_id, 0).label("recipe_id"),
            (verdict.c.taken_at / sa.literal_column("3600000000")).cast(sa.BigInteger).label("hour"),
            verdict.c.decision,
        ).subquery()
        again = connection.execute(
            sa.select(counted, sa.func.count().label("n")).group_by(
                counted.c.lane_id, counted.c.recipe_id, counted.c.hour, counted.c.decision
            )
        ).all()
        found = {(row.lane_id, row.recipe_id, row.hour, row.decision): row.n for row in again}
        kept = {
            (row.lane_id, row.recipe_id, row.hour, row.decision): row.num_parts
            for row in connection.execute(sa.select(tally))
        }
        for key in sorted(set(found) | set(kept), key=str):
            if found.get(key, 0) != kept.get(key, 0):
                counts = f"counts {kept.get(key, 0)} parts, there are {found.get(key, 0)}"
                yield f"tally of lane {key[0]}, {key[3]}: {counts}"
        if with_images:
            rows = connection.execute(sa.select(image).where(image.c.state == "kept")).all()
    for row in rows if with_images else ():
        path = picture_path(data / "images", row.sha256, row.format)
        if not path.is_file():
            yield f"{path}: is missing"
        elif hash_file(path) != row.sha256:
            yield f"{path}: was changed after it was written"


def _segment_faults(engine: Engine, data: Path) -> Iterator[str]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(segment).order_by(segment.c.lane_id, segment.c.number)).all()
    previous: dict[int, str] = {}
    for row in rows:
        if row.previous_sha256 != previous.get(row.lane_id, START):
            yield f"segment {row.number} of lane {row.lane_id}: does not follow the one before it"
        previous[row.lane_id] = row.sha256
        path = segment_path(data / "journal" / str(row.lane_id), row.number)
        if path.is_file() and hash_file(path) != row.sha256:
            yield f"{path}: was changed after it was closed"
    folder = data / "journal"
    for lane_folder in sorted(folder.iterdir()) if folder.is_dir() else ():
        for number in segment_numbers(lane_folder) if lane_folder.is_dir() else ():
            path = segment_path(lane_folder, number)
            for first, end in scan(path.read_bytes()).gaps:
                yield f"{path}: bytes {first} to {end} are no records"


def segment_chain(folder: Path) -> list[tuple[str, str]]:
    """The hash of each segment in a folder, and that of the one before it as it says."""
    return [segment_hash(segment_path(folder, number)) for number in segment_numbers(folder)]


def export_parts(engine: Engine, target: Path, wanted: PartFilter, form: str) -> int:
    """Writes parts as CSV or JSON lines, the newest first; gives how many. Raises OutputError."""
    count = 0

    def write(place: Path) -> None:
        nonlocal count
        with place.open("w", encoding="utf-8", newline="") as file:
            table = None
            before: tuple[int, int] | None = None
            while rows := find_parts(engine, wanted, before=before, limit=5000):
                for row in rows:
                    if form == "jsonl":
                        file.write(json.dumps(json_value(row), ensure_ascii=False) + "\n")
                        continue
                    if table is None:
                        table = csv.writer(file)
                        table.writerow(row)
                    table.writerow(["" if value is None else table_cell(str(value)) for value in row.values()])
                count += len(rows)
                before = rows[-1]["taken_at"], rows[-1]["seq"]

    make_folder(target.parent)
    try:
        replace_file(target, write)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({(error.strerror or str(error)).lower()}); free the disk"
        ) from error
    return count


def stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
