"""Any ONNX graph, run by OpenVINO on the CPU; imported only where that engine is asked for."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino
from numpy.typing import NDArray

from blemish.errors import EngineError

Precision = Literal["f32", "bf16"]


class OpenVinoRunner:
    """A graph run by OpenVINO on the CPU: ONNX, or OpenVINO's own form with its `weights`.

    Safe to use from several threads.

    The graph is compiled for one image at a time, which is faster than for any number of them; the form for batches is
    compiled when the first batch comes. `threads` 0 lets OpenVINO use all physical cores; with 1, several calls at once
    are run by a core each.
    """

    def __init__(self, graph: bytes, *, weights: bytes = b"", threads: int = 0, precision: Precision = "f32") -> None:
        self._core = openvino.Core()
        if precision == "bf16" and not cpu_has_bf16(self._core):
            raise EngineError("this CPU does not compute in bf16")
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads == 1:
            # Callers at the same time get a thread each, as with ONNX Runtime; with one stream they would take turns.
            _, most = self._core.get_property("CPU", "RANGE_FOR_STREAMS")
            self._config.update(NUM_STREAMS=most, INFERENCE_NUM_THREADS=most)
        elif threads:
            self._config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = self._core.read_model(graph, weights)
            self.input_names = tuple(value.any_name for value in self._model.inputs)
            self.output_names = tuple(value.any_name for value in self._model.outputs)
            self.input_shapes: dict[str, tuple[Any, ...]] = {
                value.any_name: _shape(value.partial_shape) for value in self._model.inputs
            }
            single = self._model.clone()
            single.reshape({value.any_name: [1, *list(value.partial_shape)[1:]] for value in single.inputs})
            self._single = _Requests(self._core.compile_model(single, "CPU", self._config))
        except Exception as error:  # the engine raises RuntimeError and classes of its own
            raise EngineError(f"OpenVINO cannot load the graph: {_first_line(error)}") from error
        self._batched: _Requests | None = None
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises EngineError."""
        is_single = all(value.shape[:1] == (1,) for value in inputs.values())
        try:
            requests = self._single if is_single else self._for_batches()
            return requests.run(inputs, self.output_names)
        except Exception as error:  # as above
            raise EngineError(f"OpenVINO cannot run the graph: {_first_line(error)}") from error

    def _for_batches(self) -> _Requests:
        with self._lock:
            if self._batched is None:
                self._batched = _Requests(self._core.compile_model(self._model, "CPU", self._config))
            return self._batched


class _Requests:
    """A compiled graph with as many requests as threads have used at once: a request serves one thread at a time."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def run(self, inputs: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(inputs), share_inputs=True)
            # The request's own memory is written over by the next run.
            return {name: np.array(request.get_tensor(name).data) for name in names}
        finally:
            self._idle.put(request)


def convert(graph: bytes) -> tuple[bytes, bytes]:
    """An ONNX graph in OpenVINO's own form: the graph as XML, and its weights in f32. Raises EngineError."""
    try:
        model = openvino.Core().read_model(graph, b"")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.xml"
            openvino.save_model(model, path, compress_to_fp16=False)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except Exception as error:  # the engine raises RuntimeError and classes of its own
        raise EngineError(f"OpenVINO cannot convert the graph: {_first_line(error)}") from error


def cpu_has_bf16(core: openvino.Core | None = None) -> bool:
    """Whether OpenVINO computes in bf16 on this CPU faster than in f32."""
    return "BF16" in (core or openvino.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _shape(shape: openvino.PartialShape) -> tuple[int | str, ...]:
    return tuple(value.get_length() if value.is_static else "batch" for value in shape)


def _first_line(error: Exception) -> str:
    """What an engine's message of several lines says; its first lines name source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0]
