"""Reads a serialized ONNX graph into plain records without the onnx package, and refuses what no bundle may hold.

Every field that is not listed here is refused, and so are data in other files, nested graphs, functions, sparse
tensors and operators of other domains: none of them is needed, and each is a way to read a station's files or to run
for ever. The numbers of fields are those of the ONNX protocol (onnx.proto). Raises ValueError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FIELDS = 2_000_000
MAX_NODES = 20_000
MAX_NAME_BYTES = 1_000
MAX_TYPED_VALUES = 100_000
"""Numbers of a tensor that are not stored as raw bytes."""
MAX_KNOWN = 4_096
"""Numbers of a tensor whose values are looked at, such as those of shapes."""
MAX_KEY = 2**32 - 1
OPSETS = range(13, 22)
"""The versions of the ONNX operators that `blemish.bundle.operators` knows."""

DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""Type of a tensor's numbers in the ONNX protocol -> its name here."""
ITEM_BYTES = {
    name: {"bfloat16": 2, "bool": 1}.get(name) or np.dtype("u1" if name == "bfloat16" else name).itemsize
    for name in DTYPES.values()
}

ATTRIBUTE_FIELDS = {1: 2, 2: 3, 3: 4, 4: 5, 6: 7, 7: 8, 8: 9}
"""Kind of an attribute -> the field that holds it; those from 6 on hold lists."""
VARINT, BYTES8, BYTES, BYTES4 = 0, 1, 2, 5

Kinds = Mapping[int, "int | None"]
"""Number of a field -> how it is stored; None stands for lists of numbers, stored one by one or together."""
MODEL: Kinds = {1: VARINT, 5: VARINT, **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25), BYTES)}
OPSET: Kinds = {1: BYTES, 2: VARINT}
GRAPH: Kinds = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 15, 16), BYTES)
NODE: Kinds = dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 9), BYTES)
ATTRIBUTE: Kinds = {
    2: BYTES4,
    3: VARINT,
    7: None,
    8: None,
    20: VARINT,
    **dict.fromkeys((1, 4, 5, 6, 9, 10, 11, 13, 14, 15, 21, 22, 23), BYTES),
}
TENSOR: Kinds = {2: VARINT, 14: VARINT, **dict.fromkeys((1, 4, 5, 7, 10, 11)), **dict.fromkeys((8, 9, 12, 13), BYTES)}
DECLARED: Kinds = dict.fromkeys((1, 2, 3, 4), BYTES)
TYPE: Kinds = dict.fromkeys((1, 4, 5, 6, 8, 9), BYTES)
TENSOR_TYPE: Kinds = {1: VARINT, 2: BYTES}
SHAPE: Kinds = {1: BYTES}
SIDE: Kinds = {1: VARINT, 2: BYTES, 3: BYTES}

Data = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """Numbers in a graph; `data` holds them where they are few, None otherwise."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Data | None


@dataclass(frozen=True)
class Declared:
    """An input or output as the graph declares it; a side that is not fixed is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Node:
    """One operation; an attribute is a number, a text, a tuple of either, or a tensor."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass
class Graph:
    """A graph as far as its bounds depend on it."""

    opset: int = 0
    nodes: list[Node] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)
    inputs: list[Declared] = field(default_factory=list)
    outputs: list[Declared] = field(default_factory=list)


def read_graph(content: bytes) -> Graph:
    """The graph in a serialized ONNX model."""
    return _Reader().model(memoryview(content))


class _Reader:
    """One method for each kind of message; `_count` bounds the work for all of them together."""

    def __init__(self) -> None:
        self._count = 0

    def model(self, message: memoryview) -> Graph:
        graph = Graph()
        for number, value in self._fields(message, MODEL):
            if number in (20, 25):
                raise ValueError("holds functions or a training; only operators are allowed")
            if number == 8:
                version = self._opset(value)
                if graph.opset:
                    raise ValueError("names two versions of the ONNX operators")
                graph.opset = version
            if number == 7:
                self._graph(value, graph)
        if graph.opset not in OPSETS:
            raise ValueError(
                f"is written in ONNX opset {graph.opset or 'unknown'}; allowed are {OPSETS.start} to {OPSETS.stop - 1}"
            )
        return graph

    def _opset(self, message: memoryview) -> int:
        version = 0
        for number, value in self._fields(message, OPSET):
            if number == 1 and _text(value) not in ("", "ai.onnx"):
                raise ValueError(f"uses operators of the domain {_text(value)!r}; only those of ONNX are allowed")
            if number == 2:
                version = value
        return version

    def _graph(self, message: memoryview, graph: Graph) -> None:
        for number, value in self._fields(message, GRAPH):
            if number == 1:
                graph.nodes.append(self._node(value))
                if len(graph.nodes) > MAX_NODES:
                    raise ValueError(f"has more than {MAX_NODES:,} operations")
            elif number == 5:
                graph.constants.append(self._tensor(value))
            elif number == 11:
                graph.inputs.append(self._declared(value))
            elif number == 12:
                graph.outputs.append(self._declared(value))
            elif number == 15:
                raise ValueError("holds sparse tensors, which are not allowed")

    def _node(self, message: memoryview) -> Node:
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Any] = {}
        op_type = ""
        for number, value in self._fields(message, NODE):
            if number == 1:
                inputs.append(_text(value))
            elif number == 2:
                outputs.append(_text(value))
            elif number == 4:
                op_type = _text(value)
            elif number == 5:
                name, found = self._attribute(value)
                if name in attributes:
                    raise ValueError(f"has an operation with two attributes {name!r}")
                attributes[name] = found
            elif number == 7 and _text(value) not in ("", "ai.onnx"):
                raise ValueError(f"uses operators of the domain {_text(value)!r}; only those of ONNX are allowed")
        return Node(op_type, tuple(inputs), tuple(outputs), attributes)

    def _attribute(self, message: memoryview) -> tuple[str, Any]:
        name, declared = "", 0
        found: dict[int, list[Any]] = {}
        for number, value in self._fields(message, ATTRIBUTE):
            if number in (6, 11):
                raise ValueError("holds a graph within a graph, as loops and branches do, which are not allowed")
            if number in (22, 23):
                raise ValueError("holds sparse tensors, which are not allowed")
            if number in (10, 14, 15, 21):
                raise ValueError("holds an attribute of a kind that is not allowed")
            if number == 1:
                name = _text(value)
            elif number == 20:
                declared = value
            elif number != 13:
                found.setdefault(number, []).extend(self._values(number, value))
        # What is declared and what is there must be one and the same, or two readers would see two different values.
        field = ATTRIBUTE_FIELDS.get(declared)
        if field is None or set(found) - {field} or (field < 6 and len(found.get(field, ())) != 1):
            raise ValueError(f"has an attribute {name!r} of a kind that is not allowed, or of two kinds")
        values = tuple(found.get(field, ()))
        return name, values[0] if field < 6 else values

    def _values(self, number: int, value: Any) -> list[Any]:
        """What one field of an attribute holds."""
        if number in (2, 7):
            return _floats(value)
        if number in (3, 8):
            return [_signed(value)] if isinstance(value, int) else self._varints(value)
        return [self._tensor(value)] if number == 5 else [_text(value, 100 * MAX_NAME_BYTES)]

    def _tensor(self, message: memoryview) -> Tensor:
        name, kind, shape, raw = "", 0, [], None
        typed: list[float] = []
        for number, value in self._fields(message, TENSOR):
            if number == 13 or (number == 14 and value != 0):
                raise ValueError("refers to data in another file")
            if number == 1:
                shape.extend([_signed(value)] if isinstance(value, int) else self._varints(value))
            elif number == 2:
                kind = value
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw = value
            elif number == 4:
                typed.extend(_floats(value))
            elif number == 10:
                typed.extend(_floats(value, "d"))
            elif number in (5, 7, 11):
                typed.extend([_signed(value)] if isinstance(value, int) else self._varints(value))
            if len(typed) > MAX_TYPED_VALUES or len(shape) > 16:
                raise ValueError("holds a tensor of too many typed numbers or sides; store numbers as raw bytes")
        if raw is not None and typed:
            raise ValueError("holds a tensor with its numbers in two forms")
        if kind not in DTYPES:
            raise ValueError(f"holds a tensor of a type (number {kind}) that is not allowed")
        if any(side < 0 for side in shape):
            raise ValueError("holds a tensor with a side below 0")
        dtype, size = DTYPES[kind], math.prod(shape)
        if (len(raw) if raw is not None else len(typed) * ITEM_BYTES[dtype]) != size * ITEM_BYTES[dtype]:
            raise ValueError(f"holds a tensor of shape {tuple(shape)} that has not as many numbers")
        return Tensor(name, dtype, tuple(shape), _known(dtype, shape, raw, typed))

    def _declared(self, message: memoryview) -> Declared:
        name, dtype, shape = "", "", None
        for number, value in self._fields(message, DECLARED):
            if number == 1:
                name = _text(value)
            if number == 2:
                for kind, inner in self._fields(value, TYPE):
                    if kind == 1:
                        dtype, shape = self._tensor_type(inner)
                    elif kind != 6:
                        raise ValueError("has an input or output that is no tensor")
        if shape is None:
            raise ValueError(f"does not declare the shape of {name!r}")
        return Declared(name, dtype, shape)

    def _tensor_type(self, message: memoryview) -> tuple[str, tuple[int | None, ...] | None]:
        dtype, shape = "", None
        for number, value in self._fields(message, TENSOR_TYPE):
            if number == 1:
                dtype = DTYPES.get(value, f"type {value}")
            else:
                sides: list[int | None] = []
                for _, side in self._fields(value, SHAPE):
                    fixed = [_signed(found) for kind, found in self._fields(side, SIDE)
                             if kind == 1]  # fmt: skip
                    sides.append(fixed[-1] if fixed else None)
                shape = tuple(sides)
        return dtype, shape

    def _varints(self, content: memoryview) -> list[int]:
        found, place = [], 0
        while place < len(content):
            value, place = _varint(content, place)
            found.append(_signed(value))
            self._tick()
        return found

    def _tick(self) -> None:
        self._count += 1
        if self._count > MAX_FIELDS:
            raise ValueError(f"has more than {MAX_FIELDS:,} parts")

    def _fields(self, message: memoryview, kinds: Kinds) -> Iterator[tuple[int, Any]]:
        """The fields of a message: number, and a whole number or the bytes of it."""
        place = 0
        while place < len(message):
            self._tick()
            key, place = _varint(message, place)
            if key > MAX_KEY:  # the parser of an engine may drop the high bits and see another field
                raise ValueError("is not a whole ONNX graph")
            number, wire_type = key >> 3, key & 7
            wanted = kinds.get(number, -1)
            if wanted == -1 or (wanted is not None and wanted != wire_type):
                raise ValueError("is not a whole ONNX graph, or has parts of a later version")
            if wire_type == VARINT:
                value, place = _varint(message, place)
                yield number, value
                continue
            if wire_type == BYTES:
                length, place = _varint(message, place)
            elif wire_type in (BYTES4, BYTES8):
                length = 4 if wire_type == BYTES4 else 8
            else:
                raise ValueError("is not a whole ONNX graph")
            if place + length > len(message):
                raise ValueError("is not a whole ONNX graph: cut off")
            yield number, message[place : place + length]
            place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value & (2**64 - 1), place
        shift += 7
        if shift > 63:
            break
    raise ValueError("is not a whole ONNX graph: cut off")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _text(content: memoryview, max_bytes: int = MAX_NAME_BYTES) -> str:
    if len(content) > max_bytes:
        raise ValueError(f"has a name of more than {max_bytes:,} bytes")
    return bytes(content).decode("utf-8", errors="backslashreplace")


def _floats(content: memoryview | int, kind: str = "f") -> list[float]:
    """Numbers stored as 4 or 8 bytes each."""
    if isinstance(content, int) or len(content) % struct.calcsize(kind) or len(content) > 8 * MAX_TYPED_VALUES:
        raise ValueError("holds a list of numbers that is cut off or too long; store numbers as raw bytes")
    numbers: list[float] = np.frombuffer(content, np.dtype(kind).newbyteorder("<")).tolist()
    return numbers


def _known(dtype: str, shape: list[int], raw: memoryview | None, typed: list[float]) -> Data | None:
    """The values of a small tensor."""
    if math.prod(shape) > MAX_KNOWN or dtype == "bfloat16":
        return None
    try:
        if raw is not None:
            return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape).astype(dtype)
        bits = np.array(typed, np.uint16).view(np.float16) if dtype == "float16" else np.array(typed)
        return bits.reshape(shape).astype(dtype)
    except (OverflowError, ValueError) as error:
        raise ValueError("holds a tensor whose numbers do not fit its type") from error
