"""Runs independent tasks, several at once, and hands back each outcome as it comes; one failure stops no other.

Each worker is a pool of one process. In a pool of several, of the standard library as of loky, a process that is
killed fails the tasks of all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from blemish.errors import EngineError
from blemish.runtime.threads import budget

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 2
"""How often a task is begun again whose worker was lost; an error of the task itself is final."""


class Executor(Protocol):
    """Where tasks run: in this process, which can watch them, or elsewhere.

    Then tasks, results and the function must be plain enough to be sent to another process.
    """

    @property
    def shares_process(self) -> bool: ...

    @property
    def threads(self) -> int:
        """The threads that each task may use."""

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        """Each task with its result, or with the error that it ended with, in the order they end."""


class LocalExecutor:
    """The cores of this machine, or as many `threads`, shared by `num_workers` processes: by default one for every two.

    Each fit uses two threads well and more of them badly, so that more workers beat more threads.
    """

    def __init__(self, num_workers: int = 0, threads: int = 0) -> None:
        in_all = budget(threads)
        self.num_workers = num_workers or max(1, in_all // 2)
        self._threads = max(1, in_all // self.num_workers)

    @property
    def shares_process(self) -> bool:
        return self.num_workers == 1

    @property
    def threads(self) -> int:
        return self._threads

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        if not self.shares_process:
            yield from self._run_elsewhere(function, tasks)
            return
        for task in tasks:
            try:
                yield task, function(task)
            except Exception as error:  # one failed task must not stop the others
                yield task, error

    def _run_elsewhere(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        waiting = deque((task, 1) for task in tasks)
        idle = [_Worker(self.threads) for _ in range(min(self.num_workers, len(tasks)))]
        workers = list(idle)
        running: dict[Future[Result], tuple[_Worker, Task, int]] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    worker, (task, beginning) = idle.pop(), waiting.popleft()
                    running[worker.begin(function, task)] = worker, task, beginning
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, task, beginning = running.pop(future)
                    idle.append(worker)
                    fault = future.exception()
                    if not isinstance(fault, BrokenProcessPool):
                        yield task, future.result() if fault is None else fault
                    elif beginning <= RETRIES:
                        waiting.append((task, beginning + 1))
                    else:
                        yield task, EngineError(f"its worker was lost {beginning} times: killed, or out of memory")
        finally:  # all is done, or interrupted, or nobody listens any more
            for worker in workers:
                worker.end()


class _Worker:
    """A process that does one task after the other; where it was lost, the next task gets a new one."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = self._start()

    def begin(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        try:
            return self._pool.submit(function, task)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = self._start()
            return self._pool.submit(function, task)

    def end(self) -> None:
        """Ends the process, in the middle of its task if it has one: the pool would finish that first."""
        for process in list(self._pool._processes.values()):
            process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        # Started anew rather than forked: the engines' threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=_set_up, initargs=(self._threads,))


def _set_up(threads: int) -> None:
    """In a new worker, before the libraries that read this variable are imported."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began it ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose process was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
