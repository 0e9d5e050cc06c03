"""The commands of an administrator."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from blemish.station.core.parts import Answered, Decided, Picture, Ticket, ViewVerdict, record_json
from blemish.station.journal import Journal, segment_path
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import Engine, open_database
from blemish.station.store.plant import add_product
from blemish.station.store.tables import verdict
from blemish.station.store.writer import LaneWriter
from tests.conftest import Run

SHA = "f" * 64


@pytest.fixture
def data(settings: Settings, engine: Engine) -> Path:
    """A station that has judged three parts."""
    add_product(engine, Actor("anna"), "cap")
    folder = settings.data / "journal" / "1"
    for life in range(2):
        journal = Journal(folder, durability="process", reserve_bytes=4096)
        journal.begin({})
        for seq in range(1 + 3 * life, 4 + 3 * life):
            for record in (
                Ticket(seq, seq, f"P{seq}", "=A7", 1, seq * 1000),
                Decided(seq, "accept", seq * 1000, (ViewVerdict(1, "accept", "x.png", 1.0, 2.0, 0.5, 20.0, 3.0),)),
                Answered(seq, seq * 1000, 4.0),
            ):
                journal.append(record_json(record))
        journal.close()
    writer = LaneWriter(engine, folder, 1)
    writer.step(0)
    writer.close_segments(1, keep=9)
    return settings.data


def test_check_tries_everything_and_says_what_the_disk_promises(run: Run, tmp_path: Path) -> None:
    done = run("station", "check", "--data", tmp_path / "new", "--listen", "127.0.0.1:0")
    assert done.status == 0, done.stderr
    assert "a flush takes" in done.stdout
    assert "survives a power cut" in done.stdout


def test_check_says_what_keeps_a_station_from_working(run: Run, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("else")
    done = run("station", "check", "--data", tmp_path, "--json")
    assert done.status == 2
    assert done.json["data"]["is_fault"]


def test_a_whole_station_is_as_it_was_written(run: Run, data: Path) -> None:
    done = run("station", "verify", "--data", data)
    assert (done.status, done.stdout) == (0, "all is as it was written\n")


def test_a_changed_byte_of_a_segment_is_named(run: Run, data: Path) -> None:
    path = segment_path(data / "journal" / "1", 1)
    path.write_bytes(path.read_bytes().replace(b"P2", b"P9"))
    done = run("station", "verify", "--data", data)
    assert done.status == 2
    assert f"{path}: was changed after it was closed" in done.stdout


def test_a_changed_row_of_the_audit_trail_and_a_made_up_verdict_are_named(run: Run, data: Path) -> None:
    engine = open_database(data)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        connection.exec_driver_sql("UPDATE audit SET actor = 'bob'")
        connection.exec_driver_sql(
            "INSERT INTO verdict SELECT station_id, lane_id, 99, boot_id, 99, part_id, lot_id, taken_at, recipe_id, "
            "decision, display_score, answer_ms, is_simulated, golden_part_id, answered_at, answer_fault FROM verdict "
            "WHERE seq = 1"
        )
    engine.dispose()
    done = run("station", "verify", "--data", data, "--json")
    assert done.status == 2
    assert any("audit row 1: was changed" in fault for fault in done.json["faults"])
    assert any("tally of lane 1" in fault for fault in done.json["faults"])


def test_a_missing_picture_is_named(run: Run, data: Path, engine: Engine) -> None:
    journal = Journal(data / "journal" / "1", durability="process", reserve_bytes=4096)
    journal.begin({})
    journal.append(record_json(Picture(1, 1, SHA, "png", 10, 1, 1, 5)))
    journal.close()
    LaneWriter(engine, data / "journal" / "1", 1).step(0)
    done = run("station", "verify", "--data", data)
    assert f"{SHA}.png: is missing" in done.stdout
    assert run("station", "verify", "--data", data, "--no-images").status == 0


def test_a_backup_comes_back_elsewhere_as_it_was(run: Run, data: Path, tmp_path: Path) -> None:
    archive, elsewhere = tmp_path / "backup.zip", tmp_path / "elsewhere"
    assert run("station", "backup", archive, "--data", data).status == 0
    assert run("station", "backup", archive, "--data", data).status == 2, "no backup is written over"
    shutil.rmtree(data)
    assert run("station", "restore", archive, "--data", elsewhere).status == 0
    assert run("station", "verify", "--data", elsewhere).stdout == "all is as it was written\n"
    engine = open_database(elsewhere)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(verdict)).scalar() == 6
    engine.dispose()


def test_what_is_no_backup_is_refused(run: Run, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("station.json", '{"version": 1}')
        archive.writestr("station.db", b"")
        archive.writestr("../outside.txt", b"x")
    done = run("station", "restore", hostile, "--data", tmp_path / "new")
    assert done.status == 2
    assert "outside of the folder" in done.stderr
    assert not (tmp_path / "outside.txt").exists()
    (tmp_path / "noise.zip").write_bytes(b"noise")
    assert run("station", "restore", tmp_path / "noise.zip", "--data", tmp_path / "new").status == 2


def test_a_lot_is_exported(run: Run, data: Path, tmp_path: Path) -> None:
    table, lines = tmp_path / "lot.csv", tmp_path / "all.jsonl"
    assert run("station", "export", table, "--lot", "=A7", "--data", data, "--json").json["num_parts"] == 6
    rows = table.read_text("utf-8").splitlines()
    assert rows[0].startswith("station_id,lane_id,seq")
    assert ",'=A7," in rows[1], "no cell is a formula"
    run("station", "export", lines, "--format", "jsonl", "--data", data)
    assert [json.loads(line)["seq"] for line in lines.read_text("utf-8").splitlines()] == [6, 5, 4, 3, 2, 1]
    assert run("station", "export", tmp_path / "none.csv", "--lot", "other", "--data", data, "--json").json == {
        "path": str(tmp_path / "none.csv"),
        "num_parts": 0,
    }


def test_users_are_made_by_links_and_programs_get_keys(run: Run, data: Path) -> None:
    done = run("station", "user", "add", "anna", "--role", "engineer", "--data", data, "--json")
    assert done.json["link"].startswith("http://127.0.0.1:8400/first?token=")
    assert run("station", "user", "add", "bob", "--role", "king", "--data", data).status == 2
    assert run("station", "user", "key", "robot", "--data", data).stdout.startswith("blemish_")
    assert run("station", "user", "key", "robot", "--data", data).status == 2, "a name is taken once"
    assert run("station", "user", "list", "--data", data, "--json").json == {"users": []}
    assert run("station", "user", "disable", "anna", "--data", data).status == 2


def test_the_service_unit_names_the_folder(run: Run, data: Path) -> None:
    unit = run("station", "service", "--data", data).stdout
    assert f"--data {data}" in unit
    assert "NoNewPrivileges=yes" in unit


def test_a_folder_without_a_station_is_said(run: Run, tmp_path: Path) -> None:
    done = run("station", "verify", "--data", tmp_path)
    assert done.status == 2
    assert "is " in done.stderr
    assert "the data folder of a station" in done.stderr
