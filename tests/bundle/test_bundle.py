"""A bundle written is the bundle read, byte for byte the same each time, whole or not there at all."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.errors import BundleError, OutputError
from blemish.model import Model, load
from blemish.schema import Alignment, PaintedTrial, Reduction, Sensitivity, Tiling
from blemish.testing.tiny import TinyProduct


def test_what_was_written_is_read(bundle: Bundle, tmp_path: Path) -> None:
    path = write_bundle(bundle, tmp_path / "new folder" / "part ä.blemish")
    again = read_bundle(path)
    assert again.graph == bundle.graph
    assert again.calibration == bundle.calibration
    assert again.samples == bundle.samples
    assert again.history == ()
    assert again.bundle_id == bundle.bundle_id
    assert again.manifest.model_copy(update={"members": {}}) == bundle.manifest


def test_equal_bundles_are_equal_files(bundle: Bundle, tmp_path: Path) -> None:
    first = write_bundle(bundle, tmp_path / "a.blemish").read_bytes()
    assert write_bundle(bundle, tmp_path / "b.blemish").read_bytes() == first
    assert write_bundle(read_bundle(tmp_path / "a.blemish"), tmp_path / "c.blemish").read_bytes() == first


def test_any_zip_tool_reads_it(bundle_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive:
        assert archive.testzip() is None
        assert {"manifest.json", "graph.onnx", "calibration.json", "history.json"} <= set(archive.namelist())
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["format_version"] == 1
    assert manifest["detector"] == "patchcore"
    assert manifest["backbone"]["licence"] == "Apache-2.0"


DECIDES: dict[str, Any] = {
    "reduction": Reduction("top_mean", 8),
    "input_hw": (64, 96),
    "resize_rule": "cubic",
    "tiling": Tiling(64, 32),
    "bits": 12,
    "page": 2,
    "alignment": Alignment("part", (64, 96), (48.0, 32.0)),
}


@pytest.mark.parametrize("name", DECIDES)
def test_the_bundle_id_changes_with_all_of_the_manifest_that_decides(name: str, bundle: Bundle) -> None:
    other = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={name: DECIDES[name]}))
    assert other.bundle_id != bundle.bundle_id


def test_the_bundle_id_names_graph_and_thresholds(bundle: Bundle) -> None:
    other = dataclasses.replace(bundle.calibration, image_threshold=bundle.calibration.image_threshold + 1)
    assert bundle.with_calibration(other).bundle_id != bundle.bundle_id
    renamed = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"seed": 7, "created": "then"}))
    assert renamed.bundle_id == bundle.bundle_id
    assert len(bundle.bundle_id) == 16


def test_every_field_of_the_manifest_decides_or_is_known_not_to(bundle: Bundle) -> None:
    """A new field is put on one of the two sides on purpose."""
    told = {"format_version", "created", "detector", "settings", "seed", "backbone", "data", "facts", "versions"}
    assert set(type(bundle.manifest).model_fields) == {*DECIDES, *told, "members"}
    assert set(json.loads(bundle.manifest.model_copy(update=DECIDES).deciding)) == set(DECIDES)


def test_a_history_that_no_reader_would_take_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    long = dataclasses.replace(bundle, history=(bundle.calibration,) * 3000)
    with pytest.raises(BundleError, match=r"history\.json: holds .* values"):
        write_bundle(long, tmp_path / "part.blemish")
    assert list(tmp_path.iterdir()) == []


def test_a_new_calibration_keeps_the_old_one(bundle: Bundle, tmp_path: Path) -> None:
    stricter = dataclasses.replace(bundle.calibration, image_threshold=0.5, reason="stricter")
    path = write_bundle(bundle.with_calibration(stricter), tmp_path / "part.blemish")
    again = read_bundle(path)
    assert again.calibration == stricter
    assert again.history == (bundle.calibration,)
    assert again.graph == bundle.graph


def test_a_loaded_model_inspects_as_the_saved_one_did(model: Model, bundle_path: Path, product: TinyProduct) -> None:
    for image in [product.held_out[0], product.defects[0].image]:
        before, after = model.inspect(image), load(bundle_path).inspect(image)
        assert (after.decision, after.score, after.bundle_id) == (before.decision, before.score, before.bundle_id)
        np.testing.assert_array_equal(after.anomaly_map, before.anomaly_map)


def test_a_file_that_is_there_is_replaced_at_once(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "part.blemish"
    path.write_bytes(b"the old one")
    write_bundle(bundle, path)
    assert read_bundle(path).bundle_id == bundle.bundle_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.blemish"]


def test_a_write_that_fails_leaves_the_old_file(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.blemish"
    path.write_bytes(b"the old one")

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match=r"part\.blemish: cannot be written \(no space left on device\)"):
        write_bundle(bundle, path)
    assert path.read_bytes() == b"the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.blemish"]


def test_a_place_that_cannot_be_written_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file"):
        write_bundle(bundle, tmp_path / "file" / "part.blemish")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write_bundle(bundle, tmp_path / "folder")


def painted(bundle: Bundle) -> Sensitivity:
    trial = PaintedTrial("spot", 5.0, 2.0, (0.25, 0.5), 1.25, is_found=True)
    return Sensitivity((trial,), 3, 0, (64, 64), bundle.calibration.image_threshold)


def test_a_sensitivity_is_kept_and_needs_version_3(bundle: Bundle, tmp_path: Path) -> None:
    told = dataclasses.replace(bundle, sensitivity=painted(bundle))
    again = read_bundle(write_bundle(told, tmp_path / "told.blemish"))
    assert again.sensitivity == told.sensitivity
    assert again.manifest.format_version == 3
    assert again.bundle_id == bundle.bundle_id
    without = read_bundle(write_bundle(dataclasses.replace(again, sensitivity=None), tmp_path / "without.blemish"))
    assert without.manifest.format_version == 1


def test_a_new_calibration_leaves_the_sensitivity_behind(bundle: Bundle) -> None:
    told = dataclasses.replace(bundle, sensitivity=painted(bundle))
    stricter = dataclasses.replace(bundle.calibration, image_threshold=0.5)
    assert told.with_calibration(stricter).sensitivity is None
