"""The known ways data sets lie on disk; each layout recognizes its own folders and lists their images.

MVTec AD       train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png; MPDD is the same
MVTec AD 2     train/good, validation/good, test_public/{good,bad}, test_public/ground_truth/bad/<stem>_mask.png,
               test_private and test_private_mixed without labels
MVTec LOCO     train/good, validation/good, test/{good,<kind>}, ground_truth/<kind>/<stem>/000.png, 001.png, ...
MVTec 3D-AD    train/good/rgb, validation/good/rgb, test/{good,<defect>}/rgb with masks in gt beside rgb
BTAD           train/ok, test/ok, test/ko, ground_truth/ko/<stem>.png
VisA           Data/Images/{Normal,Anomaly}, Data/Masks/Anomaly, the split in ../split_csv/1cls.csv
KolektorSDD    kos01/Part0.jpg with kos01/Part0_label.bmp, ...; defective where the mask is not empty
KolektorSDD2   train/<stem>.png with train/<stem>_GT.png, the same in test; defective where the mask is not empty
magnetic tile  MT_Free/Imgs, MT_<defect>/Imgs: <stem>.jpg with its mask <stem>.png
good and bad   good/, and defective images in bad/ or in folders named after their defect
masks beside   images and their masks in one folder; defective where the mask is not empty
plain          a folder of good images
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blemish.boundary import boundary, read_bytes
from blemish.datasets.found import Found, find_good, find_labelled, find_masks, has_good_folder, is_mask_folder
from blemish.datasets.listing import files_in, images_in, natural_key, subfolders_of, without_masks
from blemish.errors import DataError, ImageError
from blemish.images.mask import read_mask
from blemish.schema import DEFECTIVE, GOOD, ImageItem, Split

HELD_OUT_SHARE = 0.2
"""Share of the good images of a data set without a split of its own that is kept for the test."""
_MIN_GOOD_TO_HOLD_OUT = 10
_VISA_COLUMNS = ("object", "split", "label", "image", "mask")
_MAX_TABLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Layout:
    """A way data sets lie on disk: `recognizes` looks at names of files and folders, and for masks beside images."""

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path], Found]


def _read_mvtec_ad(root: Path) -> Found:
    masks = root / "ground_truth"
    return find_labelled(root / "train", "train", masks) + find_labelled(root / "test", "test", masks)


def _is_mvtec_ad(root: Path) -> bool:
    return has_good_folder(root / "train") or has_good_folder(root / "test")


def _is_btad(root: Path) -> bool:
    return (root / "train" / "ok").is_dir() and (root / "test" / "ko").is_dir()


def _is_mvtec_loco(root: Path) -> bool:
    has_validation = (root / "validation" / "good").is_dir() and (root / "test").is_dir()
    return has_validation or (root / "test" / "logical_anomalies").is_dir()


def _read_mvtec_loco(root: Path) -> Found:
    masks = root / "ground_truth"
    train = find_labelled(root / "train", "train", masks)
    return train + _find_validation(root) + find_labelled(root / "test", "test", masks)


def _find_validation(root: Path, inside: str = "good") -> Found:
    found = find_good(root / "validation" / inside, "train")
    note = f"the {len(found.items)} good images of the validation folder are used for training"
    return replace(found, notes=(note,)) if found.items else found


def _is_mvtec_3d_ad(root: Path) -> bool:
    return (root / "train" / "good" / "rgb").is_dir()


def _read_mvtec_3d_ad(root: Path) -> Found:
    found = find_good(root / "train" / "good" / "rgb", "train") + _find_validation(root, "good/rgb")
    for folder in subfolders_of(root / "test"):
        if folder.name == "good":
            good = find_good(folder / "rgb", "test")
            found += replace(good, settled=frozenset(files_in(folder / "gt").images))
        else:
            mask_of = find_masks(folder / "gt")
            found += Found(
                tuple(
                    ImageItem(path, "test", DEFECTIVE, folder.name, mask_of.get(path.stem))
                    for path in images_in(folder / "rgb").images
                )
            )
    scans = {path for place in root.glob("*/*/xyz") for path in files_in(place).images}
    note = f"the {len(scans)} depth scans (xyz) are not used"
    return found + Found(notes=(note,) if scans else (), settled=frozenset(scans))


def _is_mvtec_ad_2(root: Path) -> bool:
    return any((root / name).is_dir() for name in ("test_public", "test_private", "test_private_mixed"))


def _read_mvtec_ad_2(root: Path) -> Found:
    public = root / "test_public"
    private = tuple(
        ImageItem(path, "test", None, "unknown")
        for name in ("test_private", "test_private_mixed")
        for path in images_in(root / name).images
    )
    note = f"{len(private)} private test images have no labels; they are not evaluated"
    return (
        find_labelled(root / "train", "train", root)
        + _find_validation(root)
        + find_labelled(public, "test", public / "ground_truth")
        + Found(private, notes=(note,) if private else ())
    )


def _is_visa(root: Path) -> bool:
    return (root / "Data" / "Images" / "Normal").is_dir()


def _read_visa(root: Path) -> Found:
    category, above = root.resolve().name, root / ".." if root == Path() else root.parent
    table = next((path for folder in (root, above) if (path := folder / "split_csv" / "1cls.csv").is_file()), None)
    if table is None:
        raise DataError(
            f"{root}: looks like VisA, but {above / 'split_csv' / '1cls.csv'} is missing; "
            "copy the folder split_csv of the VisA archive there"
        )
    with boundary(table, DataError, f"copy the file again; it has the columns {', '.join(_VISA_COLUMNS)}"):
        text = read_bytes(table, _MAX_TABLE_BYTES, DataError, "copy the file again").decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        items = [_visa_item(root, row) for row in rows if row["object"] == category]
    if not items:
        raise DataError(f"{table}: no row with object {category!r}; do not rename the folders of VisA")
    return Found(tuple(sorted(items, key=lambda item: (item.split == "test", natural_key(item.path)))))


def _visa_item(root: Path, row: Mapping[str, str | Any]) -> ImageItem:
    """The image of a row. Raises ValueError and others where a value cannot be."""
    missing = [name for name in _VISA_COLUMNS if row[name] is None]
    if missing:
        raise ValueError(f"the row of {row['image']!r} has no {missing[0]}")
    split, label = row["split"], row["label"]
    if split not in ("train", "test") or label not in ("normal", "anomaly"):
        raise ValueError(f"the split {split!r} or the label {label!r} of {row['image']!r} is unknown")
    is_good = label == "normal"
    return ImageItem(
        _below(root, row["image"]),
        "train" if split == "train" else "test",
        GOOD if is_good else DEFECTIVE,
        "good" if is_good else "bad",
        _below(root, row["mask"]) if row["mask"] else None,
    )


def _below(root: Path, named: str) -> Path:
    """A path of VisA's table, which begins with the name of the category, from the category's folder."""
    parts = Path(named).parts
    if len(parts) < 2 or Path(named).is_absolute() or ".." in parts or "\0" in named:
        raise ValueError(f"{named!r} is no path of an image in the folder of the category")
    return root.joinpath(*parts[1:])


def _is_kolektor_sdd(root: Path) -> bool:
    return any(
        path.stem.endswith("_label") for folder in _kolektor_folders(root)[:1] for path in files_in(folder).images
    )


def _kolektor_folders(root: Path) -> list[Path]:
    return [folder for folder in subfolders_of(root) if re.fullmatch(r"kos[0-9]+", folder.name)]


def _read_kolektor_sdd(root: Path) -> Found:
    """One folder shows one item from several sides, so items are held out, not images."""
    folders = _kolektor_folders(root)
    num_test = round(len(folders) * HELD_OUT_SHARE)
    items: list[ImageItem] = []
    for number, folder in enumerate(folders):
        split: Split = "test" if number >= len(folders) - num_test else "train"
        items.extend(_find_marked(folder, split, "_label"))
    found = _label_by_masks(items)
    kept = (replace(item, split="test") if item.label == DEFECTIVE else item for item in found.items)
    note = f"the good images of the last {num_test} of {len(folders)} items are kept for the test"
    return replace(found, items=tuple(kept), notes=(note,) if num_test else ())


def _is_kolektor_sdd_2(root: Path) -> bool:
    return any(path.stem.endswith("_GT") for path in files_in(root / "train").images)


def _read_kolektor_sdd_2(root: Path) -> Found:
    items = [*_find_marked(root / "train", "train", "_GT"), *_find_marked(root / "test", "test", "_GT")]
    found = _label_by_masks(items)
    kept = tuple(item for item in found.items if item.split == "test" or item.label != DEFECTIVE)
    left_out = [item for item in found.items if item not in kept]
    settled = {path for item in left_out for path in (item.path, item.mask_path) if path}
    note = f"{len(left_out)} defective training images are left out: fitting takes good ones only"
    return replace(found, items=kept, notes=(note,) if left_out else (), settled=found.settled | settled)


def _find_marked(folder: Path, split: Split, mark: str) -> list[ImageItem]:
    """The images of a folder without a label yet, each with its mask `<stem><mark>`."""
    files = files_in(folder).images
    masks = {path.stem.removesuffix(mark): path for path in files if path.stem.endswith(mark)}
    return [
        ImageItem(path, split, None, "unknown", masks.get(path.stem)) for path in files if not path.stem.endswith(mark)
    ]


def _label_by_masks(items: list[ImageItem]) -> Found:
    """Each image is defective where its mask is not empty, and good where it is; without a mask nothing is known."""
    labelled = tuple(map(_label_by_mask, items))
    empty = (item.mask_path for item, known in zip(items, labelled, strict=True) if known.is_good)
    return Found(labelled, settled=frozenset(path for path in empty if path))


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


def _tile_folders(root: Path) -> list[Path]:
    return [folder / "Imgs" for folder in subfolders_of(root) if folder.name.startswith("MT_")]


def _is_magnetic_tile(root: Path) -> bool:
    return any(folder.is_dir() for folder in _tile_folders(root))


def _read_magnetic_tile(root: Path) -> Found:
    good, defective = Found(), Found()
    for folder in _tile_folders(root):
        listed, mask_of = without_masks(files_in(folder))
        if folder.parent.name == "MT_Free":
            items = tuple(ImageItem(path, "test", GOOD) for path in listed.images)
            good += Found(items, settled=frozenset(mask_of.values()))
        else:
            defect = folder.parent.name.removeprefix("MT_").lower()
            defective += Found(
                tuple(ImageItem(path, "test", DEFECTIVE, defect, mask_of.get(path)) for path in listed.images)
            )
    return _hold_out(good + defective)


def _read_good_and_bad(root: Path) -> Found:
    masks = next(filter(is_mask_folder, subfolders_of(root)), root / "masks")
    return _hold_out(find_labelled(root, "test", masks))


def _hold_out(found: Found) -> Found:
    """The same with most good images for training; the last ones are kept for the test where there are defects."""
    good = [item for item in found.items if item.is_good]
    others = [item for item in found.items if not item.is_good]
    has_defects = any(item.label == DEFECTIVE for item in others)
    num_test = round(len(good) * HELD_OUT_SHARE) if has_defects and len(good) >= _MIN_GOOD_TO_HOLD_OUT else 0
    # The last ones, not random ones: neighbors are often near copies, and a test on near copies flatters.
    num_train = len(good) - num_test
    train = [replace(item, split="train") for item in good[:num_train]]
    notes = found.notes
    if num_test:
        notes += (f"the last {num_test} of {len(good)} good images are kept for the test, the others for training",)
    elif has_defects:
        notes += (f"all {len(good)} good images are for training, since there are under {_MIN_GOOD_TO_HOLD_OUT}",)
    return replace(found, items=(*train, *good[num_train:], *others), notes=notes)


def _has_masks_beside(root: Path) -> bool:
    return bool(without_masks(files_in(root))[1])


def _read_masks_beside(root: Path) -> Found:
    listed, mask_of = without_masks(files_in(root))
    found = _label_by_masks([ImageItem(path, "test", None, "unknown", mask_of.get(path)) for path in listed.images])
    num_defective = sum(item.label == DEFECTIVE for item in found.items)
    note = (
        f"{len(mask_of)} masks lie beside their images: {num_defective} mark a defect, {len(found.settled)} are empty"
    )
    num_unmarked = len(listed.images) - len(mask_of)
    if num_unmarked and found.settled:
        note += f"; {num_unmarked} images have no mask, so no label, and are not used"
    elif num_unmarked:  # only defects were marked here
        note += f"; the {num_unmarked} images without a mask count as good"
        items = (item if item.mask_path else replace(item, label=GOOD, defect_type="good") for item in found.items)
        found = replace(found, items=tuple(items))
    return _hold_out(replace(found, notes=(note,)))


_STRUCTURED = (
    Layout("mvtec_ad_2", _is_mvtec_ad_2, _read_mvtec_ad_2),
    Layout("mvtec_3d_ad", _is_mvtec_3d_ad, _read_mvtec_3d_ad),
    Layout("mvtec_loco", _is_mvtec_loco, _read_mvtec_loco),
    Layout("btad", _is_btad, _read_mvtec_ad),
    Layout("mvtec_ad", _is_mvtec_ad, _read_mvtec_ad),
    Layout("visa", _is_visa, _read_visa),
    Layout("kolektor_sdd", _is_kolektor_sdd, _read_kolektor_sdd),
    Layout("kolektor_sdd_2", _is_kolektor_sdd_2, _read_kolektor_sdd_2),
    Layout("magnetic_tile", _is_magnetic_tile, _read_magnetic_tile),
    Layout("good_and_bad", has_good_folder, _read_good_and_bad),
)


def _holds_images_only(root: Path) -> bool:
    """A picture beside whole data sets, such as a preview, is not one."""
    has_data_sets = any(layout.recognizes(folder) for folder in subfolders_of(root) for layout in _STRUCTURED)
    return bool(files_in(root).images) and not has_data_sets


LAYOUTS = (
    *_STRUCTURED,
    Layout("masks_beside", lambda root: _holds_images_only(root) and _has_masks_beside(root), _read_masks_beside),
    Layout("plain", _holds_images_only, lambda root: find_good(root, "train")),
)
"""Every layout, in the order in which they are tried."""
