"""The one lister: which files of a folder are images of parts, and what was left out and why.

The rule, the same for every command:

- An image is a file whose name ends in one of `IMAGE_SUFFIXES`. A name with such an ending that cannot be read (a link
  that leads nowhere, a pipe, an empty file) is listed too: reading it fails with the reason.
- Folders are searched in and below, each folder's own images first, in natural order (`2.png` before `10.png`).
- Left out, counted and named: hidden files, folders of tools, overlays drawn by earlier runs, masks beside images,
  images with another ending, links to folders, folders that cannot be listed, links that lead nowhere.
- A file or folder that is named itself is taken, whatever it is called and even where it is a link.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from blemish.datasets.beside import file_looks_like_mask, masks_beside
from blemish.datasets.left_out import FAULTS, LeftOut, Reason, left_out_notes
from blemish.errors import DataError
from blemish.images.decode import IMAGE_SUFFIXES
from blemish.spelling import path_like

EntryKind = Literal["folder", "folder_link", "file", "dead_link", "special"]
"""What an entry of a folder is; special are pipes, devices and sockets."""

TOOL_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "@recently-snapshot", ".@__thumb", "#snapshot", "~snapshot", ".snapshot"),
        *("__macosx", ".appledouble", ".trashes", ".spotlight-v100", ".fseventsd", ".trash"),
        *("$recycle.bin", "system volume information", "lost+found", ".thumbnails", ".picasaoriginals"),
        *(".ipynb_checkpoints", ".git", ".svn", ".dvc", ".cache", ".venv", "__pycache__", "node_modules"),
    }
)
"""Names, in small letters, of folders that tools, systems and network storage make beside a user's files."""

OVERLAYS = "overlays"
VERDICTS = "verdicts.jsonl"
"""Names in the output folder of a run; a folder `OVERLAYS` beside a file `VERDICTS` holds drawn pictures, not parts."""

_NO_IMAGE = re.compile(
    r"""\.(txt|csv|tsv|jsonl?|xml|ya?ml|toml|ini|cfg|md|rst|log|html?|css|js|pdf|docx?|xlsx?|pptx?|zip|gz|xz|bz2|tar|7z
    |rar|py|ipynb|m|c|cpp|h|sh|bat|exe|dll|so|np[yz]|mat|h5|hdf5|pkl|pth?|ckpt|onnx|blemish|parquet|sqlite3?|db|lock
    |sha256|md5|lnk|url|svg|ico|mp4|avi|mov|mkv|wav|mp3)""",
    re.VERBOSE,
)
"""Endings of files that nobody takes for an image; they are not looked into and not told of."""
_IMAGE_OF_ANOTHER_KIND = re.compile(
    r"""\.(gif|jfif|jpe|jif|jp2|j2k|jpx|jxl|jxr|hei[cf]|avif|p[pgbnfa]m|pfm|exr|hdr|tga|dds|dib|psd|dcm|dicom|fits|raw
    |dng|cr[23]|nef|arw|orf|rw2|raf|sr2|pcx|ras|sgi)""",
    re.VERBOSE,
)
"""Endings of images that are not read."""
_NUM_SNIFFED = 16
"""Files of one unknown ending in one folder that are looked into."""


@dataclass(frozen=True)
class Listing:
    """The image files found, in order, and what was left out."""

    images: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def faults(self) -> tuple[LeftOut, ...]:
        """What could not be looked at and may hide parts."""
        return tuple(item for item in self.left_out if item.reason in FAULTS)

    def checked(self) -> Listing:
        """The listing itself. Raises `DataError` where something could not be looked at."""
        if self.faults:
            raise DataError("; ".join(left_out_notes(self.faults)))
        return self

    def __add__(self, other: Listing) -> Listing:
        return Listing((*self.images, *other.images), (*self.left_out, *other.left_out))


def list_images(places: Sequence[Path]) -> Listing:
    """The image files named, and all those in and below the folders named; see the rule at the top of this file.

    Raises `DataError` for a place that does not exist and for a folder without images.
    """
    images: dict[str, Path] = {}
    left_out: list[LeftOut] = []
    for place in places:
        if is_folder(place):
            found = _all_below(place)
            if not found.images:
                raise DataError(_say_no_image(place, found))
        elif os.path.lexists(place):
            found = Listing((place,))
        else:
            raise DataError(f"{place}: no such file or folder{path_like(place) or '; check the path'}")
        left_out.extend(found.left_out)
        for path in found.images:
            if images.setdefault(os.path.abspath(path), path) is not path:
                left_out.append(LeftOut(path, "given_twice"))
    return Listing(tuple(images.values()), tuple(left_out))


def is_folder(path: Path) -> bool:
    """Whether a path that a user gave is a folder. Raises `DataError` where that cannot be told."""
    try:
        return path.is_dir()
    except OSError as error:  # a folder above that may not be entered, a name that is too long
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be looked at ({reason}); check the path and your rights") from error


def walk_images(folder: Path) -> Iterator[tuple[Path, Listing]]:
    """Each folder in and below `folder` with its own images and what was left out there; one is in memory at a time."""
    return ((place, without_masks(found)[0]) for place, found in walk_files(folder))


def walk_files(folder: Path) -> Iterator[tuple[Path, Listing]]:
    """The same, by names alone: masks beside images are among the images."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        found, subfolders = _list_one(place)
        yield place, found
        waiting.extend(reversed(subfolders))


def images_in(folder: Path) -> Listing:
    """The images right in a folder, those below not among them; nothing where there is no such folder."""
    return without_masks(files_in(folder))[0]


def files_in(folder: Path) -> Listing:
    """The same, by names alone: masks beside images are among the images."""
    return _list_one(folder)[0] if folder.is_dir() else Listing()


def without_masks(found: Listing) -> tuple[Listing, dict[Path, Path]]:
    """What was found in one folder without the masks beside images, and the mask of each image that has one."""
    paths = {path.name: path for path in found.images}
    beside = masks_beside(paths, lambda name: file_looks_like_mask(paths[name]))
    left_out = (LeftOut(paths[mask], "mask") for mask in beside)
    images = tuple(path for name, path in paths.items() if name not in beside)
    mask_of = {paths[image]: paths[mask] for mask, image in beside.items()}
    return Listing(images, (*found.left_out, *left_out)), mask_of


def subfolders_of(folder: Path) -> list[Path]:
    """The folders right in a folder, links to folders among them, in order; hidden ones and those of tools are not."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if not is_kept_apart(path.name) and path.is_dir()), key=natural_key
    )


def natural_key(path: PurePath) -> tuple[tuple[int | str, ...], str]:
    """A sort key that takes numbers in names by their value.

    >>> [path.name for path in sorted([Path("10.png"), Path("2.png")], key=natural_key)]
    ['2.png', '10.png']
    """
    name = path.as_posix()
    # Odd positions are numbers, so that numbers meet only numbers.
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if position % 2 else part for position, part in enumerate(parts)), name


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_kept_apart(name: str) -> bool:
    """Whether a file or folder of this name is hidden or belongs to a tool."""
    return name.startswith(".") or name.lower() in TOOL_FOLDERS


def _say_no_image(place: Path, found: Listing) -> str:
    notes = left_out_notes(found.left_out, place)
    if notes and found.left_out[0].path == place:  # the folder itself cannot be listed
        return f"{place}: the folder cannot be listed; change its rights"
    reasons = f" ({'; '.join(notes)})" if notes else ""
    return f"{place}: no image in this folder{reasons}; images end in {', '.join(sorted(IMAGE_SUFFIXES))}"


def _all_below(place: Path) -> Listing:
    images: list[Path] = []
    left_out: list[LeftOut] = []
    for _, found in walk_images(place):
        images.extend(found.images)
        left_out.extend(found.left_out)
    return Listing(tuple(images), tuple(left_out))


def _list_one(folder: Path) -> tuple[Listing, list[Path]]:
    """What lies right in a folder: its images, what is left out, and the folders to search next."""
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: entry_kind(entry) for entry in entries}
    except OSError:
        return Listing((), (LeftOut(folder, "unlistable_folder"),)), []
    sorted_out = sort_entries(kinds, folder, lambda name: _holds_image(folder / name))
    apart = [
        LeftOut(image, reason) for name, reason in sorted_out.apart.items() for image in _names_below(folder / name)
    ]
    return sorted_out.listing + Listing((), tuple(apart)), [folder / name for name in sorted_out.searched]


@dataclass(frozen=True)
class SortedEntries:
    """The entries of one folder: its images and what is left out, the folders to search, and those kept apart."""

    listing: Listing
    searched: tuple[str, ...]
    apart: dict[str, Reason]


def sort_entries(kinds: Mapping[str, EntryKind], folder: Path, holds_image: Callable[[str], bool]) -> SortedEntries:
    """The rule at the top of this file, for one folder; `holds_image` looks into files of unknown endings."""
    images: list[Path] = []
    left_out: list[LeftOut] = []
    searched: list[str] = []
    apart: dict[str, Reason] = {}
    others: dict[str, list[str]] = {}
    for name in sorted(kinds, key=lambda name: natural_key(PurePath(name))):
        kind, suffix = kinds[name], os.path.splitext(name)[1].lower()
        if kind == "folder":
            reason = _reason_apart(name, VERDICTS in kinds)
            if reason is None:
                searched.append(name)
            else:
                apart[name] = reason
        elif kind == "folder_link":
            if not is_kept_apart(name):
                left_out.append(LeftOut(folder / name, "folder_link"))
        elif suffix in IMAGE_SUFFIXES:
            if name.startswith("."):
                left_out.append(LeftOut(folder / name, "hidden"))
            else:
                images.append(folder / name)
        elif not name.startswith(".") and not _NO_IMAGE.fullmatch(suffix):
            if kind == "dead_link":
                left_out.append(LeftOut(folder / name, "dead_link"))
            elif kind == "file":
                others.setdefault(suffix, []).append(name)
    for suffix, names in others.items():
        if _IMAGE_OF_ANOTHER_KIND.fullmatch(suffix) or any(map(holds_image, names[:_NUM_SNIFFED])):
            left_out.extend(LeftOut(folder / name, "other_suffix") for name in names)
    return SortedEntries(Listing(tuple(images), tuple(left_out)), tuple(searched), apart)


def entry_kind(entry: os.DirEntry[str]) -> EntryKind:
    """What an entry of a folder is."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        mode = entry.stat().st_mode if entry.is_symlink() else None
    except OSError:  # nothing at the link's end, or links in a loop
        return "dead_link"
    if mode is None:
        return "file" if entry.is_file(follow_symlinks=False) else "special"
    return "folder_link" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def _reason_apart(name: str, has_verdicts: bool) -> Reason | None:
    """Why a folder is not searched."""
    if name.lower() in TOOL_FOLDERS:
        return "tool_folder"
    if name.startswith("."):
        return "hidden"
    return "overlay" if name == OVERLAYS and has_verdicts else None


def _names_below(folder: Path) -> Iterator[Path]:
    """All files in and below a folder with the name of an image; what cannot be listed is passed over."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in sorted(names) if is_image_name(name))


_MAGIC = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|II[*+]\0|MM\0[*+]|RIFF....WEBP|P[1-7][\s#]|\x76\x2f\x31\x01|8BPS"
    rb"|....ftyp(?:heic|heix|mif1|avif)|\0\0\0\x0c(?:jP  |JXL )|\xff\x0a"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
"""How files of images begin."""


def _holds_image(path: Path) -> bool:
    """Whether a file begins as images do."""
    try:
        with path.open("rb") as file:
            return _MAGIC.match(file.read(32)) is not None
    except OSError:
        return False
