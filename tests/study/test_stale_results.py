"""A result is taken again only where all that decides it is as it was; else the task is done anew."""

from __future__ import annotations

import dataclasses
import json
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.datasets.index import open_dataset
from blemish.errors import BlemishError
from blemish.files import hash_file
from blemish.folders import BACKBONES_VARIABLE
from blemish.registry import load_detector
from blemish.schema import Backbone
from blemish.study import plan as plan_module
from blemish.study.executor import LocalExecutor
from blemish.study.plan import StudyTask, code_hash, plan_study, read_result
from blemish.study.run import run_study, run_task
from blemish.testing.tiny import write_png
from blemish.weights import add_backbone

HERE = LocalExecutor(1)
Plan = Callable[..., StudyTask]


@pytest.fixture
def backbones(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder with one backbone, `mine`."""
    folder = tmp_path / "backbones"
    monkeypatch.setenv(BACKBONES_VARIABLE, str(folder))
    add_backbone(
        backbone.path,
        name="mine",
        layers=backbone.layers,
        mean=backbone.mean,
        std=backbone.std,
        licence="MIT",
        source="made here",
        input_name=backbone.input_name,
    )
    return folder


def change(folder: Path, **changes: Any) -> None:
    """Rewrites fields of the description of `mine`."""
    path = folder / "mine.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.fixture
def plan(backbones: Path, product_folder: Path, tmp_path: Path) -> Plan:
    def plan_one(detector: str = "padim", data: Path = product_folder, **options: Any) -> StudyTask:
        [task] = plan_study([data], [detector], tmp_path / "study", **{"size": 64, "backbone": "mine", **options})
        return task

    return plan_one


@pytest.mark.parametrize(
    "what",
    [
        {"mean": [1.0, 2.0, 3.0]},
        {"std": [50.0, 60.0, 70.0]},
        {"offset": 0.5},
        {"order": "reversed"},
        {"graph": "changed"},
    ],
    ids=lambda what: next(iter(what)),
)
def test_a_backbone_of_the_same_name_that_changed_is_another_one(
    what: dict[str, Any], plan: Plan, backbones: Path
) -> None:
    task = plan()
    assert run_study([task], HERE).num_new == 1
    description = json.loads((backbones / "mine.json").read_text(encoding="utf-8"))
    if "graph" in what:
        graph = backbones / "mine.onnx"
        graph.write_bytes(graph.read_bytes() + b"\x7a\x00")  # a field that readers pass over
        change(backbones, sha256=hash_file(graph))
    elif "order" in what:
        change(backbones, layers=description["layers"][::-1])
    elif "offset" in what:
        change(backbones, layers=[{**layer, "offset": layer["offset"] + 0.5} for layer in description["layers"]])
    else:
        change(backbones, **what)
    anew = plan()
    assert anew.key != task.key
    assert not anew.is_finished


def test_what_a_backbone_is_called_and_where_it_comes_from_decides_nothing(plan: Plan, backbones: Path) -> None:
    task = plan()
    change(backbones, source="made there", licence="BSD-3-Clause")
    assert plan().key == task.key
    assert plan(backbone=str(backbones / "mine.json")).key == task.key


def test_a_detector_without_a_backbone_does_not_mind_which(plan: Plan, backbones: Path) -> None:
    task = plan("template")
    change(backbones, mean=[1.0, 2.0, 3.0])
    assert plan("template").key == task.key


def test_a_backbone_that_changes_after_planning_gives_no_result(plan: Plan, backbones: Path) -> None:
    task = plan()
    change(backbones, mean=[1.0, 2.0, 3.0])
    outcome = run_study([task], HERE)
    assert outcome.num_new == 0
    [(_, error)] = outcome.failures
    assert "the backbone mine is not the one that the study was planned with" in error


def test_images_that_change_after_planning_give_no_result(
    plan: Plan, product_folder: Path, tmp_path: Path, product: Any
) -> None:
    data = Path(shutil.copytree(product_folder, tmp_path / "data"))
    task = plan("template", data)
    write_png(next((data / "train" / "good").iterdir()), product.held_out[0])
    [(_, error)] = run_study([task], HERE).failures
    assert "its images are not those that the study was planned with" in error
    again = plan("template", data)
    assert again.key != task.key
    assert again.fingerprint == open_dataset(data).fingerprint


def test_another_program_gives_another_result(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = plan("template")
    monkeypatch.setattr(plan_module.importlib.metadata, "version", lambda package: "99.0")
    anew = plan("template")
    assert anew.key != task.key
    monkeypatch.undo()
    with pytest.raises(BlemishError, match="a library has another version here"):
        run_task(dataclasses.replace(anew, backbone="efficientnet-lite0"))


def test_a_plug_in_whose_source_changed_is_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "changing_detector.py"
    hashes = []
    for body in ("VALUE = 1", "VALUE = 2", "VALUE = 1"):
        source.write_text(body, encoding="utf-8")
        plan_module._source_hash.cache_clear()
        module: Any = types.ModuleType("changing_detector")
        module.INFO = load_detector("template").INFO
        hashes.append(code_hash(module))
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(
    "harm",
    [
        lambda task: task.result_path.write_bytes(task.result_path.read_bytes()[:-40]),
        lambda task: task.result_path.write_bytes(b""),
        lambda task: task.result_path.write_bytes(b"[]"),
        lambda task: task.result_path.write_bytes(b'{"row": {}, "seal": ""}'),
        lambda task: task.result_path.write_bytes(b"[" * 100_000),
        lambda task: task.result_path.write_bytes(task.result_path.read_bytes().replace(b'"seed": 0', b'"seed": 1')),
        lambda task: task.bundle_path.write_bytes(task.bundle_path.read_bytes()[:-40]),
        lambda task: recalibrate(task),
        lambda task: task.bundle_path.unlink(),
    ],
    ids=["cut", "empty", "a list", "another form", "deep", "altered", "cut bundle", "calibrated anew", "no bundle"],
)
def test_a_result_that_is_not_as_it_was_written_is_made_anew(harm: Callable[[StudyTask], Any], plan: Plan) -> None:
    task = plan("template")
    whole = run_study([task], HERE).rows
    harm(task)
    outcome = run_study([task], HERE)
    assert (outcome.num_new, outcome.failures) == (1, ())
    assert scores(outcome.rows) == scores(whole)
    assert run_study([task], HERE).num_new == 0


def recalibrate(task: StudyTask) -> None:
    """As somebody does who tries other thresholds on a bundle of a study: its rows tell of the old ones."""
    bundle = read_bundle(task.bundle_path)
    write_bundle(
        bundle.with_calibration(dataclasses.replace(bundle.calibration, image_threshold=1.0)), task.bundle_path
    )


def scores(rows: Any) -> list[float]:
    return [result["score"] for row in rows for result in row["results"]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["row", "seal", "key", "bundle_sha256", "x"]), inner, max_size=5)
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_stands_in_a_result_file_it_is_no_result(content: bytes, tmp_path: Path) -> None:
    task = StudyTask(tmp_path / "data", "", "template", folder=tmp_path)
    task.result_path.parent.mkdir(exist_ok=True)
    task.result_path.write_bytes(content)
    assert read_result(task) is None


def test_a_result_copied_under_another_key_is_not_taken(plan: Plan) -> None:
    first, second = plan("template"), plan("template", seeds=[1])
    run_study([first], HERE)
    shutil.copy(first.result_path, second.result_path)
    shutil.copy(first.bundle_path, second.bundle_path)
    assert not second.is_finished
