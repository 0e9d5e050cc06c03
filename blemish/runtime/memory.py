"""What to do when memory runs out: engines and decoders say it in words of their own, and smaller batches may fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blemish.errors import EngineError, ImageError

_log = logging.getLogger(__name__)

_WORDS = re.compile(r"failed to allocate|bad_alloc|bad allocation|insufficient memory|out of memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the same work may succeed with less of it at a time.

    >>> is_out_of_memory(EngineError("ONNX Runtime cannot run the graph: Failed to allocate memory for 9 bytes"))
    True
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, (EngineError, ImageError)) and _WORDS.search(str(error)) is not None
    )


class Runner(Protocol):
    """What runs a graph, such as `blemish.runtime.session.GraphRunner`."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...


class BatchRunner:
    """Runs batches, in smaller parts once memory has run out; a single image that does not fit is an error."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._most: int | None = None

    def run(self, name: str, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All outputs by name, for the whole batch given to the input `name`. Raises EngineError."""
        most = self._most or len(batch)
        parts = []
        start = 0
        while start < len(batch):
            try:
                parts.append(self._runner.run({name: batch[start : start + most]}))
            except (EngineError, MemoryError) as error:
                if most == 1 or not is_out_of_memory(error):
                    raise
                most = self._most = most // 2
                _log.warning("memory ran out: going on with %d images at a time", most)
                continue
            start += most
        return parts[0] if len(parts) == 1 else {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
