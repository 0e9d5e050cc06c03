"""Runs a graph: uint8 images in, predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from blemish.errors import EngineError
from blemish.schema import Image, Prediction


class GraphRunner:
    """Any ONNX graph, run by ONNX Runtime on the CPU; safe to use from several threads.

    `threads` 0 lets the runtime use all physical cores.
    """

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises classes of its own that share no base
            raise EngineError(f"ONNX Runtime cannot load the graph: {str(error).splitlines()[0]}") from error
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self.output_names = tuple(value.name for value in self._session.get_outputs())
        self.input_shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises EngineError."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime cannot run the graph: {str(error).splitlines()[0]}") from error
        return dict(zip(self.output_names, values, strict=True))


class Session:
    """A detector's graph, ready to run.

    `input_hw` is the size that images must have.
    """

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        self._runner = GraphRunner(graph, threads=threads)
        if self._runner.input_names != ("image",) or not {"anomaly_map", "anomaly_score"} <= set(
            self._runner.output_names
        ):
            raise EngineError(
                f"not a detector's graph: inputs {self._runner.input_names}, outputs {self._runner.output_names}; "
                "expected image -> anomaly_map, anomaly_score"
            )
        _, height, width, _ = self._runner.input_shapes["image"]
        self.input_hw: tuple[int, int] = (int(height), int(width))

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction for each image; all are run as one batch."""
        batch = np.stack(images)
        outputs = self._runner.run({"image": batch})
        reconstructions = outputs.get("reconstruction")
        return [
            Prediction(
                float(outputs["anomaly_score"][index]),
                outputs["anomaly_map"][index],
                None if reconstructions is None else reconstructions[index],
            )
            for index in range(len(batch))
        ]
