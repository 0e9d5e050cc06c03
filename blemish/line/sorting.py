"""Files sorted by verdict: copied, or moved so that a kill at any moment neither loses a file nor judges it twice.

A move is two sinks: `SortSink` gives the file its place by verdict, `RemoveSink`, behind the sinks that keep the
verdict, takes it away from where it was. In between the file is at both places.
"""

from __future__ import annotations

import dataclasses
import filecmp
import os
import shutil
import threading
from pathlib import Path
from types import TracebackType

from blemish.datasets.listing import OVERLAYS
from blemish.errors import OutputError
from blemish.files import beside, make_folder, take_name
from blemish.line.events import Event, Judged, Unreadable
from blemish.line.follow import remove_moved, state_of
from blemish.line.sinks import NewNames
from blemish.line.sources import time_of
from blemish.text import cut_name

UNREADABLE = "unreadable"
SORTED = ("accept", "review", "reject", UNREADABLE)
"""The folders that files are sorted into."""


def output_folders(folder: Path, followed: Path) -> tuple[Path, ...]:
    """The folders that a run with the output folder `folder` writes images to."""
    if folder.resolve() != followed.resolve():
        return (folder,)
    return tuple(folder / name for name in (OVERLAYS, *SORTED))


class SortSink:
    """Puts the file of each image into `accept`, `review`, `reject` or `unreadable` in `folder`; none is replaced.

    With `is_moving` a file gets a second name there, or is copied where that cannot be.
    """

    needs_picture = False

    def __init__(self, folder: str | Path, *, is_moving: bool = False) -> None:
        self._folder, self._is_moving = Path(folder), is_moving
        self._names = NewNames()

    def __enter__(self) -> SortSink:
        make_folder(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, event: Event) -> Event | None:
        if not isinstance(event, (Judged, Unreadable)) or event.origin.path is None:
            return None
        source = event.origin.path
        if event.origin.time is not None and time_of(source) != event.origin.time:
            raise OutputError(f"{source}: was changed or removed since it was judged; it is left where it is")
        folder = make_folder(self._folder / (event.verdict.decision if isinstance(event, Judged) else UNREADABLE))
        stem = cut_name(source.stem, 200)
        try:
            path = self._names.make(folder, stem, source.suffix, lambda path: self._put(source, path))
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise OutputError(
                f"{folder}: {source.name} cannot be put there ({cause}); it is left where it is"
            ) from error
        return dataclasses.replace(event, sorted_to=path)

    def _put(self, source: Path, path: Path) -> bool:
        """Whether the file now is at `path` too; also where an earlier run that was killed had put it there."""
        if os.path.lexists(path):
            is_same = self._is_moving and state_of(source) == state_of(path)
            return is_same and filecmp.cmp(source, path, shallow=False)
        if self._is_moving:
            try:
                os.link(source, path)
                return True
            except FileExistsError:
                return False
            except OSError:  # another disk, or a file system without links
                pass
        place = beside(path, f"{os.getpid()}.{threading.get_ident()}.part")
        try:
            shutil.copy2(source, place)
            return take_name(place, path)
        finally:
            place.unlink(missing_ok=True)


class RemoveSink:
    """Removes the file of each image that every sink before has kept and that has its place by verdict."""

    needs_picture = False

    def __enter__(self) -> RemoveSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, event: Event) -> None:
        if isinstance(event, (Judged, Unreadable)) and event.is_kept and event.origin.path and event.sorted_to:
            remove_moved(event.origin.path, event.sorted_to)
