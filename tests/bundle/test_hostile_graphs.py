"""A graph that could read other files, run for ever or take all memory is refused before an engine sees it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from blemish.bundle import bounds
from blemish.bundle.bounds import check_graph
from blemish.bundle.bundle import Bundle
from blemish.bundle.operators import OPERATORS
from blemish.bundle.write import write_bundle
from blemish.errors import BundleError
from blemish.testing.members import Members, pack, with_graph

Refused = Callable[..., None]
Change = Callable[[ModelProto], None]

HW = (64, 64)
IMAGE_TYPE = (TensorProto.UINT8, ["batch", *HW, 3])


def whole(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def plain_model() -> ModelProto:
    """The largest channel of each pixel as map, the largest of these as score."""
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["numbers", "channels"], ["anomaly_map"], keepdims=0),
        helper.make_node("ReduceMax", ["anomaly_map", "sides"], ["anomaly_score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("image", *IMAGE_TYPE)],
        [
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, ["batch", *HW]),
            helper.make_tensor_value_info("anomaly_score", TensorProto.FLOAT, ["batch"]),
        ],
        [whole("channels", 3), whole("sides", 1, 2)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def adding(*nodes: NodeProto, constants: list[TensorProto] | None = None) -> Change:
    """The operations before all others, with their constants."""

    def change(model: ModelProto) -> None:
        for node in reversed(nodes):
            model.graph.node.insert(0, node)
        model.graph.initializer.extend(constants or [])

    return change


def op(op_type: str, inputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [f"made by {op_type}"], **attributes)


def external(name: str = "t") -> TensorProto:
    """A tensor whose numbers stand in another file."""
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def body(*nodes: NodeProto) -> GraphProto:
    return helper.make_graph(list(nodes), "g", [], [])


def with_function(model: ModelProto) -> None:
    nodes = [op("F", [], domain="own")]
    model.functions.append(helper.make_function("own", "F", [], ["y"], nodes, [helper.make_opsetid("", 18)]))


def with_training(model: ModelProto) -> None:
    model.training_info.add().initialization.CopyFrom(body())


def with_sparse(model: ModelProto) -> None:
    values, places = numpy_helper.from_array(np.zeros(2, np.float32), "s"), whole("i", 0, 1)
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=places, dims=[4]))


def with_location(model: ModelProto) -> None:
    tensor = whole("l", 1)
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)


def with_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def with_opset(version: int) -> Change:
    def change(model: ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def with_value_type(kind: int, shape: list[Any], *, place: int, name: str = "") -> Change:
    """Another declared output, or with place -1 another input."""

    def change(model: ModelProto) -> None:
        value = model.graph.input[0] if place < 0 else model.graph.output[place]
        value.CopyFrom(helper.make_tensor_value_info(name or value.name, kind, shape))

    return change


def with_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def with_sequence(model: ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("image", TensorProto.UINT8, None))


def with_twice(model: ModelProto) -> None:
    model.graph.initializer.append(whole("channels", 3))


def with_lie(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "lie")
    tensor.dims[:] = [10**9, 10**9]
    model.graph.initializer.append(tensor)


def with_two_kinds(model: ModelProto) -> None:
    attribute = helper.make_attribute("axis", 1)
    attribute.ints.extend([1, 2])
    model.graph.node[0].attribute.append(attribute)


def with_backward_use(model: ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])
    del model.graph.node[0]


def chain(count: int) -> list[NodeProto]:
    """A product of large matrices that depend on the image, again and again."""
    nodes = [
        op("Flatten", ["image"]),
        op("ArgMax", ["made by Flatten"], axis=1),
        op("Cast", ["made by ArgMax"], to=TensorProto.FLOAT),
        op("Expand", ["made by Cast", "large"]),
    ]
    before = nodes[-1].output[0]
    for number in range(count):
        nodes.append(helper.make_node("MatMul", [before, "made by Expand"], [f"product {number}"]))
        before = f"product {number}"
    return nodes


ONE = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
HOSTILE: dict[str, tuple[Change, str]] = {
    "constant in a file": (adding(constants=[external()]), "refers to data in another file"),
    "location without a name": (with_location, "refers to data in another file"),
    "attribute in a file": (adding(op("Constant", [], value=external())), "refers to data in another file"),
    "loop": (adding(op("Loop", ["", ""], body=body())), "a graph within a graph"),
    "scan": (adding(op("Scan", ["image"], body=body(), num_scan_inputs=1)), "a graph within a graph"),
    "branch": (adding(op("If", ["image"], then_branch=body(), else_branch=body())), "a graph within a graph"),
    "branches": (adding(op("Cast", ["image"], to=1, more=[body(), body()])), "a graph within a graph"),
    "function": (with_function, "holds functions"),
    "training": (with_training, "holds functions or a training"),
    "sparse constant": (with_sparse, "sparse"),
    "domain": (with_domain, "the domain 'com.microsoft'"),
    "operation of a domain": (adding(op("Cast", ["image"], domain="own", to=1)), "the domain 'own'"),
    "opset of the past": (with_opset(9), "opset 9"),
    "opset to come": (with_opset(99), "opset 99"),
    "no opset": (lambda model: model.ClearField("opset_import"), "opset unknown"),
    "two opsets": (lambda model: model.opset_import.append(helper.make_opsetid("", 13)), "two versions"),
    "unknown operation": (adding(op("Fly", ["image"])), "Fly (made by Fly) that is not allowed"),
    "random numbers": (adding(op("RandomNormal", [], shape=[9])), "RandomNormal"),
    "strings": (adding(op("StringNormalizer", ["image"])), "not allowed"),
    "tensor of text": (adding(constants=[helper.make_tensor("t", TensorProto.STRING, [1], [b"x"])]), "not"),
    "tensor of complex numbers": (
        adding(constants=[helper.make_tensor("t", TensorProto.COMPLEX64, [1], [1j])]), "not allowed",
    ),
    "attribute of text": (adding(op("Constant", [], value_strings=["x"])), "holds no numbers"),
    "attribute of two kinds": (with_two_kinds, "of two kinds"),
    "constants of a terabyte": (
        adding(op("ConstantOfShape", ["s"]), constants=[whole("s", 10**6, 10**6)]), "makes a value of",
    ),
    "many constants of a gigabyte": (
        adding(
            *(helper.make_node("ConstantOfShape", ["s"], [f"c{number}"]) for number in range(9)),
            constants=[whole("s", 2**27)],
        ),
        "bytes of constants that are not stored",
    ),
    "expanded": (adding(op("Expand", ["one", "s"]), constants=[ONE, whole("s", 10**6, 10**6)]), "makes a value"),
    "repeated": (adding(op("Tile", ["one", "s"]), constants=[ONE, whole("s", 10**6, 10**6)]), "makes a value"),
    "padded": (adding(op("Pad", ["one", "s"]), constants=[ONE, whole("s", 0, 0, 10**6, 10**6)]), "makes a value"),
    "resized": (
        adding(op("Resize", ["one", "", "", "s"]), constants=[ONE, whole("s", 10**6, 10**6)]), "makes a value",
    ),
    "counted": (
        adding(op("Range", ["a", "b", "c"]), constants=[helper.make_tensor(name, TensorProto.INT64, [], [value])
                                                        for name, value in (("a", 0), ("b", 10**12), ("c", 1))]),
        "makes a value",
    ),
    "outer product": (
        adding(
            op("ConstantOfShape", ["s"]),
            op("Transpose", ["made by ConstantOfShape"], perm=[1, 0]),
            op("Add", ["made by ConstantOfShape", "made by Transpose"]),
            constants=[whole("s", 10**5, 1)],
        ),
        "makes a value",
    ),
    "endless products": (adding(*chain(90), constants=[whole("large", 4096, 4096)]), "multiplications"),
    "shape of what is seen": (
        adding(op("ReduceSum", ["image"], keepdims=0), op("ConstantOfShape", ["made by ReduceSum"])), "not known",
    ),
    "division by 0": (adding(op("Div", ["channels", "zero"]), constants=[whole("zero", 0)]), "divides by 0"),
    "remainder by what is seen": (adding(op("Mod", ["image", "image"])), "not known"),
    "steps of 0": (adding(op("MaxPool", ["image"], kernel_shape=[1, 1], strides=[0, 0])), "has strides"),
    "no groups": (adding(op("Conv", ["image", "image"], group=0)), "has group"),
    "blocks of 0": (adding(op("DepthToSpace", ["image"], blocksize=0)), "has blocksize"),
    "slices of 0": (
        adding(op("Slice", ["image", "a", "a", "a", "a"]), constants=[whole("a", 0)]), "steps of 0",
    ),
    "lengths that are a lie": (with_lie, "has not as many numbers"),
    "a name twice": (with_twice, "the name 'channels' twice"),
    "use before it is made": (with_backward_use, "which nothing before it makes"),
    "map of a side without end": (
        with_value_type(TensorProto.FLOAT, ["batch", 10**6, 10**6], place=0), "a map of 1000000 x 1000000",
    ),
    "map without a size": (with_value_type(TensorProto.FLOAT, ["batch", "h", "w"], place=0), "does not give"),
    "map of another size": (
        with_value_type(TensorProto.FLOAT, ["batch", 32, 32], place=0), "but gives float32 [1, 64, 64]",
    ),
    "map of other numbers": (with_value_type(TensorProto.DOUBLE, ["batch", *HW], place=0), "anomaly_map: float64"),
    "score for each row": (with_value_type(TensorProto.FLOAT, ["batch", 64], place=1), "anomaly_score: float32"),
    "score under another name": (with_value_type(TensorProto.FLOAT, ["batch"], place=1, name="s"), "expected anomaly"),
    "image of another size": (
        with_value_type(TensorProto.UINT8, ["batch", 32, 32, 3], place=-1), "image: uint8 [batch, 32, 32, 3]; the",
    ),
    "image of numbers": (with_value_type(TensorProto.FLOAT, ["batch", *HW, 3], place=-1), "the manifest needs image"),
    "image under another name": (with_value_type(*IMAGE_TYPE, place=-1, name="x"), "the manifest needs image"),
    "one image at a time": (with_value_type(TensorProto.UINT8, [1, *HW, 3], place=-1), "the manifest needs image"),
    "two inputs": (with_input, "the manifest needs image"),
    "sequence": (with_sequence, "no tensor"),
    "no outputs": (lambda model: model.graph.ClearField("output"), "does not give an anomaly_map"),
    "nothing": (lambda model: model.Clear(), "opset unknown"),
}  # fmt: skip


def test_the_plain_graph_may_be_held(members: Members, bundle: Bundle) -> None:
    assert check_graph(plain_model().SerializeToString(), HW) == HW
    assert check_graph(members["graph.onnx"], bundle.manifest.input_hw) == HW


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused(case: str, members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    change, says = HOSTILE[case]
    model = plain_model()
    change(model)
    path = pack(tmp_path / "hostile.blemish", with_graph(members, model.SerializeToString()))
    start = time.perf_counter()
    assert_refused(path, "graph.onnx", says, "do not trust")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("case", ["loop", "constants of a terabyte", "map of another size"])
def test_it_is_not_written_either(case: str, bundle: Bundle, tmp_path: Path) -> None:
    model = plain_model()
    HOSTILE[case][0](model)
    with pytest.raises(BundleError, match=r"graph\.onnx"):
        write_bundle(dataclasses.replace(bundle, graph=model.SerializeToString()), tmp_path / "part.blemish")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("graph", [b"\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", bytes([0x80] * 20)])
def test_bytes_that_are_no_graph_are_refused(
    graph: bytes, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    assert_refused(pack(tmp_path / "odd.blemish", with_graph(members, graph)), "not a whole ONNX graph")


def test_a_field_number_beyond_32_bits_is_refused() -> None:
    """Some parsers drop the high bits: then field 2^32 + 7 is field 7, the graph, and hides it from a plain reader."""
    graph = plain_model().graph.SerializeToString()
    key = (7 << 3 | 2) + (1 << 32)
    digits = bytes([key >> shift & 0x7F | (0x80 if shift < 28 else 0) for shift in range(0, 35, 7)])
    hidden = digits + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7]) + graph
    with pytest.raises(ValueError, match="not a whole ONNX graph"):
        check_graph(hidden, HW)


def test_a_graph_of_millions_of_parts_is_refused_soon() -> None:
    start = time.perf_counter()
    for parts in (b"\x0a\x00" * 3_000_000, b"\x2a\x00" * 3_000_000):  # empty operations, empty constants
        length = len(parts)
        graph = b"\x3a" + bytes([length >> shift & 0x7F | (0x80 if length >> shift + 7 else 0) for shift in
                                 range(0, 28, 7) if length >> shift]) + parts  # fmt: skip
        with pytest.raises(ValueError, match=r"has more than|holds"):
            check_graph(graph, HW)
    assert time.perf_counter() - start < 20


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=300))
@example(b"\x3a\x00")
def test_any_bytes_are_a_graph_or_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_graph(content, HW)


@settings(deadline=None, max_examples=1000)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), data=st.data())
def test_a_changed_graph_is_a_graph_or_a_value_error(place: float, value: int, data: st.DataObject) -> None:
    graph = bytearray(plain_model().SerializeToString())
    graph[int(place * len(graph))] ^= value
    try:
        assert check_graph(bytes(graph), HW) == HW
    except ValueError:
        return


def test_every_operator_is_in_the_format_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    [listed] = [line for line in page.splitlines() if line.startswith("`Abs`")]
    assert {name.strip(" `.") for name in listed.split(",")} == {*OPERATORS, "Constant"}
    for limit in (bounds.MAX_VALUE_BYTES, bounds.MAX_LIVE_BYTES):
        assert f"{limit // 2**30} GiB" in page
