"""Folders of this machine and of object stores, by one set of verbs: list, read, write."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from blemish.datasets.beside import looks_like_mask, masks_beside
from blemish.datasets.left_out import LeftOut
from blemish.datasets.listing import EntryKind, is_image_name, sort_entries, walk_images
from blemish.errors import DataError, ImageError, OutputError, SettingsError
from blemish.files import locked, make_folder, why_not_a_file, write_file
from blemish.images.decode import decode_image
from blemish.images.read import MAX_FILE_BYTES

READ_WAITS = (1.0, 4.0)
"""Seconds before an object store that failed is asked again."""


class StoreError(Exception):
    """An object store that did not give a file, and not because the file is missing."""


@dataclass(frozen=True)
class Place:
    """A file or folder: `filesystem` is pyarrow's, None for the files of this machine.

    `shown` is how it is called in tables and messages: the URI without its query, which may hold a key.
    """

    path: str
    shown: str
    filesystem: Any = None

    def below(self, relative: str) -> Place:
        """A file or folder in this one."""
        joined = f"{self.path.rstrip('/')}/{relative}"
        return Place(joined, f"{self.shown.rstrip('/')}/{relative}", self.filesystem)


@dataclass(frozen=True)
class Folder:
    """A folder by its path from where the listing began ("" for itself), its images in order, and what is left out."""

    relative: str
    images: tuple[Listed, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Listed:
    """An image file of a folder: its name and when it was last changed."""

    name: str
    changed: datetime


def open_place(text: str) -> Place:
    """The place that a path or URI (`s3://bucket/folder`, `gs://...`, `abfs://...`) names; nothing is read yet.

    `/**` at the end, the usual sign for all that is below a folder, stands for that folder.
    """
    text = re.sub(r"(.)/\*\*(?=\?|$)", r"\1", text)
    if "://" not in text:
        path = Path(text).resolve().as_posix()
        return Place(path, path)
    from pyarrow import ArrowInvalid, fs

    shown = text.partition("?")[0].rstrip("/")
    scheme, _, rest = shown.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2] if scheme == 's3' else rest}"
    try:
        filesystem, path = fs.FileSystem.from_uri(text)
    except (ArrowInvalid, OSError, NotImplementedError) as error:
        raise SettingsError(f"{shown}: not a place that can be opened ({_said(error)})") from error
    if scheme == "file":
        return open_place(path)
    return Place(path.rstrip("/"), shown, filesystem)


def image_folders(place: Place) -> Iterator[Folder]:
    """Each folder in and below a place, in order, by the rule of `blemish.datasets.listing`.

    One folder's list is in memory at a time. Raises DataError where the place is missing or cannot be listed.
    """
    try:
        yield from _local_folders(Path(place.path)) if place.filesystem is None else _remote_folders(place, "")
    except NotADirectoryError as error:
        raise DataError(f"{place.shown}: a file, where a folder is needed; give the folder that holds it") from error
    except OSError as error:
        raise DataError(f"{place.shown}: cannot be listed ({_said(error)}); check the path and your rights") from error


def read_bytes(place: Place, name: str) -> bytes:
    """What a file in the place holds. Raises ImageError where it cannot be read, StoreError where a store failed."""
    shown = f"{place.shown}/{name}"
    if place.filesystem is None:
        if reason := why_not_a_file(Path(place.path, name)):
            raise ImageError(f"{shown}: {reason}")
        try:
            return _limited(Path(place.path, name).stat().st_size, shown) or Path(place.path, name).read_bytes()
        except FileNotFoundError as error:
            raise ImageError(f"{shown}: no such file; it was there when the folder was listed") from error
        except OSError as error:
            raise ImageError(f"{shown}: cannot be read ({_said(error)}); check the file and its rights") from error
    for wait in (*READ_WAITS, None):
        try:
            with place.filesystem.open_input_file(f"{place.path}/{name}") as file:
                return _limited(file.size(), shown) or bytes(file.read())
        except FileNotFoundError as error:
            raise ImageError(f"{shown}: no such file; it was there when the folder was listed") from error
        except OSError as error:
            if wait is None:
                raise StoreError(_said(error)) from error
            time.sleep(wait)
    raise AssertionError


def write_bytes(place: Place, content: bytes) -> None:
    """Writes a file that is there whole or not at all. Raises OutputError."""
    if place.filesystem is None:
        write_file(Path(place.path), content)
        return
    try:
        with place.filesystem.open_output_stream(place.path) as file:  # a store shows it when it is closed
            file.write(content)
    except OSError as error:
        raise OutputError(
            f"{place.shown}: cannot be written ({_said(error)}); check the store and your rights"
        ) from error


def remove_file(place: Place) -> None:
    """Removes a file, if it is there. Raises OutputError."""
    try:
        if place.filesystem is None:
            Path(place.path).unlink(missing_ok=True)
        else:
            place.filesystem.delete_file(place.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"{place.shown}: cannot be removed ({_said(error)}); check your rights") from error


@contextlib.contextmanager
def alone(place: Place, waiting: Callable[[], None]) -> Iterator[None]:
    """Inside, no other run has this file of this machine, or of a shared folder; `waiting` is called where one has.

    An object store knows no locks: there nothing is waited for.
    """
    with contextlib.nullcontext() if place.filesystem is not None else locked(Path(place.path), waiting):
        yield


def make_place(place: Place) -> None:
    """Makes a local folder with its parents; an object store has none to make. Raises OutputError."""
    if place.filesystem is None:
        make_folder(Path(place.path))


def list_files(place: Place, suffix: str) -> list[str]:
    """The relative paths of all files in and below a place whose name ends so, in order; none where it is missing."""
    if place.filesystem is None:
        root = Path(place.path)
        return sorted(path.relative_to(root).as_posix() for path in root.rglob(f"*{suffix}"))
    from pyarrow import fs

    try:
        found = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True, allow_not_found=True))
    except OSError as error:
        raise OutputError(
            f"{place.shown}: cannot be listed ({_said(error)}); check the store and your rights"
        ) from error
    start = len(place.path) + 1
    return sorted(info.path[start:] for info in found if info.is_file and info.path.endswith(suffix))


def _local_folders(root: Path) -> Iterator[Folder]:
    os.scandir(root).close()  # raises where the place itself is no folder that can be listed
    for folder, found in walk_images(root):
        relative = folder.relative_to(root).as_posix().removeprefix(".")
        if found.images:
            _check_name(relative, str(root))
        for path in found.images:
            _check_name(path.name, str(folder))
        images = tuple(Listed(path.name, _changed(path)) for path in found.images)
        left_out = tuple(LeftOut(item.path.relative_to(root), item.reason) for item in found.left_out)
        yield Folder(relative, images, left_out)


def _changed(path: Path) -> datetime:
    try:
        seconds = path.stat().st_mtime
    except OSError:  # a link that leads nowhere is an image that cannot be read
        seconds = path.lstat().st_mtime
    return datetime.fromtimestamp(seconds, timezone.utc)


def _remote_folders(place: Place, relative: str) -> Iterator[Folder]:
    from pyarrow import fs

    found = place.filesystem.get_file_info(fs.FileSelector(place.path))
    changed = {info.base_name: info.mtime for info in found if info.is_file}
    kinds: dict[str, EntryKind] = dict.fromkeys(changed, "file")
    kinds |= {info.base_name: "folder" for info in found if info.type == fs.FileType.Directory}
    # Files of unknown endings are not looked into: each look is a request to the store.
    entries = sort_entries(kinds, Path(relative), lambda name: False)
    names = [path.name for path in entries.listing.images]
    masks = masks_beside(names, lambda name: _looks_like_mask(place, name))
    left_out = [*entries.listing.left_out, *(LeftOut(Path(relative, name), "mask") for name in masks)]
    for folder, reason in entries.apart.items():
        inside = filter(is_image_name, list_files(place.below(folder), ""))
        left_out.extend(LeftOut(Path(relative, folder, name), reason) for name in inside)
    images = tuple(Listed(name, changed[name]) for name in names if name not in masks)
    yield Folder(relative, images, tuple(left_out))
    for folder in entries.searched:
        yield from _remote_folders(place.below(folder), f"{relative}/{folder}".lstrip("/"))


def _looks_like_mask(place: Place, name: str) -> bool:
    """Whether a picture in a store has two values; what cannot be read has not."""
    try:
        return looks_like_mask(decode_image(read_bytes(place, name), name))
    except (ImageError, StoreError):
        return False


def _check_name(name: str, folder: str) -> None:
    """A name that is no text has no place in a table."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="replace").decode()
        raise DataError(f"{folder}: the name '{shown}' there is not valid text; rename it") from error


def _limited(num_bytes: int, shown: str) -> bytes:
    """Nothing; raises ImageError for a file too large to decode."""
    if num_bytes > MAX_FILE_BYTES:
        raise ImageError(f"{shown}: the file is larger than 2 GB; store it compressed, as PNG or TIFF")
    return b""


def _said(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200]
