"""A bundle that is damaged, altered, too new or hostile is refused with one line that names the file and the fault."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from blemish.bundle import read
from blemish.bundle.read import read_bundle
from blemish.bundle.scan import find_external_data
from blemish.errors import BundleError

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def members(bundle_path: Path) -> Members:
    with zipfile.ZipFile(bundle_path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip file of these members, hashes in the manifest made right."""
    members = dict(members)
    if "manifest.json" in members:
        manifest = json.loads(members["manifest.json"])
        others = {name: content for name, content in members.items() if name != "manifest.json"}
        manifest["members"] = {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}
        members["manifest.json"] = json.dumps(manifest).encode()
    return pack_as_is(path, members, compression)


def pack_as_is(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def assert_refused(path: Path, *says: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    for part in says:
        assert part in message


def changed_json(members: Members, name: str, **changes: Any) -> Members:
    values = json.loads(members[name])
    values.update(changes)
    return {**members, name: json.dumps(values).encode()}


def test_the_unchanged_members_are_a_bundle(members: Members, tmp_path: Path) -> None:
    read_bundle(pack(tmp_path / "good.blemish", members))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.blemish", "no such file")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bytes(1000)], ids=["empty", "text", "start", "zeros"])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no.blemish"
    path.write_bytes(content)
    assert_refused(path, "not a whole bundle file", "copy it again")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_bundle_that_was_cut_off_is_refused(share: float, bundle_path: Path, tmp_path: Path) -> None:
    content = bundle_path.read_bytes()
    path = tmp_path / "cut.blemish"
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "not a whole bundle file")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_is_found_or_changes_nothing(
    place: float, value: int, bundle_path: Path, tmp_path: Path
) -> None:
    """Wherever a byte is changed, the file is refused, or its members are what they were."""
    content = bytearray(bundle_path.read_bytes())
    content[int(place * len(content))] ^= value
    path = tmp_path / "altered.blemish"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read_bundle(path)
    except BundleError:
        return
    whole = read_bundle(bundle_path)
    assert (found.graph, found.calibration, found.samples) == (whole.graph, whole.calibration, whole.samples)


@pytest.mark.parametrize("name", ["graph.onnx", "calibration.json", "history.json", "samples/00.png"])
def test_an_altered_member_is_named(name: str, members: Members, tmp_path: Path) -> None:
    altered = {**members, name: members[name] + b" "}
    assert_refused(pack_as_is(tmp_path / "altered.blemish", altered), name, "altered")


def test_a_hash_of_a_member_that_is_not_there_is_refused(members: Members, tmp_path: Path) -> None:
    manifest = json.loads(members["manifest.json"])
    manifest["members"]["samples/77.png"] = "0" * 64
    odd = {**members, "manifest.json": json.dumps(manifest).encode()}
    assert_refused(pack_as_is(tmp_path / "odd.blemish", odd), "samples/77.png", "not in both")


def test_a_newer_version_asks_for_a_newer_program(members: Members, tmp_path: Path) -> None:
    newer = changed_json(members, "manifest.json", format_version=4, something_new=True)
    assert_refused(pack(tmp_path / "newer.blemish", newer), "format version 4", "install a newer blemish")


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, [], True])
def test_a_version_that_is_none_is_refused(version: Any, members: Members, tmp_path: Path) -> None:
    odd = changed_json(members, "manifest.json", format_version=version)
    assert_refused(pack(tmp_path / "odd.blemish", odd), "version")


HOSTILE_NAMES = [
    "../evil.txt",
    "/etc/passwd",
    "C:\\evil.txt",
    "..\\evil.txt",
    "samples/../../evil.png",
    "samples/00.png/x",
    "graph.onnx/",
    "graph.onnx.data",
    "weights.bin",
    "run.py",
    "model.pkl",
    "samples/０１.png",
    "graph.onnx\n",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_member_of_another_name_is_refused(name: str, members: Members, tmp_path: Path) -> None:
    path = pack(tmp_path / "hostile.blemish", {**members, name: b"x"})
    assert_refused(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hostile.blemish"]


def test_a_member_that_stands_in_it_twice_is_refused(members: Members, tmp_path: Path) -> None:
    path = pack(tmp_path / "twice.blemish", members)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("graph.onnx", b"another")
    assert_refused(path, "twice")


@pytest.mark.parametrize("name", ["manifest.json", "graph.onnx", "calibration.json", "history.json"])
def test_a_missing_member_is_named(name: str, members: Members, tmp_path: Path) -> None:
    fewer = {key: content for key, content in members.items() if key != name}
    assert_refused(pack(tmp_path / "fewer.blemish", fewer), name, "missing")


def test_compressed_members_are_refused_before_they_are_unpacked(members: Members, tmp_path: Path) -> None:
    """The way of a zip bomb: 300 MB of zeros in 300 kB."""
    path = tmp_path / "bomb.blemish"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with archive.open("samples/90.png", "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    assert_refused(path, "compressed")


def test_too_many_members_are_refused(members: Members, tmp_path: Path) -> None:
    many = {**members, **{f"samples/{number:02}.png": b"" for number in range(10, 100)}, "extra.json": b""}
    assert_refused(pack(tmp_path / "many.blemish", many))


def test_a_member_that_is_too_large_is_refused_unread(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "large.blemish", {**members, "samples/50.png": bytes(20_000)})
    small = {pattern: 10_000 for pattern in read.MEMBER_LIMITS if pattern.startswith("samples")}
    monkeypatch.setattr(read, "MEMBER_LIMITS", dict.fromkeys(read.MEMBER_LIMITS, 2**20) | small)
    assert_refused(path, "samples/", "at most 10,000")


def test_a_size_that_is_a_lie_is_refused(members: Members, tmp_path: Path) -> None:
    """The directory at the end says that a member has 4 GB, the file has a few kB."""
    path = pack(tmp_path / "lie.blemish", members)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 60_000_000, 60_000_000)
    path.write_bytes(content)
    assert_refused(path)


def test_members_that_share_their_bytes_are_refused(members: Members, tmp_path: Path) -> None:
    """Another way of a zip bomb: ten members in the directory, the bytes of one in the file."""
    path = tmp_path / "overlap.blemish"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("samples/50.png", bytes(100_000))
        first = archive.infolist()[-1]
        for number in range(51, 60):
            again = zipfile.ZipInfo(f"samples/{number}.png")
            again.file_size, again.compress_size, again.CRC = first.file_size, first.compress_size, first.CRC
            again.header_offset = first.header_offset
            archive.filelist.append(again)
    assert_refused(path, "overlap")


BAD_JSON = {
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "other letters": b"\xff\xfe{}",
    "empty": b"",
    "deeply nested": b"[" * 100_000,
    "a huge number": b'{"format_version": 1' + b"0" * 10_000 + b"}",
    "not a number": b'{"format_version": NaN}',
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON.keys())
@pytest.mark.parametrize("name", ["manifest.json", "calibration.json", "history.json"])
def test_bad_json_is_refused(name: str, content: bytes, members: Members, tmp_path: Path) -> None:
    if name == "history.json" and content == b"[]":
        pytest.skip("no calibration came before this one")
    bad = {**members, name: content}
    packer = pack_as_is if name == "manifest.json" else pack
    assert_refused(packer(tmp_path / "bad.blemish", bad))


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown field": ("manifest.json", {"run_this": "rm"}),
    "text for a number": ("manifest.json", {"seed": "seven"}),
    "one side only": ("manifest.json", {"input_hw": [64]}),
    "threshold missing": ("calibration.json", {"image_threshold": None}),
    "unknown method": ("calibration.json", {"method": "guess"}),
    "thresholds of another graph": ("calibration.json", {"graph_sha256": "0" * 64}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_values_that_cannot_be_are_refused(change: str, members: Members, tmp_path: Path) -> None:
    name, changes = CHANGES[change]
    assert_refused(pack(tmp_path / "odd.blemish", changed_json(members, name, **changes)))


def with_graph(members: Members, graph: bytes) -> Members:
    """The members with another graph, and everything that names its hash made right."""
    calibration = json.loads(members["calibration.json"])
    calibration["graph_sha256"] = hashlib.sha256(graph).hexdigest()
    return {**members, "graph.onnx": graph, "calibration.json": json.dumps(calibration).encode()}


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
    graph: Callable[[], onnx.ModelProto], members: Members, tmp_path: Path
) -> None:
    path = pack(tmp_path / "hostile.blemish", with_graph(members, graph().SerializeToString()))
    assert_refused(path, "refers to data in another file", "do not trust")


def test_a_graph_that_is_nested_without_end_is_refused(members: Members, tmp_path: Path) -> None:
    path = pack(tmp_path / "deep.blemish", with_graph(members, nested(30).SerializeToString()))
    assert_refused(path, "nested")


@pytest.mark.parametrize("graph", [b"\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", bytes([0x80] * 20)])
def test_bytes_that_are_no_graph_are_refused(graph: bytes, members: Members, tmp_path: Path) -> None:
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


def test_a_zip_file_that_holds_one_that_is_right_is_no_bundle(members: Members, tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.blemish", members)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "graph.onnx")
    path = tmp_path / "outer.blemish"
    path.write_bytes(outer.getvalue())
    assert_refused(path, "missing")


def told(members: Members, **changes: Any) -> Members:
    """The members with a sensitivity, as a writer of version 3 has them."""
    threshold = json.loads(members["calibration.json"])["image_threshold"]
    trial = {"kind": "spot", "size_px": 5, "strength": 2, "place": [0.5, 0.5], "score": 1.0, "is_found": True}
    facts = {"trials": [trial], "num_images": 3, "num_rejected": 0, "image_hw": [64, 64], "image_threshold": threshold}
    added = {**members, "sensitivity.json": json.dumps({**facts, **changes}).encode()}
    return changed_json(added, "manifest.json", format_version=3)


def test_a_sensitivity_is_read(members: Members, tmp_path: Path) -> None:
    read = read_bundle(pack(tmp_path / "told.blemish", told(members)))
    assert read.sensitivity is not None
    assert read.sensitivity.share_found == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": []},
        {"trials": "none"},
        {"trials": [{"kind": "spot"}]},
        {"image_hw": [0, 64]},
        {"num_images": -1},
        {"num_rejected": 1e400},
    ],
    ids=str,
)
def test_a_sensitivity_without_meaning_is_refused(changes: dict[str, Any], members: Members, tmp_path: Path) -> None:
    path = pack(tmp_path / "odd.blemish", told(members, **changes))
    assert_refused(path, "sensitivity.json is not valid")


def test_a_sensitivity_of_another_calibration_is_refused(members: Members, tmp_path: Path) -> None:
    assert_refused(pack(tmp_path / "odd.blemish", told(members, image_threshold=99.5)), "at threshold 99.5")


def test_a_sensitivity_in_a_bundle_of_version_2_is_refused(members: Members, tmp_path: Path) -> None:
    old = changed_json(told(members), "manifest.json", format_version=2)
    assert_refused(pack(tmp_path / "old.blemish", old), "a sensitivity in a bundle of format version 2")
