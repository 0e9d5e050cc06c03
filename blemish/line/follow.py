"""A watched folder: each image file is taken once, when it is complete.

By looking again and again, since network shares tell nothing of what others write to them. A file is complete when it
stays as it is for a moment and is whole inside; one that stays damaged for longer is given all the same, and its error
is told. Which files an earlier run has judged stands in the rows that it wrote: path and time of change.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath

from blemish.datasets.left_out import LeftOut
from blemish.datasets.listing import VERDICTS, entry_kind, natural_key, sort_entries
from blemish.errors import DataError, ImageError
from blemish.files import why_not_a_file
from blemish.images.container import ContainerError, Source
from blemish.images.read import MAX_FILE_BYTES, check_content, read_container
from blemish.line.events import Item, Origin
from blemish.line.sources import Given, time_of
from blemish.text import readable

POLL_SECONDS = 0.02
STILL_SECONDS = 0.03
"""How long a file must stay as it is before it is read."""
PATIENCE_SECONDS = 2.0
"""How long a file that is not whole inside may stay as it is before it counts as damaged."""
RECHECKED = 10_000
"""Files a second that are looked at again, in case one was written over in its place."""
LOAD = 4
"""Looking takes at most one part in so many of the time and one more."""
REMEMBERED = 100_000
"""Files that have gone and are known again if they come back, as after a share was away."""
_ROW = re.compile(rb'\{"path": ("(?:[^"\\]|\\.)*"), "time": "([^"]*)"')

State = tuple[int, int]
"""A file's time of change in nanoseconds and its size: whether it is still the same."""


@dataclass
class _Known:
    """A name in a folder: which file it was (`mark`), and the state in which it was given, None where it was not."""

    mark: object
    state: State | None = None


@dataclass
class _Folder:
    """What was found in a folder, and its own time of change when it was last listed."""

    changed_ns: int = -1
    checked: float = 0.0
    names: dict[str, _Known] = field(default_factory=dict)
    is_lost: bool = False


@dataclass
class _Coming:
    """A file that is not given yet: its state, and since when it has been like this."""

    state: State
    since: float
    is_broken: bool = False


class FollowSource:
    """The image files in and below `folder`, those that are there and then those that come; without end until closed.

    `record` is the file `verdicts.jsonl` of earlier runs: what has a row there is not given again. With
    `finishes_moves` such a file is removed where its row says that it was moved. Folders `without` and the output
    folders of runs are not looked into. Raises DataError where there is no such folder.
    """

    size: int | None = None
    is_live = False
    num_missed = 0

    def __init__(
        self,
        folder: str | Path,
        *,
        record: Path | None = None,
        finishes_moves: bool = False,
        without: Collection[Path] = (),
    ) -> None:
        self._folder = Path(folder).resolve()
        if not self._folder.is_dir():
            raise DataError(f"{folder}: no such folder; make it, or check the path")
        self._record, self._finishes_moves = record, finishes_moves
        self._without = {place.resolve() for place in without}
        self._folders: dict[Path, _Folder] = {self._folder: _Folder()}
        self._coming: dict[Path, _Coming] = {}
        self._gone: OrderedDict[Path, State] = OrderedDict()
        self._closing = threading.Event()

    def __iter__(self) -> Iterator[Given]:
        judged = {} if self._record is None else read_record(self._record, self._folder)
        while not self._closing.is_set():
            start = time.monotonic()
            yield from self._look()
            took = time.monotonic() - start
            for path in list(self._coming):
                if self._closing.is_set():
                    return
                item = self._take(path)
                if item is not None and not self._is_judged(item.origin, judged):
                    yield item
            self._closing.wait(max(POLL_SECONDS, LOAD * took))

    def close(self) -> None:
        self._closing.set()

    def _is_judged(self, origin: Origin, judged: dict[str, _Row]) -> bool:
        """Whether an earlier run has judged a file; finishes its move."""
        row = judged.pop(readable(origin.name), None)
        if row is None or origin.path is None or row.time != origin.time:
            return False
        if self._finishes_moves and row.sorted_to is not None:
            remove_moved(origin.path, row.sorted_to)
        return True

    def _look(self) -> Iterator[LeftOut]:
        """Takes in what has come, gone or changed; gives what is left out."""
        now = time.monotonic()
        for folder, known in list(self._folders.items()):
            try:
                changed_ns = folder.stat().st_mtime_ns
                recheck = now - known.checked > len(known.names) / RECHECKED
                # A change in the moment of the listing may not show in the folder's time: it is listed once more.
                if changed_ns != known.changed_ns or recheck or time.time_ns() - changed_ns < 100_000_000:
                    yield from self._list(folder, known, recheck=recheck)
                    known.changed_ns = changed_ns
                known.is_lost = False
            except FileNotFoundError:
                if folder == self._folder:
                    yield from self._lose(folder, known)
                else:
                    del self._folders[folder]
            except OSError:
                yield from self._lose(folder, known)

    def _lose(self, folder: Path, known: _Folder) -> Iterator[LeftOut]:
        """A folder that cannot be listed is told of once; it may come back, as a share does."""
        if not known.is_lost:
            known.is_lost = True
            yield LeftOut(folder, "unlistable_folder")

    def _list(self, folder: Path, known: _Folder, *, recheck: bool) -> Iterator[LeftOut]:
        with os.scandir(folder) as entries:
            found = {entry.name: entry for entry in entries}
        if VERDICTS in found and folder != self._folder:  # the output folder of a run
            del self._folders[folder]
            return
        for name in known.names.keys() - found.keys():
            if (state := known.names.pop(name).state) is not None:
                self._gone[folder / name] = state
        while len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        marks = {name: _mark(entry) for name, entry in found.items()}
        new = {name for name, mark in marks.items() if name not in known.names or known.names[name].mark != mark}
        kinds = {name: entry_kind(found[name]) for name in new}
        if VERDICTS in found:
            kinds[VERDICTS] = "file"
        sorted_out = sort_entries(kinds, folder, lambda name: False)
        known.names |= {name: _Known(marks[name]) for name in new}
        for name in sorted_out.searched:
            if folder / name not in self._without:
                self._folders.setdefault(folder / name, _Folder())
        for path in self._by_time(sorted_out.listing.images):
            self._expect(path, known)
        if recheck:
            known.checked = time.monotonic()
            for name, entry in list(known.names.items()):
                if entry.state is not None and state_of(folder / name) != entry.state:
                    self._expect(folder / name, known)
        yield from sorted_out.listing.left_out

    def _by_time(self, paths: Collection[Path]) -> list[Path]:
        """The files in the order in which they were written, as far as their times tell."""
        return sorted(paths, key=lambda path: ((state_of(path) or (0, 0))[0], natural_key(PurePath(path.name))))

    def _expect(self, path: Path, known: _Folder) -> None:
        state = state_of(path)
        if state is not None and self._gone.pop(path, None) == state:
            known.names[path.name].state = state
        elif path not in self._coming:
            self._coming[path] = _Coming(state or (0, 0), time.monotonic())

    def _take(self, path: Path) -> Item | None:
        """The item of a file, where it is complete."""
        coming, now = self._coming[path], time.monotonic()
        if obstacle := why_not_a_file(path):
            del self._coming[path]
            if not os.path.lexists(path):  # it has gone before it was complete
                self._folders[path.parent].names.pop(path.name, None)
                return None
            return Item(Origin(str(path), path), ImageError(f"{path}: {obstacle}"))
        state = state_of(path)
        if state != coming.state:
            self._coming[path] = _Coming(state or (0, 0), now)
            return None
        still = now - coming.since
        if still < (PATIENCE_SECONDS if coming.is_broken else STILL_SECONDS):
            return None
        content = _read(path, state)
        if content is None or (isinstance(content, bytes) and not (coming.is_broken or _is_whole(content))):
            coming.is_broken = True
            if still < PATIENCE_SECONDS:
                return None
        del self._coming[path]
        self._folders[path.parent].names[path.name].state = state
        # What cannot be read now is tried once more when its turn comes, for the error's sake.
        return Item(Origin(str(path), path, time_of(path, state)), path if content is None else content)


@dataclass(frozen=True)
class _Row:
    """What a row of an earlier run says of a file: when it was changed last, and where it was moved or copied to."""

    time: datetime
    sorted_to: Path | None


def read_record(record: Path, folder: Path) -> dict[str, _Row]:
    """The last row of each file that still lies in or below `folder`, by its path."""
    there = {readable(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names}
    rows: dict[str, _Row] = {}
    try:
        with record.open("rb") as file:
            for line in file:
                match = _ROW.match(line)
                if match is None or (path := json.loads(match[1])) not in there or not line.endswith(b"\n"):
                    continue
                sorted_to = json.loads(line)["sorted_to"]
                moment = datetime.fromisoformat(match[2].decode())
                rows[path] = _Row(moment, None if sorted_to is None else record.parent / sorted_to)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{record}: cannot be read ({error}), and it says which images have been judged; name another output folder"
        ) from error
    return rows


def remove_moved(path: Path, moved_to: Path) -> None:
    """Removes a file where the same is at the place that it was moved to."""
    try:
        if os.path.samefile(path, moved_to) or state_of(path) == state_of(moved_to):
            path.unlink()
    except OSError:  # it is not there: then the file stays
        return


def state_of(path: Path) -> State | None:
    """The state of a file, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _mark(entry: os.DirEntry[str]) -> object:
    """What tells a file from another one of its name, without a look at the file itself."""
    if os.name == "nt":
        found = entry.stat(follow_symlinks=False)
        return found.st_mtime_ns, found.st_size
    return entry.inode()


def _read(path: Path, state: State | None) -> bytes | Path | None:
    """What a file holds, the file itself where that is too much; None where it cannot be read or is changing."""
    if state is not None and state[1] > MAX_FILE_BYTES:
        return path
    try:
        with path.open("rb") as file:
            content = file.read()
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return content if (found.st_mtime_ns, found.st_size) == state and len(content) == found.st_size else None


def _is_whole(content: bytes) -> bool:
    try:
        check_content(content, read_container(Source(content)))
    except ContainerError:
        return False
    return True
