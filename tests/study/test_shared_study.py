"""Several runs of one study at the same time: each task is done once, and every run ends with all results."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from blemish.study import run as study_run
from blemish.study.executor import LocalExecutor
from blemish.study.plan import plan_study
from blemish.study.run import StudyOutcome, run_study


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The detectors of the trainings that were begun, in their order; each takes a moment."""
    begun: list[str] = []
    train_really = study_run.train

    def train(request: Any) -> Any:
        begun.append(request.detector)
        time.sleep(0.2)
        return train_really(request)

    monkeypatch.setattr(study_run, "train", train)
    return begun


def test_each_task_is_done_once(product_folder: Path, tmp_path: Path, trained: list[str]) -> None:
    tasks = plan_study([product_folder], ["template", "padim"], tmp_path / "study", size=64, seeds=range(2))
    outcomes: list[StudyOutcome] = []
    runs = [threading.Thread(target=lambda: outcomes.append(run_study(tasks, LocalExecutor(1)))) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(trained) == ["padim"] * 2 + ["template"] * 2
    assert [outcome.failures for outcome in outcomes] == [()] * 3
    assert outcomes[0].rows == outcomes[1].rows == outcomes[2].rows
    assert len(outcomes[0].rows) == 4
    assert [path.name for path in (tmp_path / "study").rglob(".*")] == []


def test_a_task_that_fails_in_one_run_is_tried_by_the_next(
    product_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [task] = plan_study([product_folder], ["template"], tmp_path / "study", size=64)

    def fail(request: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(study_run, "train", fail)
        assert len(run_study([task], LocalExecutor(1)).failures) == 1
    assert run_study([task], LocalExecutor(1)).num_new == 1


def test_a_study_grows_while_another_run_is_under_way(product_folder: Path, tmp_path: Path, trained: list[str]) -> None:
    """The second run has a detector more: what the first one does is not done again."""
    few = plan_study([product_folder], ["template"], tmp_path / "study", size=64)
    many = plan_study([product_folder], ["template", "padim"], tmp_path / "study", size=64)
    first = threading.Thread(target=run_study, args=(few, LocalExecutor(1)))
    first.start()
    while not trained:
        time.sleep(0.01)
    assert len(run_study(many, LocalExecutor(1)).rows) == 2
    first.join()
    assert trained == ["template", "padim"]
