"""Looks through a serialized ONNX graph for references to other files, without the onnx package.

A runtime that meets such a reference opens the named file, so a hostile bundle could read files of the station. Only
the few message fields that can hold tensors are followed; the numbers are those of the ONNX protocol (onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator

MODEL = {7: "graph", 20: "training", 25: "function"}
GRAPH = {1: "node", 5: "tensor", 15: "sparse"}
TRAINING = {1: "graph", 2: "graph"}
FUNCTION = {7: "node", 11: "attribute"}
NODE = {5: "attribute"}
ATTRIBUTE = {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}
SPARSE = {1: "tensor", 2: "tensor"}
CHILDREN = {
    "model": MODEL,
    "graph": GRAPH,
    "training": TRAINING,
    "function": FUNCTION,
    "node": NODE,
    "attribute": ATTRIBUTE,
    "sparse": SPARSE,
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
MAX_DEPTH = 64
MAX_KEY = 2**32 - 1


def find_external_data(graph: bytes) -> str:
    """What is wrong with the graph in a few words, "" where it holds all its data itself."""
    try:
        return _scan(memoryview(graph), "model", 0)
    except (IndexError, ValueError):
        return "is not a whole ONNX graph"


def _scan(message: memoryview, kind: str, depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    for number, value in _fields(message):
        if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            return "refers to data in another file"
        child = CHILDREN[kind].get(number)
        if child is not None and isinstance(value, memoryview):
            fault = _scan(value, child, depth + 1)
            if fault:
                return fault
    return ""


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protocol buffer message: number and value (integers, or bytes of sub-messages)."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        if key > MAX_KEY:  # the parser of a runtime may drop the high bits and see another field
            raise ValueError("field number too long")
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, place = _varint(message, place)
            yield number, value
        elif wire_type == 2:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise ValueError("cut off")
            yield number, message[place : place + length]
            place += length
        elif wire_type in (1, 5):
            place += 8 if wire_type == 1 else 4
        else:
            raise ValueError("unknown wire type")
    if place != len(message):
        raise ValueError("cut off")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
