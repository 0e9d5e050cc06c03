"""The processes by themselves: a lane over a watched folder, a training beside it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import DataError
from blemish.station import wire
from blemish.station.core.lane_file import LaneSource
from blemish.station.job_files import job_folder, put_job, read_state
from blemish.station.lane.pictures_in import LoopSource
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import Engine
from blemish.station.store.jobs import ask_for_training, cancel_job, take_in_jobs
from blemish.station.store.plant import activate, add_lane, add_product, add_recipe, change_lane, list_recipes
from blemish.station.store.queries import PartFilter, find_parts
from blemish.station.store.writer import LaneWriter
from blemish.testing.tiny import TinyProduct, write_png

ACTOR = Actor("test")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(module, arguments)` starts a process and waits until it is up."""
    begun: list[subprocess.Popen[bytes]] = []

    def run(module: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        begun.append(process)
        assert process.stdout is not None
        while b"r" not in (beat := process.stdout.read(1)):
            assert beat, process.stderr and process.stderr.read()
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def wait_for(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.fixture
def product_id(engine: Engine, settings: Settings, bundle_path: Path) -> int:
    """A product with two versions that differ in nothing but their number."""
    made = add_product(engine, ACTOR, "tiny")
    for _ in range(2):
        add_recipe(engine, settings.data, ACTOR, made, bundle_path)
    return made


def state(settings: Settings) -> dict[str, Any]:
    try:
        return wire.ask(settings.data, "lane-1", {"do": "state"})[0]
    except wire.UnreachableError:
        return {"counts": {}, "version": None, "why_not_ready": "away"}


@pytest.mark.slow
def test_each_file_of_a_watched_folder_is_judged_once_whatever_is_killed(
    settings: Settings, engine: Engine, product_id: int, product: TinyProduct, start: Start
) -> None:
    incoming = settings.data / "incoming"
    incoming.mkdir()
    lane_id = add_lane(engine, settings, ACTOR, "press", LaneSource("watch", str(incoming)))
    activate(engine, settings, ACTOR, lane_id, 1, "begin")
    change_lane(engine, settings, ACTOR, lane_id, is_live=True)
    process = start("blemish.station.lane.process", settings.data, lane_id)
    for number in range(3):
        write_png(incoming / f"{number}.png", product.good[number])
    (incoming / "broken.png").write_bytes(b"\x89PNG nonsense")
    wait_for(lambda: sum(state(settings)["counts"].values()) == 4)
    process.kill()
    process.wait()
    write_png(incoming / "3.png", product.defects[0].image)
    process = start("blemish.station.lane.process", settings.data, lane_id)
    wait_for(lambda: sum(state(settings)["counts"].values()) == 5)
    activate(engine, settings, ACTOR, lane_id, 2, "another version")
    wait_for(lambda: state(settings)["version"] == 2)
    write_png(incoming / "4.png", product.good[4])
    wait_for(lambda: sum(state(settings)["counts"].values()) == 6)
    change_lane(engine, settings, ACTOR, lane_id, is_live=False)
    wait_for(lambda: state(settings)["why_not_ready"] == "paused")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    LaneWriter(engine, settings.data / "journal" / "1", 1).step(2**62)
    rows = find_parts(engine, PartFilter())
    assert sorted(row["decision"] for row in rows) == ["accept"] * 4 + ["error", "reject"]
    assert [row["recipe_id"] for row in rows] == [2, 1, 1, 1, 1, 1]
    kept = [row for row in rows if row["state"] == "kept"]
    assert len(kept) == 5
    assert all((settings.data / "images").rglob(f"{row['image_sha256']}.png") for row in kept)


@pytest.mark.slow
def test_a_training_beside_the_lanes_makes_a_version(
    settings: Settings, engine: Engine, product: TinyProduct, start: Start
) -> None:
    product_id = add_product(engine, ACTOR, "cap")
    folder = settings.data / "products" / "1" / "good"
    for number, image in enumerate(product.good):
        write_png(folder / f"{number}.png", image)
    params = {"folder": str(folder), "size": [64, 64], "detector": "template"}
    job_id = ask_for_training(engine, settings, ACTOR, product_id, params)
    process = start("blemish.station.work.process", settings.data, job_folder(settings.data, job_id))
    assert process.wait(120) == 0
    assert read_state(job_folder(settings.data, job_id)).state == "done"
    assert take_in_jobs(engine, settings) == [job_id]
    assert take_in_jobs(engine, settings) == []
    [version] = list_recipes(engine, product_id)
    assert (version.version, version.detector, version.created_by) == (1, "template", "test")


def test_a_training_that_waits_can_be_cancelled(settings: Settings, engine: Engine) -> None:
    product_id = add_product(engine, ACTOR, "cap")
    job_id = ask_for_training(engine, settings, ACTOR, product_id, {"folder": "nowhere"})
    cancel_job(engine, settings, ACTOR, job_id)
    assert take_in_jobs(engine, settings) == [job_id]
    assert list_recipes(engine, product_id) == []


@pytest.mark.slow
def test_a_training_that_cannot_work_says_why(settings: Settings, start: Start, tmp_path: Path) -> None:
    put_job(settings.data, 7, {"folder": str(tmp_path / "nowhere")})
    folder = job_folder(settings.data, 7)
    assert start("blemish.station.work.process", settings.data, folder).wait(60) == 0
    assert read_state(folder).state == "failed"
    assert "nowhere" in read_state(folder).fault


def test_a_folder_is_shown_again_and_again(product_folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(product_folder / "test" / "good" / "000.png", tmp_path / "a.png")
    source = LoopSource(tmp_path)
    names = []
    for item in source:
        names.append(item.origin.name)
        if len(names) == 3:
            source.close()
    assert names == ["a.png"] * 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        LoopSource(tmp_path / "empty")
