"""The engines that can run a graph: a hand-written table; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from blemish.errors import EngineError, SettingsError
from blemish.spelling import did_you_mean, find_name

DEFAULT_ENGINE = "onnxruntime"
"""The engine that comes with the package; detectors are fitted and calibrated with it."""
AUTO = "auto"
"""Stands where an engine may be named: the fastest one with equal verdicts (see `blemish.workflow.engine_choice`)."""


class Runner(Protocol):
    """A graph loaded by an engine; `run` may be called from several threads at once."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_shapes: dict[str, tuple[Any, ...]]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises EngineError."""


@dataclass(frozen=True)
class Engine:
    """One way to run a graph. `open` takes the graph and the number of threads; `lacks` says why it cannot run here."""

    summary: str
    open: Callable[[bytes, int], Runner]
    lacks: Callable[[], str]


def _onnx(summary: str, provider: str, remedy: str) -> Engine:
    def open_runner(graph: bytes, threads: int) -> Runner:
        from blemish.runtime.onnx_runner import GraphRunner

        return GraphRunner(graph, threads=threads, provider=provider)

    def lacks() -> str:
        from blemish.runtime.onnx_runner import available_providers

        if provider in available_providers():
            return ""
        return f"this ONNX Runtime has no {provider}: {remedy}"

    return Engine(summary, open_runner, lacks)


def _openvino(summary: str, precision: Any) -> Engine:
    def open_runner(graph: bytes, threads: int) -> Runner:
        from blemish.runtime.openvino_runner import OpenVinoRunner

        return OpenVinoRunner(graph, threads=threads, precision=precision)

    def lacks() -> str:
        try:
            runner = importlib.import_module("blemish.runtime.openvino_runner")
        except ModuleNotFoundError:
            return 'OpenVINO is not installed: pip install "blemish[openvino]"'
        return "" if precision == "f32" or runner.cpu_has_bf16() else "this CPU does not compute in bf16"

    return Engine(summary, open_runner, lacks)


ENGINES: Mapping[str, Engine] = {
    DEFAULT_ENGINE: _onnx("ONNX Runtime on the CPU, f32", "CPUExecutionProvider", "install onnxruntime anew"),
    "onnxruntime-cuda": _onnx(
        "ONNX Runtime on an NVIDIA GPU", "CUDAExecutionProvider", "install onnxruntime-gpu in its place"
    ),
    "onnxruntime-directml": _onnx(
        "ONNX Runtime on a Windows GPU", "DmlExecutionProvider", "install onnxruntime-directml in its place"
    ),
    "onnxruntime-coreml": _onnx(
        "ONNX Runtime on an Apple chip", "CoreMLExecutionProvider", "it comes with onnxruntime on macOS alone"
    ),
    "openvino": _openvino("OpenVINO on the CPU, f32", "f32"),
    "openvino-bf16": _openvino("OpenVINO on the CPU, bf16: faster, less precise", "bf16"),
}
"""Name -> engine."""


def engine_names() -> tuple[str, ...]:
    """All names that `open_runner` knows, whether they can run here or not."""
    return tuple(ENGINES)


def check_engine(name: str) -> str:
    """The name of an engine, or "auto", as this module has it. Raises SettingsError for any other."""
    return _known(name, (AUTO, *ENGINES))


def _known(name: str, names: tuple[str, ...]) -> str:
    found = find_name(name, names)
    if found is None:
        raise SettingsError(
            f"no engine is called '{name}'{did_you_mean(name, names) or '; there are ' + ', '.join(names)}"
        )
    return found


def what_lacks(name: str) -> str:
    """Why an engine cannot run on this machine, "" where it can as far as is known before a graph is loaded."""
    try:
        return ENGINES[name].lacks()
    except Exception as error:  # a broken installation raises anything, from OSError to RuntimeError
        return f"{name} cannot be started: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def available_engines() -> tuple[str, ...]:
    """The engines that this machine can run."""
    return tuple(name for name in ENGINES if not what_lacks(name))


def open_runner(graph: bytes, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> Runner:
    """The graph loaded by an engine. Raises EngineError where it cannot, SettingsError for an unknown name."""
    engine = _known(engine, tuple(ENGINES))
    lacking = what_lacks(engine)
    if lacking:
        raise EngineError(lacking)
    return ENGINES[engine].open(graph, threads)
