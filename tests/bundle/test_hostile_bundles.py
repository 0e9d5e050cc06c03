"""A bundle that does not keep the format to the letter is refused in one line that names the file."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import blemish
from blemish.bundle.read import MAX_MEMBERS, read_bundle
from blemish.bundle.scan import find_external_data
from blemish.errors import BundleError

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def bundle_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    images = [np.random.default_rng(seed).integers(90, 110, (64, 64, 3), dtype=np.uint8) for seed in range(4)]
    path = tmp_path_factory.mktemp("bundle") / "part.blemish"
    return blemish.train(images, detector="template", size=64).save(path).read_bytes()


def members_of(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_manifest(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def with_member(members: Members, name: str, content: bytes) -> Members:
    """A member exchanged together with its hash, as a forger would."""
    changed = {**members, name: content}
    return with_manifest(
        changed, lambda manifest: manifest["members"].update({name: hashlib.sha256(content).hexdigest()})
    )


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "hostile.blemish"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=reason) as raised:
        read_bundle(path)
    message = str(raised.value)
    assert message.startswith(str(path)), "the message names the file"
    assert "\n" not in message


def test_a_whole_bundle_is_read_and_written_the_same(tmp_path: Path, bundle_bytes: bytes) -> None:
    path = tmp_path / "part.blemish"
    path.write_bytes(bundle_bytes)
    again = blemish.load(path).save(tmp_path / "again.blemish")
    assert again.read_bytes() == bundle_bytes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        read_bundle(tmp_path / "none.blemish")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_refused(tmp_path: Path, bundle_bytes: bytes, share: float) -> None:
    refused(tmp_path, bundle_bytes[: int(len(bundle_bytes) * share)], "not a whole bundle file")


def test_text_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, b"not a zip archive at all" * 50, "not a whole bundle file")


@pytest.mark.parametrize("name", ["graph.onnx", "calibration.json", "history.json", "samples/00.png"])
def test_an_altered_member_is_refused(tmp_path: Path, bundle_bytes: bytes, name: str) -> None:
    members = members_of(bundle_bytes)
    content = bytearray(members[name])
    content[len(content) // 2] ^= 1
    refused(tmp_path, pack({**members, name: bytes(content)}), f"{name} was altered")


@pytest.mark.parametrize("name", ["manifest.json", "graph.onnx", "calibration.json", "history.json"])
def test_a_missing_member_is_refused(tmp_path: Path, bundle_bytes: bytes, name: str) -> None:
    members = members_of(bundle_bytes)
    del members[name]
    refused(tmp_path, pack(members), f"{name} is missing")


@pytest.mark.parametrize(
    "name", ["../escape.txt", "/etc/passwd", "C:\\evil.exe", "samples/../../x.png", "run.py", "samples/00.png/x"]
)
def test_a_path_trick_or_unknown_member_is_refused(tmp_path: Path, bundle_bytes: bytes, name: str) -> None:
    refused(tmp_path, pack({**members_of(bundle_bytes), name: b"x"}), "unknown member")


def test_a_member_that_stands_twice_is_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    buffer = io.BytesIO(bundle_bytes)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("graph.onnx", b"another")
    refused(tmp_path, buffer.getvalue(), "stands in it twice")


def test_a_compressed_member_is_refused_so_that_there_is_no_zip_bomb(tmp_path: Path, bundle_bytes: bytes) -> None:
    bomb = {**members_of(bundle_bytes), "samples/09.png": bytes(50_000_000)}
    content = pack(bomb, zipfile.ZIP_DEFLATED)
    assert len(content) < 5_000_000
    refused(tmp_path, content, "compressed or encrypted")


def test_too_many_members_are_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    many = {f"samples/{number:02}.png": b"" for number in range(100)}
    assert len(many) + 4 > MAX_MEMBERS
    refused(tmp_path, pack({**members_of(bundle_bytes), **many}), "members, at most")


def test_a_newer_version_is_refused_with_the_remedy(tmp_path: Path, bundle_bytes: bytes) -> None:
    newer = with_manifest(members_of(bundle_bytes), lambda manifest: manifest.update(format_version=2))
    refused(tmp_path, pack(newer), "format version 2.*install a newer blemish")


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b'{"format_version": "1"}', b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, bundle_bytes: bytes, content: bytes) -> None:
    refused(tmp_path, pack({**members_of(bundle_bytes), "manifest.json": content}), "manifest.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("detector"),
        lambda manifest: manifest.update(input_hw="large"),
        lambda manifest: manifest.update(hook="import os"),
        lambda manifest: manifest["data"].update(num_fit=-1),
    ],
)
def test_a_wrong_field_in_the_manifest_is_refused(
    tmp_path: Path, bundle_bytes: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    refused(tmp_path, pack(with_manifest(members_of(bundle_bytes), change)), "manifest.json is not valid")


def test_a_hash_for_a_member_that_is_not_there_is_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    odd = with_manifest(members_of(bundle_bytes), lambda manifest: manifest["members"].update({"samples/50.png": "0"}))
    refused(tmp_path, pack(odd), "not in both")


def test_a_calibration_that_is_none_is_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    members = with_member(members_of(bundle_bytes), "calibration.json", b'{"image_threshold": "high"}')
    refused(tmp_path, pack(members), "calibration is not valid")


def test_a_calibration_of_another_graph_is_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    members = members_of(bundle_bytes)
    calibration = {**json.loads(members["calibration.json"]), "graph_sha256": "0" * 64}
    refused(
        tmp_path,
        pack(with_member(members, "calibration.json", json.dumps(calibration).encode())),
        "made for another graph",
    )


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def model_with(
    nodes: list[onnx.NodeProto],
    tensors: list[TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [], [], tensors or [])
    return helper.make_model(graph, functions=functions or [])


def hiding_places() -> dict[str, onnx.ModelProto]:
    """External data in each place of a model that can hold a tensor."""
    constant = helper.make_node("Constant", [], ["y"], value=external_tensor())
    inner = helper.make_graph([constant], "inner", [], [])
    sparse = onnx.SparseTensorProto(dims=[1])
    sparse.values.CopyFrom(external_tensor())
    sparse_model = model_with([])
    sparse_model.graph.sparse_initializer.append(sparse)
    many = onnx.AttributeProto(name="tensors", type=onnx.AttributeProto.TENSORS, tensors=[external_tensor()])
    listed = helper.make_node("Custom", [], ["y"])
    listed.attribute.append(many)
    function = helper.make_function("local", "f", [], ["y"], [constant], [helper.make_opsetid("", 18)])
    return {
        "initializer": model_with([], [external_tensor()]),
        "attribute": model_with([constant]),
        "list of tensors": model_with([listed]),
        "branch": model_with([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]),
        "function": model_with([], functions=[function]),
        "sparse": sparse_model,
    }


@pytest.mark.parametrize("place", list(hiding_places()))
def test_external_data_is_found_wherever_it_hides(tmp_path: Path, bundle_bytes: bytes, place: str) -> None:
    graph = hiding_places()[place].SerializeToString()
    members = with_member(members_of(bundle_bytes), "graph.onnx", graph)
    refused(tmp_path, pack(members), "refers to data in another file")


def test_a_graph_nested_without_end_is_refused() -> None:
    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content

    graph = b""
    for _ in range(40):
        graph = field(1, field(5, field(6, graph)))  # a node's attribute holds a graph
    assert "nested deeper" in find_external_data(field(7, graph))


def test_a_graph_that_is_none_is_refused(tmp_path: Path, bundle_bytes: bytes) -> None:
    members = with_member(members_of(bundle_bytes), "graph.onnx", b"\xff" * 100)
    refused(tmp_path, pack(members), "not a whole ONNX graph")


def test_an_honest_graph_passes_the_scan(bundle_bytes: bytes) -> None:
    assert find_external_data(members_of(bundle_bytes)["graph.onnx"]) == ""
