"""A bundle that is damaged, altered, too new or hostile is refused with one line that names the file and the fault."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.bundle import read
from blemish.bundle.manifest import FORMAT_VERSION
from blemish.bundle.read import read_bundle
from blemish.errors import BundleError
from blemish.testing.members import Members, pack, pack_as_is, with_json

Refused = Callable[..., None]


def test_the_unchanged_members_are_a_bundle(members: Members, tmp_path: Path) -> None:
    read_bundle(pack(tmp_path / "good.blemish", members))


def test_a_missing_file_is_named(tmp_path: Path, assert_refused: Refused) -> None:
    assert_refused(tmp_path / "none.blemish", "no such file")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bytes(1000)], ids=["empty", "text", "start", "zeros"])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path, assert_refused: Refused) -> None:
    path = tmp_path / "no.blemish"
    path.write_bytes(content)
    assert_refused(path, "not a whole bundle file", "copy it again")


def test_a_folder_is_refused(tmp_path: Path, assert_refused: Refused) -> None:
    assert_refused(tmp_path, "this is a folder")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_bundle_that_was_cut_off_is_refused(
    share: float, bundle_path: Path, tmp_path: Path, assert_refused: Refused
) -> None:
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
def test_an_altered_member_is_named(name: str, members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    altered = {**members, name: members[name] + b" "}
    assert_refused(pack_as_is(tmp_path / "altered.blemish", altered), name, "altered")


def test_a_hash_of_a_member_that_is_not_there_is_refused(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    manifest = json.loads(members["manifest.json"])
    manifest["members"]["samples/77.png"] = "0" * 64
    odd = {**members, "manifest.json": json.dumps(manifest).encode()}
    assert_refused(pack_as_is(tmp_path / "odd.blemish", odd), "samples/77.png", "not in both")


def test_a_newer_version_asks_for_a_newer_program(members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    newer = with_json(members, "manifest.json", format_version=FORMAT_VERSION + 1, something_new=True)
    assert_refused(
        pack(tmp_path / "newer.blemish", newer), f"format version {FORMAT_VERSION + 1}", "install a newer blemish"
    )


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, [], True])
def test_a_version_that_is_none_is_refused(
    version: Any, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    odd = with_json(members, "manifest.json", format_version=version)
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
def test_a_member_of_another_name_is_refused(
    name: str, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    path = pack(tmp_path / "hostile.blemish", {**members, name: b"x"})
    assert_refused(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hostile.blemish"]


def test_a_member_that_stands_in_it_twice_is_refused(members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    path = pack(tmp_path / "twice.blemish", members)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("graph.onnx", b"another")
    assert_refused(path, "twice")


@pytest.mark.parametrize("name", ["manifest.json", "graph.onnx", "calibration.json", "history.json"])
def test_a_missing_member_is_named(name: str, members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    fewer = {key: content for key, content in members.items() if key != name}
    assert_refused(pack(tmp_path / "fewer.blemish", fewer), name, "missing")


def test_compressed_members_are_refused_before_they_are_unpacked(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
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


def test_too_many_members_are_refused(members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    many = {**members, **{f"samples/{number:02}.png": b"" for number in range(10, 100)}, "extra.json": b""}
    assert_refused(pack(tmp_path / "many.blemish", many))


def test_a_member_that_is_too_large_is_refused_unread(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_refused: Refused
) -> None:
    path = pack(tmp_path / "large.blemish", {**members, "samples/50.png": bytes(20_000)})
    small = {pattern: 10_000 for pattern in read.MEMBER_LIMITS if pattern.startswith("samples")}
    monkeypatch.setattr(read, "MEMBER_LIMITS", dict.fromkeys(read.MEMBER_LIMITS, 2**20) | small)
    assert_refused(path, "samples/", "at most 10,000")


def test_a_size_that_is_a_lie_is_refused(members: Members, tmp_path: Path, assert_refused: Refused) -> None:
    """The directory at the end says that a member has 4 GB, the file has a few kB."""
    path = pack(tmp_path / "lie.blemish", members)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 60_000_000, 60_000_000)
    path.write_bytes(content)
    assert_refused(path)


def test_members_that_share_their_bytes_are_refused(members: Members, tmp_path: Path, assert_refused: Refused) -> None:
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
def test_bad_json_is_refused(
    name: str, content: bytes, members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    if name == "history.json" and content == b"[]":
        pytest.skip("no calibration came before this one")
    bad = {**members, name: content}
    packer = pack_as_is if name == "manifest.json" else pack
    assert_refused(packer(tmp_path / "bad.blemish", bad))


def test_a_zip_file_that_holds_one_that_is_right_is_no_bundle(
    members: Members, tmp_path: Path, assert_refused: Refused
) -> None:
    inner = pack(tmp_path / "inner.blemish", members)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "graph.onnx")
    path = tmp_path / "outer.blemish"
    path.write_bytes(outer.getvalue())
    assert_refused(path, "missing")
