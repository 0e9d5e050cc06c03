"""Reads a convolutional backbone's graph as plain steps, for those who build it again elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blemish.boundary import boundary
from blemish.errors import BackboneError
from blemish.graph.builder import needed_nodes

Padding = tuple[int, int, int, int] | None


@dataclass(frozen=True)
class ConvStep:
    """A convolution: weight (out, in / groups, rows, columns).

    `padding` is top, left, bottom, right; None means as much as gives `ceil(size / stride)` positions, the odd one
    at the lower right (ONNX's SAME_UPPER).
    """

    output: str
    input: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: tuple[int, int]
    padding: Padding
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class ClipStep:
    """Values limited to `low` to `high`; a rectifier has no upper limit (infinity)."""

    output: str
    input: str
    low: float
    high: float


@dataclass(frozen=True)
class AddStep:
    """The sum of two values."""

    output: str
    inputs: tuple[str, str]


Step = ConvStep | ClipStep | AddStep


@dataclass(frozen=True)
class ReadGraph:
    """The steps, in their order, from the value `input` to all wanted outputs."""

    input: str
    steps: tuple[Step, ...]


def read_convolutions(path: Path, outputs: Sequence[str]) -> ReadGraph:
    """The steps of an ONNX file that the named outputs need.

    Raises `BackboneError` where an output is missing or a node is of another kind than Conv, Clip, Relu and Add.
    """
    with boundary(path, BackboneError, "not a readable ONNX file: fetch or convert it again"):
        model = onnx.load(path)
        known = {output.name for output in model.graph.output}
        for name in outputs:
            if name not in known:
                raise BackboneError(f"{path.name}: no output '{name}'; the graph gives {', '.join(sorted(known))}")
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        steps = tuple(_read_node(path, node, constants) for node in needed_nodes(model.graph, outputs))
        return ReadGraph(model.graph.input[0].name, steps)


def _read_node(path: Path, node: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> Step:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    output = node.output[0]
    if node.op_type == "Conv" and node.input[1] in constants:
        weight = constants[node.input[1]].astype(np.float32)
        has_bias = len(node.input) > 2
        bias = constants[node.input[2]].astype(np.float32) if has_bias else np.zeros(len(weight), np.float32)
        automatic = attributes.get("auto_pad", b"NOTSET").decode()
        if automatic in ("NOTSET", "VALID", "SAME_UPPER"):
            return ConvStep(
                output,
                node.input[0],
                weight,
                bias,
                _pair(attributes.get("strides", (1, 1))),
                None if automatic == "SAME_UPPER" else _four(attributes.get("pads", (0, 0, 0, 0))),
                _pair(attributes.get("dilations", (1, 1))),
                int(attributes.get("group", 1)),
            )
    if node.op_type == "Relu":
        return ClipStep(output, node.input[0], 0.0, float("inf"))
    if node.op_type == "Clip" and len(node.input) == 3:
        low, high = (float(constants[name]) for name in node.input[1:])
        return ClipStep(output, node.input[0], low, high)
    if node.op_type == "Add" and not constants.keys() & set(node.input):
        return AddStep(output, (node.input[0], node.input[1]))
    raise BackboneError(
        f"{path.name}: node '{node.name or output}' ({node.op_type}) cannot be trained on: detectors with learned "
        "weights need a backbone of convolutions, rectifiers and sums, such as efficientnet-lite0"
    )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _four(values: Sequence[int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = values
    return int(top), int(left), int(bottom), int(right)
