"""What a graph takes in and gives, and the most memory and work that it can need, before any engine sees it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blemish.bundle.known import known_value
from blemish.bundle.manifest import MAX_SIDE, Manifest
from blemish.bundle.operation import Call, Value
from blemish.bundle.operators import OPERATORS
from blemish.bundle.wire import Declared, Graph, Node, Tensor, read_graph
from blemish.errors import BundleError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_VALUE_BYTES = 2**30
"""One value of a graph, for one image."""
MAX_LIVE_BYTES = 4 * 2**30
"""All values that are needed at the same time, for one image, when operations run in their order."""
MAX_TOTAL_BYTES = 64 * 2**30
"""All values together."""
MAX_CONSTANT_BYTES = 2**30
"""All values that do not depend on the image and are not stored: engines compute them when they load the graph."""
MAX_WORK = 4 * 10**12
"""Multiplications for one image."""
VALUE_WORK = 20
"""How many multiplications reading or writing one value counts as."""


def check_contents(place: str | Path, manifest: Manifest, graph: bytes, samples: Sequence[bytes]) -> None:
    """Raises BundleError where the graph and the sample images of a bundle are none that its manifest allows."""
    try:
        height, width = check_graph(graph, manifest.input_hw)
    except ValueError as error:
        raise BundleError(
            f"{place}: graph.onnx {error}; docs/bundle-format.md says what a bundle may hold: do not trust this file"
        ) from error
    reduction = manifest.reduction
    if reduction.kind == "top_mean" and reduction.count > height * width:
        raise BundleError(
            f"{place}: manifest.json: the mean of {reduction.count:,} values of a map of {height} x {width}; "
            "do not trust this file"
        )
    size = struct.pack(">II", manifest.input_hw[1], manifest.input_hw[0])
    for number, sample in enumerate(samples):
        if not sample.startswith(PNG_SIGNATURE) or sample[16:24] != size:
            raise BundleError(f"{place}: samples/{number:02}.png is no PNG file of the input size; train anew")


def check_graph(content: bytes, input_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the anomaly map that a serialized ONNX graph gives for one image of `input_hw`.

    Raises ValueError, with what is wrong in a few words, where a bundle must not hold the graph.
    """
    try:
        graph = read_graph(content)
    except IndexError as error:
        raise ValueError("is not a whole ONNX graph") from error
    _check_input(graph, input_hw)
    values = _run(graph, input_hw)
    return _check_outputs(graph, values, input_hw)


def _check_input(graph: Graph, input_hw: tuple[int, int]) -> None:
    expected = Declared("image", "uint8", (None, *input_hw, 3))
    if graph.inputs != [expected]:
        found = ", ".join(map(_shown, graph.inputs)) or "nothing"
        raise ValueError(f"takes {found[:200]}; the manifest needs {_shown(expected)}")


def _check_outputs(graph: Graph, values: dict[str, Value], input_hw: tuple[int, int]) -> tuple[int, int]:
    declared = {output.name: output for output in graph.outputs}
    map_hw = declared["anomaly_map"].shape[1:] if "anomaly_map" in declared else ()
    if len(map_hw) != 2 or None in map_hw or not all(map_hw):
        raise ValueError("does not give an anomaly_map of [batch, height, width]")
    height, width = (int(side or 0) for side in map_hw)
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"gives a map of {height} x {width}; at most {MAX_SIDE:,} a side are allowed")
    expected = [
        Declared("anomaly_map", "float32", (None, height, width)),
        Declared("anomaly_score", "float32", (None,)),
        Declared("reconstruction", "uint8", (None, *input_hw, 3)),
    ]
    known = {output.name: output for output in expected}
    if len(declared) < len(graph.outputs) or not {"anomaly_map", "anomaly_score"} <= set(declared) <= set(known):
        raise ValueError(f"gives {', '.join(map(_shown, graph.outputs))[:200]}; expected anomaly_map, anomaly_score")
    for name, output in declared.items():
        found = values.get(name)
        if output != known[name]:
            raise ValueError(f"declares {_shown(output)}; expected {_shown(known[name])}")
        if found is None or (found.dtype, found.shape) != (output.dtype, tuple(side or 1 for side in output.shape)):
            gives = "nothing" if found is None else f"{found.dtype} {list(found.shape)} for one image"
            raise ValueError(f"declares {_shown(output)} but gives {gives}")
    return height, width


def _run(graph: Graph, input_hw: tuple[int, int]) -> dict[str, Value]:
    """All values for one image; adds up what they need."""
    values = {"": Value("float32", ()), "image": Value("uint8", (1, *input_hw, 3))}
    for tensor in graph.constants:
        _add(values, tensor.name, Value(tensor.dtype, tensor.shape, tensor.data, is_constant=True))
    last_use = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
    outputs = {output.name for output in graph.outputs}
    ending: dict[int, int] = {}
    live = total = constant = work = 0
    for place, node in enumerate(graph.nodes):
        try:
            made, products = _step(node, values)
        except ValueError as error:
            raise ValueError(f"holds an operation {node.op_type[:40]} ({node.outputs[0][:60]}) that {error}") from error
        moved = sum(values[name].size for name in node.inputs if name) + sum(value.size for value in made)
        work += products + VALUE_WORK * moved
        for name, value in zip(node.outputs, made, strict=False):
            if not name:
                continue
            _add(values, name, value)
            if value.num_bytes > MAX_VALUE_BYTES:
                raise ValueError(f"makes a value of {value.num_bytes:,} bytes; at most {MAX_VALUE_BYTES:,} are allowed")
            total += value.num_bytes
            if value.is_constant:
                constant += value.num_bytes
                continue
            live += value.num_bytes
            end = len(graph.nodes) if name in outputs else last_use.get(name, place)
            ending[end] = ending.get(end, 0) + value.num_bytes
        _check_sums(live + constant, total, constant, work)
        live -= ending.get(place, 0)
    return values


def _step(node: Node, values: dict[str, Value]) -> tuple[list[Value], int]:
    """What an operation makes, and how many multiplications that takes."""
    if node.op_type == "Constant":
        return [_constant(node)], 0
    rule = OPERATORS.get(node.op_type)
    if rule is None:
        raise ValueError("is not allowed")
    missing = [name for name in node.inputs if name not in values]
    if missing:
        raise ValueError(f"uses {missing[0][:60]!r}, which nothing before it makes")
    inputs = [values[name] if name else None for name in node.inputs]
    call = Call(node, inputs)
    typed = rule(call)
    if len(node.outputs) > len(typed):
        raise ValueError(f"gives {len(node.outputs)} values, of which {len(typed)} are known")
    is_constant = all(value is None or value.is_constant for value in inputs)
    first = known_value(node, inputs, *typed[0]) if len(typed) == 1 else None
    data = [first, *(None for _ in typed[1:])]
    return [
        Value(dtype, shape, known, is_constant) for (dtype, shape), known in zip(typed, data, strict=True)
    ], call.num_products


def _constant(node: Node) -> Value:
    [value] = node.attributes.values() if len(node.attributes) == 1 else [None]
    if isinstance(value, Tensor):
        return Value(value.dtype, value.shape, value.data, is_constant=True)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError("holds no numbers")
    is_float = any(name in node.attributes for name in ("value_float", "value_floats"))
    shape = (len(numbers),) if isinstance(value, tuple) else ()
    dtype = "float32" if is_float else "int64"
    return Value(dtype, shape, np.array(numbers).astype(dtype).reshape(shape), is_constant=True)


def _add(values: dict[str, Value], name: str, value: Value) -> None:
    if name in values:
        raise ValueError(f"gives the name {name[:60]!r} twice")
    values[name] = value


def _check_sums(live: int, total: int, constant: int, work: int) -> None:
    for what, found, limit in (
        ("bytes at the same time", live, MAX_LIVE_BYTES),
        ("bytes in all", total, MAX_TOTAL_BYTES),
        ("bytes of constants that are not stored", constant, MAX_CONSTANT_BYTES),
        ("multiplications", work, MAX_WORK),
    ):
        if found > limit:
            raise ValueError(f"needs more than {limit:,} {what} for one image")


def _shown(value: Declared) -> str:
    sides = ", ".join("batch" if side is None else str(side) for side in value.shape)
    return f"{value.name[:40]}: {value.dtype} [{sides}]"
