"""Any ONNX graph, run by ONNX Runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from blemish.errors import EngineError
from blemish.runtime.threads import usable_cores

CPU_PROVIDER = "CPUExecutionProvider"


class GraphRunner:
    """Any ONNX graph, run by ONNX Runtime; safe to use from several threads.

    `threads` 0 lets the runtime use all physical cores, or those that this process may run on. What another `provider`
    cannot run stays on the CPU.
    """

    def __init__(self, graph: bytes, *, threads: int = 0, provider: str = CPU_PROVIDER) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _allowed_threads()
        options.log_severity_level = 3
        providers = list(dict.fromkeys([provider, CPU_PROVIDER]))
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # the runtime raises classes of its own that share no base
            raise EngineError(f"ONNX Runtime cannot load the graph: {_say_load_error(error)}") from error
        if provider not in self._session.get_providers():  # it goes on without one that fails to start
            raise EngineError(f"ONNX Runtime could not start {provider} on this machine")
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self.output_names = tuple(value.name for value in self._session.get_outputs())
        self.input_shapes: dict[str, tuple[Any, ...]] = {
            value.name: tuple(value.shape) for value in self._session.get_inputs()
        }

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises EngineError."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime cannot run the graph: {str(error).splitlines()[0]}") from error
        return {name: np.asarray(value) for name, value in zip(self.output_names, values, strict=True)}


def _allowed_threads() -> int:
    """The number of cores that this process is held to, 0 where it may use all: the runtime does not look."""
    cores = usable_cores()
    return cores if cores < (os.cpu_count() or 1) else 0


def _say_load_error(error: Exception) -> str:
    """The first line of what the runtime says, or what it means where it is known."""
    newer = re.search(r"Opset (\d+) is under development.*till opset (\d+)", str(error))
    if newer is None:
        return str(error).splitlines()[0]
    return (
        f"it is written in ONNX opset {newer[1]}, this ONNX Runtime knows {newer[2]} at most; update onnxruntime, "
        "or train anew with this version"
    )


def available_providers() -> tuple[str, ...]:
    """The execution providers that this installation of ONNX Runtime holds."""
    return tuple(onnxruntime.get_available_providers())
