"""The graph builder stores constants once, copies only what is needed, and gives out nothing that is not valid."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from blemish.graph.builder import OPSET, GraphBuilder
from blemish.runtime.onnx_runner import GraphRunner


def make_part(opset: int = OPSET) -> onnx.ModelProto:
    """A graph that is read from text: `double` needs `two`, `negative` does not."""
    return onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        part (float[N, 2] x) => (float[N, 2] double, float[N, 2] negative)
        <float two = {{2.0}}>
        {{
            double = Mul(x, two)
            negative = Neg(x)
        }}
        """
    )


def op_types(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


def test_equal_constants_are_stored_once() -> None:
    builder = GraphBuilder("constants")
    one = builder.constant(np.array([1, 2], np.float32))
    assert builder.constant(np.array([1, 2], np.float32)) == one
    assert builder.constant(np.array([[1, 2]], np.float32)) != one
    assert builder.constant(np.array([1, 2], np.float64)) != one


def test_an_output_is_renamed_without_a_node_of_its_own() -> None:
    builder = GraphBuilder("renamed")
    x = builder.input("x", np.float32, ["batch"])
    negative = builder.op("Neg", x)
    builder.output(builder.op("Abs", negative), "size", np.float32, ["batch"])
    assert op_types(builder.build()) == ["Neg", "Abs"]


def test_an_input_can_be_given_out() -> None:
    builder = GraphBuilder("through")
    builder.output(builder.input("x", np.float32, ["batch"]), "same", np.float32, ["batch"])
    found = GraphRunner(builder.build()).run({"x": np.array([3.0], np.float32)})
    assert found["same"] == [3.0]


def test_the_same_value_can_be_given_out_under_two_names() -> None:
    builder = GraphBuilder("twice")
    value = builder.op("Neg", builder.input("x", np.float32, ["batch"]))
    builder.output(value, "first", np.float32, ["batch"])
    builder.output("first", "second", np.float32, ["batch"])
    found = GraphRunner(builder.build()).run({"x": np.array([3.0], np.float32)})
    assert found["first"] == found["second"] == [-3.0]


def test_splicing_copies_only_what_the_wanted_outputs_need() -> None:
    builder = GraphBuilder("spliced")
    x = builder.input("image", np.float32, ["batch", 2])
    [double] = builder.splice(make_part(), {"x": x}, ["double"])
    [again] = builder.splice(make_part().SerializeToString(), {"x": double}, ["double"])
    builder.output(again, "four_times", np.float32, ["batch", 2])
    graph = builder.build()
    assert op_types(graph) == ["Mul", "Mul"]
    assert len(onnx.load_from_string(graph).graph.initializer) == 1
    found = GraphRunner(graph).run({"image": np.ones((3, 2), np.float32)})
    np.testing.assert_array_equal(found["four_times"], np.full((3, 2), 4))


def test_a_graph_of_a_newer_opset_is_refused() -> None:
    builder = GraphBuilder("newer")
    x = builder.input("x", np.float32, ["batch", 2])
    with pytest.raises(ValueError, match=f"opset {OPSET + 1}"):
        builder.splice(make_part(OPSET + 1), {"x": x}, ["double"])


def test_a_wrong_shape_is_found_when_the_graph_is_built() -> None:
    builder = GraphBuilder("wrong")
    x = builder.input("x", np.float32, ["batch", 2])
    product = builder.op("MatMul", x, builder.constant(np.ones((3, 4), np.float32)))
    builder.output(product, "y", np.float32, ["batch", 4])
    with pytest.raises(onnx.shape_inference.InferenceError):
        builder.build()


def test_the_same_steps_give_the_same_bytes() -> None:
    def build() -> bytes:
        builder = GraphBuilder("same")
        x = builder.input("x", np.float32, ["batch", 2])
        builder.output(builder.op("Mul", x, builder.constant(np.float32(2))), "y", np.float32, ["batch", 2])
        return builder.build()

    assert build() == build()
