"""Runs a detector's graph: uint8 images in, predictions out."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self.tried = self._try()
        """What the graph said of a gray image when it was opened."""
        self.map_hw: tuple[int, int] = (self.tried.anomaly_map.shape[0], self.tried.anomaly_map.shape[1])

    def __reduce__(self) -> tuple[Callable[[], Session], tuple[()]]:
        """In another process the graph is loaded anew: engines cannot be sent."""
        return self._open, ()

    def _try(self) -> Prediction:
        """Runs one gray image: what is not given as a detector's graph gives it is found before the first part."""
        outputs = self._runner.run({"image": np.full((1, *self.input_hw, 3), 128, np.uint8)})
        expected = {
            "anomaly_map": (np.float32, (1, *outputs["anomaly_map"].shape[1:])),
            "anomaly_score": (np.float32, (1,)),
            "reconstruction": (np.uint8, (1, *self.input_hw, 3)),
        }
        for name, (dtype, shape) in expected.items():
            found = outputs.get(name)
            if found is not None and (found.dtype != dtype or found.shape != shape):
                raise EngineError(
                    f"the graph gives {name} as {found.dtype} {list(found.shape)} for one image, not as "
                    f"{np.dtype(dtype)} {list(shape)}; train anew"
                )
        if outputs["anomaly_map"].ndim != 3:
            raise EngineError(f"the graph gives a map of shape {list(outputs['anomaly_map'].shape)}; train anew")
        return _predictions(outputs, 1)[0]

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
        return _predictions(outputs, len(batch))


def _predictions(outputs: Mapping[str, NDArray[Any]], count: int) -> list[Prediction]:
    reconstructions = outputs.get("reconstruction")
    return [
        Prediction(
            float(outputs["anomaly_score"][index]),
            outputs["anomaly_map"][index],
            None if reconstructions is None else reconstructions[index],
        )
        for index in range(count)
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
