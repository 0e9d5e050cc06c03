"""The ONNX operators that a graph may hold, each with the types and shapes that it gives for one image.

With these the memory and the work of a graph are known before any engine runs it. The rules follow the ONNX
specification of opsets 13 to 21; what an operator needs to know (shapes, sizes, counts) must not depend on the pixels
of an image. Raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from blemish.bundle.operation import MAX_SIDES, Call, Shape, Typed, place_of
from blemish.bundle.wire import DTYPES, Tensor


def broadcast(*shapes: Shape) -> Shape:
    sides = max(map(len, shapes))
    joined = []
    for column in zip(*((1,) * (sides - len(shape)) + shape for shape in shapes), strict=True):
        wide = {side for side in column if side != 1}
        if len(wide) > 1:
            raise ValueError(f"joins shapes that do not fit: {' and '.join(map(str, shapes))}"[:200])
        joined.append(wide.pop() if wide else 1)
    return tuple(joined)


def _same(call: Call) -> list[Typed]:
    return [(call.input(0).dtype, call.shape())]


def _test(call: Call) -> list[Typed]:
    return [("bool", call.shape())]


def _joined(call: Call) -> list[Typed]:
    return [(call.input(0).dtype, broadcast(*(value.shape for value in call.all_inputs())))]


def _divided(call: Call) -> list[Typed]:
    """Whole numbers are divided only by numbers that are known not to be 0: an engine would crash."""
    if "float" not in call.input(0).dtype and 0 in call.known(1):
        raise ValueError("divides by 0")
    return _joined(call)


def _compared(call: Call) -> list[Typed]:
    return [("bool", _joined(call)[0][1])]


def _where(call: Call) -> list[Typed]:
    return [(call.input(1).dtype, _joined(call)[0][1])]


def _cast(call: Call) -> list[Typed]:
    dtype = DTYPES.get(call.whole("to", None))
    if dtype is None:
        raise ValueError("turns numbers into a type that is not allowed")
    return [(dtype, call.shape())]


def _cast_like(call: Call) -> list[Typed]:
    return [(call.input(1).dtype, call.shape())]


def _dropout(call: Call) -> list[Typed]:
    training = call.optional(2)
    if training is not None and (training.data is None or training.data.any()):
        raise ValueError("is in training mode")
    return [*_same(call), ("bool", call.shape())]


def _batch_norm(call: Call) -> list[Typed]:
    call.whole("training_mode", 0, 0, 0)
    return _same(call)


def _layer_norm(call: Call) -> list[Typed]:
    shape = call.shape(least=1)
    axis = call.axis(-1, len(shape))
    kept = (*shape[:axis], *(1 for _ in shape[axis:]))
    return [*_same(call), ("float32", kept), ("float32", kept)]


def _group_norm(call: Call) -> list[Typed]:
    groups, channels = call.whole("num_groups", None, 1), call.shape(least=3)[1]
    if channels % groups:
        raise ValueError(f"has {channels} channels in {groups} groups")
    return _same(call)


def _along_axis(call: Call) -> list[Typed]:
    call.axis(-1, len(call.shape(least=1)))
    return _same(call)


def _cum_sum(call: Call) -> list[Typed]:
    place_of(int(call.known(1)[0]), len(call.shape(least=1)))
    return _same(call)


def _lrn(call: Call) -> list[Typed]:
    call.num_products = call.input(0).size * call.whole("size", None, 1, 1024)
    return _same(call)


def _reduced(call: Call) -> list[Typed]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    if not axes:
        axes = () if call.whole("noop_with_empty_axes", 0, 0, 1) else tuple(range(len(shape)))
    return [(call.input(0).dtype, _without(shape, axes, call.whole("keepdims", 1, 0, 1)))]


def _arg_reduced(call: Call) -> list[Typed]:
    shape = call.shape(least=1)
    return [("int64", _without(shape, (call.axis(0, len(shape)),), call.whole("keepdims", 1, 0, 1)))]


def _without(shape: Shape, axes: Sequence[int], keep: int) -> Shape:
    if keep:
        return tuple(1 if place in axes else side for place, side in enumerate(shape))
    return tuple(side for place, side in enumerate(shape) if place not in axes)


def _window(call: Call, sides: Shape, kernel: Sequence[int], *, ceil: bool = False) -> Shape:
    """The sides that a window of a size leaves when it is moved over an image."""
    count = len(sides)
    strides = call.wholes("strides", (1,) * count, 1, count=count)
    dilations = call.wholes("dilations", (1,) * count, 1, count=count)
    pads = call.wholes("pads", (0,) * (2 * count), 0, count=2 * count)
    automatic = call.text("auto_pad", "NOTSET", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    found = []
    for place, side in enumerate(sides):
        reach, stride = (kernel[place] - 1) * dilations[place] + 1, strides[place]
        if automatic.startswith("SAME"):
            found.append(-(-side // stride))
            continue
        begin, end = (0, 0) if automatic == "VALID" else (pads[place], pads[place + count])
        room = side + begin + end - reach
        if room < 0:
            raise ValueError(f"moves a window of {reach} over {side} values")
        steps = -(-room // stride) if ceil else room // stride
        if ceil and steps * stride >= side + begin:  # a window that would begin in the padding at the end
            steps -= 1
        found.append(steps + 1)
    return tuple(found)


def _convolved(call: Call, weight_place: int = 1, dtype: str | None = None) -> list[Typed]:
    shape, weight = call.shape(least=3), call.shape(weight_place, least=3)
    groups = call.whole("group", 1, 1)
    if len(shape) != len(weight) or shape[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(f"takes images {shape} and kernels {weight} that do not fit")
    sides = _window(call, shape[2:], call.wholes("kernel_shape", weight[2:], 1, count=len(weight) - 2))
    found = (shape[0], weight[0], *sides)
    call.num_products = math.prod(found) * math.prod(weight[1:])
    return [(dtype or call.input(0).dtype, found)]


def _conv_integer(call: Call) -> list[Typed]:
    return _convolved(call, dtype="int32")


def _qlinear_conv(call: Call) -> list[Typed]:
    return _convolved(call, 3, call.input(7).dtype)


def _conv_transposed(call: Call) -> list[Typed]:
    shape, weight = call.shape(least=3), call.shape(1, least=3)
    groups, count = call.whole("group", 1, 1), len(shape) - 2
    if len(shape) != len(weight) or shape[1] != weight[0] or weight[0] % groups:
        raise ValueError(f"takes images {shape} and kernels {weight} that do not fit")
    kernel = call.wholes("kernel_shape", weight[2:], 1, count=count)
    strides = call.wholes("strides", (1,) * count, 1, count=count)
    dilations = call.wholes("dilations", (1,) * count, 1, count=count)
    extra = call.wholes("output_padding", (0,) * count, 0, count=count)
    pads = call.wholes("pads", (0,) * (2 * count), 0, count=2 * count)
    automatic = call.text("auto_pad", "NOTSET", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    given = call.wholes("output_shape", (), 1)
    sides = []
    for place, side in enumerate(shape[2:]):
        reach = (kernel[place] - 1) * dilations[place] + 1
        whole = strides[place] * (side - 1) + extra[place] + reach
        if given:
            sides.append(given[place - count])
        elif automatic.startswith("SAME"):
            sides.append(min(side * strides[place], whole))
        else:
            sides.append(whole - (0 if automatic == "VALID" else pads[place] + pads[place + count]))
    found = (shape[0], weight[1] * groups, *sides)
    call.num_products = math.prod(shape) * math.prod(weight[1:])
    return [(call.input(0).dtype, found)]


def _pooled(call: Call) -> list[Typed]:
    shape = call.shape(least=3)
    kernel = call.wholes("kernel_shape", None, 1, count=len(shape) - 2)
    sides = _window(call, shape[2:], kernel, ceil=bool(call.whole("ceil_mode", 0, 0, 1)))
    found = (*shape[:2], *sides)
    call.num_products = math.prod(found) * math.prod(kernel)
    return [(call.input(0).dtype, found), ("int64", found)]


def _pooled_all(call: Call) -> list[Typed]:
    shape = call.shape(least=3)
    return [(call.input(0).dtype, (*shape[:2], *(1 for _ in shape[2:])))]


def _multiplied(call: Call, second: int = 1, dtype: str | None = None) -> list[Typed]:
    left, right = call.shape(least=1), call.shape(second, least=1)
    rows = left if len(left) > 1 else (1, *left)
    columns = right if len(right) > 1 else (*right, 1)
    if rows[-1] != columns[-2]:
        raise ValueError(f"multiplies shapes that do not fit: {left} and {right}")
    outer = broadcast(rows[:-2], columns[:-2])
    call.num_products = math.prod(outer) * rows[-2] * rows[-1] * columns[-1]
    inner = (*(rows[-2:-1] if len(left) > 1 else ()), *(columns[-1:] if len(right) > 1 else ()))
    return [(dtype or call.input(0).dtype, (*outer, *inner))]


def _matmul_integer(call: Call) -> list[Typed]:
    return _multiplied(call, dtype="int32")


def _qlinear_matmul(call: Call) -> list[Typed]:
    return _multiplied(call, 3, call.input(7).dtype)


def _gemm(call: Call) -> list[Typed]:
    left, right = call.shape(least=2), call.shape(1, least=2)
    left = left[::-1] if call.whole("transA", 0, 0, 1) else left
    right = right[::-1] if call.whole("transB", 0, 0, 1) else right
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        raise ValueError(f"multiplies shapes that do not fit: {left} and {right}")
    call.num_products = left[0] * left[1] * right[1]
    return [(call.input(0).dtype, (left[0], right[1]))]


def _einsum(call: Call) -> list[Typed]:
    equation = str(call.node.attributes.get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    labels = terms.split(",")
    if not arrow or not equation.replace("->", "").replace(",", "").isalpha() or len(labels) != len(call):
        raise ValueError(f"has the equation {equation[:40]!r}; it must name all sides and the result")
    sides: dict[str, int] = {}
    for term, value in zip(labels, call.all_inputs(), strict=True):
        if len(term) != len(value.shape):
            raise ValueError(f"names {len(term)} sides of {len(value.shape)}")
        for label, side in zip(term, value.shape, strict=True):
            if sides.setdefault(label, side) != side:
                raise ValueError(f"has two lengths of side {label!r}")
    if not set(result) <= set(sides) or len(set(result)) < len(result):
        raise ValueError("names a side of the result that no input has, or twice")
    call.num_products = math.prod(sides.values())
    return [(call.input(0).dtype, tuple(sides[label] for label in result))]


def _reshaped(call: Call) -> list[Typed]:
    value, wanted = call.input(0), [int(side) for side in call.known(1)]
    keeps_zero = call.whole("allowzero", 0, 0, 1)
    shape = [
        value.shape[place] if side == 0 and not keeps_zero and place < len(value.shape) else side
        for place, side in enumerate(wanted)
    ]
    if shape.count(-1) > 1 or any(side < -1 for side in shape):
        raise ValueError(f"gives the shape {tuple(wanted)}"[:100])
    rest = math.prod(side for side in shape if side != -1)
    if -1 in shape:
        if not rest or value.size % rest:
            raise ValueError(f"gives {value.shape} the shape {tuple(wanted)}"[:200])
        shape[shape.index(-1)] = value.size // rest
    elif rest != value.size:
        raise ValueError(f"gives {value.shape} the shape {tuple(wanted)}"[:200])
    return [(value.dtype, tuple(shape))]


def _transposed(call: Call) -> list[Typed]:
    shape = call.shape()
    order = call.wholes("perm", tuple(range(len(shape)))[::-1], count=len(shape))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"orders sides as {order}")
    return [(call.input(0).dtype, tuple(shape[place] for place in order))]


def _flattened(call: Call) -> list[Typed]:
    shape = call.shape()
    axis = call.whole("axis", 1, -len(shape), len(shape))
    axis += len(shape) if axis < 0 else 0
    return [(call.input(0).dtype, (math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _squeezed(call: Call) -> list[Typed]:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    if axes is None:
        axes = tuple(place for place, side in enumerate(shape) if side == 1)
    if any(shape[place] != 1 for place in axes):
        raise ValueError(f"takes sides {axes} from {shape} that are not 1")
    return [(call.input(0).dtype, _without(shape, axes, keep=False))]


def _unsqueezed(call: Call) -> list[Typed]:
    shape = call.shape()
    count = len(call.known(1)) if len(call) > 1 else len(call.wholes("axes", None, -MAX_SIDES))
    axes = call.axes(1, len(shape) + count) or ()
    rest = iter(shape)
    return [(call.input(0).dtype, tuple(1 if place in axes else next(rest) for place in range(len(shape) + count)))]


def _concatenated(call: Call) -> list[Typed]:
    values = call.all_inputs()
    first = call.shape(least=1)
    axis = call.axis(None, len(first))
    if any(
        len(value.shape) != len(first)
        or value.shape[:axis] + value.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]
        for value in values
    ):
        raise ValueError("joins values whose other sides differ")
    return [(values[0].dtype, (*first[:axis], sum(value.shape[axis] for value in values), *first[axis + 1 :]))]


def _split(call: Call) -> list[Typed]:
    shape = call.shape(least=1)
    axis, count = call.axis(0, len(shape)), len(call.node.outputs)
    if call.optional(1) is not None:
        parts = [int(part) for part in call.known(1)]
    else:
        most = -(-shape[axis] // call.whole("num_outputs", count, 1))
        parts = [min(most, shape[axis] - most * place) for place in range(count)]
        if parts[-1] <= 0:
            raise ValueError(f"cuts {shape[axis]} values into {count}")
    if len(parts) != count or sum(parts) != shape[axis] or min(parts) < 0:
        raise ValueError(f"cuts {shape[axis]} values into {str(parts)[:60]}")
    return [(call.input(0).dtype, (*shape[:axis], part, *shape[axis + 1 :])) for part in parts]


def _sliced(call: Call) -> list[Typed]:
    shape = list(call.shape(least=1))
    starts, ends = call.known(1), call.known(2)
    axes = [int(axis) for axis in call.known(3)] if call.optional(3) is not None else list(range(len(starts)))
    steps = call.known(4) if call.optional(4) is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("slices with lists of different lengths, or in steps of 0")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = place_of(axis, len(shape))
        shape[place] = len(range(*slice(start, end, step).indices(call.shape()[place])))
    return [(call.input(0).dtype, tuple(shape))]


def _gathered(call: Call) -> list[Typed]:
    shape, places = call.shape(least=1), call.shape(1)
    axis = call.axis(0, len(shape))
    return [(call.input(0).dtype, (*shape[:axis], *places, *shape[axis + 1 :]))]


def _gathered_elements(call: Call) -> list[Typed]:
    call.axis(0, len(call.shape(least=1)))
    return [(call.input(0).dtype, call.shape(1))]


def _gathered_nd(call: Call) -> list[Typed]:
    shape, places = call.shape(least=1), call.shape(1, least=1)
    batch = call.whole("batch_dims", 0, 0, min(len(shape), len(places)) - 1)
    if batch + places[-1] > len(shape):
        raise ValueError(f"takes {places[-1]} places of {len(shape) - batch} sides")
    return [(call.input(0).dtype, (*places[:-1], *shape[batch + places[-1] :]))]


def _expanded(call: Call) -> list[Typed]:
    return [(call.input(0).dtype, broadcast(call.shape(), _sizes(call.known(1))))]


def _tiled(call: Call) -> list[Typed]:
    shape, repeats = call.shape(), _sizes(call.known(1))
    if len(shape) != len(repeats):
        raise ValueError(f"repeats {len(shape)} sides {len(repeats)} times")
    return [(call.input(0).dtype, tuple(side * times for side, times in zip(shape, repeats, strict=True)))]


def _padded(call: Call) -> list[Typed]:
    shape, pads = list(call.shape()), [int(pad) for pad in call.known(1)]
    mode = call.text("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    axes = call.axes(3, len(shape)) or tuple(range(len(shape)))
    if len(pads) != 2 * len(axes):
        raise ValueError(f"has {len(pads)} pads for {len(axes)} sides")
    for place, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if mode == "reflect" and max(begin, end) >= shape[place]:
            raise ValueError(f"mirrors {max(begin, end)} of {shape[place]} values")
        shape[place] += begin + end
    return [(call.input(0).dtype, tuple(shape))]


def _resized(call: Call) -> list[Typed]:
    shape = list(call.shape(least=1))
    call.text("keep_aspect_ratio_policy", "stretch", ("stretch",))
    call.text("mode", "nearest", ("nearest", "linear", "cubic"))
    axes = call.wholes("axes", tuple(range(len(shape))), -MAX_SIDES)
    places = [place_of(axis, len(shape)) for axis in axes]
    by_sizes = call.optional(3) is not None
    factors = call.known(3 if by_sizes else 2)
    if len(factors) != len(places):
        raise ValueError(f"has {len(factors)} sizes or scales for {len(places)} sides")
    for place, factor in zip(places, factors, strict=True):
        if not 0 < factor < 2**31:
            raise ValueError(f"resizes by {factor}")
        # In float32, as the engines do.
        shape[place] = int(factor) if by_sizes else int(np.float32(shape[place]) * np.float32(factor))
    call.num_products = math.prod(shape) * 16
    return [(call.input(0).dtype, tuple(shape))]


def _depth_to_space(call: Call) -> list[Typed]:
    shape, block = call.shape(least=4), call.whole("blocksize", None, 1, 1024)
    if len(shape) != 4 or shape[1] % block**2:
        raise ValueError(f"makes blocks of {block} from {shape}")
    return [(call.input(0).dtype, (shape[0], shape[1] // block**2, shape[2] * block, shape[3] * block))]


def _space_to_depth(call: Call) -> list[Typed]:
    shape, block = call.shape(least=4), call.whole("blocksize", None, 1, 1024)
    if len(shape) != 4 or shape[2] % block or shape[3] % block:
        raise ValueError(f"makes blocks of {block} from {shape}")
    return [(call.input(0).dtype, (shape[0], shape[1] * block**2, shape[2] // block, shape[3] // block))]


def _shape(call: Call) -> list[Typed]:
    shape = call.shape()
    start, end = call.whole("start", 0), call.whole("end", len(shape))
    return [("int64", (len(range(*slice(start, end).indices(len(shape)))),))]


def _size(call: Call) -> list[Typed]:
    return [("int64", ())]


def _constant_of_shape(call: Call) -> list[Typed]:
    value = call.node.attributes.get("value")
    return [(value.dtype if isinstance(value, Tensor) else "float32", _sizes(call.known(0)))]


def _range(call: Call) -> list[Typed]:
    [start], [limit], [step] = (call.known(place) for place in range(3))
    if not step or not all(map(math.isfinite, (start, limit, step))):
        raise ValueError("counts in steps of 0")
    return [(call.input(0).dtype, (max(0, math.ceil((limit - start) / step)),))]


def _top(call: Call) -> list[Typed]:
    shape = list(call.shape(least=1))
    axis, [count] = call.axis(-1, len(shape)), call.known(1)
    if not 0 < count <= shape[axis]:
        raise ValueError(f"takes the {count} largest of {shape[axis]}")
    call.num_products = call.input(0).size * max(1, int(count).bit_length())
    shape[axis] = int(count)
    return [(call.input(0).dtype, tuple(shape)), ("int64", tuple(shape))]


def _one_hot(call: Call) -> list[Typed]:
    shape, [depth] = call.shape(), call.known(1)
    axis = call.axis(-1, len(shape), is_new=True)
    return [(call.input(2).dtype, (*shape[:axis], *_sizes([depth]), *shape[axis:]))]


def _sampled(call: Call) -> list[Typed]:
    shape, grid = call.shape(least=4), call.shape(1, least=4)
    call.num_products = shape[1] * math.prod(grid) * 16
    return [(call.input(0).dtype, (*shape[:2], *grid[1:-1]))]


def _quantized(call: Call) -> list[Typed]:
    zero = call.optional(2)
    given = DTYPES.get(call.whole("output_dtype", 2, 0), "")
    return [(zero.dtype if zero is not None else given, call.shape())]


def _dequantized(call: Call) -> list[Typed]:
    return [(call.input(1).dtype, call.shape())]


def _quantized_as_it_is(call: Call) -> list[Typed]:
    return [("uint8", call.shape()), ("float32", ()), ("uint8", ())]


def _sizes(values: Sequence[Any]) -> Shape:
    sides = tuple(int(value) for value in values)
    if len(sides) > MAX_SIDES or any(side < 0 for side in sides):
        raise ValueError(f"makes a value of shape {str(sides)[:60]}")
    return sides


Rule = Callable[[Call], "list[Typed]"]


def _table() -> dict[str, Rule]:
    groups: dict[Rule, str] = {
        _same: (
            "Abs Atan BitwiseNot Ceil Celu Clip Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
            "InstanceNormalization LeakyRelu Log MeanVarianceNormalization Mish Neg Not PRelu Reciprocal Relu Round "
            "ScatterElements ScatterND Selu Sigmoid Sign Sin Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Trilu"
        ),
        _test: "IsInf IsNaN",
        _joined: "Add And Max Mean Min Mul Or Pow Sub Sum Xor",
        _divided: "Div Mod",
        _compared: "Equal Greater GreaterOrEqual Less LessOrEqual",
        _along_axis: "Hardmax LogSoftmax LpNormalization Softmax",
        _reduced: (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare"
        ),
        _arg_reduced: "ArgMax ArgMin",
        _pooled: "AveragePool LpPool MaxPool",
        _pooled_all: "GlobalAveragePool GlobalLpPool GlobalMaxPool",
    }
    single: dict[str, Rule] = {
        "BatchNormalization": _batch_norm, "Cast": _cast, "CastLike": _cast_like, "Concat": _concatenated,
        "ConstantOfShape": _constant_of_shape, "Conv": _convolved, "ConvInteger": _conv_integer,
        "ConvTranspose": _conv_transposed, "CumSum": _cum_sum, "DepthToSpace": _depth_to_space,
        "DequantizeLinear": _dequantized, "Dropout": _dropout, "DynamicQuantizeLinear": _quantized_as_it_is,
        "Einsum": _einsum, "Expand": _expanded, "Flatten": _flattened, "Gather": _gathered,
        "GatherElements": _gathered_elements, "GatherND": _gathered_nd, "Gemm": _gemm, "GridSample": _sampled,
        "GroupNormalization": _group_norm, "LRN": _lrn, "LayerNormalization": _layer_norm, "MatMul": _multiplied,
        "MatMulInteger": _matmul_integer, "OneHot": _one_hot, "Pad": _padded, "QLinearConv": _qlinear_conv,
        "QLinearMatMul": _qlinear_matmul, "QuantizeLinear": _quantized, "Range": _range, "Reshape": _reshaped,
        "Resize": _resized, "Shape": _shape, "Size": _size, "Slice": _sliced, "SpaceToDepth": _space_to_depth,
        "Split": _split, "Squeeze": _squeezed, "Tile": _tiled, "TopK": _top, "Transpose": _transposed,
        "Unsqueeze": _unsqueezed, "Where": _where,
    }  # fmt: skip
    return {name: rule for rule, names in groups.items() for name in names.split()} | single


OPERATORS = _table()
"""Operator -> the rule for what it gives; `Constant` is known too, it takes no input."""
