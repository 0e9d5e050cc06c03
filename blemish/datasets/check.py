"""Tells what is wrong with a data set before anybody trains or evaluates on it."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from blemish.datasets.found import question_notes
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.left_out import left_out_notes
from blemish.datasets.listing import files_in
from blemish.datasets.mask_fit import OddMasks, read_fitting_mask, shared_masks
from blemish.errors import DataError, ImageError
from blemish.images.decode import IMAGE_SUFFIXES, read_image, read_image_facts
from blemish.schema import AS_THEY_ARE, DEFECTIVE, GOOD, ImageItem, Progress, ReadSettings, silent

FEWEST_GOOD = 2
"""With fewer good images training is meaningless."""
FEW_GOOD = 20
"""With fewer good images a threshold is a rough guess."""
MAX_ASPECT_SPREAD = 1.5
"""An image whose ratio of height to width is this many times off the median is of an odd shape."""
MAX_ODD_SHARE = 0.1
"""Where more images than this are of an odd shape, no shape is the usual one and none is odd."""
FLAT_RANGE = 4
"""An image whose values differ by at most this is of one color."""
DARK_VALUE = 16
"""An image without a brighter value is nearly black."""
CAMERA_BITS = (10, 12, 14)
"""Bits of cameras that may store their values unshifted in files of 16."""

MOST_AT_ONCE = 2
"""Images looked at at once, at most: each is decoded whole."""
_IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini", "license.txt", "readme.txt", "defects_config.json"})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `code` for programs, `message` for people, `paths` of all files concerned.

    `blocks_training`: a model trained on this data would be meaningless, or cannot be trained at all.
    """

    severity: Literal["error", "warning"]
    code: str
    message: str
    paths: tuple[Path, ...] = ()
    blocks_training: bool = False


@dataclass(frozen=True)
class _Look:
    """What is seen of one image: `fault` says why it cannot be read, else the rest holds."""

    fault: str = ""
    hw: tuple[int, int] = (0, 0)
    digest: str = ""
    is_gray: bool = False
    value_range: int = 0
    brightest: int = 0
    bits: int = 8
    num_pages: int = 1


def blocks_training(findings: Iterable[Finding]) -> bool:
    """Whether training on the data set would be meaningless."""
    return any(finding.blocks_training for finding in findings)


def check_dataset(
    root: Path, progress: Progress = silent, reading: ReadSettings = AS_THEY_ARE, *, threads: int = 1
) -> tuple[Finding, ...]:
    """All that is wrong with the data set in a folder, errors first; every image and mask is decoded.

    Raises `DataError` where there is no data set at all.
    """
    index = open_dataset(root)
    looks = _look_at_images(index, progress, reading, min(threads, MOST_AT_ONCE))
    findings = [
        *_check_counts(index, looks),
        *_check_readable(index, looks),
        *_check_copies(index, looks),
        *_check_pictures(index, looks),
        *_check_sizes(index, looks),
        *_check_masks(index, looks),
        *_check_stray_masks(index),
        *_check_labels(index),
        *_check_left_out(index),
        *_check_other_files(index),
    ]
    return tuple(sorted(findings, key=lambda finding: (not finding.blocks_training, finding.severity != "error")))


def _look_at_images(index: DatasetIndex, progress: Progress, reading: ReadSettings, threads: int) -> dict[Path, _Look]:
    paths = list(dict.fromkeys(item.path for item in index.items))
    looks: dict[Path, _Look] = {}
    with ThreadPoolExecutor(threads) as pool:
        for path, look in zip(paths, pool.map(lambda path: _look_at(path, reading), paths), strict=True):
            looks[path] = look
            progress("checking images", len(looks), len(paths))
    return looks


def _look_at(path: Path, reading: ReadSettings) -> _Look:
    try:
        facts = read_image_facts(path, reading)
        image = read_image(path, replace(reading, page=facts.page))
    except ImageError as error:
        return _Look(fault=str(error))
    return _Look(
        hw=(image.shape[0], image.shape[1]),
        digest=hashlib.sha256(image.data).hexdigest() + str(image.shape),
        is_gray=bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()),
        value_range=int(image.max()) - int(image.min()),
        brightest=int(image.max()),
        bits=facts.bits if reading.bits is None else reading.bits,
        num_pages=facts.num_pages if reading.page is None else 1,
    )


def _check_counts(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    readable = [item for item in index.train_good if not looks[item.path].fault]
    different = {looks[item.path].digest for item in readable}
    if len(different) < FEWEST_GOOD:
        among = f" ({len(readable)} files with the same picture)" if len(readable) > len(different) else ""
        yield Finding(
            "error",
            "too_few_good",
            f"{len(different)} good images for training{among}; at least {FEWEST_GOOD} are needed, "
            f"{FEW_GOOD} to 300 are useful",
            blocks_training=True,
        )
    elif len(different) < FEW_GOOD:
        yield Finding(
            "warning",
            "few_good",
            f"only {len(different)} different good images for training; with fewer than {FEW_GOOD} "
            "thresholds are rough guesses",
        )
    if not index.test:
        return
    if not index.count("test", GOOD):
        yield Finding(
            "warning", "no_good_test", "no good test images: false rejects and AUROC cannot be measured; add some"
        )
    if not index.count("test", DEFECTIVE):
        yield Finding(
            "warning", "no_defective_test", "no defective test images: escapes and AUROC cannot be measured; add some"
        )


def _check_readable(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    for item in index.items:
        if looks[item.path].fault:
            is_training = item.split == "train" and item.is_good
            hint = "; training stops at it unless --skip-unreadable is given" if is_training else ""
            yield Finding("error", "unreadable_image", looks[item.path].fault + hint, (item.path,), is_training)


def _check_copies(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    """Images with the same pixels, also where their files differ."""
    same: defaultdict[str, list[ImageItem]] = defaultdict(list)
    for item in index.items:
        if not looks[item.path].fault:
            same[looks[item.path].digest].append(item)
    copies_in_split = []
    for items in same.values():
        names = ", ".join(index.relative(item.path) for item in items)
        paths = tuple(item.path for item in items)
        if len({item.label for item in items} - {None}) > 1:
            is_fitted = any(item.split == "train" and item.is_good for item in items)
            yield Finding(
                "error",
                "good_and_defective",
                f"the same image counts as good and as defective: {names}; decide which",
                paths,
                is_fitted,
            )
        elif len({item.split for item in items}) > 1:
            yield Finding(
                "error",
                "in_two_splits",
                f"the same image is in the training and the test part: {names}; results on it would flatter",
                paths,
            )
        elif len(items) > 1:
            copies_in_split.append(items)
    if copies_in_split:
        num_extra = sum(len(items) - 1 for items in copies_in_split)
        yield Finding(
            "warning",
            "copies",
            f"{num_extra} images are copies of others in the same part; copies make thresholds look surer than they "
            f"are, for example {', '.join(index.relative(item.path) for item in copies_in_split[0][:3])}",
            tuple(item.path for items in copies_in_split for item in items),
        )


def _check_pictures(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    seen = {path: look for path, look in looks.items() if not look.fault}
    unshifted, bits = _unshifted(seen)
    if unshifted:
        text = (
            f"images are nearly black, as {bits}-bit values in 16-bit files look; if the camera has {bits} bits, give "
            f"--bits {bits}"
        )
        yield _about(index, "nearly_black", text, unshifted)
    several = tuple(path for path, look in seen.items() if look.num_pages > 1)
    if several:
        text = "files hold several pages, of which the first is taken; choose another with --page"
        yield _about(index, "several_pages", text, several)
    usual = {path: look for path, look in seen.items() if path not in set(unshifted)}
    flat = tuple(path for path, look in usual.items() if look.value_range <= FLAT_RANGE)
    if flat:
        yield _about(index, "one_color", "images are of one color throughout; look at camera and trigger", flat)
    dark = tuple(path for path, look in usual.items() if look.brightest <= DARK_VALUE and path not in flat)
    if dark:
        yield _about(index, "nearly_black", "images are nearly black; look at light and exposure", dark)
    gray = tuple(path for path, look in seen.items() if look.is_gray)
    colored = tuple(path for path in seen if path not in set(gray))
    if gray and colored:
        fewer = min(gray, colored, key=len)
        kind, others = ("gray", "in color") if fewer is gray else ("in color", "gray")
        yield _about(index, "gray_and_color", f"images are {kind}, the other {len(seen) - len(fewer)} {others}", fewer)


def _unshifted(seen: Mapping[Path, _Look]) -> tuple[tuple[Path, ...], int]:
    """The files of 16 bits where all of them together use fewer, as cameras of 10, 12 or 14 bits write them."""
    sixteen = tuple(path for path, look in seen.items() if look.bits == 16)
    brightest = max((seen[path].brightest for path in sixteen), default=255)
    for bits in CAMERA_BITS:
        if 0 < brightest <= round(((1 << bits) - 1) / 257):
            return sixteen, bits
    return (), 16


def _check_sizes(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    sizes = {path: look.hw for path, look in looks.items() if not look.fault}
    counts = Counter(sizes.values())
    if len(counts) < 2:
        return
    (height, width), num_common = counts.most_common(1)[0]
    heights, widths = zip(*counts, strict=True)
    yield Finding(
        "warning",
        "mixed_sizes",
        f"images have {len(counts)} different sizes, {min(widths)} to {max(widths)} wide and {min(heights)} to "
        f"{max(heights)} high ({num_common} are {width} x {height}); all are stretched to one input size",
    )
    median = statistics.median(math.log(hw[0] / hw[1]) for hw in sizes.values())
    odd = tuple(
        path for path, hw in sizes.items() if abs(math.log(hw[0] / hw[1]) - median) > math.log(MAX_ASPECT_SPREAD)
    )
    if 0 < len(odd) <= MAX_ODD_SHARE * len(sizes):
        yield _about(
            index, "odd_shape", "images are of another shape than most and will be stretched strongly; cut them", odd
        )


def _check_masks(index: DatasetIndex, looks: dict[Path, _Look]) -> Iterable[Finding]:
    defective = [item for item in index.items if item.label == DEFECTIVE and item.split == "test"]
    without = tuple(item.path for item in defective if item.mask_path is None or not os.path.lexists(item.mask_path))
    if without:
        consequence = "they count at image level and are left out at pixel level"
        yield _about(index, "mask_missing", f"defective images have no mask: {consequence}", without)
    empty: list[Path] = []
    odd = OddMasks()
    for item in defective:
        if item.path in without or item.mask_path is None or looks[item.path].fault:
            continue
        try:
            found = read_fitting_mask(item.mask_path, item.path, looks[item.path].hw)
        except ImageError as error:
            yield Finding("error", "unreadable_mask", str(error), (item.mask_path,))
            continue
        except DataError as error:
            yield Finding("error", "mask_size", str(error), (item.mask_path, item.path))
            continue
        if not found.mask.any():
            empty.append(item.mask_path)
        odd.add(item.mask_path, found)
    if empty:
        yield _about(index, "mask_empty", "masks of defective images are empty; draw or remove them", tuple(empty))
    for oddity, note in odd.notes(index.root).items():
        yield Finding("warning", oddity, note, tuple(odd.paths[oddity]))
    for path, images in shared_masks(defective).items():
        names = ", ".join(index.relative(image) for image in images)
        yield Finding(
            "error",
            "mask_shared",
            f"{index.relative(path)} is the mask of {len(images)} images ({names}); give each its own",
            (path, *images),
        )


def _check_stray_masks(index: DatasetIndex) -> Iterable[Finding]:
    """Masks that belong to no image: mostly a name that does not match."""
    used = {item.mask_path for item in index.items}
    image_folders = {item.path.parent for item in index.items}
    folders = {index.root / "ground_truth" / defect for defect in index.defect_types}
    folders |= {mask.parent for mask in used if mask}
    stray = tuple(
        mask for folder in sorted(folders - image_folders) for mask in files_in(folder).images if mask not in used
    )
    if stray:
        hint = "name each <stem>_mask.png or <stem>.png after its image"
        yield _about(index, "mask_without_image", f"masks belong to no image; {hint}", stray)


def _check_labels(index: DatasetIndex) -> Iterable[Finding]:
    defective = tuple(item.path for item in index.items if item.split == "train" and item.label == DEFECTIVE)
    if defective:
        yield Finding(
            "error",
            "defective_in_training",
            f"{len(defective)} defective images stand in the training part, for example "
            f"{index.relative(defective[0])}; move them to the test part",
            defective,
            blocks_training=True,
        )


def _check_left_out(index: DatasetIndex) -> Iterable[Finding]:
    """Images that are not used, by reason, and folders whose names leave open what is in them."""
    for reason in dict.fromkeys(item.reason for item in index.left_out):
        left_out = [item for item in index.left_out if item.reason == reason]
        [note] = left_out_notes(left_out, index.root)
        yield Finding("warning", reason, note, tuple(item.path for item in left_out))
    for taken_for in ("defective", "unlabeled"):
        asked = [question for question in index.questions if question.taken_for == taken_for]
        for note in question_notes(asked, index.root):
            yield Finding("warning", "unclear_folder", note, tuple(question.folder for question in asked))


def _check_other_files(index: DatasetIndex) -> Iterable[Finding]:
    folders = {item.path.parent for item in index.items}
    told = {item.path for item in index.left_out}
    others = tuple(
        path
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if os.path.isfile(path)
        and path.suffix.lower() not in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.name.lower() not in _IGNORED_FILES
        and path not in told
    )
    if others:
        yield _about(index, "other_files", "files beside the images are of another kind and are not used", others)


def _about(index: DatasetIndex, code: str, text: str, paths: Sequence[Path]) -> Finding:
    """A warning about several files that names the first."""
    return Finding("warning", code, f"{len(paths)} {text}, for example {index.relative(paths[0])}", tuple(paths))
