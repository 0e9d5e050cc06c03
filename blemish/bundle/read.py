"""Reads a bundle file and refuses every file that does not keep the format to the letter."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from blemish.boundary import boundary, parse_json
from blemish.bundle.bounds import check_contents
from blemish.bundle.bundle import CALIBRATION, HISTORY, SENSITIVITY, Bundle
from blemish.bundle.manifest import FORMAT_VERSION, Manifest
from blemish.errors import BundleError
from blemish.files import why_not_a_file
from blemish.schema import Calibration, Sensitivity

MAX_MEMBERS = 100
MAX_JSON_BYTES = 64 * 2**20
MAX_GRAPH_BYTES = 2 * 2**30
MAX_SAMPLE_BYTES = 64 * 2**20
MAX_DIRECTORY_BYTES = 2**16
MEMBER_LIMITS = {
    r"manifest\.json": MAX_JSON_BYTES,
    r"calibration\.json": MAX_JSON_BYTES,
    r"history\.json": MAX_JSON_BYTES,
    r"sensitivity\.json": MAX_JSON_BYTES,
    r"graph\.onnx": MAX_GRAPH_BYTES,
    r"samples/[0-9][0-9]\.png": MAX_SAMPLE_BYTES,
    r"ancestors/[0-9][0-9]\.blemish": MAX_GRAPH_BYTES,
}
REQUIRED = ("manifest.json", "graph.onnx", "calibration.json", "history.json")
REMEDY = "copy it again, or train anew"
END_RECORD, END_BYTES = b"PK\x05\x06", 22
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20
LARGE_END_BYTES = 56


class _Version(BaseModel):
    format_version: int


MANIFEST, VERSION = TypeAdapter(Manifest), TypeAdapter(_Version)


def read_bundle(path: Path) -> Bundle:
    """The bundle in the file at `path`, after every check. Raises BundleError."""
    obstacle = why_not_a_file(path)
    if obstacle:
        raise BundleError(f"{path}: {obstacle}; give the path of a .blemish file")
    with boundary(path, BundleError, f"not a whole bundle file: {REMEDY}"):
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            contents = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = _manifest(path, contents.pop("manifest.json"))
    _check_hashes(path, manifest, contents)
    samples, ancestors = (
        tuple(contents[name] for name in sorted(contents) if name.startswith(folder))
        for folder in ("samples/", "ancestors/")
    )
    check_contents(path, manifest, contents["graph.onnx"], samples)
    calibration = parse_json(
        contents["calibration.json"], CALIBRATION, f"{path}: calibration.json", BundleError, "calibrate anew"
    )
    history = parse_json(contents["history.json"], HISTORY, f"{path}: history.json", BundleError, REMEDY)
    bundle = Bundle(
        manifest,
        contents["graph.onnx"],
        calibration,
        history,
        samples,
        _sensitivity(path, contents, calibration),
        ancestors,
        place=str(path),
    )
    if calibration.graph_sha256 != bundle.graph_sha256:
        raise BundleError(
            f"{path}: its calibration was made for another graph ({calibration.graph_sha256[:12]}, "
            f"this is {bundle.graph_sha256[:12]}); calibrate anew"
        )
    return bundle


def _check_directory(path: Path) -> None:
    """Looks at the size of the archive's directory: it is read as a whole, and could list millions of members."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - END_BYTES - LOCATOR_BYTES - LARGE_END_BYTES))
        tail = file.read()
    end = tail[-END_BYTES:]
    if len(end) < END_BYTES or not end.startswith(END_RECORD) or end[-2:] != b"\0\0":
        raise BundleError(f"{path}: not a whole bundle file: it does not end as a zip archive does; {REMEDY}")
    [num_bytes] = struct.unpack("<I", end[12:16])
    if tail[-END_BYTES - LOCATOR_BYTES :].startswith(LOCATOR) and len(tail) > END_BYTES + LOCATOR_BYTES + 48:
        [num_bytes] = struct.unpack("<Q", tail[40:48])
    if num_bytes > MAX_DIRECTORY_BYTES:
        raise BundleError(
            f"{path}: its directory has {num_bytes:,} bytes, more than {MAX_MEMBERS} members; not a bundle"
        )


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(names) > MAX_MEMBERS:
        raise BundleError(f"{path}: {len(names)} members, at most {MAX_MEMBERS} are allowed; not a bundle")
    if len(set(names)) < len(names):
        raise BundleError(f"{path}: a member stands in it twice; do not trust this file")
    for info in infos:
        limit = next((limit for pattern, limit in MEMBER_LIMITS.items() if re.fullmatch(pattern, info.filename)), None)
        if limit is None:
            name = f"{info.filename[:60]!r}"
            raise BundleError(f"{path}: unknown member {name}; not a bundle, or one of a newer version")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1 or info.file_size != info.compress_size:
            raise BundleError(f"{path}: {info.filename} is compressed or encrypted, members must be stored as they are")
        if info.file_size > limit:
            raise BundleError(f"{path}: {info.filename} has {info.file_size:,} bytes, at most {limit:,} are allowed")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise BundleError(f"{path}: its members overlap or are cut off; do not trust this file")
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise BundleError(f"{path}: {missing[0]} is missing; not a bundle, or a damaged one")


def _manifest(path: Path, content: bytes) -> Manifest:
    place = f"{path}: manifest.json"
    version = parse_json(content, VERSION, place, BundleError, REMEDY, unknown="ignore").format_version
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version}, this program reads up to {FORMAT_VERSION}; install a newer blemish"
        )
    return parse_json(content, MANIFEST, place, BundleError, REMEDY)


def _sensitivity(path: Path, contents: Mapping[str, bytes], calibration: Calibration) -> Sensitivity | None:
    if "sensitivity.json" not in contents:
        return None
    place = f"{path}: sensitivity.json"
    sensitivity = parse_json(contents["sensitivity.json"], SENSITIVITY, place, BundleError, REMEDY)
    if sensitivity.image_threshold != calibration.image_threshold:
        raise BundleError(
            f"{path}: its sensitivity was measured at threshold {sensitivity.image_threshold:.6g}, the calibration's "
            f"is {calibration.image_threshold:.6g}; calibrate anew"
        )
    return sensitivity


def _check_hashes(path: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    if set(manifest.members) != set(contents):
        odd = sorted(set(manifest.members) ^ set(contents))[0]
        raise BundleError(f"{path}: {odd} stands in the manifest or in the file, but not in both; {REMEDY}")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.members[name]:
            raise BundleError(f"{path}: {name} was altered after the bundle was written (SHA-256 differs)")
