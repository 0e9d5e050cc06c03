"""A study: finished work is never done twice, a stopped training goes on, one failure stops nothing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import DataError, EngineError, SettingsError
from blemish.study.executor import LocalExecutor
from blemish.study.pages import write_data_pages
from blemish.study.plan import StudyTask, plan_study, read_result
from blemish.study.run import describe_data, make_study, run_study

HERE = LocalExecutor(1)


@pytest.fixture
def plan(product_folder: Path, tmp_path: Path) -> Any:
    """The tasks of a study at 64 pixels, of the tiny product unless told otherwise."""

    def plan_small(*detectors: str, data: Any = None, **options: Any) -> tuple[StudyTask, ...]:
        return plan_study(data or [product_folder], detectors, tmp_path / "study", **{"size": 64, **options})

    return plan_small


def test_each_detector_is_fitted_from_each_seed_on_each_category(plan: Any, product_folder: Path, tmp_path: Path):
    shutil.copytree(product_folder, tmp_path / "data" / "a")
    shutil.copytree(product_folder, tmp_path / "data" / "b")
    tasks = plan("template", "padim", data=[tmp_path / "data"], seeds=range(3))
    assert len({task.key for task in tasks}) == 12 - 6, "the same images, settings and seed give the same result"
    assert len({task.result_path for task in tasks}) == 12


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"size": 96}, {"settings": {"sigma": 1}}, {"fingerprint": "other"}, {"detector": "padim"}]
)
def test_what_changes_the_result_changes_its_key(plan: Any, change: dict[str, Any]) -> None:
    [task] = plan("template")
    assert dataclasses.replace(task, **change).key != task.key
    assert dataclasses.replace(task, device="cpu", folder=Path("elsewhere")).key == task.key


def test_two_data_sets_of_one_name_are_refused(plan: Any, product_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(product_folder, tmp_path / "other" / product_folder.name)
    with pytest.raises(SettingsError, match=f"two data sets are called {product_folder.name}"):
        plan("template", data=[product_folder, other])


def test_the_folder_one_stands_in_gives_its_name(
    plan: Any, product_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(product_folder)
    [task] = plan("template", data=[Path()])
    assert task.data.name == product_folder.name


def test_a_folder_without_a_data_set_is_refused(plan: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set"):
        plan("template", data=[tmp_path])


def test_a_result_without_its_bundle_is_made_again(plan: Any) -> None:
    tasks = plan("template")
    run_study(tasks, HERE)
    assert run_study(tasks, HERE).num_new == 0
    tasks[0].bundle_path.unlink()
    assert run_study(tasks, HERE).num_new == 1


def test_several_at_once_find_the_same(plan: Any) -> None:
    tasks = plan("template", seeds=range(2))
    outcome = run_study(tasks, LocalExecutor(2))
    assert (outcome.num_new, outcome.failures) == (2, ())
    alone = dataclasses.replace(tasks[0], folder=tasks[0].folder.with_name("alone"))
    [row] = run_study([alone], HERE).rows
    assert [result["score"] for result in row["results"]] == [r["score"] for r in outcome.rows[0]["results"]]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_study_whose_worker_was_killed_is_finished_all_the_same(plan: Any) -> None:
    tasks = plan("template", "padim", seeds=range(2))
    killed: list[int] = []

    def kill_one(task: str, done: int, total: int) -> None:
        if not killed:
            process = multiprocessing.active_children()[0]
            assert process.pid is not None
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    outcome = run_study(tasks, LocalExecutor(2), kill_one)
    assert killed
    assert (outcome.num_new, outcome.failures, len(outcome.rows)) == (4, (), 4)


def test_the_parts_are_shown_under_the_model_of_the_first_seed(plan: Any) -> None:
    tasks = plan("template", seeds=(3, 1, 2))
    outcome = run_study(tasks, HERE)
    study = make_study(tasks, outcome)
    shown = {part.verdicts["template"].bundle_id for part in study.parts}
    assert shown == {outcome.rows[0]["model"]["bundle_id"]}
    assert outcome.rows[0]["seed"] == 3


def test_the_data_is_described_before_anything_is_trained(plan: Any) -> None:
    tasks = plan("template")
    [summary] = describe_data(tasks)
    [page] = write_data_pages([summary], tasks[0].folder).values()
    assert not (tasks[0].folder / "results").exists()
    assert "co-occurrence of gray levels" in page.read_text(encoding="utf-8")
    assert [(part.split, part.defect_type, part.num_images) for part in summary.types] == [
        ("train", "good", 16),
        ("test", "good", 6),
        ("test", "scratch", 3),
        ("test", "spot", 3),
    ]


def test_a_device_that_is_not_there_is_said_before_any_work(plan: Any) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(EngineError, match="finds no CUDA GPU"):
        plan("template", "cae", device="cuda")


def test_a_training_that_was_cut_off_goes_on_from_its_last_epoch(plan: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tasks = plan("template", "cae", settings={"cae": {"epochs": "4", "width": "4"}})
    epochs: list[int] = []

    def disconnect(task: str, done: int, total: int) -> None:
        if task.startswith("training cae") and done == 2:
            raise KeyboardInterrupt

    def watch(task: str, done: int, total: int) -> None:
        if task.startswith("training cae"):
            epochs.append(done)

    with pytest.raises(KeyboardInterrupt):
        run_study(tasks, HERE, disconnect)
    assert [task.is_finished for task in tasks] == [True, False]
    outcome = run_study(tasks, HERE, watch)
    assert outcome.num_new == 1
    assert epochs[0] in (1, 2), "at most the epoch at work is lost"
    assert not tasks[1].checkpoints_path.exists(), "checkpoints are cleared away when the result is there"
    whole = dataclasses.replace(tasks[1], folder=tmp_path / "whole")
    run_study([whole], HERE)
    first, second = read_result(tasks[1]), read_result(whole)
    assert first is not None
    assert second is not None
    assert [result["score"] for result in first["results"]] == [result["score"] for result in second["results"]]
