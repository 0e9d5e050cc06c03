"""From the journal into the database: each part once, as it was told, whatever dies when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from blemish.errors import SettingsError
from blemish.station.core.parts import (
    Answered,
    Begin,
    Decided,
    Late,
    Missed,
    Picture,
    Record,
    Ticket,
    Trouble,
    ViewVerdict,
    record_json,
)
from blemish.station.journal import Journal
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor, audit_faults, write_audit
from blemish.station.store.database import Engine, StoreError, open_database
from blemish.station.store.images import keep_quota
from blemish.station.store.queries import PartFilter, find_parts
from blemish.station.store.tables import APPEND_ONLY, alarm, image, tally, verdict, view
from blemish.station.store.writer import LaneWriter

from .postgres import new_database

LATER = 10_000_000


def part_records(seq: int, life: str) -> list[Record]:
    ticket = Ticket(seq, seq, f"P{seq}", "lot", 1, seq * 1000)
    decided = Decided(seq, "reject" if seq % 3 == 0 else "accept", seq * 1000 + 5, (ViewVerdict(1, "accept"),))
    answered = Answered(seq, seq * 1000 + 6, 1.5)
    ends: dict[str, list[Record]] = {
        "told": [ticket, decided, answered],
        "made": [ticket, decided],
        "lost": [ticket],
        "late": [ticket, Late(seq, seq * 1000 + 4, "late"), answered, decided],
    }
    return ends[life]


EXPECTED = {"lost": "lost", "late": "error"}


def rows_of(engine: Engine) -> list[tuple[int, str, bool]]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(verdict.c.seq, verdict.c.decision, verdict.c.answered_at).order_by(verdict.c.seq)
        ).all()
    return [(row.seq, row.decision, row.answered_at is not None) for row in rows]


def write(journal: Journal, *written: Record) -> None:
    for record in written:
        journal.append(record_json(record))
        if journal.is_full():
            journal.turn({})


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lives=st.lists(st.sampled_from(["told", "made", "lost", "late"]), min_size=1, max_size=12),
    restarts=st.sets(st.integers(0, 11)),
    begins=st.sets(st.integers(0, 11)),
)
def test_each_part_has_one_row_wherever_the_store_is_begun_again(
    tmp_path_factory: pytest.TempPathFactory, lives: list[str], restarts: set[int], begins: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    engine = open_database(folder)
    journal = Journal(folder / "journal", durability="process", segment_bytes=600, reserve_bytes=4096)
    journal.begin({})
    write(journal, Begin("boot", "machine", 1))
    writer = LaneWriter(engine, folder / "journal", 1)
    for number, life in enumerate(lives):
        write(journal, *part_records(number + 1, life))
        if number in begins:
            write(journal, Begin(f"boot{number}", "machine", 1))
        writer.step(0)
        if number in restarts:
            writer = LaneWriter(engine, folder / "journal", 1)
    write(journal, Begin("last", "machine", 1))
    writer.step(0)
    LaneWriter(engine, folder / "journal", 1).step(LATER)
    journal.close()
    assert rows_of(engine) == [
        (number + 1, EXPECTED.get(life) or ("reject" if (number + 1) % 3 == 0 else "accept"), life in ("told", "late"))
        for number, life in enumerate(lives)
    ]
    with engine.connect() as connection:
        counted = connection.execute(sa.select(sa.func.sum(tally.c.num_parts))).scalar()
    assert counted == len(lives)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Engine]:
    """Both databases hold the same."""
    address = "sqlite" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    made = open_database(settings.data, address)
    yield made
    made.dispose()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "journal", durability="process", reserve_bytes=4096)
    made.begin({})
    return made


@pytest.fixture
def writer(engine: Engine, journal: Journal) -> LaneWriter:
    return LaneWriter(engine, journal.folder, 1)


def test_a_verdict_waits_for_word_that_it_was_told(engine: Engine, journal: Journal, writer: LaneWriter) -> None:
    write(journal, Ticket(1, None, "", "", 1, 10), Decided(1, "accept", 20))
    writer.step(500_000)
    assert rows_of(engine) == []
    writer.step(2_000_000)
    assert rows_of(engine) == [(1, "accept", False)]


def test_missed_triggers_are_rows(engine: Engine, journal: Journal, writer: LaneWriter) -> None:
    write(journal, Missed(5, 100, 3, 1, 10))
    writer.step(0)
    assert rows_of(engine) == [(5, "missed", False), (6, "missed", False), (7, "missed", False)]


def test_troubles_become_alarms_that_end(engine: Engine, journal: Journal, writer: LaneWriter) -> None:
    write(journal, Trouble("camera", "no picture", 10), Trouble("camera", "", 50, is_over=True))
    writer.step(0)
    with engine.connect() as connection:
        [row] = connection.execute(sa.select(alarm)).all()
    assert (row.text, row.since, row.ended_at) == ("no picture", 10, 50)


def test_rows_that_must_stay_cannot_be_changed_or_deleted(engine: Engine, journal: Journal, writer: LaneWriter) -> None:
    write(journal, *part_records(1, "told"))
    writer.step(0)
    for statement in (verdict.delete(), verdict.update().values(decision="accept"), view.delete()):
        with pytest.raises(sa.exc.DatabaseError, match="append-only"), engine.begin() as connection:
            connection.execute(statement)
    assert len(APPEND_ONLY) >= 15


def test_parts_are_found_by_id_lot_and_decision(engine: Engine, journal: Journal, writer: LaneWriter) -> None:
    for seq in range(1, 10):
        write(journal, *part_records(seq, "told"))
    writer.step(0)
    assert [row["seq"] for row in find_parts(engine, PartFilter(part="P4"))] == [4]
    assert [row["seq"] for row in find_parts(engine, PartFilter(decision="reject"))] == [9, 6, 3]
    assert [row["seq"] for row in find_parts(engine, PartFilter(lot="lot"), limit=2)] == [9, 8]
    assert [row["seq"] for row in find_parts(engine, PartFilter(lot="lot"), before=(8000, 8), limit=2)] == [7, 6]
    assert find_parts(engine, PartFilter(lot="another")) == []


def test_accepted_pictures_go_first_and_unknown_files_never(
    engine: Engine, journal: Journal, writer: LaneWriter, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    for seq in range(1, 7):
        sha = f"{seq:064}"
        path = images / sha[:2] / sha[2:4] / f"{sha}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
        write(journal, *part_records(seq, "told"), Picture(seq, 1, sha, "png", 100, 1, 1, seq))
    unknown = images / "stranger.png"
    unknown.write_bytes(b"y" * 100_000)
    writer.step(0)
    days = {"accept": 1, "review": 1, "reject": 1}
    assert keep_quota(engine, images, 320, days, now=10) == 3
    with engine.connect() as connection:
        kept = connection.execute(sa.select(image.c.sha256).where(image.c.state == "kept")).scalars().all()
    assert sorted(int(sha) for sha in kept) == [3, 5, 6]
    assert unknown.exists()
    assert sorted(int(path.stem) for path in images.rglob("0*.png")) == [3, 5, 6]


def test_without_the_library_of_postgresql_one_line_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match="needs the extra `station-postgres`"):
        open_database(tmp_path, "postgresql://blemish@127.0.0.1:1/none")
    with pytest.raises(SettingsError, match="allowed are sqlite and postgresql"):
        open_database(tmp_path, "mysql://here")


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot be used") as found:
        open_database(tmp_path, "postgresql://blemish:secret@127.0.0.1:1/none")
    assert "secret" not in str(found.value)


def test_a_database_that_is_gone_costs_no_picture(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "kept.png").write_bytes(b"x" * 1000)
    assert keep_quota(open_database(tmp_path), images, 10, {"accept": 1, "review": 1, "reject": 1}, now=1) == 0
    assert (images / "kept.png").exists()


def test_a_changed_audit_row_is_named(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(4):
            write_audit(connection, Actor("anna"), "did", f"thing {number}", number)
    with engine.begin() as connection:
        assert list(audit_faults(connection)) == []
        is_sqlite = engine.dialect.name == "sqlite"
        connection.exec_driver_sql(f"DROP TRIGGER {'audit_no_update' if is_sqlite else 'audit_append_only ON audit'}")
        connection.exec_driver_sql("UPDATE audit SET subject = 'nothing' WHERE number = 3")
        [fault] = audit_faults(connection)
    assert "audit row 3" in fault


def test_a_database_of_another_version_is_refused(settings_of_another_version: Path) -> None:
    with pytest.raises(SettingsError, match="another version of blemish"):
        open_database(settings_of_another_version)


@pytest.fixture
def settings_of_another_version(tmp_path: Path) -> Path:
    engine = open_database(tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    engine.dispose()
    return tmp_path
