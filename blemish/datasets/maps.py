"""Anomaly maps that another tool saved to files, to be judged by the metrics of this package."""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blemish.boundary import boundary, read_bytes
from blemish.datasets.index import DatasetIndex
from blemish.datasets.listing import is_folder
from blemish.datasets.sequence import read_image_sizes
from blemish.errors import DataError, ImageError
from blemish.files import why_not_a_file
from blemish.images.decode import IMAGE_SUFFIXES, read_image_hw, read_stored_pixels
from blemish.schema import MAX_PIXELS, AnomalyMap, ImageItem
from blemish.text import one_line

MAP_SUFFIXES = (".npy", ".tiff", ".tif", ".png")
"""Suffixes of saved maps, in the order in which they are looked for."""
SCORES_FILE = "scores.csv"
SHAPE_TOLERANCE = 0.02
"""Share by which a side of a map may differ from what the image's shape asks for, beside one pixel for rounding."""
STRETCH_TOLERANCE = 0.2
"""How far, in the logarithm of height to width, a network's input may lie beyond the usual shape of the images."""
MAX_SCORES_BYTES = 256 * 2**20


@dataclass(frozen=True)
class SavedMap:
    """The saved map of one test image; `anomaly_score` is None where it shall be the maximum of the map."""

    item: ImageItem
    path: Path
    anomaly_score: float | None = None


def read_map(path: Path) -> AnomalyMap:
    """The anomaly map of a file, float32 (height, width), values as stored: higher = more anomalous.

    Takes `.npy` (any number type; axes of length one are dropped), TIFF with one channel, and 16-bit gray PNG. Raises
    `ImageError` where the file is none of these or holds values that are not finite.
    """
    values = _open_npy(path) if path.suffix.lower() == ".npy" else _read_gray(path)
    _map_hw(path, values)
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused below
        anomaly_map = np.array(values, np.float32, order="C")
    if not np.isfinite(anomaly_map).all():
        raise ImageError(f"{path}: the map holds values that are not finite; replace them")
    return anomaly_map


def read_map_hw(path: Path) -> tuple[int, int]:
    """Height and width of a saved map, from its header. Raises `ImageError` where it is no map."""
    if path.suffix.lower() != ".npy":
        return read_image_hw(path)
    return _map_hw(path, _open_npy(path))


def _map_hw(path: Path, values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or not values.size:
        raise ImageError(f"{path}: a map of shape {values.shape}; save it as (height, width)")
    return values.shape[0], values.shape[1]


def _open_npy(path: Path) -> np.ndarray:
    """The array of a file without its axes of length one; its values are read when they are asked for."""
    obstacle = why_not_a_file(path)
    if obstacle:
        raise ImageError(f"{path}: {obstacle}")
    with boundary(path, ImageError, "not a whole NumPy file of numbers: save the map again with numpy.save"):
        # Mapped, so that a header that promises too much costs no memory; objects are refused.
        values = np.lib.format.open_memmap(path, mode="r")
        if values.dtype.kind not in "fiub" or values.size > MAX_PIXELS:
            raise ImageError(f"{path}: not an array of at most {MAX_PIXELS // 1_000_000} million numbers")
        return values.squeeze()


def _read_gray(path: Path) -> np.ndarray:
    values = read_stored_pixels(path)
    if values.ndim != 2:
        raise ImageError(f"{path}: a map in color; save one channel of raw values, not the picture")
    if path.suffix.lower() == ".png" and values.dtype != np.uint16:
        raise ImageError(f"{path}: a map with 8 bits ranks pixels too coarsely; save it as 16-bit PNG, TIFF or .npy")
    return values


def find_maps(maps_dir: Path, index: DatasetIndex) -> tuple[SavedMap, ...]:
    """The saved map of each labeled test image of a data set, in the order of `index.test`.

    The folder mirrors the data set: the map of `test/<defect>/<stem>.png` is `test/<defect>/<stem>` with one of
    `MAP_SUFFIXES`. Scores are taken from `scores.csv` (columns path and score) where it lies beside them. Raises
    `DataError` that counts and names what is missing.
    """
    if not is_folder(maps_dir):
        raise DataError(f"{maps_dir}: no such folder; give the folder of the saved maps")
    if not index.test:
        raise DataError(f"{index.root}: the data set has no labeled test images to judge maps on")
    paths = {item.path: _find_map(maps_dir, index, item) for item in index.test}
    missing = [item for item in index.test if paths[item.path] is None]
    if missing:
        expected = Path(index.relative(missing[0].path)).with_suffix("")
        raise DataError(
            f"{maps_dir}: {len(missing)} of {len(index.test)} test images have no map, the first "
            f"{expected.as_posix()} with one of {', '.join(MAP_SUFFIXES)}; save a map for each test image"
        )
    _check_apart({item.path: path for item in index.test if (path := paths[item.path])})
    scores = _match_scores(maps_dir / SCORES_FILE, index)
    has_scores = os.path.lexists(maps_dir / SCORES_FILE)
    unscored = [item for item in index.test if has_scores and item.path not in scores]
    if unscored:
        raise DataError(
            f"{maps_dir / SCORES_FILE}: {len(unscored)} of {len(index.test)} test images have no score, the first "
            f"{index.relative(unscored[0].path)}; add them or remove the file"
        )
    return tuple(SavedMap(item, path, scores.get(item.path)) for item in index.test if (path := paths[item.path]))


def check_fit(maps: Sequence[SavedMap]) -> None:
    """Raises `DataError` that names the first map which is turned, or of another shape than its image.

    A map fits where its height is to its width as those of its image are, give or take a pixel. Maps of one size for
    images of all shapes fit too, since many networks stretch what they see to one size: that size must be square, or
    lie between square and the usual shape of the images.
    """
    image_hws = read_image_sizes([saved.item.path for saved in maps])
    map_hws = [read_map_hw(saved.path) for saved in maps]
    misfits = [place for place, hws in enumerate(zip(map_hws, image_hws, strict=True)) if not _is_same_shape(*hws)]
    stretched = _stretched_hw([map_hws[place] for place in misfits], map_hws, image_hws)
    misfits = [place for place in misfits if map_hws[place] != stretched]
    if not misfits:
        return
    first = misfits[0]
    (map_height, map_width), (height, width) = map_hws[first], image_hws[first]
    is_turned = _is_same_shape((map_width, map_height), (height, width))
    raise DataError(
        f"{len(misfits)} of {len(maps)} maps do not fit their images, the first {maps[first].path}: it is {map_width} "
        f"wide and {map_height} high, {maps[first].item.path} is {width} wide and {height} high; "
        + ("turn the maps" if is_turned else "save each map for its whole image, neither cut nor turned")
    )


def _is_same_shape(map_hw: tuple[int, int], image_hw: tuple[int, int]) -> bool:
    """Whether one scale makes the image as large as the map, give or take a pixel and one part in fifty of a side."""
    scales = [
        ((side - 1) * (1 - SHAPE_TOLERANCE) / image_side, (side + 1) * (1 + SHAPE_TOLERANCE) / image_side)
        for side, image_side in zip(map_hw, image_hw, strict=True)
    ]
    return max(low for low, _ in scales) <= min(high for _, high in scales)


def _stretched_hw(
    misfits: Sequence[tuple[int, int]], map_hws: Sequence[tuple[int, int]], image_hws: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """The size that a network stretched all images to; None where the maps do not look like that."""
    if not misfits:
        return None
    common, num_misfits = Counter(misfits).most_common(1)[0]
    num_common = sum(hw == common for hw in map_hws)
    if num_common * 2 <= len(map_hws) or num_misfits * 2 <= num_common:
        return None
    usual = statistics.median(math.log(height / width) for height, width in image_hws)
    low, high = sorted((0.0, usual))
    is_between = low - STRETCH_TOLERANCE <= math.log(common[0] / common[1]) <= high + STRETCH_TOLERANCE
    return common if is_between else None


def _find_map(maps_dir: Path, index: DatasetIndex, item: ImageItem) -> Path | None:
    beside = maps_dir / os.path.relpath(item.path, index.root)
    plain = maps_dir / "test" / item.defect_type / item.path.name
    candidates = (
        place.with_name(place.stem + suffix) for place in dict.fromkeys((beside, plain)) for suffix in MAP_SUFFIXES
    )
    return next((path for path in candidates if os.path.isfile(path)), None)


def _check_apart(maps: Mapping[Path, Path]) -> None:
    """Raises where two images would be judged by one map."""
    image_of: dict[Path, Path] = {}
    for image, path in maps.items():
        other = image_of.setdefault(path, image)
        if other != image:
            raise DataError(
                f"{path}: it would be the map of two images, {other} and {image}; give them names that differ in more "
                "than the ending"
            )


def _match_scores(path: Path, index: DatasetIndex) -> dict[Path, float]:
    """The scores of a file by image; empty where there is no file.

    A row names its image by its path from inside the test folder or from the root, with its own ending, without one, or
    with that of its map; a row that fits an image exactly is never taken for another one's.
    """
    image_of: dict[str, Path] = {}
    for make_key in (_key, _stem):
        for item in index.test:
            image_of.setdefault(make_key(index.relative(item.path)), item.path)
    scores: dict[Path, float] = {}
    for number, name, score in _read_scores(path):
        image = image_of.get(_key(name)) or image_of.get(_stem(name))
        if image in scores:
            raise DataError(f"{path}: line {number} gives a second score for {one_line(name)}; keep one")
        if image is not None:
            scores[image] = score
    return scores


def _key(path: str) -> str:
    """A path as it is compared: with forward slashes, from inside the test folder."""
    return Path(path.replace("\\", "/")).as_posix().removeprefix("./").removeprefix("test/")


def _stem(path: str) -> str:
    """The same without the ending of an image or a map; what else stands behind a dot belongs to the name."""
    key = Path(_key(path))
    return key.with_suffix("").as_posix() if key.suffix.lower() in {*IMAGE_SUFFIXES, *MAP_SUFFIXES} else key.as_posix()


def _read_scores(path: Path) -> Iterator[tuple[int, str, float]]:
    """The rows of a file of scores: line number, name, score; none where there is no file."""
    if not os.path.lexists(path):
        return
    if reason := why_not_a_file(path):
        raise DataError(f"{path}: {reason}")
    with boundary(path, DataError, "save it again as CSV in UTF-8"):
        text = read_bytes(path, MAX_SCORES_BYTES, DataError, "keep one line for each image").decode("utf-8-sig")
        for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
            if not row or (number == 1 and [cell.strip().lower() for cell in row[:2]] == ["path", "score"]):
                continue
            try:
                name, score = row[0].strip(), float(row[1])
            except (IndexError, ValueError) as error:
                raise DataError(f"{path}: line {number} is not 'path,score'; correct it") from error
            if not math.isfinite(score):
                raise DataError(f"{path}: line {number} holds a score that is not finite; correct it")
            yield number, name, score
