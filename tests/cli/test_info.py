"""info says what a bundle decides by, and what inspect would say of it; its history can be told apart."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from blemish.bundle.bundle import Bundle
from blemish.bundle.write import write_bundle
from blemish.testing.members import pack, unpack, with_graph, with_json
from blemish.testing.tiny import TinyProduct, write_png


@pytest.fixture
def path(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bundle_path, tmp_path / "part.blemish"))


def test_rules_zone_scale_and_costs_are_shown(run: Any, product_folder: Path, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    arguments = ("--zone", write_png(tmp_path / "zone.png", mask), "--mm-per-px", "0.05", "--rule")
    path = tmp_path / "part.blemish"
    rules = ("reject scratches longer than 2 mm", "--rule", "ignore spots smaller than 0.1 mm2")
    run("train", product_folder, "-o", path, "--detector", "template", "--size", "64", *arguments, *rules)
    run("calibrate", path, "--cost-escape", "50")
    shown = run("info", path).stdout
    for text in (
        "rules       reject scratches longer than 2 mm\n            ignore spots smaller than 0.1 mm2",
        "zone        50 % of the image, by a mask of 64 x 64 pixels",
        "scale       0.05 mm per pixel",
        "costs       50 per escape, 1 per false reject, 1 % defective",
    ):
        assert text in shown
    found = run("info", path, "--json").json
    assert found["rules"] == ["reject scratches longer than 2 mm", "ignore spots smaller than 0.1 mm2"]
    assert found["zone"].startswith("50 %")
    assert found["mm_per_px"] == 0.05
    assert found["costs"].startswith("50 per escape")


def test_where_there_is_none_it_says_so(run: Any, path: Path) -> None:
    shown = run("info", path).stdout
    for name in ("rules", "zone", "scale", "costs"):
        assert f"\n{name:12}none" in shown
    found = run("info", path, "--json").json
    assert (found["rules"], found["zone"], found["mm_per_px"], found["costs"]) == ([], None, None, None)


@pytest.mark.parametrize("history", [(), ("--history",)], ids=["first", "list"])
def test_who_calibrated_when_and_why_is_shown(run: Any, path: Path, history: tuple[str, ...]) -> None:
    run("calibrate", path, "--by", "ann", "--reason", "the lamp was changed", "--false-reject", "0.3")
    shown = run("info", path, *history).stdout
    assert "ann  the lamp was changed" in shown
    assert shown.count("20") >= 1, "a date"


def test_each_row_of_the_history_says_what_changed(run: Any, path: Path) -> None:
    steps = {
        "rules": ("--rule", "ignore spots smaller than 3 px2"),
        "scale": ("--mm-per-px", "0.05"),
        "false reject rate": ("--false-reject", "0.3"),
        "review rate": ("--review-rate", "0.6"),
        "confidence": ("--confidence", "0.8"),
        "costs": ("--cost-escape", "50"),
    }
    for arguments in steps.values():
        assert run("calibrate", path, *arguments).status == 0
    run("calibrate", path, "--reason", "no change at all")
    rows = run("info", path, "--history", "--json").json["calibrations"]
    assert [row["number"] for row in rows] == list(range(1, 9))
    assert [row["in_force"] for row in rows] == [False] * 7 + [True]
    assert rows[0]["changes"] == rows[-1]["changes"] == []
    for (name, _), row in zip(steps.items(), rows[1:], strict=False):
        assert name in [change["name"] for change in row["changes"]]
    shown = run("info", path, "--history").stdout
    assert "rules: none -> ignore spots smaller than 3 px2" in shown
    assert "nothing changed" in shown
    assert run("calibrate", path, "--history").stdout == shown


def test_what_can_be_restored_is_known_before_it_is_tried(run: Any, path: Path, bundle: Bundle) -> None:
    foreign = dataclasses.replace(bundle.calibration, graph_sha256="f" * 64)
    write_bundle(dataclasses.replace(bundle, history=(foreign, bundle.calibration)), path)
    rows = run("info", path, "--history", "--json").json["calibrations"]
    assert [bool(row["obstacle"]) for row in rows] == [True, False, False]
    assert "cannot be restored: it was made for another graph" in run("info", path, "--history").stdout
    for row in rows[:2]:
        outcome = run("calibrate", path, "--restore", row["number"], "--dry-run")
        assert outcome.status == (2 if row["obstacle"] else 0)
        assert row["obstacle"] in outcome.stderr


def test_a_bundle_of_an_earlier_version_says_nothing_of_its_first_calibration(
    run: Any, path: Path, bundle: Bundle
) -> None:
    write_bundle(
        dataclasses.replace(bundle, calibration=dataclasses.replace(bundle.calibration, created="", by="", reason="")),
        path,
    )
    assert "unknown date  unknown  no reason given" in run("info", path).stdout


def ruined_graph(bundle: Bundle, what: str) -> bytes:
    if what == "no graph":
        return b"no graph at all"
    model = onnx.load_from_string(bundle.graph)
    if what == "unknown operator":
        model.graph.node[0].op_type = "NoSuchOperator"
    elif what == "lost constant":
        del model.graph.initializer[0]
    elif what == "other input":
        model.graph.input[0].name = "picture"
    else:
        [scale] = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [1, 3, 1, 1]][:1]
        scale.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), np.nan, np.float32), scale.name))
    graph: bytes = model.SerializeToString()
    return graph


WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
UNUSABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "zone of nothing": ("calibration.json", {"zone": {"ignore": [WHOLE]}}),
    "zone of features": ("manifest.json", {"reduction": {"kind": "features", "count": 1}}),
    "other resize rule": ("manifest.json", {"resize_rule": "cubic"}),
    "conditions of another version": ("calibration.json", {"conditions": [{"name": "smell", "values": [1.0, 2.0]}]}),
}


@pytest.mark.parametrize(
    "what", ["no graph", "unknown operator", "lost constant", "other input", "no numbers", *UNUSABLE]
)
def test_info_says_what_inspect_would(
    run: Any, bundle: Bundle, bundle_path: Path, product: TinyProduct, tmp_path: Path, what: str
) -> None:
    """A bundle whose hashes are right, but that can judge no image."""
    members = unpack(bundle_path)
    if what == "zone of features":
        members = with_json(members, "calibration.json", zone={"inspect": [WHOLE]})
    if what in UNUSABLE:
        name, changes = UNUSABLE[what]
        members = with_json(members, name, **changes)
    else:
        members = with_graph(members, ruined_graph(bundle, what))
    path = pack(tmp_path / "ruined.blemish", members)
    image = write_png(tmp_path / "image.png", product.held_out[0])
    told, inspected = run("info", path), run("inspect", path, image)
    assert told.status == inspected.status == 2
    assert told.stderr == inspected.stderr
    assert told.stderr.count("\n") == 1
    assert str(path) in told.stderr
    assert told.stdout == ""
