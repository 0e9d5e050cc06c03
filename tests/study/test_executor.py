"""Tasks of a study share the machine; what becomes of one of them is no other's fault."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from blemish.errors import EngineError
from blemish.study import run as run_module
from blemish.study.executor import LocalExecutor
from blemish.study.plan import plan_study
from blemish.study.run import run_task
from blemish.workflow.train import TrainRequest

KILL_ITSELF = "__import__('os').kill(__import__('os').getpid(), 9)"
"""Tasks are expressions for `eval`, which every process knows."""


def killed_once(mark: Path) -> str:
    """A task whose worker dies the first time."""
    return f"(mark := __import__('pathlib').Path({str(mark)!r})).exists() or (mark.touch(), {KILL_ITSELF})"


def wait_for(path: Path) -> int:
    """The process number that a task has written to a file."""
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text(encoding="utf-8"))
        time.sleep(0.1)
    raise TimeoutError(path)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False


def sleep_and_tell(path: Path, seconds: float) -> str:
    write = f"__import__('pathlib').Path({str(path)!r}).write_text(str(__import__('os').getpid()))"
    return f"({write}, __import__('time').sleep({seconds}))[1]"


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_every_task_comes_back_once_with_its_result_or_its_error(num_workers: int) -> None:
    tasks = ["1 + 1", "1 / 0", "'x' * 3", "nowhere", "[][1]"]
    outcomes = dict(LocalExecutor(num_workers).run(eval, tasks))
    assert set(outcomes) == set(tasks)
    assert (outcomes["1 + 1"], outcomes["'x' * 3"]) == (2, "xxx")
    errors = [type(outcomes[task]) for task in ("1 / 0", "nowhere", "[][1]")]
    assert errors == [ZeroDivisionError, NameError, IndexError]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_task_whose_worker_was_lost_is_done_again_and_all_others_finish(tmp_path: Path) -> None:
    tasks = [killed_once(tmp_path / "mark"), "1", "2", "3", "4", "5"]
    outcomes = dict(LocalExecutor(2).run(eval, tasks))
    assert [outcomes[task] for task in tasks] == [True, 1, 2, 3, 4, 5]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_task_that_loses_each_worker_is_reported_and_all_others_finish() -> None:
    outcomes = dict(LocalExecutor(2).run(eval, [KILL_ITSELF, "1", "2", "3"]))
    fault = outcomes.pop(KILL_ITSELF)
    assert isinstance(fault, EngineError)
    assert str(fault) == "its worker was lost 3 times: killed, or out of memory"
    assert outcomes == {"1": 1, "2": 2, "3": 3}


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_worker_killed_from_outside_costs_the_others_nothing(tmp_path: Path) -> None:
    """The one killed is in the middle of its task, and another one too, which is not begun again."""
    first, second = tmp_path / "first", tmp_path / "second"
    tasks = [sleep_and_tell(first, 2.0), f"open({str(second)!r}, 'a').write('x')"]
    killer = threading.Thread(target=lambda: os.kill(wait_for(first), signal.SIGKILL))
    killer.start()
    outcomes = dict(LocalExecutor(2).run(eval, tasks))
    killer.join()
    assert outcomes == {tasks[0]: None, tasks[1]: 1}
    assert second.read_text(encoding="utf-8") == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_worker_killed_between_its_tasks_is_replaced() -> None:
    tasks = ["__import__('os').getpid()", *[f"__import__('time').sleep(0.5) or {number}" for number in range(4)]]
    found = []
    for task, outcome in LocalExecutor(2).run(eval, tasks):
        found.append((task, isinstance(outcome, int)))
        if task == tasks[0]:
            assert isinstance(outcome, int)
            os.kill(outcome, signal.SIGKILL)
            time.sleep(0.2)
    assert sorted(found) == sorted((task, True) for task in tasks)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_who_stops_listening_does_not_wait_for_what_runs(tmp_path: Path) -> None:
    tasks = ["1", *[sleep_and_tell(tmp_path / f"{number}", 300.0) for number in range(3)]]
    outcomes = LocalExecutor(2).run(eval, tasks)
    start = time.perf_counter()
    assert next(iter(outcomes)) == ("1", 1)
    running = wait_for(tmp_path / "0")
    outcomes.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - start < 60
    assert not is_alive(running)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_when_the_process_that_began_them_is_killed(tmp_path: Path) -> None:
    tasks = [sleep_and_tell(tmp_path / name, 300.0) for name in ("first", "second")]
    code = (
        "from blemish.study.executor import LocalExecutor\n"
        f"if __name__ == '__main__': list(LocalExecutor(2).run(eval, {tasks!r}))\n"
    )
    script = tmp_path / "study.py"
    script.write_text(code, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL) as process:
        workers = [wait_for(tmp_path / name) for name in ("first", "second")]
        process.kill()
    for _ in range(100):
        if not any(map(is_alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(is_alive, workers))


class TestThreads:
    """The cores are shared out among the tasks that run at once."""

    def test_a_task_trains_and_judges_with_its_share(
        self, product_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [task] = plan_study([product_folder], ["template"], tmp_path, size=64)
        asked: list[int] = []
        real_train, real_inspector = run_module.train, run_module.Inspector

        def train(request: TrainRequest) -> Any:
            asked.append(request.threads)
            return real_train(request)

        def inspector(bundle: Any, *, threads: int) -> Any:
            asked.append(threads)
            return real_inspector(bundle, threads=threads)

        monkeypatch.setattr(run_module, "train", train)
        monkeypatch.setattr(run_module, "Inspector", inspector)
        run_task(task, threads=3)
        assert asked == [3, 3]
