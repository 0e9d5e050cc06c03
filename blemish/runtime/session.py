"""Runs a detector's graph: uint8 images in, predictions out."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from blemish.errors import EngineError, EngineWarning
from blemish.runtime.engines import DEFAULT_ENGINE, Runner, open_runner
from blemish.schema import Image, Prediction


class Session:
    """A detector's graph, ready to run by one engine; safe to use from several threads, and can be pickled.

    `graph` is serialized ONNX, or what an engine has loaded already. `input_hw` is the size that images must have,
    `engine` what runs the graph. `threads` 0 lets the engine use all physical cores. Raises EngineError where the
    engine cannot load the graph.
    """

    def __init__(self, graph: bytes | Runner, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> None:
        self.engine = engine
        self._open = functools.partial(Session, graph, engine=engine, threads=threads)
        self._runner = open_runner(graph, engine=engine, threads=threads) if isinstance(graph, bytes) else graph
        if self._runner.input_names != ("image",) or not {"anomaly_map", "anomaly_score"} <= set(
            self._runner.output_names
        ):
            raise EngineError(
                f"not a detector's graph: inputs {self._runner.input_names}, outputs {self._runner.output_names}; "
                "expected image -> anomaly_map, anomaly_score"
            )
        _, height, width, _ = self._runner.input_shapes["image"]
        self.input_hw: tuple[int, int] = (int(height), int(width))
        self.map_hw = self._try()

    def __reduce__(self) -> tuple[Callable[[], Session], tuple[()]]:
        """In another process the graph is loaded anew: engines cannot be sent."""
        return self._open, ()

    def _try(self) -> tuple[int, int]:
        """The size of the map of a gray image, once the graph gives what a detector's graph gives."""
        outputs = self._runner.run({"image": np.full((1, *self.input_hw, 3), 128, np.uint8)})
        found = {name: (value.dtype, value.shape) for name, value in outputs.items()}
        height, width = outputs["anomaly_map"].shape[1:] if outputs["anomaly_map"].ndim == 3 else (0, 0)
        expected = {
            "anomaly_map": (np.dtype(np.float32), (1, height, width)),
            "anomaly_score": (np.dtype(np.float32), (1,)),
            "reconstruction": (np.dtype(np.uint8), (1, *self.input_hw, 3)),
        }
        for name, (dtype, shape) in found.items():
            if expected.get(name) != (dtype, shape):
                raise EngineError(
                    f"the graph gives {name} as {dtype} {list(shape)} for one image; expected was anomaly_map as "
                    "float32 [1, height, width] and anomaly_score as float32 [1]; train anew"
                )
        if not all(np.isfinite(outputs[name]).all() for name in ("anomaly_map", "anomaly_score")):
            raise EngineError("the graph gives values that are no numbers for a gray image; train anew")
        return height, width

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction for each image; all are run as one batch."""
        batch = np.stack(images)
        outputs = self._runner.run({"image": batch})
        if outputs["anomaly_map"].shape != (len(batch), *self.map_hw) or outputs["anomaly_score"].shape != (
            len(batch),
        ):
            raise EngineError(
                f"the graph gives a map of {list(outputs['anomaly_map'].shape)} for {len(batch)} images, where for one "
                f"it gave {list(self.map_hw)}; train anew"
            )
        reconstructions = outputs.get("reconstruction")
        return [
            Prediction(
                float(outputs["anomaly_score"][index]),
                outputs["anomaly_map"][index],
                None if reconstructions is None else reconstructions[index],
            )
            for index in range(len(batch))
        ]


def open_session(graph: bytes, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> Session:
    """The graph run by `engine`, or by the default one where that fails to load: then an EngineWarning says so.

    A station keeps judging after an update has broken the faster engine. Raises EngineError where both fail.
    """
    try:
        return Session(graph, engine=engine, threads=threads)
    except EngineError as error:
        if engine == DEFAULT_ENGINE:
            raise
        session = Session(graph, threads=threads)
        warnings.warn(f"{engine} is not used: {error}; {DEFAULT_ENGINE} runs instead", EngineWarning, stacklevel=2)
        return session
