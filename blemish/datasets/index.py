"""The index of a data set: which image files it has and what is known of each; nothing is decoded here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from blemish.datasets.layouts import LAYOUTS, Layout, find_images
from blemish.errors import DataError
from blemish.files import hash_file, why_not_a_file
from blemish.schema import DEFECTIVE, ImageItem, Split
from blemish.text import one_line, readable


@dataclass(frozen=True)
class DatasetIndex:
    """The images of one data set, sorted by path with numbers in their order (`2.png` before `10.png`).

    `notes` are facts that a user should be told, such as a split that this package made itself.
    """

    name: str
    root: Path
    layout: str
    items: tuple[ImageItem, ...]
    notes: tuple[str, ...] = ()

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

    def with_hashes(self) -> DatasetIndex:
        """The same index with the sha256 of each image file."""
        hashes = hash_files([item.path for item in self.items])
        return replace(
            self,
            items=tuple(replace(item, sha256=sha256) for item, sha256 in zip(self.items, hashes, strict=True)),
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the relative path, split, label and content of each image and the content of its mask.

        The same files give the same fingerprint in any place; any change of an image, mask or name gives another.
        """
        masks = [item.mask_path for item in self.items if item.mask_path]
        mask_files = {mask: find_images(mask) if mask.is_dir() else [mask] for mask in masks}
        all_masks = [file for files in mask_files.values() for file in files]
        mask_hashes = dict(zip(all_masks, hash_files(all_masks), strict=True))
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
    if not root.is_dir():
        found = "a file, not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {found}; give the folder of good images or of one data set")
    try:
        layout = _recognize(root)
        if layout is None:
            raise _explain_no_dataset(root)
        found_items = layout.read(root)
    except OSError as error:
        raise DataError(
            f"{root}: cannot be read ({error.strerror or error}); check the folder's permissions"
        ) from error
    name = one_line(root.resolve().name) or "data"
    return DatasetIndex(name, root, layout.name, found_items.items, found_items.notes)


def list_categories(root: Path) -> tuple[Path, ...]:
    """The folders that `open_dataset` opens: the folder itself, or else those in it (two levels deep at most).

    Empty where there is no data set.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if _recognize(root):
        return (root,)
    found = tuple(_find_categories(root))
    return found or tuple(category for folder in _subfolders(root) for category in _find_categories(folder))


def hash_files(paths: Sequence[Path]) -> tuple[str, ...]:
    """The sha256 of each file."""
    with ThreadPoolExecutor() as pool:  # hashing and reading both release the interpreter's lock
        return tuple(pool.map(_hash, paths))


def _hash(path: Path) -> str:
    if reason := why_not_a_file(path):
        raise DataError(f"{path}: {reason}")
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _recognize(root: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.recognizes(root)), None)


def _find_categories(root: Path) -> Iterable[Path]:
    return (folder for folder in _subfolders(root) if _recognize(folder))


def _subfolders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _explain_no_dataset(root: Path) -> DataError:
    categories = list_categories(root)
    if categories:
        names = ", ".join(category.relative_to(root).as_posix() for category in categories)
        return DataError(
            f"{root}: holds {len(categories)} data sets ({names}); name one of them, for example {categories[0]}"
        )
    others = sorted(path.name for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    found = f"only other files, such as {others[0]}" if others else "it has none"
    return DataError(
        f"{root}: no PNG, JPEG, BMP, TIFF or WebP images here ({found}); "
        "give a folder of good images or a data set such as train/good, test/good, test/<defect>"
    )
