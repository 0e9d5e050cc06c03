"""A graph that could read other files, run for ever or take all memory is refused before an engine sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from blemish.bundle.scan import find_external_data
from blemish.testing.members import Members, pack, with_graph

Refused = Callable[..., None]


def external(name: str = "t") -> onnx.TensorProto:
    """A tensor whose numbers stand in another file."""
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def location_only() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "t")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def sparse(values: onnx.TensorProto, indices: onnx.TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


def constant_node(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], **attributes)


def graph_of(node: onnx.NodeProto | None = None, *tensors: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([node] if node else [], "g", [], [], list(tensors))


def in_function(node: onnx.NodeProto, default: onnx.AttributeProto | None = None) -> onnx.ModelProto:
    function = helper.make_function("d", "f", [], ["c"], [node], [helper.make_opsetid("", 18)])
    if default is not None:
        function.attribute_proto.append(default)
    return helper.make_model(graph_of(), functions=[function])


def nested(depth: int) -> onnx.ModelProto:
    node = constant_node(value=external())
    for _ in range(depth):
        node = helper.make_node("If", ["x"], ["y"], then_branch=graph_of(node), else_branch=graph_of())
    return helper.make_model(graph_of(node))


def sparse_model(values: onnx.TensorProto, indices: onnx.TensorProto) -> onnx.ModelProto:
    graph = graph_of()
    graph.sparse_initializer.append(sparse(values, indices))
    return helper.make_model(graph)


def training_info() -> onnx.ModelProto:
    model = helper.make_model(graph_of())
    model.training_info.add().initialization.CopyFrom(graph_of(None, external()))
    return model


INDICES = numpy_helper.from_array(np.zeros(2, np.int64), "i")
VALUES = numpy_helper.from_array(np.zeros(2, np.float32), "v")
LOOP_ATTRIBUTES: dict[str, Callable[[], onnx.AttributeProto]] = {
    "tensor": lambda: helper.make_attribute("a", external()),
    "tensors": lambda: helper.make_attribute("a", [external()]),
    "graph": lambda: helper.make_attribute("a", graph_of(None, external())),
    "graphs": lambda: helper.make_attribute("a", [graph_of(None, external())]),
    "sparse": lambda: helper.make_attribute("a", sparse(external(), INDICES)),
    "sparse list": lambda: helper.make_attribute("a", [sparse(VALUES, external())]),
}


def with_attribute(attribute: onnx.AttributeProto) -> onnx.NodeProto:
    node = helper.make_node("Any", [], ["c"])
    node.attribute.append(attribute)
    return node


HOSTILE_GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "initializer": lambda: helper.make_model(graph_of(None, external())),
    "location without a name": lambda: helper.make_model(graph_of(None, location_only())),
    "sparse values": lambda: sparse_model(external(), INDICES),
    "sparse indices": lambda: sparse_model(VALUES, external()),
    "branch in a branch": lambda: nested(5),
    "node of a function": lambda: in_function(constant_node(value=external())),
    "default of a function": lambda: in_function(
        constant_node(value_float=1.0), helper.make_attribute("a", external())
    ),
    "training": training_info,
    **{
        f"attribute: {kind}": (lambda make=make: helper.make_model(graph_of(with_attribute(make()))))
        for kind, make in LOOP_ATTRIBUTES.items()
    },
}


@pytest.mark.parametrize("graph", HOSTILE_GRAPHS.values(), ids=HOSTILE_GRAPHS.keys())
def test_a_graph_that_names_another_file_is_refused(
    graph: Callable[[], onnx.ModelProto], members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    path = pack(tmp_path / "hostile.blemish", with_graph(members, graph().SerializeToString()))
    assert_refused(path, "refers to data in another file", "do not trust")


def test_a_graph_that_is_nested_without_end_is_refused(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    path = pack(tmp_path / "deep.blemish", with_graph(members, nested(30).SerializeToString()))
    assert_refused(path, "nested")


@pytest.mark.parametrize("graph", [b"\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", bytes([0x80] * 20)])
def test_bytes_that_are_no_graph_are_refused(
    graph: bytes, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    assert_refused(pack(tmp_path / "odd.blemish", with_graph(members, graph)), "not a whole ONNX graph")


def test_a_field_number_beyond_32_bits_is_refused() -> None:
    """Some parsers drop the high bits: then field 2^32 + 7 is field 7, the graph, and hides it from a plain reader."""
    graph = graph_of(None, external()).SerializeToString()
    key = (7 << 3 | 2) + (1 << 32)
    digits = bytes([key >> shift & 0x7F | (0x80 if shift < 28 else 0) for shift in range(0, 35, 7)])
    hidden = digits + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7]) + graph
    assert find_external_data(hidden) == "is not a whole ONNX graph"


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_the_scan_takes_any_bytes(content: bytes) -> None:
    assert isinstance(find_external_data(content), str)


def test_a_graph_that_holds_its_data_passes(members: Members) -> None:
    assert find_external_data(members["graph.onnx"]) == ""
