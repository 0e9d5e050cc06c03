"""A folder is inspected on all cores with the same verdicts, in order, whatever happens to one image or one output."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.datasets.listing import list_images
from blemish.errors import DataError, ImageError, OutputError
from blemish.inspection.inspector import Inspector
from blemish.line import sinks
from blemish.line import stream as folder_run
from blemish.line.stream import VerdictFolder, inspect_files
from blemish.model import Model
from blemish.schema import Image, Verdict
from blemish.testing.tiny import TinyProduct, write_png
from blemish.watching.drift import DriftMonitor


@pytest.fixture
def parts(tmp_path: Path, product: TinyProduct) -> Path:
    images = [*product.held_out, *(defect.image for defect in product.defects)]
    for number, image in enumerate(images):
        write_png(tmp_path / "parts" / f"{number:02}.png", image)
    return tmp_path / "parts"


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_run, "usable_cores", lambda: 4)


def plain(verdict: Verdict) -> Verdict:
    return dataclasses.replace(verdict, milliseconds=0.0)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verdicts_are_those_of_one_image_after_the_other(model: Model, parts: Path, four_cores: None) -> None:
    paths = list_images([parts]).images
    inspector = Inspector(model.bundle, watch_drift=True)
    expected = [(path, plain(inspector.inspect(path))) for path in paths]
    many = Inspector(model.bundle, threads=1, watch_drift=True)
    found = [(path, plain(outcome)) for path, outcome in inspect_files(many, paths) if isinstance(outcome, Verdict)]
    assert found == expected
    assert [verdict.conditions for _, verdict in found] == [verdict.conditions for _, verdict in expected]


def test_the_drift_watch_sees_parts_in_order(model: Model, parts: Path, four_cores: None) -> None:
    paths = list_images([parts]).images * 4
    inspector = Inspector(model.bundle, threads=1, watch_drift=True)
    states = []
    for num_threads in (1, 4):
        watch = DriftMonitor(model.calibration.conditions)
        for _, outcome in inspect_files(inspector, paths, num_threads=num_threads):
            assert isinstance(outcome, Verdict)
            watch.update(outcome.conditions)
        states.append(watch.state)
    assert states[0] == states[1]


def test_unreadable_and_vanished_images_keep_their_place(model: Model, parts: Path, four_cores: None) -> None:
    paths = list_images([parts]).images
    paths[2].write_bytes(paths[2].read_bytes()[:150])
    paths[5].unlink()
    write_png(parts / "later.png", model_image(model))
    outcomes = list(inspect_files(model.inspector, paths))
    assert [path for path, _ in outcomes] == list(paths)
    bad = {path.name: str(outcome) for path, outcome in outcomes if isinstance(outcome, ImageError)}
    assert set(bad) == {"02.png", "05.png"}
    assert "no such file" in bad["05.png"]


def model_image(model: Model) -> Image:
    import numpy as np

    return np.full((*model.bundle.manifest.input_hw, 3), 90, np.uint8)


def test_the_folder_of_verdicts_is_in_order(model: Model, parts: Path, tmp_path: Path, four_cores: None) -> None:
    paths = [*list_images([parts]).images, *list_images([shutil.copytree(parts, tmp_path / "b" / "parts")]).images]
    with VerdictFolder(tmp_path / "out", model.calibration) as output:
        list(inspect_files(model.inspector, paths, output))
    assert output.faults == []
    assert [row["path"] for row in lines(tmp_path / "out" / "verdicts.jsonl")] == [str(path) for path in paths]
    drawn = sorted(path.name for path in (tmp_path / "out" / "overlays" / "parts").iterdir())
    assert drawn == sorted([*(f"{n:02}.png" for n in range(12)), *(f"{n:02}_2.png" for n in range(12))])


def test_overlays_of_the_run_before_are_not_inspected(model: Model, parts: Path) -> None:
    before = list_images([parts]).images
    list(model.inspect_files(parts, output=parts / "out"))
    assert (parts / "out" / "overlays").is_dir()
    assert list_images([parts]).images == before


def test_progress_counts_every_file(model: Model, parts: Path) -> None:
    (parts / "00.png").write_bytes(b"nothing")
    steps: list[tuple[str, int, int]] = []
    list(model.inspect_files([parts], progress=lambda *step: steps.append(step)))
    assert steps == [("inspecting", number, 12) for number in range(1, 13)]


def test_a_folder_without_images_says_so(model: Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in this folder"):
        next(model.inspect_files(tmp_path))


def test_out_of_memory_is_told_and_every_verdict_given(
    model: Model, parts: Path, four_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True])
    read_really = folder_run.read_image

    def read(path: Path) -> Image:
        if path.name == "06.png" or (path.name == "01.png" and next(failures, False)):
            raise MemoryError
        return read_really(path)

    monkeypatch.setattr(folder_run, "read_image", read)
    told: list[str] = []
    outcomes = list(inspect_files(model.inspector, list_images([parts]).images, tell=told.append))
    bad = [path.name for path, outcome in outcomes if isinstance(outcome, ImageError)]
    assert bad == ["06.png"]
    assert "not enough memory" in str(outcomes[6][1])
    assert told == ["memory ran out: going on with 2 images at a time"]


def test_large_images_take_turns(model: Model, parts: Path, four_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_run, "LARGE_PIXELS", 64 * 64 - 1)
    running: list[int] = []
    inspect_really = Inspector.inspect_image

    def inspect(self: Inspector, image: Image, name: str) -> Verdict:
        running.append(1)
        assert len(running) == 1
        verdict = inspect_really(self, image, name)
        running.pop()
        return verdict

    monkeypatch.setattr(Inspector, "inspect_image", inspect)
    assert all(isinstance(outcome, Verdict) for _, outcome in model.inspect_files(parts))


def test_overlays_that_cannot_be_written_cost_no_verdict(
    model: Model, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, image: Image) -> Path:
        raise OutputError(f"{path}: cannot be written (no space left on device); free the place or choose another")

    monkeypatch.setattr(sinks, "write_png", full)
    outcomes = model.inspect_files(parts, output=tmp_path / "out")
    assert all(isinstance(next(outcomes)[1], Verdict) for _ in range(12))
    with pytest.raises(OutputError, match="no space left"):
        next(outcomes)
    assert len(lines(tmp_path / "out" / "verdicts.jsonl")) == 12


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
def test_a_full_disk_costs_files_but_no_verdict(bundle_path: Path, parts: Path, tmp_path: Path) -> None:
    """With 3 kB a file every overlay and most lines of the tables fail to be written; standard output has it all."""
    out = tmp_path / "out"
    program = (
        "import resource, sys\n"
        "from blemish.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        f"sys.argv = ['blemish', 'inspect', {str(bundle_path)!r}, {str(parts)!r}, '-o', {str(out)!r}, '--json']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 12
    assert "cannot be written" in done.stderr
    assert "verdicts go on" in done.stderr
    kept = (out / "verdicts.jsonl").read_text(encoding="utf-8")
    whole = kept[: kept.rindex("\n") + 1]
    assert 0 < len([json.loads(line) for line in whole.splitlines()]) < 12
    assert not list((out / "overlays").rglob("*.part"))
