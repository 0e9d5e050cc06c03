"""Files: whole or not there, locked between the processes that change one, fit to be read, and their hash.

A file is written beside its place, brought to the disk, then renamed: a kill or a power cut at any moment leaves the
old file or the new one. What a killed writer leaves beside it is taken over by the next one. Where a system lacks
something (Windows knows neither of the two ways to lock nor to bring a folder to the disk as here, some network
folders know no locks), the rest is still done.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from blemish.errors import OutputError
from blemish.spelling import path_like
from blemish.text import readable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

MOST_NAME_BYTES = 180
"""Of a file's name in that of the file beside it: names of up to 255 bytes are usual limits."""
TRIES, WAIT_SECONDS = 40, 0.05
"""On Windows a file that somebody has open cannot be replaced: for so long it is tried again."""
_BLOCK_BYTES = 1 << 20
SHORTEST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.001, 0.05


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


def write_file(path: Path, content: bytes, *, survives_power_cut: bool = True) -> Path:
    """`path`, now holding `content`; a reader meets the old file or the new one, never a half of it.

    Waiting for the disk takes milliseconds: leave it out for what can be made again. Raises OutputError.
    """
    make_folder(path.parent)
    try:
        replace_file(path, lambda place: place.write_bytes(content), survives_power_cut=survives_power_cut)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def write_new_file(path: Path, content: bytes) -> bool:
    """Whether `path` now is a new file of this content; a file that was there stays. Raises OutputError."""
    make_folder(path.parent)
    try:
        with _place_beside(path) as place:
            try:
                place.write_bytes(content)
                return take_name(place, path)
            finally:
                place.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def take_name(place: Path, path: Path) -> bool:
    """Whether a file is now called `path`, besides its name or in its place; not where that is taken. OSError."""
    try:
        os.link(place, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        try:
            _rename(place, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    return True


def replace_file(path: Path, write: Callable[[Path], object], *, survives_power_cut: bool = True) -> None:
    """Has `write` fill a file beside `path`, then puts it in that place. Raises OSError, and what `write` raises."""
    with _place_beside(path) as place:
        try:
            write(place)
            if survives_power_cut:
                with place.open("rb+") as file:
                    os.fsync(file.fileno())
            _rename(place, path)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
    if survives_power_cut:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Brings to the disk which files a folder holds, as far as the system can."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def why_not_a_file(path: Path) -> str:
    """Why a path is no file that can be read to its end, with what to do; empty where it is one.

    Opening a pipe waits for ever and a device never ends, so this is asked before anything is opened.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if os.path.islink(path):
            how = "is part of a loop" if error.errno == errno.ELOOP else f"leads nowhere (to {os.readlink(path)})"
            return f"this link {how}; mend or remove it"
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return f"no such file{path_like(path) or '; check the path'}"
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


def beside(path: Path, ending: str) -> Path:
    """The hidden file that belongs to `path`, in the same folder: `.NAME.ENDING`."""
    name = os.fsencode(path.name)
    if len(name) > MOST_NAME_BYTES:
        name = hashlib.sha256(name).hexdigest().encode()
    return path.with_name(f".{os.fsdecode(name)}.{ending}")


@contextlib.contextmanager
def locked(
    path: Path, waiting: Callable[[], None] = lambda: None, *, patience_seconds: float = math.inf
) -> Iterator[None]:
    """Inside, no other thread or process is inside for the same `path`; a killed one does not count.

    `waiting` is called once where another one has to be waited for. Reading needs no lock. Raises OutputError where
    the folder cannot be written to, or the other one takes longer than `patience_seconds`.
    """
    make_folder(path.parent)
    place = beside(path, "lock")
    begun, pause = None, SHORTEST_POLL_SECONDS
    while (number := _try_lock(place, path)) is None:
        if begun is None:
            begun = time.monotonic()
            waiting()
        elif time.monotonic() - begun > patience_seconds:
            raise OutputError(f"{path}: another program is using it; wait until it is done, or look whether it hangs")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_POLL_SECONDS)
    try:
        yield
    finally:
        if sys.platform != "win32":  # nothing that is open can be removed there: the file stays
            place.unlink(missing_ok=True)
        os.close(number)


@contextlib.contextmanager
def in_turn(number: int) -> Iterator[None]:
    """Inside, no other process is inside with the same file open; without effect where the system has no such locks."""
    if sys.platform == "win32":  # a lock there keeps others from reading
        yield
        return
    with contextlib.suppress(OSError):
        fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_UN)


def _try_lock(place: Path, path: Path) -> int | None:
    """The open and locked file, or None while another one has it."""
    try:
        number = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _cannot_write(path, error) from error
    if _lock(number) != "busy" and _is_file(number, place):
        return number
    os.close(number)
    return None


@contextlib.contextmanager
def _place_beside(path: Path) -> Iterator[Path]:
    """A file beside `path` that no other writer uses: the one that a killed writer left, if any."""
    place = beside(path, "part")
    if sys.platform != "win32":  # a file that is locked cannot be renamed there
        number = -1
        with contextlib.suppress(OSError):
            number = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            held = _lock(number) if number >= 0 else "busy"
            is_own = held == "held" and _is_file(number, place)
            if is_own and os.fstat(number).st_nlink == 1:
                yield place
                return
            if is_own or held == "no locks":  # killed when its file had its name already: that must not be written to
                place.unlink(missing_ok=True)
        finally:
            if number >= 0:
                os.close(number)
    yield beside(path, f"{os.getpid()}.{threading.get_ident()}.part")


def _lock(number: int) -> Literal["held", "busy", "no locks"]:
    """Locks an open file for this holder alone, where it can be."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "busy" if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else "no locks"
    return "held"


def _is_file(number: int, path: Path) -> bool:
    """Whether an open file still lies at `path`: it may have been renamed or removed before it was locked."""
    try:
        found = os.stat(path, follow_symlinks=False)
        return stat.S_ISREG(found.st_mode) and os.path.samestat(os.fstat(number), found)
    except OSError:
        return False


def _rename(place: Path, path: Path) -> None:
    for left in range(TRIES, -1, -1):
        try:
            os.replace(place, path)
            return
        except PermissionError:
            if sys.platform != "win32" or not left:
                raise
            time.sleep(WAIT_SECONDS)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({_cause(error)}); free the place or choose another")


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
