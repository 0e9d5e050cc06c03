"""Several programs change one bundle file: each in turn, and none loses what another one did."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from blemish.bundle.bundle import Bundle
from blemish.bundle.change import change_bundle
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.errors import BundleError, OutputError
from blemish.model import Model, load


@pytest.fixture
def path(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bundle_path, tmp_path / "part.blemish"))


def lower(bundle: Bundle, reason: str = "lower") -> Bundle:
    """Under a threshold that is lower by a little: wants to know the one before."""
    now = bundle.calibration
    return bundle.with_calibration(replace(now, image_threshold=now.image_threshold - 0.001, reason=reason))


def test_six_calibrations_at_once_are_six_in_the_history(bundle_path: Path, path: Path) -> None:
    command = [sys.executable, "-m", "blemish.cli.main", "calibrate", str(path), "--reason"]
    rates = [f"0.{number}" for number in range(2, 8)]
    running = [
        subprocess.Popen([*command, rate, "--false-reject", rate], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for rate in rates
    ]
    said = [process.communicate()[1].decode() for process in running]
    assert [process.returncode for process in running] == [0] * 6, said
    made = read_bundle(path)
    assert sorted(entry.reason for entry in (*made.history[1:], made.calibration)) == rates
    assert made.history[0] == read_bundle(bundle_path).calibration
    assert [entry.name for entry in path.parent.iterdir()] == ["part.blemish"]


def test_threads_change_a_bundle_in_turn(path: Path) -> None:
    before = read_bundle(path).calibration.image_threshold
    threads = [threading.Thread(target=change_bundle, args=(path, lower)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_bundle(path).calibration.image_threshold == pytest.approx(before - 0.008)
    assert len(read_bundle(path).history) == 8


def test_a_training_waits_for_the_calibration_that_is_under_way(path: Path, bundle: Bundle) -> None:
    """Else the calibration would put the old graph back over the new one."""
    newer = replace(bundle, manifest=bundle.manifest.model_copy(update={"seed": 7}))
    writer = threading.Thread(target=write_bundle, args=(newer, path))

    def change(present: Bundle) -> Bundle:
        writer.start()
        writer.join(timeout=0.2)
        assert writer.is_alive()
        return lower(present)

    change_bundle(path, change)
    writer.join()
    assert read_bundle(path).manifest.seed == 7


def test_what_fails_in_the_change_leaves_the_file_and_no_lock(path: Path) -> None:
    before = path.read_bytes()

    def fail(present: Bundle) -> Bundle:
        raise BundleError("no")

    with pytest.raises(BundleError, match="no"):
        change_bundle(path, fail)
    assert path.read_bytes() == before
    assert len(read_bundle(path).history) == 0
    change_bundle(path, lower, waiting=lambda: pytest.fail("nobody is at it"))
    assert [entry.name for entry in path.parent.iterdir()] == ["part.blemish"]


def test_nothing_is_made_beside_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        change_bundle(tmp_path / "folder" / "part.blemish", lower)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_written_through(path: Path) -> None:
    link = path.with_name("current.blemish")
    link.symlink_to(path.name)
    change_bundle(link, lower)
    assert link.is_symlink()
    assert len(read_bundle(path).history) == 1


def test_a_model_does_not_write_over_what_another_one_changed(path: Path) -> None:
    mine, theirs = load(path), load(path)
    theirs.bundle = lower(theirs.bundle, "theirs")
    theirs.save(path)
    mine.bundle = lower(mine.bundle, "mine")
    with pytest.raises(BundleError, match="another program has changed this file"):
        mine.save(path)
    assert read_bundle(path).calibration.reason == "theirs"
    assert mine.save(path.with_name("mine.blemish")).exists()
    theirs.bundle = lower(theirs.bundle, "once more")
    theirs.save(path)
    assert len(read_bundle(path).history) == 2


def test_a_new_model_replaces_any_file(path: Path, model: Model) -> None:
    change_bundle(path, lower)
    Model(model.bundle).save(path)
    assert read_bundle(path).history == ()


def test_a_calibration_during_a_change_that_takes_long_is_not_lost(run, path: Path) -> None:
    """As `quantize` in place: what was calibrated meanwhile must not be written over."""
    calibrated: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", "blemish.cli.main", "calibrate", str(path), "--reason", "meanwhile"]

    def change(present: Bundle) -> Bundle:
        calibrated.append(subprocess.Popen([*command, "--false-reject", "0.3"], stderr=subprocess.PIPE))
        assert calibrated[0].stderr is not None
        while b"waiting for it" not in calibrated[0].stderr.readline():
            assert calibrated[0].poll() is None
        return lower(present, "long")

    change_bundle(path, change)
    calibrated[0].communicate()
    assert calibrated[0].returncode == 0
    made = read_bundle(path)
    assert [entry.reason for entry in (*made.history[1:], made.calibration)] == ["long", "meanwhile"]


def test_a_change_written_elsewhere_leaves_the_file(path: Path) -> None:
    before = path.read_bytes()
    change_bundle(path, lower, to=path.with_name("other.blemish"))
    assert path.read_bytes() == before
    assert len(read_bundle(path.with_name("other.blemish")).history) == 1


def test_quantize_in_place_takes_its_turn(
    run, path: Path, product_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from blemish.files import locked
    from blemish.workflow import quantize as recipe

    def quantize(present: Bundle, paths: object, **options: object) -> SimpleNamespace:
        with pytest.raises(OutputError, match="another program"), locked(path, patience_seconds=0):
            pass
        return SimpleNamespace(bundle=lower(present, "int8"), num_convolutions=0, num_bank_blocks=0, gains=())

    monkeypatch.setattr(recipe, "quantize", quantize)
    found = run("quantize", path, product_folder / "train" / "good", "-o", path, "--json")
    assert found.status == 0, found.stderr
    assert read_bundle(path).calibration.reason == "int8"
