"""What a layout finds in the folders of a data set, and how the images of labelled folders are gathered."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blemish.datasets.beside import file_is_photograph, stem_of_image
from blemish.datasets.left_out import LeftOut
from blemish.datasets.listing import files_in, images_in, subfolders_of, without_masks
from blemish.datasets.names import what_name_says
from blemish.schema import DEFECTIVE, GOOD, ImageItem, Split
from blemish.text import one_line

_MASK_FOLDER = re.compile(r"(?i)ground[-_ ]?truths?|gts?|(gt[-_ ])?masks?|labels?|annotations?|segmentations?")
_NUM_LOOKED_AT = 3


@dataclass(frozen=True)
class Question:
    """A folder whose name does not say what it holds, and what its images are taken for."""

    folder: Path
    num_images: int
    taken_for: Literal["defective", "unlabeled"]


@dataclass(frozen=True)
class Found:
    """What a layout finds in a folder.

    `settled` are files with the name of an image that are neither items nor left out, such as empty masks.
    """

    items: tuple[ImageItem, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    questions: tuple[Question, ...] = ()
    settled: frozenset[Path] = frozenset()

    def __add__(self, other: Found) -> Found:
        return Found(
            (*self.items, *other.items),
            (*self.notes, *other.notes),
            (*self.left_out, *other.left_out),
            (*self.questions, *other.questions),
            self.settled | other.settled,
        )


def find_good(folder: Path, split: Split) -> Found:
    """The images right in a folder of good parts; masks beside them are left out."""
    found = images_in(folder)
    masks = tuple(item for item in found.left_out if item.reason == "mask")
    return Found(tuple(ImageItem(path, split, GOOD) for path in found.images), left_out=masks)


def find_labelled(parent: Path, split: Split, masks: Path) -> Found:
    """The images in the folders below `parent`, each named as its defect or as good, with the masks found."""
    found = Found()
    for folder in subfolders_of(parent):
        if is_mask_folder(folder):
            continue
        if what_name_says(folder.name) == "good":
            found += find_good(folder, split)
        else:
            found += _find_defective(folder, split, masks / folder.name)
    return found


def _find_defective(folder: Path, split: Split, masks: Path) -> Found:
    """The images of a folder that is not named good: one with masks, or of any word, is a kind of defect."""
    listed, beside = without_masks(files_in(folder))
    stems = find_masks(masks)
    if not os.path.isdir(masks):  # they may also lie together, without a folder for each kind
        stems = {stem: path for stem, path in find_masks(masks.parent).items() if not os.path.isdir(path)}
    mask_of = {path: stems.get(path.stem) or beside.get(path) for path in listed.images}
    unused = frozenset(beside.values()).difference(mask for mask in mask_of.values() if mask)
    left_out = tuple(LeftOut(mask, "mask") for mask in sorted(unused))
    says = what_name_says(folder.name)
    if says == "nothing" and not any(mask_of.values()):
        unlabeled = tuple(ImageItem(path, split, None, "unknown") for path in listed.images)
        asked = (Question(folder, len(unlabeled), "unlabeled"),) if unlabeled else ()
        return Found(unlabeled, left_out=left_out, questions=asked)
    items = tuple(ImageItem(path, split, DEFECTIVE, folder.name, mask) for path, mask in mask_of.items())
    is_guess = bool(items) and says == "unknown" and not any(mask_of.values())
    asked = (Question(folder, len(items), "defective"),) if is_guess else ()
    return Found(items, left_out=left_out, questions=asked)


def is_mask_folder(folder: Path) -> bool:
    """Whether a folder holds masks, by its name and the look of some of its pictures: a label may be a defect, too."""
    if _MASK_FOLDER.fullmatch(folder.name) is None:
        return False
    files = files_in(folder).images
    return not any(map(file_is_photograph, files[:: max(1, len(files) // _NUM_LOOKED_AT)]))


def find_masks(folder: Path) -> dict[str, Path]:
    """The masks in a folder by the stem of their image: `<stem>_mask.png`, `<stem>.png`, or a folder `<stem>`."""
    files = files_in(folder).images
    masks = {path.name: path for path in subfolders_of(folder)}
    masks |= {stem: path for path in files if (stem := stem_of_image(path.stem))}
    masks |= {path.stem: path for path in files}
    masks |= {path.stem.removesuffix("_mask"): path for path in files if path.stem.endswith("_mask")}
    return masks


def has_good_folder(parent: Path) -> bool:
    """Whether the name of a folder right below says that it holds good parts."""
    return any(what_name_says(folder.name) == "good" for folder in subfolders_of(parent))


def question_notes(questions: Sequence[Question], root: Path) -> tuple[str, ...]:
    """What a person is asked about the names of folders: a line for each way in which they are taken."""
    notes = []
    defective = [question for question in questions if question.taken_for == "defective"]
    if defective:
        several = len(defective) > 1
        notes.append(
            f"{_named(defective, root)} {'count as kinds of defects' if several else 'counts as a kind of defect'}, "
            f"because {'their names do' if several else 'its name does'} not say good; "
            "rename what holds good parts to good"
        )
    unlabeled = [question for question in questions if question.taken_for == "unlabeled"]
    if unlabeled:
        name = one_line(unlabeled[0].folder.name)
        several = len(unlabeled) > 1
        notes.append(
            f"{sum(question.num_images for question in unlabeled)} images in {_named(unlabeled, root)} are not used, "
            f"because the {'names of the folders say' if several else 'name of the folder says'} neither good nor "
            f"defective; rename {'them' if several else 'it'}, for example to good_{name} or defect_{name}"
        )
    return tuple(notes)


def _named(questions: Iterable[Question], root: Path) -> str:
    return ", ".join(one_line(question.folder.relative_to(root).as_posix()) for question in questions)
