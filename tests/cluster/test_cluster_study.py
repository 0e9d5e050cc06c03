"""A study on a Ray cluster: the same results as here; what fails or is lost does not stop the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from blemish.cluster.connect import Node, connected
from blemish.cluster.executor import Needs, RayExecutor
from blemish.errors import DataError, EngineError, SettingsError
from blemish.study.executor import LocalExecutor
from blemish.study.plan import plan_study
from blemish.study.run import run_study

SMALL = Needs(num_cpus=1, memory_mb=100)


@pytest.fixture(scope="module")
def executor(two_nodes: str) -> Any:
    with connected(two_nodes):
        yield RayExecutor(SMALL)


def scores(rows: Any) -> list[Any]:
    return [(row["key"], row["detector"], [result["score"] for result in row["results"]]) for row in rows]


def test_a_study_finds_what_it_finds_here(executor: RayExecutor, product_folder: Path, tmp_path: Path) -> None:
    def plan(folder: str) -> Any:
        return plan_study([product_folder], ["template"], tmp_path / folder, seeds=range(2), size=64)

    there = run_study(plan("there"), executor)
    here = run_study(plan("here"), LocalExecutor(1))
    assert (there.num_new, there.failures) == (2, ())
    assert scores(there.rows) == scores(here.rows)
    assert run_study(plan("there"), executor).num_new == 0, "what is finished is not done again"


def test_a_failed_task_is_told_with_its_error_and_stops_no_other(executor: RayExecutor) -> None:
    def work(number: int) -> int:
        if number == 2:
            raise DataError("part 2: no image")
        return number * number

    outcomes = dict(executor.run(work, [1, 2, 3]))
    assert (outcomes[1], outcomes[3]) == (1, 9)
    assert isinstance(outcomes[2], DataError)
    assert str(outcomes[2]) == "part 2: no image"


def test_a_task_whose_worker_is_killed_is_done_again(executor: RayExecutor, tmp_path: Path) -> None:
    begun = str(tmp_path / "begun")

    def work(number: int) -> int:
        if number == 1 and not os.path.exists(begun):
            open(begun, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert dict(executor.run(work, [1, 2])) == {1: 1, 2: 2}
    assert Path(begun).exists()


def test_a_task_that_kills_each_worker_is_given_up(executor: RayExecutor) -> None:
    def work(number: int) -> int:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    outcomes = dict(executor.run(work, [1, 2]))
    assert outcomes[2] == 2
    assert isinstance(outcomes[1], EngineError)
    assert "its worker was lost 4 times" in str(outcomes[1])
    assert "\n" not in str(outcomes[1])


def test_a_task_that_no_node_can_hold_is_refused_at_once() -> None:
    nodes = [Node("line 3", "ab", num_cpus=4, num_gpus=0, memory_mb=8000)]
    Needs(num_cpus=4, memory_mb=8000).check(nodes)
    for needs in (Needs(num_cpus=5), Needs(num_gpus=1), Needs(memory_mb=8001)):
        with pytest.raises(SettingsError, match="no node has") as caught:
            needs.check(nodes)
        assert "line 3: 4 CPUs, 0 GPUs, 8000 MB" in str(caught.value)
