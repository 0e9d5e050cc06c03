"""Post-training quantization by ONNX Runtime: convolutions of a graph in int8."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from blemish.errors import EngineError
from blemish.schema import Image


def quantize_convolutions(graph: bytes, images: Sequence[Image], names: Sequence[str]) -> bytes:
    """The graph with the named convolutions in int8: weights by channel, inputs in the range seen on `images`.

    What the convolutions give stays in f32. Raises EngineError where the graph cannot be quantized.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "graph.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(graph)
        try:
            quantize_static(
                source,
                target,
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_quantize=list(names),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
            )
        except Exception as error:  # the tool raises whatever its parts raise
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise EngineError(f"ONNX Runtime cannot quantize the graph: {line}") from error
        return target.read_bytes()


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the images to the tool one by one."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tool prints to standard output, which belongs to the results, and warns of steps that change nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
