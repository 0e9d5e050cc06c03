"""Builds ONNX graphs node by node; values are named by strings, constants are stored once, the result is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9

Dimension = int | str | None


class GraphBuilder:
    """An ONNX graph under construction.

    >>> builder = GraphBuilder("double")
    >>> x = builder.input("x", np.float32, ["batch", 2])
    >>> builder.output(builder.op("Mul", x, builder.constant(np.float32(2.0))), "y", np.float32, ["batch", 2])
    >>> model = onnx.load_from_string(builder.build())
    >>> [node.op_type for node in model.graph.node]
    ['Mul']
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._expected: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, dtype: Any, shape: Sequence[Dimension]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))
        return name

    def output(self, value: str, name: str, dtype: Any, shape: Sequence[Dimension]) -> None:
        """Gives `value` to the outside under `name`."""
        for node in self._nodes:
            if value in node.output and not any(existing.name == value for existing in self._outputs):
                _rename(self._nodes, value, name)
                break
        else:
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))

    def expect(self, value: str, dtype: Any, shape: Sequence[Dimension]) -> None:
        """Says what type and shape `value` has; `build` fails where ONNX infers another."""
        self._expected.append(helper.make_tensor_value_info(value, _element_type(dtype), shape))

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """The name of a stored constant; equal arrays are stored once."""
        value = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(value, name))
            self._constants[key] = name
        return self._constants[key]

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node with one output and returns the name of that output."""
        self._count += 1
        output = f"{op_type.lower()}_{self._count}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def top_values(self, value: str, count: int) -> str:
        """The `count` largest along the last axis, in no order."""
        self._count += 1
        names = [f"topk_{self._count}", f"topk_{self._count}_places"]
        inputs = [value, self.constant(np.array([count], np.int64))]
        self._nodes.append(helper.make_node("TopK", inputs, names, name=names[0], axis=-1, sorted=0))
        return names[0]

    def splice(self, model: onnx.ModelProto | bytes, inputs: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
        """Copies what `outputs` of another graph need into this one and returns their names here.

        `inputs` says which value of this graph stands for each input of the other; nodes that no wanted output
        needs are left out. Raises ValueError where the other graph cannot be built in.
        """
        if isinstance(model, bytes):
            model = onnx.load_from_string(model)
        model = at_own_opset(model)
        self._count += 1
        prefix = f"part_{self._count}."
        nodes = needed_nodes(model.graph, outputs)
        names = dict(inputs)
        used = {name for node in nodes for name in node.input}
        for tensor in model.graph.initializer:
            if tensor.name in used:
                names[tensor.name] = self.constant(numpy_helper.to_array(tensor))
        for node in nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = prefix + (node.name or node.output[0])
            for index, name in enumerate(node.input):
                copy.input[index] = names[name] if name else ""
            for index, name in enumerate(node.output):
                names[name] = prefix + name
                copy.output[index] = prefix + name
            self._nodes.append(copy)
        return [names[name] for name in outputs]

    def build(self) -> bytes:
        """The graph as serialized ONNX, after ONNX's full check (types and shapes included)."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._initializers, value_info=self._expected
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="blemish"
        )
        onnx.checker.check_model(model, full_check=True)
        serialized: bytes = model.SerializeToString(deterministic=True)
        return serialized


def at_own_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its operators as `OPSET` defines them. Raises ValueError where that cannot be."""
    if model.functions or any(opset.domain not in ("", "ai.onnx") for opset in model.opset_import):
        raise ValueError("the graph uses operators from outside the ONNX standard; export it without them")
    version = next((opset.version for opset in model.opset_import), OPSET)
    if version > OPSET:
        raise ValueError(f"the graph uses ONNX opset {version}, at most {OPSET} can be built in; export it for that")
    if any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute):
        raise ValueError("the graph holds branches or loops; export it for one fixed form")
    return model if version == OPSET else onnx.version_converter.convert_version(model, OPSET)


def needed_nodes(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes, in their order, that the named values depend on."""
    wanted = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _element_type(dtype: Any) -> int:
    element_type: int = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert element_type != TensorProto.UNDEFINED
    return element_type


def _rename(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
