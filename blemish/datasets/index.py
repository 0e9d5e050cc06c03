"""The index of a data set: which image files it has and what is known of each; nothing is decoded here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from blemish.datasets.found import Found, Question, is_mask_folder, question_notes
from blemish.datasets.layouts import LAYOUTS, Layout
from blemish.datasets.left_out import FAULTS, LeftOut, Reason, left_out_notes
from blemish.datasets.listing import Listing, files_in, is_folder, subfolders_of, walk_files
from blemish.errors import DataError
from blemish.files import hash_file, why_not_a_file
from blemish.schema import DEFECTIVE, ImageItem, Split
from blemish.spelling import path_like
from blemish.text import one_line, readable


@dataclass(frozen=True)
class DatasetIndex:
    """The images of one data set, sorted by path with numbers in their order (`2.png` before `10.png`).

    `notes` are facts that a user should be told, such as a split that this package made itself; `left_out` is what
    could be an image of the data set and is none, `questions` are the folders whose names leave open what is in them.
    """

    name: str
    root: Path
    layout: str
    items: tuple[ImageItem, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def train_good(self) -> tuple[ImageItem, ...]:
        """The good images for fitting and calibration."""
        return tuple(item for item in self.items if item.split == "train" and item.is_good)

    @property
    def test(self) -> tuple[ImageItem, ...]:
        """The test images whose true state is known."""
        return tuple(item for item in self.items if item.split == "test" and item.label is not None)

    @property
    def unlabeled(self) -> tuple[ImageItem, ...]:
        """The images whose true state is not known, as in the private test sets of MVTec AD 2."""
        return tuple(item for item in self.items if item.label is None)

    def count(self, split: Split, label: int | None) -> int:
        """Number of images of a split with a label."""
        return sum(item.split == split and item.label == label for item in self.items)

    @property
    def defect_types(self) -> tuple[str, ...]:
        """The names of the defect types, sorted."""
        return tuple(sorted({item.defect_type for item in self.items if item.label == DEFECTIVE}))

    def without(self, paths: Collection[Path]) -> DatasetIndex:
        """The same index without some images, for example those that cannot be read."""
        left_out = frozenset(paths)
        return replace(self, items=tuple(item for item in self.items if item.path not in left_out))

    def relative(self, path: Path) -> str:
        """A path of this data set as it is written in reports: from the root, with forward slashes."""
        return readable(Path(os.path.relpath(path, self.root)).as_posix())

    def with_hashes(self, *, threads: int = 1) -> DatasetIndex:
        """The same index with the sha256 of each image file; it stays empty where a file cannot be read."""
        hashes = _hash_readable([item.path for item in self.items], threads)
        return replace(
            self,
            items=tuple(replace(item, sha256=sha256) for item, sha256 in zip(self.items, hashes, strict=True)),
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the relative path, split, label and content of each image and the content of its mask.

        The same files give the same fingerprint in any place; any change of an image, mask or name gives another. A
        file that cannot be read counts by its name.
        """
        masks = [item.mask_path for item in self.items if item.mask_path]
        mask_files = {mask: files_in(mask).images if os.path.isdir(mask) else (mask,) for mask in masks}
        all_masks = [file for files in mask_files.values() for file in files]
        mask_hashes = dict(zip(all_masks, _hash_readable(all_masks, 1), strict=True))
        items = self.items if all(item.sha256 for item in self.items) else self.with_hashes().items
        digest = hashlib.sha256()
        for item in items:
            mask_parts = [mask_hashes[file] for file in mask_files[item.mask_path]] if item.mask_path else []
            fact = [self.relative(item.path), item.split, str(item.label), item.sha256, *mask_parts]
            digest.update(("\0".join(fact) + "\n").encode())
        return digest.hexdigest()


def open_dataset(root: Path) -> DatasetIndex:
    """The index of the data set in a folder; its layout is recognized by itself.

    Raises `DataError` where the folder holds no images, or several data sets: then it lists them.
    """
    root = Path(root)
    if not is_folder(root):
        reason = "a file, not a folder" if os.path.lexists(root) else f"no such folder{path_like(root)}"
        raise DataError(f"{root}: {reason}; give the folder of good images or of one data set")
    try:
        layout = _recognize(root)
        if layout is None:
            raise _explain_no_dataset(root)
        found = layout.read(root)
        left_out = _settle(root, found)
    except OSError as error:
        raise _unreadable(root, error) from error
    hidden = tuple(item for item in left_out if item.reason in FAULTS)
    if hidden:
        raise DataError(f"{root}: {'; '.join(left_out_notes(hidden, root))}")
    name = one_line(root.resolve().name) or "data"
    notes = (*found.notes, *question_notes(found.questions, root), *left_out_notes(left_out, root))
    return DatasetIndex(name, root, layout.name, found.items, notes, left_out, found.questions)


def _settle(root: Path, found: Found) -> tuple[LeftOut, ...]:
    """What is left out of the data set: each file with the name of an image that is no item, no mask and not settled.

    Files in folders of masks are masks; those that belong to no image are for `check_dataset` to tell.
    """
    masks = {item.mask_path for item in found.items if item.mask_path}
    known = {item.path for item in found.items} | masks | found.settled | {item.path for item in found.left_out}
    used = {os.path.abspath(path) for path in known}
    image_folders = {os.path.dirname(os.path.abspath(item.path)) for item in found.items}
    left_out, told = list(found.left_out), frozenset(found.left_out)
    of_masks: set[Path] = set()
    for folder, listed in _walk_with_links(root, {path.parent for path in known}):
        here = os.path.abspath(folder)
        if folder.parent in of_masks or here in used or (folder != root and is_mask_folder(folder)):
            of_masks.add(folder)
        else:
            above = set(map(str, Path(here).parents))
            reason: Reason = "deeper_folder" if image_folders & above else "outside_layout"
            left_out.extend(LeftOut(path, reason) for path in listed.images if os.path.abspath(path) not in used)
        left_out.extend(item for item in listed.left_out if item not in told)
    return tuple(left_out)


def _walk_with_links(root: Path, folders: Collection[Path]) -> Iterable[tuple[Path, Listing]]:
    """Each folder in and below `root`, and of those behind links the `folders` that a layout names."""
    above = {str(parent) for folder in folders for parent in (folder, *folder.parents)}
    seen: set[str] = set()
    for folder, listed in walk_files(root):
        seen.add(str(folder))
        kept = tuple(item for item in listed.left_out if item.reason != "folder_link" or str(item.path) not in above)
        yield folder, Listing(listed.images, kept)
    for folder in sorted(folders):
        if str(folder) not in seen and folder.is_relative_to(root):
            for below, listed in walk_files(folder):
                seen.add(str(below))
                yield below, listed


def list_categories(root: Path) -> tuple[Path, ...]:
    """The folders that `open_dataset` opens: the folder itself, or else those in it (two levels deep at most).

    Empty where there is no data set.
    """
    root = Path(root)
    if not is_folder(root):
        raise DataError(f"{root}: no such folder{path_like(root) or '; check the path'}")
    try:
        if _recognize(root):
            return (root,)
        found = tuple(_find_categories(root))
        return found or tuple(category for folder in subfolders_of(root) for category in _find_categories(folder))
    except OSError as error:
        raise _unreadable(root, error) from error


def hash_files(paths: Sequence[Path], *, threads: int = 1) -> tuple[str, ...]:
    """The sha256 of each file; raises DataError for one that cannot be read."""
    with ThreadPoolExecutor(threads) as pool:  # hashing and reading both release the interpreter's lock
        return tuple(pool.map(_hash, paths))


def _hash_readable(paths: Sequence[Path], threads: int) -> tuple[str, ...]:
    with ThreadPoolExecutor(threads) as pool:
        return tuple(pool.map(_hash_or_nothing, paths))


def _hash_or_nothing(path: Path) -> str:
    try:
        return _hash(path)
    except DataError:
        return ""


def _hash(path: Path) -> str:
    if reason := why_not_a_file(path):
        raise DataError(f"{path}: {reason}")
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unreadable(root: Path, error: OSError) -> DataError:
    path = Path(error.filename or root)
    # Not the file that was asked for, but the folder above that may not be entered.
    place = next((folder for folder in reversed(path.parents) if not os.access(folder, os.R_OK | os.X_OK)), path)
    return DataError(f"{place}: cannot be read ({(error.strerror or str(error)).lower()}); check the rights to it")


def _recognize(root: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.recognizes(root)), None)


def _find_categories(root: Path) -> Iterable[Path]:
    return (folder for folder in subfolders_of(root) if _recognize(folder))


def _explain_no_dataset(root: Path) -> DataError:
    categories = list_categories(root)
    if categories:
        names = ", ".join(category.relative_to(root).as_posix() for category in categories)
        return DataError(
            f"{root}: holds {len(categories)} data sets ({names}); name one of them, for example {categories[0]}"
        )
    others = sorted(path.name for path in root.iterdir() if os.path.isfile(path) and not path.name.startswith("."))
    found = f"only other files, such as {others[0]}" if others else "it has none"
    return DataError(
        f"{root}: no PNG, JPEG, BMP, TIFF or WebP images here ({found}); "
        "give a folder of good images or a data set such as train/good, test/good, test/<defect>"
    )
