"""Runs independent tasks, several at once, and hands back each outcome as it comes; one failure stops no other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Where tasks run: in this process, which can watch them, or elsewhere.

    Then tasks, results and the function must be plain enough to be sent to another process.
    """

    @property
    def shares_process(self) -> bool: ...

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        """Each task with its result, or with the error that it ended with, in the order they end."""


class LocalExecutor:
    """The cores of this machine: `num_workers` processes, by default one for every two cores.

    Each fit uses two threads well and more of them badly, so that more workers beat more threads.
    """

    def __init__(self, num_workers: int = 0) -> None:
        self.num_workers = num_workers or max(1, (os.cpu_count() or 1) // 2)

    @property
    def shares_process(self) -> bool:
        return self.num_workers == 1

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        if self.shares_process:
            for task in tasks:
                try:
                    yield task, function(task)
                except Exception as error:  # one failed task must not stop the others
                    yield task, error
            return
        # Started anew rather than forked: the engines' threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // self.num_workers)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            self.num_workers, mp_context=context, initializer=_limit_threads, initargs=(threads,)
        ) as pool:
            futures = {pool.submit(function, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    fault = future.exception()
                    yield futures[future], future.result() if fault is None else fault
            except BaseException:  # interrupted, or nobody listens any more: the pool would finish all tasks first
                pool.shutdown(wait=False, cancel_futures=True)
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                raise


def _limit_threads(threads: int) -> None:
    """Read by the libraries when they are first imported, which is after this."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
