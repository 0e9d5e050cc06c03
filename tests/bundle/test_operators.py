"""Each operator that a graph may hold gives the types and shapes that its rule says, by ONNX Runtime's word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blemish.bundle.known import known_value
from blemish.bundle.operation import Call, Value
from blemish.bundle.operators import OPERATORS
from blemish.bundle.wire import read_graph

Array = NDArray[Any]
IMAGE = np.random.default_rng(0).random((2, 4, 6, 5), dtype=np.float32)
FLAT = IMAGE[0, 0]
BYTES = (IMAGE * 255).astype(np.uint8)
WHOLE = np.array([[3, 1, 2], [2, 0, 1]], np.int64)
KERNEL = IMAGE[:, :, :3, :3]
F32 = np.float32


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


GROUPS: dict[str, list[tuple[Sequence[Array | None], dict[str, Any]]]] = {
    (
        "Abs Atan Ceil Celu Cos Dropout Elu Erf Exp Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool "
        "HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax LpNormalization "
        "MeanVarianceNormalization Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Softmax Softplus Softsign "
        "Sqrt Tan Tanh ThresholdedRelu"
    ): [((IMAGE,), {})],
    "Add Div Max Mean Min Mul Pow Sub Sum": [((IMAGE, IMAGE[0, 0]), {})],
    "Equal Greater GreaterOrEqual Less LessOrEqual": [((IMAGE, IMAGE[:, :1]), {})],
    "And Or Xor": [((IMAGE > 0.5, IMAGE[0] > 0.5), {})],
    (
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare"
    ): [
        ((IMAGE, i64(1, -1)), {"keepdims": 0}),
        ((IMAGE, i64(2)), {}),
        ((IMAGE,), {}),
        ((IMAGE, i64()), {"noop_with_empty_axes": 1}),
    ],
    "ArgMax ArgMin": [((IMAGE,), {"axis": -2}), ((IMAGE,), {"keepdims": 0})],
    "Mod": [((WHOLE, i64(2)), {})],
    "Not": [((IMAGE > 0.5,), {})],
    "BitwiseNot": [((BYTES,), {})],
    "Clip": [((IMAGE, F32(0.2), F32(0.8)), {})],
    "PRelu": [((IMAGE, IMAGE[0, :, :1, :1]), {})],
    "Where": [((IMAGE > 0.5, IMAGE, F32(0.0)), {})],
    "Cast": [((IMAGE,), {"to": TensorProto.UINT8})],
    "CastLike": [((IMAGE, WHOLE), {})],
    "CumSum": [((IMAGE, np.array(1, np.int64)), {})],
    "Trilu": [((IMAGE,), {})],
    "LRN": [((IMAGE,), {"size": 3})],
    "BatchNormalization": [((IMAGE, *(IMAGE[0, :, 0, 0],) * 4), {})],
    "InstanceNormalization": [((IMAGE, *(IMAGE[0, :, 0, 0],) * 2), {})],
    "LayerNormalization": [((IMAGE, IMAGE[0, 0], IMAGE[0, 0]), {"axis": 2})],
    "GroupNormalization": [((IMAGE, *(IMAGE[0, :, 0, 0],) * 2), {"num_groups": 2})],
    "Conv": [
        ((IMAGE, KERNEL), {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
        ((IMAGE, KERNEL[:, :2], IMAGE[0, 0, 0, :2]), {"group": 2, "dilations": [2, 2]}),
        ((IMAGE, KERNEL), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((IMAGE, KERNEL), {"auto_pad": "VALID", "kernel_shape": [3, 3]}),
    ],
    "ConvInteger": [((BYTES, BYTES[:, :, :3, :3]), {})],
    "QLinearConv": [
        ((BYTES, F32(0.1), np.uint8(0), BYTES[:, :, :3, :3], F32(0.1), np.uint8(0), F32(9.0), np.uint8(0)), {})
    ],
    "ConvTranspose": [
        ((IMAGE, IMAGE.transpose(1, 0, 2, 3)), {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 0]}),
        ((IMAGE, IMAGE.transpose(1, 0, 2, 3)), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((IMAGE, IMAGE.transpose(1, 0, 2, 3)), {"output_shape": [12, 11], "strides": [2, 2]}),
    ],
    "AveragePool MaxPool": [
        ((IMAGE,), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 0]}),
        ((IMAGE,), {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
        ((IMAGE,), {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER"}),
    ],
    "LpPool": [((IMAGE,), {"kernel_shape": [2, 2]})],
    "MatMul": [((IMAGE, IMAGE[0].transpose(0, 2, 1)), {}), ((FLAT[0], FLAT.T), {}), ((FLAT, FLAT[0]), {})],
    "MatMulInteger": [((BYTES, BYTES.transpose(0, 1, 3, 2)), {})],
    "QLinearMatMul": [
        ((BYTES[0, 0], F32(0.1), np.uint8(0), BYTES[0, 0].T, F32(0.1), np.uint8(0), F32(9), np.uint8(0)), {})
    ],
    "Gemm": [((FLAT, FLAT), {"transB": 1}), ((FLAT, FLAT, FLAT[0]), {"transA": 1})],
    "Einsum": [((IMAGE, IMAGE), {"equation": "bchw,bcgw->bhg"})],
    "Reshape": [((IMAGE, i64(0, -1, 5)), {}), ((IMAGE, i64(240)), {}), ((IMAGE[:0], i64(0, 4)), {"allowzero": 1})],
    "Transpose": [((IMAGE,), {"perm": [0, 2, 3, 1]}), ((IMAGE,), {})],
    "Flatten": [((IMAGE,), {"axis": 2}), ((IMAGE,), {"axis": 4}), ((IMAGE,), {"axis": -1})],
    "Squeeze": [((IMAGE[:1, :, :1], i64(0, -2)), {}), ((IMAGE[:1],), {})],
    "Unsqueeze": [((IMAGE, i64(0, -1)), {})],
    "Concat": [((IMAGE, IMAGE[:, :1]), {"axis": 1})],
    "Split": [((IMAGE,), {"axis": 3, "num_outputs": 3}), ((IMAGE, i64(1, 4)), {"axis": 3})],
    "Slice": [
        ((IMAGE, i64(1, -1), i64(9, -9), i64(2, 3), i64(2, -1)), {}),
        ((IMAGE, i64(0, 1), i64(1, 2**62)), {}),
        ((IMAGE, i64(-1), i64(-(2**63)), i64(1), i64(-2)), {}),
    ],
    "Gather": [((IMAGE, WHOLE), {"axis": 1}), ((IMAGE, np.array(0, np.int64)), {"axis": -1})],
    "GatherElements": [((FLAT, WHOLE), {"axis": 1})],
    "GatherND": [((IMAGE, WHOLE[:, :2] % 2), {}), ((IMAGE, i64(1, 2).reshape(2, 1)), {"batch_dims": 1})],
    "ScatterElements": [((FLAT, WHOLE, FLAT[:2, :3]), {"axis": 1})],
    "ScatterND": [((FLAT, i64(1, 2).reshape(2, 1), FLAT[:2]), {})],
    "Expand": [((IMAGE[:, :1], i64(3, 1, 1)), {})],
    "Tile": [((FLAT, i64(2, 3)), {})],
    "Pad": [
        ((IMAGE, i64(0, 0, 1, 2, 0, 0, 3, 0)), {}),
        ((IMAGE, i64(1, 2), None, i64(-1)), {"mode": "reflect"}),
        ((IMAGE, i64(0, 0, -1, 0, 0, 0, 0, -2)), {}),
    ],
    "Resize": [
        ((IMAGE, None, np.array([1, 1, 1.5, 0.4], F32)), {"mode": "linear"}),
        ((IMAGE, None, None, i64(2, 4, 9, 3)), {"mode": "nearest"}),
        ((IMAGE, None, None, i64(9, 3)), {"mode": "linear", "axes": [2, 3]}),
    ],
    "DepthToSpace": [((IMAGE,), {"blocksize": 2})],
    "SpaceToDepth": [((IMAGE[..., :4],), {"blocksize": 2})],
    "Shape": [((IMAGE,), {}), ((IMAGE,), {"start": -2, "end": 4})],
    "Size": [((IMAGE,), {})],
    "ConstantOfShape": [((i64(2, 3),), {}), ((i64(),), {"value": numpy_helper.from_array(i64(7))})],
    "Range": [(tuple(np.array(value, np.int64) for value in (9, 1, -3)), {})],
    "TopK": [((IMAGE, i64(2)), {"axis": 2})],
    "OneHot": [((WHOLE, i64(4), np.array([0, 1], F32)), {"axis": 1})],
    "GridSample": [((IMAGE, IMAGE[:, :3, :, :2]), {})],
    "QuantizeLinear": [((IMAGE, F32(0.1), np.int8(0)), {}), ((IMAGE, F32(0.1)), {})],
    "DequantizeLinear": [((BYTES, F32(0.1)), {})],
    "DynamicQuantizeLinear": [((IMAGE,), {})],
}
CASES = {name: cases for names, cases in GROUPS.items() for name in names.split()}
MANY = {"Split": 4, "TopK": 2, "MaxPool": 2, "DynamicQuantizeLinear": 3, "LayerNormalization": 1}
"""Operators that are asked for several outputs."""
LATER = {"Gelu": 20, "GroupNormalization": 21}
OLD = {
    "Split": [((IMAGE, i64(2, 1, 1)), {"axis": 1})],
    "ReduceMax": [((IMAGE,), {"axes": [1, -1], "keepdims": 0})],
    "ReduceMean": [((IMAGE,), {"axes": [2]})],
    "Resize": [((IMAGE, None, np.array([1, 1, 2, 2], F32)), {"mode": "nearest"})],
    "Pad": [((IMAGE, i64(0, 0, 1, 2, 0, 0, 3, 0)), {})],
}
"""Forms of opset 13."""


def model_of(op_type: str, arrays: Sequence[Array | None], attributes: dict[str, Any], opset: int) -> onnx.ModelProto:
    """A graph of one operation on constants, without declared outputs."""
    count = MANY.get(op_type, 1)
    if op_type == "Split":
        count = len(arrays[1]) if len(arrays) > 1 and arrays[1] is not None else 3
    names = ["" if array is None else f"x{place}" for place, array in enumerate(arrays)]
    node = helper.make_node(op_type, names, [f"y{place}" for place in range(count)], **attributes)
    constants = [
        numpy_helper.from_array(np.asarray(array), name)
        for array, name in zip(arrays, names, strict=True)
        if array is not None
    ]
    graph = helper.make_graph([node], "one", [], [], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def by_rule(model: onnx.ModelProto) -> tuple[list[tuple[str, tuple[int, ...]]], Array | None]:
    """Types and shapes that the rule gives, and the values of the first where they are known."""
    graph = read_graph(model.SerializeToString())
    [node] = graph.nodes
    values = {tensor.name: Value(tensor.dtype, tensor.shape, tensor.data) for tensor in graph.constants}
    inputs = [values.get(name) for name in node.inputs]
    found = OPERATORS[node.op_type](Call(node, inputs))
    return found[: len(node.outputs)], known_value(node, inputs, *found[0])


def by_engine(model: onnx.ModelProto) -> list[Array]:
    told = onnx.ModelProto()
    told.CopyFrom(model)
    told.graph.output.extend(onnx.ValueInfoProto(name=name) for name in model.graph.node[0].output)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {})]


def check(op_type: str, arrays: Sequence[Array | None], attributes: dict[str, Any], opset: int) -> None:
    model = model_of(op_type, arrays, attributes, opset)
    expected = by_engine(model)
    found, known = by_rule(model)
    assert found == [(value.dtype.name, value.shape) for value in expected]
    if known is not None:
        np.testing.assert_allclose(known, expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes"),
    [
        pytest.param(op_type, arrays, attributes, id=f"{op_type}-{number}")
        for op_type, cases in CASES.items()
        for number, (arrays, attributes) in enumerate(cases)
    ],
)
def test_a_rule_says_what_the_engine_gives(
    op_type: str, arrays: Sequence[Array | None], attributes: dict[str, Any]
) -> None:
    check(op_type, arrays, attributes, LATER.get(op_type, 18))


@pytest.mark.parametrize("op_type", OLD)
def test_so_it_does_in_the_forms_of_older_opsets(op_type: str) -> None:
    for arrays, attributes in OLD[op_type]:
        check(op_type, arrays, attributes, 13)


def test_every_operator_is_compared() -> None:
    assert set(CASES) == set(OPERATORS)


SMALL = st.integers(1, 4)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), op_type=st.sampled_from(["Conv", "ConvTranspose", "AveragePool", "MaxPool"]))
def test_windows_of_any_form_leave_what_the_rule_says(data: st.DataObject, op_type: str) -> None:
    """Where the engine takes a window that fits into the image, the rule gives its shape."""
    hw = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    kernel = data.draw(st.tuples(SMALL, SMALL))
    options: dict[str, Any] = {"kernel_shape": kernel, "strides": data.draw(st.tuples(SMALL, SMALL))}
    options["auto_pad"] = data.draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if options["auto_pad"] == "NOTSET":
        options["pads"] = data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    if options["auto_pad"] in ("NOTSET", "VALID"):
        options["dilations"] = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    image = np.zeros((1, 2, *hw), F32)
    arrays = (image,) if op_type.endswith("Pool") else (image, np.zeros((2, 2, *kernel), F32))
    if op_type.endswith("Pool"):
        options["ceil_mode"] = data.draw(st.integers(0, 1))
    model = model_of(op_type, arrays, options, 19)
    try:
        expected = [value.shape for value in by_engine(model)][:1]
    except Exception:  # the runtime raises classes of its own that share no base
        return
    assume(all(math.prod(shape) for shape in expected))
    try:
        found, _ = by_rule(model)
    except ValueError:
        # A window that is larger than the image: the engine's answer is no use.
        pads, steps = options.get("pads", (0,) * 4), options.get("dilations", (1, 1))
        rooms = [hw[n] + pads[n] + pads[n + 2] - (kernel[n] - 1) * steps[n] for n in (0, 1)]
        assert min(rooms) < 1
        return
    assert [shape for _, shape in found][:1] == expected
