"""Requests to train and to calibrate: refused when they are made, run with the threads they name, and stopped."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blemish
from blemish.bundle.bundle import Bundle
from blemish.decisions.in_force import change_wishes
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import Cancelled, DataError, SettingsError
from blemish.schema import TrainingRun
from blemish.testing.tiny import TINY_HW, TinyProduct, write_png
from blemish.workflow import calibrate as calibrate_recipe
from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle
from blemish.workflow.train import TrainRequest, train


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "patchwork"}, "no detector is called 'patchwork'"),
        ({"settings": {"no_such": 1}}, "no setting 'no_such'"),
        ({"settings": {"cell": 0}}, "template setting cell"),
        ({"preset": "fast"}, "no preset 'fast'"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"threads": -2}, "threads is -2: give 1 or more"),
        ({"calibration": "none"}, "calibration 'none' is not known: use cross, split or blocks"),
        ({"size": (250, 64)}, "size 250x64: both sides must be multiples of 32"),
        ({"with_defects": True}, "template cannot learn from defects"),
        ({"tile": 128}, "template learns what is usual at each place"),
        ({"run": TrainingRun(device="cpu")}, "template has no training to resume, log or place on a device"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_image_is_read(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TrainRequest(**{"data": "no such folder", "detector": "template", **options})


def test_every_part_of_a_request_can_be_said_by_a_keyword_of_train() -> None:
    """`wishes` is said by its rates; `channels` says how arrays are read before there is a request."""
    asked = set(inspect.signature(blemish.train).parameters) - {"channels"}
    rates = {"false_reject", "confidence", "review_rate"}
    assert asked - rates == {field.name for field in fields(TrainRequest)} - {"wishes"}
    assert rates <= {field.name for field in fields(CalibrationSettings)}


@pytest.mark.parametrize("method", ["cross", "split"])
@pytest.mark.parametrize("tile", [None, 64])
def test_a_training_stops_at_any_step(
    method: Any, tile: int | None, product: TinyProduct, backbone_description: str
) -> None:
    """Cancelled after its first report, its tenth and so on, it makes none after that."""
    images = [np.tile(image, (2, 2, 1)) for image in product.good]

    def ask(**options: Any) -> TrainRequest:
        return TrainRequest(
            data=images, backbone=backbone_description, size=64, tile=tile, calibration=method, **options
        )

    reports: list[str] = []
    train(ask(progress=lambda task, done, total: reports.append(task)))
    whole = list(reports)
    for last in range(1, len(whole), 9):
        reports.clear()
        with pytest.raises(Cancelled, match="cancelled while"):
            train(
                ask(
                    progress=lambda task, done, total: reports.append(task),
                    cancel=lambda last=last: len(reports) >= last,
                )
            )
        assert reports == whole[:last]


def test_a_training_keeps_to_its_threads(product: TinyProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    real = calibrate_recipe.map_in_order

    def noted(work: Any, items: Any, num_threads: int, **options: Any) -> Any:
        found.append(num_threads)
        return real(work, items, num_threads, **options)

    monkeypatch.setattr(calibrate_recipe, "map_in_order", noted)
    monkeypatch.setattr("blemish.detectors.features.map_in_order", noted)
    blemish.train(list(product.good), detector="template", size=TINY_HW, calibration="split", threads=3)
    assert len(found) >= 2
    assert set(found) == {3}


def test_a_calibration_in_python_says_what_a_request_can_say(model: blemish.Model) -> None:
    """`wishes` is said by what it is made of, `reading` and `threads` by the model."""
    asked = set(inspect.signature(model.calibrate).parameters)
    wishes = set(inspect.signature(change_wishes).parameters) - {"in_force"}
    assert asked - wishes == {field.name for field in fields(CalibrateRequest)} - {"wishes", "reading", "threads"}
    assert wishes <= asked


def test_a_model_is_calibrated_into_a_new_one(model: blemish.Model, product: TinyProduct, tmp_path: Path) -> None:
    for number, image in enumerate(product.held_out):
        write_png(tmp_path / f"{number}.png", image)
    before = model.bundle
    loose = model.calibrate(false_reject=0.5, reason="too many good parts were rejected", by="ann")
    assert loose.calibration.image_threshold < model.calibration.image_threshold
    assert (loose.calibration.reason, loose.calibration.by) == ("too many good parts were rejected", "ann")
    assert model.bundle is before
    moved = loose.calibrate(tmp_path)
    assert len(moved.calibration.good_scores) == len(product.held_out)
    assert moved.calibration.promise.wanted_rate == 0.5
    assert [entry.reason for entry in moved.bundle.history][-1] == loose.calibration.reason
    assert (moved.engine, moved.threads, moved.reading) == (model.engine, model.threads, model.reading)


def test_a_folder_that_may_not_be_entered_is_no_smaller_set_of_good_images(
    model: blemish.Model, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "seen" / "0.png", product.held_out[0])
    write_png(tmp_path / "locked" / "1.png", product.held_out[1])
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(os.fsdecode(path)).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="locked"):
        model.calibrate(tmp_path)


def test_a_calibration_is_stopped_too(bundle: Bundle, product: TinyProduct, tmp_path: Path) -> None:
    good = [write_png(tmp_path / f"{number}.png", image) for number, image in enumerate(product.held_out)]
    with pytest.raises(Cancelled, match=r"cancelled while scoring images \(1 of"):
        calibrate_bundle(bundle, CalibrateRequest(good=good, cancel=lambda: True))
    with pytest.raises(SettingsError, match="threads is -1"):
        CalibrateRequest(threads=-1)
