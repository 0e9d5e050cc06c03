"""Runs independent tasks on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from blemish.cluster.connect import Node, first_line
from blemish.errors import EngineError, SettingsError

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3
"""How often a task is begun again whose worker was lost; an error of the task itself is final."""


@dataclass(frozen=True)
class Needs:
    """What Ray sets aside for one task while it runs."""

    num_cpus: float = 2.0
    num_gpus: float = 0.0
    memory_mb: float = 2000.0

    def check(self, nodes: Sequence[Node]) -> None:
        """Raises SettingsError where no node could ever run such a task: Ray would wait for one."""
        for node in nodes:
            enough_cpus = node.num_cpus >= self.num_cpus and node.num_gpus >= self.num_gpus
            if enough_cpus and node.memory_mb >= self.memory_mb:
                return
        offers = "; ".join(
            f"{node.name}: {node.num_cpus:g} CPUs, {node.num_gpus:g} GPUs, {node.memory_mb:.0f} MB"
            for node in nodes[:3]
        )
        raise SettingsError(
            f"no node has the {self.num_cpus:g} CPUs, {self.num_gpus:g} GPUs and {self.memory_mb:.0f} MB that one task "
            f"asks for ({offers}); ask for less with --task-cpus, --task-gpus or --task-memory-mb"
        )


class RayExecutor:
    """The nodes of the Ray cluster that this process is connected to (see `connected`)."""

    shares_process = False

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    @property
    def threads(self) -> int:
        return max(1, int(self.needs.num_cpus))

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | BaseException]]:
        import ray

        def work(task: Task) -> Result:  # Ray takes functions alone, no other callables
            return function(task)

        remote = ray.remote(
            num_cpus=self.needs.num_cpus,
            num_gpus=self.needs.num_gpus,
            memory=round(self.needs.memory_mb * 1e6),
            max_retries=RETRIES,
        )(work)
        waiting = {remote.remote(task): task for task in tasks}
        try:
            while waiting:
                [done], _ = ray.wait(list(waiting), num_returns=1)
                yield waiting.pop(done), _outcome(done)
        finally:  # interrupted, or nobody listens any more
            for reference in waiting:
                ray.cancel(reference, force=True)


def _outcome(reference: Any) -> Any:
    """The result, the error that the task ended with, or an error that says how its worker was lost."""
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        return error.cause
    except OutOfMemoryError:
        return EngineError("its node ran out of memory again and again; ask for more with --task-memory-mb")
    except RayError as error:
        return EngineError(f"its worker was lost {RETRIES + 1} times, the last time so: {first_line(error)}")
