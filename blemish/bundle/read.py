"""Reads a bundle file and refuses every file that does not keep the format to the letter."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from blemish.bundle.bundle import CALIBRATION, HISTORY, SENSITIVITY, Bundle
from blemish.bundle.manifest import FORMAT_VERSION, Manifest
from blemish.bundle.scan import find_external_data
from blemish.errors import BundleError
from blemish.schema import Calibration, Sensitivity

MAX_MEMBERS = 100
MAX_JSON_BYTES = 64 * 2**20
MAX_GRAPH_BYTES = 2 * 2**30
MAX_SAMPLE_BYTES = 64 * 2**20
MEMBER_LIMITS = {
    r"manifest\.json": MAX_JSON_BYTES,
    r"calibration\.json": MAX_JSON_BYTES,
    r"history\.json": MAX_JSON_BYTES,
    r"sensitivity\.json": MAX_JSON_BYTES,
    r"graph\.onnx": MAX_GRAPH_BYTES,
    r"samples/[0-9][0-9]\.png": MAX_SAMPLE_BYTES,
}
REQUIRED = ("manifest.json", "graph.onnx", "calibration.json", "history.json")


def read_bundle(path: Path) -> Bundle:
    """The bundle in the file at `path`, after every check. Raises BundleError."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            contents = {info.filename: archive.read(info) for info in archive.infolist()}
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; give the path of a .blemish file") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path}: not a whole bundle file ({error}); copy it again or train anew") from error
    manifest = _manifest(path, contents.pop("manifest.json"))
    _check_hashes(path, manifest, contents)
    external = find_external_data(contents["graph.onnx"])
    if external:
        raise BundleError(f"{path}: graph.onnx {external}; a bundle must hold its graph whole: do not trust this file")
    try:
        calibration = CALIBRATION.validate_json(contents["calibration.json"])
        history = HISTORY.validate_json(contents["history.json"])
    except ValidationError as error:
        raise BundleError(f"{path}: calibration is not valid ({_first_fault(error)}); calibrate anew") from error
    bundle = Bundle(
        manifest,
        contents["graph.onnx"],
        calibration,
        history,
        tuple(contents[name] for name in sorted(contents) if name.startswith("samples/")),
        _sensitivity(path, contents, calibration),
    )
    if calibration.graph_sha256 != bundle.graph_sha256:
        raise BundleError(
            f"{path}: its calibration was made for another graph ({calibration.graph_sha256[:12]}, "
            f"this is {bundle.graph_sha256[:12]}); calibrate anew"
        )
    return bundle


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
            raise BundleError(f"{path}: unknown member {info.filename!r}; not a bundle, or one of a newer version")
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
    try:
        version = json.loads(content).get("format_version")
    except (ValueError, AttributeError, RecursionError):
        raise BundleError(f"{path}: manifest.json is not a JSON object; the file is damaged") from None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{path}: manifest.json names no format version; the file is damaged")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version}, this program reads up to {FORMAT_VERSION}; install a newer blemish"
        )
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{path}: manifest.json is not valid ({_first_fault(error)})") from error


def _sensitivity(path: Path, contents: Mapping[str, bytes], calibration: Calibration) -> Sensitivity | None:
    if "sensitivity.json" not in contents:
        return None
    try:
        sensitivity = SENSITIVITY.validate_json(contents["sensitivity.json"])
    except ValidationError as error:
        raise BundleError(
            f"{path}: sensitivity.json is not valid ({_first_fault(error)}); take the file from where it was made"
        ) from error
    if sensitivity.image_threshold != calibration.image_threshold:
        raise BundleError(
            f"{path}: its sensitivity was measured at threshold {sensitivity.image_threshold:.6g}, the calibration's "
            f"is {calibration.image_threshold:.6g}; calibrate anew"
        )
    return sensitivity


def _check_hashes(path: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    if set(manifest.members) != set(contents):
        odd = sorted(set(manifest.members) ^ set(contents))[0]
        raise BundleError(f"{path}: {odd} stands in the manifest or in the file, but not in both; the file is damaged")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.members[name]:
            raise BundleError(f"{path}: {name} was altered after the bundle was written (SHA-256 differs)")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
