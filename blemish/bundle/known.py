"""The small whole numbers in a graph that shapes and sizes are made of, computed without an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from blemish.bundle.operation import Shape, Value
from blemish.bundle.wire import MAX_KNOWN, Data, Node, Tensor

Arrays = Sequence[Data]


def known_value(node: Node, inputs: Sequence[Value | None], dtype: str, shape: Shape) -> Data | None:
    """What an operation on known values gives as its first output, None where that is not known or not small."""
    if node.op_type == "Shape" and inputs and inputs[0] is not None:
        start, end = node.attributes.get("start", 0), node.attributes.get("end")
        return np.array(inputs[0].shape[start:end], np.int64)
    if node.op_type == "Size" and inputs and inputs[0] is not None:
        return np.array(inputs[0].size, np.int64)
    compute = COMPUTE.get(node.op_type)
    arrays = [value.data for value in inputs if value is not None]
    if compute is None or np.prod(shape, dtype=np.float64) > MAX_KNOWN or dtype == "bfloat16":
        return None
    known = [data for data in arrays if data is not None]
    if len(known) < len(inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(compute(node, known, shape)).astype(dtype).reshape(shape)
    except (ValueError, IndexError, OverflowError, TypeError):  # then a rule or the engine says what is wrong
        return None


def _divided(node: Node, arrays: Arrays, shape: Shape) -> Data:
    """As in C: whole numbers are rounded toward 0."""
    left, right = arrays
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    return np.asarray(np.abs(left) // np.abs(right) * np.sign(left) * np.sign(right))


def _sliced(node: Node, arrays: Arrays, shape: Shape) -> Data:
    data, starts, ends = arrays[:3]
    axes = arrays[3] if len(arrays) > 3 else np.arange(len(starts))
    steps = arrays[4] if len(arrays) > 4 else np.ones(len(starts), np.int64)
    for start, end, axis, step in zip(*(part.tolist() for part in (starts, ends, axes, steps)), strict=True):
        data = np.take(data, range(*slice(start, end, step).indices(data.shape[axis])), axis)
    return data


def _filled(node: Node, arrays: Arrays, shape: Shape) -> Data:
    value = node.attributes.get("value")
    return np.full(shape, 0 if not isinstance(value, Tensor) or value.data is None else value.data.ravel()[0])


def _reduced(function: Callable[[Data], Data]) -> Callable[[Node, Arrays, Shape], Data | float]:
    """Only over all values, which is all that sizes need."""

    def compute(node: Node, arrays: Arrays, shape: Shape) -> Data | float:
        if int(np.prod(shape)) != 1:
            raise ValueError
        return function(arrays[0])

    return compute


COMPUTE: dict[str, Callable[[Node, Arrays, Shape], Data | float]] = {
    **dict.fromkeys(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), lambda n, a, s: a[0]),
    "Abs": lambda n, a, s: np.abs(a[0]),
    "Add": lambda n, a, s: a[0] + a[1],
    "And": lambda n, a, s: a[0] & a[1],
    "Ceil": lambda n, a, s: np.ceil(a[0]),
    "Concat": lambda n, a, s: np.concatenate(a, n.attributes["axis"]),
    "ConstantOfShape": _filled,
    "Div": _divided,
    "Equal": lambda n, a, s: a[0] == a[1],
    "Expand": lambda n, a, s: np.broadcast_to(a[0], s),
    "Floor": lambda n, a, s: np.floor(a[0]),
    "Gather": lambda n, a, s: np.take(a[0], a[1], n.attributes.get("axis", 0)),
    "Greater": lambda n, a, s: a[0] > a[1],
    "GreaterOrEqual": lambda n, a, s: a[0] >= a[1],
    "Less": lambda n, a, s: a[0] < a[1],
    "LessOrEqual": lambda n, a, s: a[0] <= a[1],
    "Max": lambda n, a, s: np.maximum.reduce(a),
    "Min": lambda n, a, s: np.minimum.reduce(a),
    "Mod": lambda n, a, s: (np.fmod if n.attributes.get("fmod") else np.mod)(a[0], a[1]),
    "Mul": lambda n, a, s: a[0] * a[1],
    "Neg": lambda n, a, s: -a[0],
    "Not": lambda n, a, s: ~a[0],
    "Or": lambda n, a, s: a[0] | a[1],
    "Pow": lambda n, a, s: np.power(a[0], a[1]),
    "Range": lambda n, a, s: np.arange(a[0].item(), a[1].item(), a[2].item()),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Round": lambda n, a, s: np.round(a[0]),
    "Sign": lambda n, a, s: np.sign(a[0]),
    "Slice": _sliced,
    "Sqrt": lambda n, a, s: np.sqrt(a[0]),
    "Sub": lambda n, a, s: a[0] - a[1],
    "Tile": lambda n, a, s: np.tile(a[0], a[1]),
    "Transpose": lambda n, a, s: np.transpose(a[0], n.attributes.get("perm")),
    "Where": lambda n, a, s: np.where(a[0], a[1], a[2]),
}
"""Operator -> its first output from known inputs; arguments are the node, the arrays and the shape of the output."""
