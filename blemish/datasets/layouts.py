"""The known ways data sets lie on disk; each layout recognizes its own folders and lists their images.

MVTec AD       train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png; MPDD is the same
MVTec AD 2     train/good, validation/good, test_public/{good,bad}, test_public/ground_truth/bad/<stem>_mask.png,
               test_private and test_private_mixed without labels
MVTec LOCO     train/good, validation/good, test/{good,<kind>}, ground_truth/<kind>/<stem>/000.png, 001.png, ...
BTAD           train/ok, test/ok, test/ko, ground_truth/ko/<stem>.png
VisA           Data/Images/{Normal,Anomaly}, Data/Masks/Anomaly, the split in ../split_csv/1cls.csv
KolektorSDD2   train/<stem>.png with train/<stem>_GT.png, the same in test; defective where the mask is not empty
good and bad   good/, and defective images in bad/ or in folders named after their defect
plain          a folder of good images
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blemish.errors import DataError, ImageError
from blemish.images.decode import IMAGE_SUFFIXES, read_mask
from blemish.schema import DEFECTIVE, GOOD, ImageItem, Split

GOOD_NAMES = frozenset({"good", "ok", "normal"})
"""Names of folders of good images, in small letters."""
MASK_FOLDERS = frozenset({"ground_truth", "mask", "masks"})
"""Names of folders of masks, in small letters."""

HELD_OUT_SHARE = 0.2
"""Share of the good images of a good-and-bad folder that is kept for the test."""
_MIN_GOOD_TO_HOLD_OUT = 10


@dataclass(frozen=True)
class Listing:
    """What a layout finds in a folder."""

    items: tuple[ImageItem, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A way data sets lie on disk: `recognizes` only looks at names of files and folders."""

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path], Listing]


def natural_key(path: Path) -> tuple[tuple[int | str, ...], str]:
    """A sort key that takes numbers in names by their value."""
    name = path.as_posix()
    # Odd positions are numbers, so that numbers meet only numbers.
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if position % 2 else part for position, part in enumerate(parts)), name


def find_images(folder: Path) -> list[Path]:
    """The image files right in a folder, in their order; hidden files are left out."""
    if not folder.is_dir():
        return []
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
        ),
        key=natural_key,
    )


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(
        (path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")), key=natural_key
    )


def _is_good_name(name: str) -> bool:
    return name.lower() in GOOD_NAMES


def _has_good_folder(parent: Path) -> bool:
    return any(_is_good_name(folder.name) for folder in _folders(parent))


def _good_items(folder: Path, split: Split) -> Iterable[ImageItem]:
    return (ImageItem(path, split, GOOD) for path in find_images(folder))


def _labeled_items(parent: Path, split: Split, masks: Path) -> list[ImageItem]:
    """The images in the folders below `parent`, each named as its defect or as good, with the masks found."""
    items: list[ImageItem] = []
    for folder in _folders(parent):
        if _is_good_name(folder.name):
            items.extend(_good_items(folder, split))
        elif folder.name.lower() not in MASK_FOLDERS:
            mask_of = _find_masks(masks / folder.name)
            items.extend(
                ImageItem(path, split, DEFECTIVE, folder.name, mask_of.get(path.stem)) for path in find_images(folder)
            )
    return items


def _find_masks(folder: Path) -> dict[str, Path]:
    """The masks in a folder by the stem of their image: `<stem>_mask.png`, `<stem>.png` or a folder `<stem>`."""
    masks = {path.name: path for path in _folders(folder)}
    masks |= {path.stem: path for path in find_images(folder)}
    masks |= {path.stem.removesuffix("_mask"): path for path in find_images(folder) if path.stem.endswith("_mask")}
    return masks


def _read_mvtec_ad(root: Path) -> Listing:
    masks = root / "ground_truth"
    return Listing((*_labeled_items(root / "train", "train", masks), *_labeled_items(root / "test", "test", masks)))


def _is_mvtec_ad(root: Path) -> bool:
    return _has_good_folder(root / "train") or _has_good_folder(root / "test")


def _is_btad(root: Path) -> bool:
    return (root / "train" / "ok").is_dir() and (root / "test" / "ko").is_dir()


def _is_mvtec_loco(root: Path) -> bool:
    has_validation = (root / "validation" / "good").is_dir() and (root / "test").is_dir()
    return has_validation or (root / "test" / "logical_anomalies").is_dir()


def _read_mvtec_loco(root: Path) -> Listing:
    masks = root / "ground_truth"
    validation = tuple(_good_items(root / "validation" / "good", "train"))
    notes = (_validation_note(len(validation)),) if validation else ()
    train = _labeled_items(root / "train", "train", masks)
    return Listing((*train, *validation, *_labeled_items(root / "test", "test", masks)), notes)


def _is_mvtec_ad_2(root: Path) -> bool:
    return any((root / name).is_dir() for name in ("test_public", "test_private", "test_private_mixed"))


def _read_mvtec_ad_2(root: Path) -> Listing:
    public = root / "test_public"
    validation = tuple(_good_items(root / "validation" / "good", "train"))
    private = tuple(
        ImageItem(path, "test", None, "unknown")
        for name in ("test_private", "test_private_mixed")
        for path in find_images(root / name)
    )
    notes = [_validation_note(len(validation))] if validation else []
    if private:
        notes.append(f"{len(private)} private test images have no labels; they are not evaluated")
    train = _labeled_items(root / "train", "train", root)
    return Listing(
        (*train, *validation, *_labeled_items(public, "test", public / "ground_truth"), *private), tuple(notes)
    )


def _validation_note(num_images: int) -> str:
    return f"the {num_images} good images of the validation folder are used for training"


def _is_visa(root: Path) -> bool:
    return (root / "Data" / "Images" / "Normal").is_dir()


def _read_visa(root: Path) -> Listing:
    category = root.resolve().name
    table = next(
        (path for folder in (root, root.parent) if (path := folder / "split_csv" / "1cls.csv").is_file()), None
    )
    if table is None:
        raise DataError(
            f"{root}: looks like VisA, but {root.parent / 'split_csv' / '1cls.csv'} is missing; "
            "copy the folder split_csv of the VisA archive there"
        )
    items: list[ImageItem] = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            try:
                if row["object"] != category:
                    continue
                image, split = root.parent / row["image"], row["split"]
                is_good, mask = row["label"] == "normal", row["mask"]
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{table}: the columns object, split, label, image and mask are expected; copy the file again"
                ) from error
            items.append(
                ImageItem(
                    image,
                    "train" if split == "train" else "test",
                    GOOD if is_good else DEFECTIVE,
                    "good" if is_good else "bad",
                    root.parent / mask if mask else None,
                )
            )
    if not items:
        raise DataError(f"{table}: no row with object {category!r}; do not rename the folders of VisA")
    return Listing(tuple(sorted(items, key=lambda item: (item.split == "test", natural_key(item.path)))))


def _is_kolektor_sdd_2(root: Path) -> bool:
    return any(path.stem.endswith("_GT") for path in find_images(root / "train"))


def _read_kolektor_sdd_2(root: Path) -> Listing:
    items: list[ImageItem] = []
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        found = find_images(root / split)
        masks = {path.stem.removesuffix("_GT"): path for path in found if path.stem.endswith("_GT")}
        items.extend(
            ImageItem(path, split, None, "unknown", masks.get(path.stem))
            for path in found
            if not path.stem.endswith("_GT")
        )
    with ThreadPoolExecutor() as pool:
        items = list(pool.map(_label_by_mask, items))
    kept = tuple(item for item in items if item.split == "test" or item.label != DEFECTIVE)
    num_left_out = len(items) - len(kept)
    notes = (f"{num_left_out} defective training images are left out: fitting takes good ones only",)
    return Listing(kept, notes if num_left_out else ())


def _label_by_mask(item: ImageItem) -> ImageItem:
    if item.mask_path is None:
        return item
    try:
        is_defective = bool(read_mask(item.mask_path).any())
    except ImageError:  # `check_dataset` reports it
        return item
    if is_defective:
        return replace(item, label=DEFECTIVE, defect_type="defect")
    return replace(item, label=GOOD, defect_type="good", mask_path=None)


def _read_good_and_bad(root: Path) -> Listing:
    mask_root = next((folder for folder in _folders(root) if folder.name.lower() in MASK_FOLDERS), root / "masks")
    items = _labeled_items(root, "test", mask_root)
    good = [item for item in items if item.is_good]
    defective = [item for item in items if not item.is_good]
    num_test = round(len(good) * HELD_OUT_SHARE) if defective and len(good) >= _MIN_GOOD_TO_HOLD_OUT else 0
    # The last ones, not random ones: neighbors are often near copies, and a test on near copies flatters.
    num_train = len(good) - num_test
    train = [replace(item, split="train") for item in good[:num_train]]
    notes: tuple[str, ...] = ()
    if num_test:
        notes = (f"the last {num_test} of {len(good)} good images are kept for the test, the others for training",)
    elif defective:
        notes = (f"all {len(good)} good images are for training, since there are under {_MIN_GOOD_TO_HOLD_OUT}",)
    return Listing((*train, *good[num_train:], *defective), notes)


def _read_plain(root: Path) -> Listing:
    ignored = [folder.name for folder in _folders(root) if find_images(folder)]
    notes = (f"images in subfolders are not used ({', '.join(ignored)})",) if ignored else ()
    return Listing(tuple(_good_items(root, "train")), notes)


_STRUCTURED = (
    Layout("mvtec_ad_2", _is_mvtec_ad_2, _read_mvtec_ad_2),
    Layout("mvtec_loco", _is_mvtec_loco, _read_mvtec_loco),
    Layout("btad", _is_btad, _read_mvtec_ad),
    Layout("mvtec_ad", _is_mvtec_ad, _read_mvtec_ad),
    Layout("visa", _is_visa, _read_visa),
    Layout("kolektor_sdd_2", _is_kolektor_sdd_2, _read_kolektor_sdd_2),
    Layout("good_and_bad", _has_good_folder, _read_good_and_bad),
)


def _is_plain(root: Path) -> bool:
    """A picture beside whole data sets, such as a preview, is not one."""
    has_data_sets = any(layout.recognizes(folder) for folder in _folders(root) for layout in _STRUCTURED)
    return bool(find_images(root)) and not has_data_sets


LAYOUTS = (*_STRUCTURED, Layout("plain", _is_plain, _read_plain))
"""Every layout, in the order in which they are tried."""
