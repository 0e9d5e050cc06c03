"""Writes a bundle file; `docs/bundle-format.md` is its specification."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

from blemish.boundary import check_json
from blemish.bundle.bounds import check_contents
from blemish.bundle.bundle import CALIBRATION, HISTORY, SENSITIVITY, Bundle
from blemish.bundle.manifest import Manifest
from blemish.errors import BundleError
from blemish.files import locked, write_file

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member, so that equal contents make equal files."""


def write_bundle(bundle: Bundle, path: Path) -> Path:
    """`path`, now holding the bundle; written whole or not at all, and in turn with others that change the file.

    Raises OutputError. What `read_bundle` would refuse is a BundleError: a history that has grown too long, a graph
    with other operators.
    """
    place = Path(os.path.realpath(path))
    with locked(place):
        replace_bundle(bundle, place)
    return path


def replace_bundle(bundle: Bundle, path: Path) -> Manifest:
    """Writes the file, whose lock is held, and gives the manifest in it."""
    manifest, content = pack_bundle(bundle, path)
    write_file(path, content)
    return manifest


def pack_bundle(bundle: Bundle, path: Path) -> tuple[Manifest, bytes]:
    """The manifest and the content of a bundle file; `path` is its name in messages."""
    members = {
        "graph.onnx": bundle.graph,
        "calibration.json": CALIBRATION.dump_json(bundle.calibration, indent=1),
        "history.json": HISTORY.dump_json(bundle.history),
        **{f"samples/{index:02}.png": sample for index, sample in enumerate(bundle.samples)},
        **{f"ancestors/{index:02}.blemish": content for index, content in enumerate(bundle.ancestors)},
    }
    if bundle.sensitivity is not None:
        members["sensitivity.json"] = SENSITIVITY.dump_json(bundle.sensitivity)
    for name in sorted(members):
        if name.endswith(".json"):
            remedy = "write to another bundle from now on, or train anew"
            check_json(members[name], f"{path}: {name}", BundleError, remedy)
    check_contents(path, bundle.manifest, bundle.graph, bundle.samples)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    manifest = bundle.manifest.model_copy(update={"members": hashes})
    manifest = manifest.model_copy(update={"format_version": manifest.version_needed})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {"manifest.json": manifest.to_json(), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return manifest, buffer.getvalue()
