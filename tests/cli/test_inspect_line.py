"""`inspect` at the line: a watched folder, cameras, other sinks, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.model import train
from blemish.testing.camera import FakeCamera
from blemish.testing.tiny import TinyProduct, write_png


@pytest.fixture(scope="module")
def bundle_file(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(product_folder, detector="template", size=64).save(tmp_path_factory.mktemp("line") / "part.blemish")


@contextmanager
def inspecting(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def rows_of(out: Path) -> list[dict[str, Any]]:
    path = out / "verdicts.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
def test_a_folder_is_watched_until_a_signal(bundle_file: Path, product: TinyProduct, tmp_path: Path) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    write_png(incoming / "0.png", product.held_out[0])
    with inspecting(bundle_file, "--follow", incoming, "-o", out, "--move") as process:
        wait_for(lambda: len(rows_of(out)) == 1)
        write_png(incoming / "1.png", product.defects[1].image)
        (incoming / "late").mkdir()
        write_png(incoming / "late" / "2.png", product.held_out[1])
        wait_for(lambda: len(rows_of(out)) == 3)
        process.send_signal(signal.SIGTERM)
        shown, messages = process.communicate(timeout=60)
    assert process.returncode == 0, messages
    assert len(shown.splitlines()) == 3
    assert b"3 images: 2 accept, 1 reject" in messages
    assert [path.name for path in incoming.rglob("*.png")] == []
    assert sorted(path.relative_to(out).as_posix() for path in out.glob("*/*.png")) == [
        "accept/0.png",
        "accept/2.png",
        "reject/1.png",
    ]
    assert json.loads((out / "drift.json").read_bytes())["state"]["num_parts"] == 3


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
@pytest.mark.parametrize("moves", [True, False])
def test_files_are_judged_once_over_a_kill(
    bundle_file: Path, product: TinyProduct, tmp_path: Path, moves: bool
) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    for number in range(60):
        write_png(incoming / f"{number:02}.png", product.held_out[number % 6])
    arguments = (bundle_file, "--follow", incoming, "-o", out, *(["--move"] if moves else []))
    for at_least in (5, 25):
        with inspecting(*arguments) as process:
            wait_for(lambda at_least=at_least: len(rows_of(out)) >= at_least)
            process.send_signal(signal.SIGKILL)
            process.wait()
    with inspecting(*arguments) as process:
        wait_for(lambda: len(rows_of(out)) >= 60)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    names = sorted(Path(row["path"]).name for row in rows_of(out))
    assert names == [f"{number:02}.png" for number in range(60)]
    assert len((out / "verdicts.csv").read_text("utf-8").splitlines()) == 61
    assert len(list((out / "accept").glob("*.png")) if moves else list(incoming.glob("*.png"))) == 60


def test_a_camera_is_inspected(
    run, bundle_file: Path, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is gone, as where somebody stops the command; the fake stands in for OpenCV's own reader."""
    from blemish.line import camera

    fake = FakeCamera(product.held_out, rate=100)
    opened = []

    class Twenty(camera.CameraSource):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                if number == 20:
                    return
                yield item

    def open_fake(address: str) -> Twenty:
        opened.append(address)
        return Twenty(0, name=address, open_capture=fake.open)

    monkeypatch.setattr(camera, "open_camera", open_fake)
    monkeypatch.setattr(camera, "open_stream", open_fake)
    for address in ("camera:0", "rtsp://10.0.0.7/stream1"):
        outcome = run("inspect", bundle_file, address, "-o", tmp_path / "out", "--json")
        rows = [row for row in map(json.loads, outcome.stdout.splitlines()) if "decision" in row]
        assert outcome.status == 0, outcome.stderr
        assert len(rows) == 20
        assert all(row["path"].startswith(f"{address}/") and row["time"] for row in rows)
    assert opened == ["camera:0", "rtsp://10.0.0.7/stream1"]
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == 40


def test_a_camera_that_is_not_there_is_one_line(run, bundle_file: Path) -> None:
    outcome = run("inspect", bundle_file, "camera:93")
    assert outcome.status == 2
    assert outcome.stderr.splitlines() == [
        "blemish: camera:93: cannot be opened; check its number or address, its cable and its power"
    ]


def test_other_sinks_are_named(run, bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    places = [f"sqlite:{tmp_path / 'h.db'}", f"csv:{tmp_path / 'v.csv'}", f"copy:{tmp_path / 'copies'}"]
    outcome = run(
        "inspect", bundle_file, product_folder / "test", *(word for place in places for word in ("--sink", place))
    )
    assert outcome.status == 0, outcome.stderr
    with sqlite3.connect(tmp_path / "h.db") as file:
        assert file.execute("SELECT count(*) FROM verdicts").fetchone() == (12,)
    assert len((tmp_path / "v.csv").read_text("utf-8").splitlines()) == 13
    assert len(list((tmp_path / "copies").glob("*/*.png"))) == 12


def test_a_rate_makes_a_line_of_a_folder(run, bundle_file: Path, product_folder: Path) -> None:
    start = time.monotonic()
    assert run("inspect", bundle_file, product_folder / "test" / "good", "--rate", "10").status == 0
    assert time.monotonic() - start > 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give images or folders, a camera such as camera:0, or --follow FOLDER"),
        (["parts", "camera:0"], "camera:0: give a camera or stream by itself"),
        (["s3://bucket/parts"], "no source is called 's3'"),
        (["parts", "--follow", "parts"], "with --follow give no other images"),
        (["--follow", "nowhere"], "nowhere: no such folder"),
        (["parts", "--move"], "--move and --copy need an output folder"),
        (["parts", "-o", "out", "--move", "--copy"], "exclude each other"),
        (["parts", "--sink", "mqtt:host"], "no sink is called 'mqtt'"),
        (["parts", "--sink", "csv"], "give NAME:PLACE"),
        (["--follow", "parts", "--lot"], "--lot needs images that have an end"),
        (["parts", "--rate", "0"], "a number above 0"),
        (["parts", "--ray", "--move"], "leave out --follow, --move"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    run,
    bundle_file: Path,
    product_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "parts" / "0.png", np.full((64, 64, 3), 90, np.uint8))
    outcome = run("inspect", bundle_file, *arguments)
    assert outcome.status == 2
    [line] = outcome.stderr.splitlines()
    assert words in line
