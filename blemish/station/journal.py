"""The journal of a lane: records appended to files, brought to the disk before anybody is told what they say.

A record is a mark, its length, a CRC, its number and its content. A process that dies, or a machine, leaves at most a
torn record at the end: it is cut when the journal is opened again. The files are segments; each begins with the SHA-256
of the one before it, so a changed one is found. Appending never waits for the disk: `wait` does, for as long as it may.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from blemish.errors import OutputError
from blemish.files import sync_folder

Durability = Literal["power", "process"]
"""What a verdict that was told survives: a power cut, or the end of the process alone."""
SEGMENT_BYTES = 8 << 20
RESERVE_BYTES = 64 << 20
"""Kept free for the journal: given up when the disk is full, taken again when it is not."""
MAX_RECORD_BYTES = 4 << 20
SUFFIX = ".journal"
START = "0" * 64
_MARK = b"\xb1JR1"
_HEAD = struct.Struct("<4sIIQ")


class JournalError(OutputError):
    """A journal that cannot be written to any more: the lane must stop, since it could not account for its parts."""


class File(Protocol):
    """A file that is appended to."""

    def write(self, content: bytes) -> None:
        """Appends all of it, or raises OSError and leaves the file as it was."""

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """Where a journal lies. Tests have one that forgets what was not synced."""

    def names(self, folder: Path) -> list[str]: ...

    def read(self, path: Path, start: int = 0) -> bytes: ...

    def size(self, path: Path) -> int: ...

    def cut(self, path: Path, size: int) -> None: ...

    def append(self, path: Path) -> File: ...

    def sync_folder(self, folder: Path) -> None: ...

    def reserve(self, path: Path, size: int) -> bool:
        """Whether `path` now takes up so many bytes; 0 gives them back."""


class _RealFile:
    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._number).st_size

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._number, left) :]
        except OSError:
            os.ftruncate(self._number, self._size)
            raise
        self._size += len(content)

    def sync(self) -> None:
        getattr(os, "fdatasync", os.fsync)(self._number)

    def close(self) -> None:
        os.close(self._number)


class RealDisk:
    """The disk of the machine."""

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def read(self, path: Path, start: int = 0) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def cut(self, path: Path, size: int) -> None:
        with path.open("rb+") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def append(self, path: Path) -> File:
        return _RealFile(path)

    def sync_folder(self, folder: Path) -> None:
        sync_folder(folder)

    def reserve(self, path: Path, size: int) -> bool:
        if not size:
            path.unlink(missing_ok=True)
            return False
        try:
            if path.exists() and path.stat().st_size == size:
                return True
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(b"\0" * size)
        except OSError:
            path.unlink(missing_ok=True)
            return False
        return True


@dataclass(frozen=True)
class Entry:
    """A record as it lies in a segment; `end` is where the next one begins."""

    number: int
    content: bytes
    end: int


@dataclass(frozen=True)
class Scan:
    """The records of a segment from `start` on. `good_end` is where the last of them ends.

    `gaps` are stretches (start, end) of bytes that are no records, with records behind them: damage, not a torn end.
    """

    entries: tuple[Entry, ...]
    good_end: int
    gaps: tuple[tuple[int, int], ...] = ()


def scan(content: bytes, start: int = 0) -> Scan:
    """Reads the records in the bytes of a segment; `start` is where in the file they begin.

    >>> found = scan(encode(7, b"seven") + encode(8, b"eight")[:-1])
    >>> [(entry.number, entry.content) for entry in found.entries], found.good_end
    ([(7, b'seven')], 25)
    """
    entries: list[Entry] = []
    gaps = []
    place = good_end = 0
    while place < len(content):
        entry = _entry_at(content, place, start)
        if entry is None:
            following = content.find(_MARK, place + 1)
            if following < 0:
                break
            place = following
            continue
        if place > good_end:
            gaps.append((start + good_end, start + place))
        entries.append(entry)
        place = good_end = entry.end - start
    return Scan(tuple(entries), start + good_end, tuple(gaps))


def encode(number: int, content: bytes) -> bytes:
    """A record as it lies in a segment."""
    crc = zlib.crc32(number.to_bytes(8, "little") + content)
    return _HEAD.pack(_MARK, len(content), crc, number) + content


def _entry_at(content: bytes, place: int, start: int) -> Entry | None:
    if place + _HEAD.size > len(content):
        return None
    mark, length, crc, number = _HEAD.unpack_from(content, place)
    end = place + _HEAD.size + length
    if mark != _MARK or length > MAX_RECORD_BYTES or end > len(content):
        return None
    body = content[place + _HEAD.size : end]
    if zlib.crc32(number.to_bytes(8, "little") + body) != crc:
        return None
    return Entry(number, body, start + end)


def segment_numbers(folder: Path, disk: Disk | None = None) -> list[int]:
    """The numbers of the segments in a folder, in order."""
    names = (disk or RealDisk()).names(folder)
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}{SUFFIX}"


@dataclass(frozen=True)
class Found:
    """What a journal held when it was opened: the last segment's head, and the records behind it."""

    head: dict[str, Any]
    contents: tuple[bytes, ...]
    gaps: tuple[tuple[int, int], ...]


class Journal:
    """The journal in a folder, for one writer. Each opening begins a new segment.

    `found` is what the last segment held. `begin` must be called with what heads the next one before anything is
    appended. Appending and waiting may be done by any thread. Raises JournalError where the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: Durability = "power",
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.folder, self.durability = folder, durability
        self.is_reserve_used = False
        self._disk: Disk = disk or RealDisk()
        self._segment_bytes, self._reserve_bytes = segment_bytes, reserve_bytes
        self._file: File | None = None
        self._number, self._size, self._next_entry = 0, 0, 1
        self._digest = hashlib.sha256()
        self._previous = START
        self._written = self._synced = self._wanted = 0
        self._fault: OSError | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._file_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        with self._told_as_fault():
            folder.mkdir(parents=True, exist_ok=True)
            self.found = self._open_last()
            self._disk.reserve(self._reserve_path, self._reserve_bytes)

    @property
    def _reserve_path(self) -> Path:
        return self.folder / "reserve"

    def _open_last(self) -> Found:
        """Cuts the torn end of the last segment, and takes over its hash and numbers."""
        numbers = segment_numbers(self.folder, self._disk)
        while numbers:
            self._number = numbers[-1]
            path = segment_path(self.folder, self._number)
            content = self._disk.read(path)
            found = scan(content)
            if found.good_end < len(content):
                self._disk.cut(path, found.good_end)
            head = _head_of(found.entries)
            if head is not None:
                self._next_entry = found.entries[-1].number + 1
                self._previous = hashlib.sha256(content[: found.good_end]).hexdigest()
                return Found(head, tuple(entry.content for entry in found.entries[1:]), found.gaps)
            numbers.pop()  # nothing of it was kept but its name
        return Found({}, (), ())

    def begin(self, head: dict[str, Any], *, skip: int = 0) -> None:
        """Begins a new segment headed by `head`; `skip` numbers of segments are left out.

        After a power cut numbers may have been given and read that nobody knows of any more: they must not be used
        again.
        """
        with self._told_as_fault():
            self._begin_segment(head, skip)
        self._thread = threading.Thread(target=self._sync, name="journal", daemon=True)
        self._thread.start()

    def _begin_segment(self, head: dict[str, Any], skip: int = 0) -> None:
        number = (segment_numbers(self.folder, self._disk) or [self._number])[-1] + 1 + skip
        path = segment_path(self.folder, number)
        file = self._disk.append(path)
        self._next_entry += 1000 * skip
        content = encode(self._next_entry, json.dumps({**head, "segment": number, "previous": self._previous}).encode())
        file.write(content)
        if self.durability == "power":
            file.sync()
            self._disk.sync_folder(self.folder)
        if self._file is not None:
            self._file.close()
        self._file, self._number, self._size = file, number, len(content)
        self._digest = hashlib.sha256(content)
        self._next_entry += 1

    @property
    def is_broken(self) -> bool:
        """Whether the disk has failed: only a new journal, which looks what is there, can go on."""
        return self._fault is not None

    def is_full(self) -> bool:
        """Whether it is time for `turn`."""
        return self._size > self._segment_bytes

    def turn(self, head: dict[str, Any]) -> None:
        """Closes the segment and begins the next one. Waits for the disk: call it between two parts."""
        with self._told_as_fault(), self._file_lock, self._changed:
            assert self._file is not None
            if self.durability == "power":
                self._file.sync()
            self._synced = self._written
            self._changed.notify_all()
            self._previous = self._digest.hexdigest()
            self._begin_segment(head)
        if self.is_reserve_used:
            self.is_reserve_used = not self._disk.reserve(self._reserve_path, self._reserve_bytes)

    def append(self, content: bytes) -> int:
        """Appends a record and begins to bring it to the disk; gives what `wait` waits for.

        Where the disk is full, the reserve is given up and `is_reserve_used`. Raises JournalError where that did not
        help.
        """
        if len(content) > MAX_RECORD_BYTES:
            raise JournalError(f"{self.folder}: a record of {len(content):,} bytes is too large; keep fewer regions")
        with self._changed:
            if self._fault is not None or self._file is None:
                raise self._error(self._fault or OSError("it was closed"))
            record = encode(self._next_entry, content)
            try:
                self._write(record)
            except OSError as error:
                raise self._error(error) from error
            self._digest.update(record)
            self._next_entry += 1
            self._size += len(record)
            self._written += len(record)
            if self.durability == "power":
                self._wanted = self._written
                self._changed.notify_all()
            else:
                self._synced = self._written
            return self._written

    def _write(self, record: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(record)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self.is_reserve_used:
                raise
            self._disk.reserve(self._reserve_path, 0)
            self.is_reserve_used = True
            self._file.write(record)

    def wait(self, position: int, seconds: float) -> bool:
        """Whether all up to `position` is durable, waiting so long at most. Raises JournalError."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._synced < position and self._fault is None:
                left = deadline - time.monotonic()
                if left <= 0 or self._is_closing:
                    return False
                self._changed.wait(left)
            if self._fault is not None:
                raise self._error(self._fault)
            return True

    def try_reserve(self) -> bool:
        """Whether there is a reserve again."""
        if self.is_reserve_used:
            self.is_reserve_used = not self._disk.reserve(self._reserve_path, self._reserve_bytes)
        return not self.is_reserve_used

    def close(self) -> None:
        """Brings everything to the disk and closes the segment."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
        with self._file_lock:
            if self._file is not None:
                if self._fault is None:
                    with self._told_as_fault():
                        self._file.sync()
                self._file.close()
                self._file = None

    def _sync(self) -> None:
        """Brings what is wanted to the disk; what is appended meanwhile waits for the next turn."""
        while True:
            with self._changed:
                while self._wanted <= self._synced and not self._is_closing:
                    self._changed.wait()
                if self._is_closing or self._fault is not None:
                    return
            try:
                with self._file_lock:
                    with self._changed:
                        aim = self._written
                    assert self._file is not None
                    self._file.sync()
            except OSError as error:
                # What the system has not written it may have forgotten: to go on would be to guess.
                with self._changed:
                    self._fault = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._synced = max(self._synced, aim)
                self._changed.notify_all()

    @contextlib.contextmanager
    def _told_as_fault(self) -> Iterator[None]:
        """Turns what the system says into the error of the journal."""
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> JournalError:
        cause = (error.strerror or str(error)).lower()
        return JournalError(f"{self.folder}: the journal cannot be written ({cause}); free the disk or mend it")


def _head_of(entries: tuple[Entry, ...]) -> dict[str, Any] | None:
    if not entries:
        return None
    try:
        head = json.loads(entries[0].content)
    except ValueError:
        return None
    return head if isinstance(head, dict) and "segment" in head else None


@dataclass(frozen=True)
class Place:
    """A place in a journal: a segment, and where in it the next record begins."""

    segment: int = 0
    offset: int = 0


class Tail:
    """Reads a journal that another process writes, from a place on; `damage` are sentences on what cannot be read."""

    def __init__(self, folder: Path, place: Place = Place()) -> None:
        self.place = place
        self.damage: list[str] = []
        self._folder = folder
        self._disk = RealDisk()

    def read(self) -> Iterator[tuple[bytes, Place, Place]]:
        """The records that have come, each with its own place and the next one's; heads of segments are left out."""
        while True:
            numbers = segment_numbers(self._folder)
            later = [number for number in numbers if number > self.place.segment]
            if self.place.segment in numbers:
                yield from self._read_segment(is_closed=bool(later))
            if not later:
                return
            self.place = Place(later[0])

    def _read_segment(self, *, is_closed: bool) -> Iterator[tuple[bytes, Place, Place]]:
        path, segment, start = segment_path(self._folder, self.place.segment), self.place.segment, self.place.offset
        try:
            content = self._disk.read(path, start)
        except FileNotFoundError:
            return
        found = scan(content, start)
        for first, end in found.gaps:
            self.damage.append(f"{path}: bytes {first} to {end} are no records; what they held is lost")
        if is_closed and found.good_end < start + len(content):
            self.damage.append(f"{path}: ends within a record at byte {found.good_end}; what it held is lost")
        for entry in found.entries:
            begin, self.place = self.place, Place(segment, entry.end)
            if begin.offset or not _head_of((entry,)):
                yield entry.content, begin, self.place


def segment_hash(path: Path) -> tuple[str, str]:
    """The SHA-256 of a segment, and that of the one before it as it says. Raises JournalError where it has no head."""
    content = RealDisk().read(path)
    head = _head_of(scan(content).entries[:1])
    if head is None:
        raise JournalError(f"{path}: is no segment of a journal (its head is damaged); restore it from a backup")
    return hashlib.sha256(content).hexdigest(), str(head.get("previous", ""))
