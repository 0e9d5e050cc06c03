"""An archive judged on a cluster: each image one row, the same bytes whatever was lost or stopped on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

import numpy as np
import pyarrow.dataset

from blemish.bundle.bundle import Bundle
from blemish.bundle.write import write_bundle
from blemish.cluster.archive import ArchiveOutcome, inspect_archive
from blemish.cluster.connect import connected
from blemish.cluster.pieces import PIECE_IMAGES
from blemish.cluster.place import list_files, open_place
from blemish.cluster.table import REGION, SCHEMA
from blemish.inspection.inspector import Inspector
from blemish.model import train
from blemish.testing.tiny import TinyProduct, write_png

NUM_IMAGES = 2000
NUM_FOLDERS = 25
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
REAL = ROOT.parent / "shared" / "data" / "magnetic_tile"


@pytest.fixture(scope="module")
def small(product: TinyProduct) -> Bundle:
    """A bundle that judges an image in about a millisecond."""
    return train(list(product.good), detector="template", size=64).bundle


@pytest.fixture(scope="module")
def archive(product: TinyProduct, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 images in 25 folders: real ones under new names where there are some, else those of the tiny product."""
    folder = tmp_path_factory.mktemp("archive")
    images = sorted(REAL.glob("test/*/*.jpg"))
    if not images:
        for number, image in enumerate(product.good):
            write_png(folder.with_name("images") / f"{number}.png", image)
        images = sorted(folder.with_name("images").iterdir())
    for number in range(NUM_IMAGES):
        image = images[number % len(images)]
        place = folder / f"line {number % 5}" / f"hour {number % NUM_FOLDERS:02}" / f"part_{number:05}{image.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(image)
    return folder


@pytest.fixture(scope="module")
def nodes(two_nodes: str) -> Iterator[Any]:
    with connected(two_nodes) as found:
        yield found


@pytest.fixture(scope="module")
def judge(small: Bundle, nodes: Any) -> Any:
    def judge_archive(source: object, output: object, **options: Any) -> ArchiveOutcome:
        sources, target = [open_place(str(source))], open_place(str(output))
        return inspect_archive(small, sources, target, nodes, engine="onnxruntime", **options)

    return judge_archive


@pytest.fixture(scope="module")
def undisturbed(judge: Any, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed") / "verdicts"
    outcome = judge(archive, output)
    assert (outcome.num_new, outcome.num_finished, outcome.counts["unreadable"]) == (NUM_IMAGES, 0, 0)
    return tree(output)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict[str, Any]]:
    parts = pyarrow.dataset.partitioning(pyarrow.schema([("part", pyarrow.string())]), flavor="hive")
    found = pyarrow.dataset.dataset(str(folder), partitioning=parts).to_table().to_pylist()
    assert isinstance(found, list)
    return found


def test_each_image_has_one_row_in_the_part_of_its_folder(
    undisturbed: dict[str, bytes], archive: Path, tmp_path: Path
) -> None:
    for name, content in undisturbed.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = rows(tmp_path)
    wanted = sorted(path.as_posix() for path in archive.rglob("part_*"))
    assert sorted(row["path"] for row in found) == wanted
    for row in found:
        assert row["part"] == Path(row["path"]).parent.relative_to(archive).as_posix()
        assert row["decision"] in ("accept", "review", "reject")
        assert row["error"] is None
    assert len([name for name in undisturbed if name.endswith(".parquet")]) == NUM_FOLDERS


def test_the_example_of_the_page_finds_the_rejected(
    undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in undisturbed.items():
        (tmp_path / "verdicts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "verdicts" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "scaling.md", "exec"), names)
    assert names["rejected"].num_rows == sum(row["decision"] == "reject" for row in rows(tmp_path / "verdicts"))


def test_the_page_describes_every_column() -> None:
    for field in (*SCHEMA, *REGION):
        assert f"`{field.name}`" in PAGE, field.name
    assert f"{PIECE_IMAGES:,} images" in PAGE


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
def test_a_worker_killed_in_the_middle_changes_nothing(
    judge: Any, processes: Any, archive: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    killed = []

    def kill_one(task: str, done: int, total: int) -> None:
        if not killed and done < total:
            killed.append(processes("PieceWorker")[0])
            os.kill(killed[0], signal.SIGKILL)

    outcome = judge(archive, tmp_path / "verdicts", progress=kill_one)
    assert killed
    assert outcome.num_new == NUM_IMAGES
    assert tree(tmp_path / "verdicts") == undisturbed


def test_a_run_whose_command_was_killed_goes_on(
    judge: Any,
    processes: Any,
    small: Bundle,
    two_nodes: str,
    archive: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:
    output = tmp_path / "verdicts"
    bundle = write_bundle(small, tmp_path / "small.blemish")
    command = ["inspect", str(bundle), str(archive), "--ray", two_nodes, "-o", str(output)]
    with subprocess.Popen(
        [sys.executable, "-m", "blemish.cli.main", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list(output.rglob("*.parquet")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    while sys.platform == "linux" and processes("PieceWorker"):  # those of the killed command finish what they are at
        time.sleep(0.1)
    before = tree(output)
    assert 0 < len(before) < len(undisturbed)
    outcome = judge(archive, output)
    assert outcome.num_finished > 0
    assert outcome.num_new + outcome.num_finished == NUM_IMAGES
    assert tree(output) == undisturbed
    assert judge(archive, output).num_new == 0


@pytest.mark.parametrize("is_store", [False, True], ids=["folder", "store"])
def test_two_runs_at_once_over_a_growing_archive_leave_one_row_an_image(
    is_store: bool, judge: Any, small: Bundle, two_nodes: str, product: TinyProduct, request: Any, tmp_path: Path
) -> None:
    """In a folder the second run waits for the first; in a store both run, and the last one takes out what is twice."""
    source, output = tmp_path / "in", tmp_path / "out"
    target: Any = output
    if is_store:
        from pyarrow import fs

        query = request.getfixturevalue("store")
        target = f"s3://who:secret@parts/growing{query}"
        remote, _ = fs.FileSystem.from_uri(f"s3://who:secret@parts/{query}")
        remote.create_dir("parts")
    for number in range(900):
        write_png(source / f"{number % 6}" / f"{number:03}.png", product.good[number % 16])
    bundle = write_bundle(small, tmp_path / "small.blemish")
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle), str(source), "--ray", two_nodes]
    with subprocess.Popen(
        [*command, "-o", str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list_files(open_place(str(target)), ".parquet"):
            assert process.poll() is None
            time.sleep(0.01)
        for number in range(6):
            write_png(source / f"{number}" / "new.png", product.held_out[0])
        judge(source, target)
    assert process.returncode == 0
    if is_store:
        fs.copy_files("parts/growing", str(output), source_filesystem=remote)
    found = [row["path"] for row in rows(output)]
    assert len(found) == len(set(found)) == 906


def test_what_cannot_be_judged_is_a_row_with_an_error_and_what_is_new_goes_on(
    judge: Any, product: TinyProduct, tmp_path: Path
) -> None:
    for number in range(30):
        write_png(tmp_path / "in" / f"{number:02}.png", product.good[0])
    (tmp_path / "in" / "11 damaged.png").write_bytes((tmp_path / "in" / "11.png").read_bytes()[:300])
    (tmp_path / "in" / "12 gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "13 deadly.png").write_bytes((tmp_path / "in" / "13.png").read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("not an image", encoding="utf-8")
    outcome = judge(tmp_path / "in", tmp_path / "out")
    assert outcome.counts == {"accept": 30, "review": 0, "reject": 0, "unreadable": 3}
    errors = {Path(row["path"]).name: row["error"] for row in rows(tmp_path / "out") if row["error"]}
    assert set(errors) == {"11 damaged.png", "12 gone.png", "13 deadly.png"}
    assert "cut off" in errors["11 damaged.png"]
    assert "leads nowhere" in errors["12 gone.png"]
    assert "worker is lost each time" in errors["13 deadly.png"]

    write_png(tmp_path / "in" / "05 new.png", product.good[1])
    outcome = judge(tmp_path / "in", tmp_path / "out")
    assert (outcome.num_new, outcome.num_finished) == (1, 33)
    names = [Path(row["path"]).name for row in rows(tmp_path / "out")]
    assert len(names) == len(set(names)) == 34


def test_an_object_store_is_read_and_written(
    judge: Any, small: Bundle, store: str, product: TinyProduct, tmp_path: Path
) -> None:
    for number in range(3):
        write_png(tmp_path / "in" / f"line {number}" / "ä.png", product.good[number])
    (tmp_path / "in" / "line 1" / "damaged.png").write_bytes(b"no image")
    (tmp_path / "in" / "line 1" / "._ä.png").write_bytes(b"no image")
    write_png(tmp_path / "in" / "line 2" / "ä_mask.png", np.zeros((64, 64, 3), np.uint8))
    write_png(tmp_path / "in" / "@eaDir" / "ä.png" / "thumb.png", product.good[0])
    from pyarrow import fs

    key = "s3://who:secret@parts"
    remote, _ = fs.FileSystem.from_uri(f"{key}/{store}")
    remote.create_dir("parts")
    fs.copy_files(str(tmp_path / "in"), "parts/in", destination_filesystem=remote)
    outcome = judge(f"{key}/in{store}", f"{key}/verdicts{store}")
    assert outcome.counts == {"accept": 3, "review": 0, "reject": 0, "unreadable": 1}
    [tally] = outcome.left_out.values()
    assert tally.counts == {"hidden": 1, "mask": 1, "tool_folder": 1}
    assert judge(f"{key}/in{store}", f"{key}/verdicts{store}").num_finished == 4
    fs.copy_files("parts/verdicts", str(tmp_path / "out"), source_filesystem=remote)
    found = {row["path"]: row for row in rows(tmp_path / "out")}
    assert set(found) == {
        *(f"s3://parts/in/line {number}/ä.png" for number in range(3)),
        "s3://parts/in/line 1/damaged.png",
    }
    inspector = Inspector(small, threads=1)
    for number in range(3):
        here = inspector.inspect(tmp_path / "in" / f"line {number}" / "ä.png")
        assert found[f"s3://parts/in/line {number}/ä.png"]["score"] == here.score
    assert not any(b"secret" in content for content in tree(tmp_path / "out").values())
