"""The members of a bundle file taken apart, changed and packed again: for tests of what readers refuse."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Members = dict[str, bytes]
"""Name of a member -> its content."""


def unpack(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, members: Mapping[str, bytes]) -> Path:
    """`path`, now a bundle file of these members, whose hashes in the manifest are made right."""
    members = dict(members)
    if "manifest.json" in members:
        others = {name: content for name, content in members.items() if name != "manifest.json"}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}
        members = with_json(members, "manifest.json", members=hashes)
    return pack_as_is(path, members)


def pack_as_is(path: Path, members: Mapping[str, bytes]) -> Path:
    """As `pack`, but every hash stays as it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_json(members: Mapping[str, bytes], name: str, /, **changes: Any) -> Members:
    """The members with other values at the top of a JSON member."""
    return {**members, name: json.dumps({**json.loads(members[name]), **changes}).encode()}


def with_graph(members: Mapping[str, bytes], graph: bytes) -> Members:
    """The members with another graph; the calibration names its hash."""
    changed = with_json(members, "calibration.json", graph_sha256=hashlib.sha256(graph).hexdigest())
    return {**changed, "graph.onnx": graph}
