"""Files that are either whole or not there: written beside, then renamed; which paths are files, and their hash."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from blemish.errors import OutputError
from blemish.text import cut_name, readable

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
    beside = path.with_name(f".{cut_name(path.name, 100)}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_cause(error)}); free the place or choose another") from error
    return path


def why_not_a_file(path: Path) -> str:
    """Why a path is no file that can be read to its end, with what to do; empty where it is one.

    Opening a pipe waits for ever and a device never ends, so this is asked before anything is opened.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            how = "is part of a loop" if error.errno == errno.ELOOP else f"leads nowhere (to {os.readlink(path)})"
            return f"this link {how}; mend or remove it"
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return "no such file; check the path"
        return f"cannot be read ({_cause(error)}); check the file and its permissions"
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "this is a folder, not a file"
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return f"this is {kind}, not a file; remove it, or save what it gives as a file"


def write_text(path: Path, text: str) -> Path:
    """As `write_file`; what UTF-8 cannot hold is escaped."""
    return write_file(path, readable(text).encode("utf-8"))


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
