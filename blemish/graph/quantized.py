"""Convolutions and memory banks of a detector's graph in int8; every other node keeps its exact values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from blemish.graph.builder import needed_nodes
from blemish.graph.rounding import LARGEST, Scale, Seen, round_weights

LEAST_CHANNELS = 8
"""A convolution over fewer input channels has too few terms for their rounding to cancel."""
REACH = 2.0
"""How far out embeddings are kept before a bank, in shares of the farthest value of good images: defects lie out."""


@dataclass(frozen=True)
class Roundable:
    """What of a graph bears 8 bits: names of convolutions and of products with memory banks."""

    convolutions: tuple[str, ...]
    banks: tuple[str, ...]


def find_roundable(graph: bytes) -> Roundable:
    """The convolutions that sum over many channels, and the banks that `nearest_distance` has built in.

    Depthwise convolutions and the first one stay in f32: on EfficientNet-Lite 0 they brought three quarters of the
    error of the features and little speed.
    """
    parts = _Parts(graph)
    convolutions = (
        node.name
        for node in parts.nodes
        if node.op_type == "Conv" and parts.is_constant(node.input[1])
        if parts.constant(node.input[1]).ndim == 4 and parts.constant(node.input[1]).shape[1] >= LEAST_CHANNELS
    )
    banks = (node.name for node in parts.nodes if node.op_type == "MatMul" and parts.bank_input(node))
    return Roundable(tuple(convolutions), tuple(banks))


def with_outputs(graph: bytes, roundable: Roundable) -> tuple[bytes, tuple[str, ...]]:
    """The graph that gives what the roundable nodes read in place of its own outputs, and the names of these values."""
    parts = _Parts(graph)
    values = tuple(dict.fromkeys(parts.read_by(node) for node in parts.named(roundable)))
    model = onnx.shape_inference.infer_shapes(parts.model)
    known = {value.name: value for value in model.graph.value_info}
    del model.graph.output[:]
    model.graph.output.extend(known[name] for name in values)
    return bytes(model.SerializeToString()), values


def see(value: NDArray[np.float32]) -> Seen:
    """What a value of `with_outputs` tells: [batch, channels, rows, columns] or [batch, positions, channels]."""
    channels_last = np.moveaxis(value, 1, -1) if value.ndim == 4 else value
    return Seen.of(channels_last.reshape(-1, channels_last.shape[-1]))


def round_graph(graph: bytes, roundable: Roundable, seen: Mapping[str, Seen]) -> bytes:
    """The graph with the roundable nodes in int8, for values as `seen`.

    Rounded values are read by these nodes alone: the sums of residual blocks, and the features that distances are
    taken of, stay exact. (OpenVINO moreover computes wrong borders of an AveragePool that reads rounded values.)
    """
    parts = _Parts(graph)
    writer = _Writer()
    convolutions, banks = set(roundable.convolutions), set(roundable.banks)
    embeddings = {parts.bank_input(node) for node in parts.nodes if node.name in banks}
    rounded: dict[str, str] = {}
    for node in parts.nodes:
        if node.op_type == "Conv" and node.name in convolutions:
            value = node.input[0]
            scale = Scale.over(seen[value].low, seen[value].high)
            if value not in rounded:
                rounded[value] = writer.round(value, scale.step, scale.zero)
            _round_convolution(writer, parts, node, rounded[value], seen[value], float(scale.step) ** 2 / 12)
            continue
        if node.name in banks:
            _round_bank(writer, parts, node, rounded[parts.bank_input(node)])
            continue
        if node.op_type == "ReduceSumSquare" and node.input[0] in embeddings:
            node.input[0] = rounded[node.input[0]]  # the length belongs to the values that the products are of
        writer.nodes.append(node)
        for value in embeddings.intersection(node.output):
            step = max(REACH * seen[value].farthest / LARGEST, 1e-9)
            rounded[value] = writer.round(value, np.float32(step), np.int8(0))
    return writer.build(parts.model)


def _round_convolution(
    writer: _Writer, parts: _Parts, node: onnx.NodeProto, value: str, seen: Seen, noise: float
) -> None:
    weights = parts.constant(node.input[1])
    outputs, channels = weights.shape[:2]
    steps = np.maximum(np.abs(weights).reshape(outputs, -1).max(axis=1) / LARGEST, 1e-12).astype(np.float32)
    bias = parts.constant(node.input[2]) if len(node.input) > 2 else np.zeros(outputs, np.float32)
    stored, shifted = np.empty(weights.shape, np.int8), bias.copy()
    num_groups = (len(seen.moments) - 1) // channels
    for group, rows in enumerate(np.split(np.arange(outputs), num_groups)):
        inputs = seen.part(slice(group * channels, (group + 1) * channels))
        for place in np.ndindex(weights.shape[2:]):  # every place of a kernel sees the same channels
            at = (rows, slice(None), *place)
            stored[at], shift = round_weights(weights[at], steps[rows], inputs, noise)
            shifted[rows] += shift
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    widened = writer.widen(f"{node.name}/weights", stored, steps, axis=0)
    copy.input[:] = [value, widened, writer.constant(f"{node.name}/bias", shifted)]
    writer.nodes.append(copy)


def _round_bank(writer: _Writer, parts: _Parts, node: onnx.NodeProto, embedding: str) -> None:
    """The product with a block of a bank; its entries' squares, which 8 bits cannot hold, are added behind it."""
    table = parts.constant(node.input[1])[:-1]  # -2 b; the last row is |b|^2
    step = np.float32(max(np.abs(table).max() / LARGEST, 1e-12))
    stored = np.round(table / step).astype(np.int8)
    squares = ((stored.astype(np.float64) * step / 2) ** 2).sum(axis=0).astype(np.float32)
    product = writer.op("MatMul", f"{node.name}/product", embedding, writer.widen(f"{node.name}/bank", stored, step))
    writer.nodes.append(
        helper.make_node("Add", [product, writer.constant(f"{node.name}/squares", squares)], node.output, node.name)
    )


class _Parts:
    """A graph with its constants and the nodes that give each value."""

    def __init__(self, graph: bytes) -> None:
        self.model = onnx.load_from_string(graph)
        self.nodes = list(self.model.graph.node)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._producers = {value: node for node in self.nodes for value in node.output}

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def constant(self, name: str) -> NDArray[Any]:
        return np.asarray(numpy_helper.to_array(self._constants[name]))

    def bank_input(self, node: onnx.NodeProto) -> str:
        """What a product with a bank reads, as `nearest_distance` builds it, beside a constant 1; else ""."""
        joined = self._producers.get(node.input[0])
        if joined is None or joined.op_type != "Concat" or not self.is_constant(node.input[1]):
            return ""
        return str(joined.input[0]) if len(joined.input) == 2 else ""

    def named(self, roundable: Roundable) -> Sequence[onnx.NodeProto]:
        names = {*roundable.convolutions, *roundable.banks}
        return [node for node in self.nodes if node.name in names]

    def read_by(self, node: onnx.NodeProto) -> str:
        return str(node.input[0]) if node.op_type == "Conv" else self.bank_input(node)


class _Writer:
    """The nodes and constants of the new graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, op_type: str, output: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], output, **attributes))
        return output

    def round(self, value: str, step: np.float32, zero: np.generic) -> str:
        """The value in 8 bits and back."""
        scale = (self.constant(f"{value}/step", step), self.constant(f"{value}/zero", zero))
        stored = self.op("QuantizeLinear", f"{value}/stored", value, *scale)
        return self.op("DequantizeLinear", f"{value}/rounded", stored, *scale)

    def widen(self, name: str, stored: NDArray[np.int8], steps: Any, **attributes: Any) -> str:
        """Stored weights as real values."""
        zeros = np.zeros(np.shape(steps), np.int8)
        inputs = (self.constant(f"{name}/stored", stored), self.constant(f"{name}/steps", steps))
        return self.op(
            "DequantizeLinear", f"{name}/widened", *inputs, self.constant(f"{name}/zeros", zeros), **attributes
        )

    def build(self, model: onnx.ModelProto) -> bytes:
        """The model with these nodes in place of its own, without what nothing needs any more."""
        del model.graph.node[:]
        model.graph.node.extend(self.nodes)
        kept = needed_nodes(model.graph, [value.name for value in model.graph.output])
        used = {name for node in kept for name in node.input}
        constants = [tensor for tensor in (*model.graph.initializer, *self._constants) if tensor.name in used]
        graph = helper.make_graph(kept, model.graph.name, model.graph.input, model.graph.output, constants)
        made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        made.producer_name = model.producer_name
        onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString(deterministic=True))
