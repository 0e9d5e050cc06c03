"""Files that are either whole or not there: written beside, then renamed; and the hash of what is in them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from blemish.errors import OutputError

_BLOCK_BYTES = 1 << 20


def hash_file(path: Path, kind: str = "sha256", *, at: Callable[[int], None] = lambda num_bytes: None) -> str:
    """The hash of a file in hex digits; `at` is told how many bytes are done. Raises OSError."""
    digest = hashlib.new(kind, usedforsecurity=False)
    done = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            at(done)
    return digest.hexdigest()


def make_folder(folder: Path) -> Path:
    """`folder`, made with its parents where it was missing; `OutputError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({_cause(error)}); choose another folder to write to") from error
    return folder


def write_file(path: Path, content: bytes) -> Path:
    """`path`, now holding `content`; a reader meets the old file or the new one, never a half of it."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_cause(error)}); free the place or choose another") from error
    return path


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
