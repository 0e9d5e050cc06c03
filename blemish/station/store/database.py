"""The database of a station: opened, made, and held to append-only where that matters."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from blemish.errors import OutputError, SettingsError
from blemish.station.store import tables

Engine = sa.Engine
Connection = sa.Connection


DatabaseFault = SQLAlchemyError
"""What the database library raises; the pages turn it into words."""


class StoreError(OutputError):
    """The database cannot be used now."""


def database_url(data: Path, database: str) -> sa.URL:
    """The place of the database: "sqlite" lies in the data folder. Raises SettingsError."""
    if database == "sqlite":
        return sa.URL.create("sqlite", database=str(data / "station.db"))
    try:
        url = sa.make_url(database)
    except SQLAlchemyError as error:
        raise SettingsError(f"database: '{database}' is no address; allowed are sqlite and postgresql://...") from error
    if url.get_backend_name() != "postgresql":
        raise SettingsError(
            f"database: '{url.get_backend_name()}' is not known; allowed are sqlite and postgresql://..."
        )
    return url.set(drivername="postgresql+psycopg")


def open_database(data: Path, database: str = "sqlite") -> Engine:
    """The engine of a station's database; its tables are there. Raises StoreError."""
    url = database_url(data, database)
    if url.get_backend_name() == "postgresql" and not _is_installed("psycopg"):
        raise SettingsError(
            'database: PostgreSQL needs the extra `station-postgres`: pip install "blemish[station-postgres]"'
        )
    engine = sa.create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with told_as_store_error(engine), engine.begin() as connection:
        _make(connection)
    return engine


def _is_installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def told_as_store_error(engine: Engine) -> Iterator[None]:
    """What goes wrong with the database is a `StoreError` that names it."""
    try:
        yield
    except (DBAPIError, SQLAlchemyError, sqlite3.Error) as error:
        place = engine.url.render_as_string(hide_password=True)
        cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise StoreError(f"{place}: the database cannot be used ({cause}); mend it or restore a backup") from error


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so
    cursor = connection.cursor()
    for line in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 10000"):
        cursor.execute(f"PRAGMA {line}")
    cursor.close()


def _make(connection: Connection) -> None:
    """Makes the tables where there are none. Raises SettingsError where they are of another version."""
    inspected = sa.inspect(connection)
    if inspected.has_table("schema_version"):
        version = connection.execute(sa.select(sa.func.max(tables.schema_version.c.version))).scalar_one()
        if version != tables.SCHEMA_VERSION:
            place = connection.engine.url.render_as_string(hide_password=True)
            raise SettingsError(
                f"{place}: was made by another version of blemish (schema {version}, this one knows "
                f"{tables.SCHEMA_VERSION}); install that version, or name another data folder"
            )
        return
    tables.meta.create_all(connection)
    for table in tables.APPEND_ONLY:
        for statement in append_only_statements(table.name, connection.dialect.name):
            connection.exec_driver_sql(statement)
    connection.execute(tables.schema_version.insert().values(version=tables.SCHEMA_VERSION, at=0))


def append_only_statements(table: str, dialect: str) -> list[str]:
    """What makes the database refuse to change or delete rows of a table."""
    if dialect == "sqlite":
        return [
            f'CREATE TRIGGER "{table}_no_{verb}" BEFORE {verb.upper()} ON "{table}" '
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("update", "delete")
        ]
    return [
        "CREATE OR REPLACE FUNCTION blemish_append_only() RETURNS trigger AS "
        "'BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || '' is append-only''; END' LANGUAGE plpgsql",
        f'CREATE TRIGGER "{table}_append_only" BEFORE UPDATE OR DELETE ON "{table}" '
        "FOR EACH ROW EXECUTE FUNCTION blemish_append_only()",
    ]
