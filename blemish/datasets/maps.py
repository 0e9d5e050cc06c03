"""Anomaly maps that another tool saved to files, to be judged by the metrics of this package."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blemish.datasets.index import DatasetIndex
from blemish.errors import DataError, ImageError
from blemish.images.decode import MAX_PIXELS, read_stored_pixels
from blemish.schema import AnomalyMap, ImageItem

MAP_SUFFIXES = (".npy", ".tiff", ".tif", ".png")
"""Suffixes of saved maps, in the order in which they are looked for."""
SCORES_FILE = "scores.csv"


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
    values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_gray(path)
    if values.ndim != 2:
        raise ImageError(f"{path}: a map of shape {values.shape}; save it as (height, width)")
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused below
        anomaly_map = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(anomaly_map).all():
        raise ImageError(f"{path}: the map holds values that are not finite; replace them")
    return anomaly_map


def _read_npy(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header that promises too much costs no memory; objects are refused.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise ImageError(f"{path}: not a whole NumPy file of numbers; save the map again with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or values.size > MAX_PIXELS:
        raise ImageError(f"{path}: not an array of at most {MAX_PIXELS // 1_000_000} million numbers")
    return np.array(values.squeeze())


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
    if not maps_dir.is_dir():
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
    scores = _read_scores(maps_dir / SCORES_FILE)
    unscored = [item for item in index.test if scores and _key(index.relative(item.path)) not in scores]
    if unscored:
        raise DataError(
            f"{maps_dir / SCORES_FILE}: {len(unscored)} of {len(index.test)} test images have no score, the first "
            f"{index.relative(unscored[0].path)}; add them or remove the file"
        )
    return tuple(
        SavedMap(item, path, scores.get(_key(index.relative(item.path))))
        for item in index.test
        if (path := paths[item.path])
    )


def _find_map(maps_dir: Path, index: DatasetIndex, item: ImageItem) -> Path | None:
    beside = maps_dir / os.path.relpath(item.path, index.root)
    plain = maps_dir / "test" / item.defect_type / item.path.name
    candidates = (
        place.with_name(place.stem + suffix) for place in dict.fromkeys((beside, plain)) for suffix in MAP_SUFFIXES
    )
    return next((path for path in candidates if path.is_file()), None)


def _key(path: str) -> str:
    """How paths are compared: without suffix, with forward slashes, from inside the test folder."""
    return Path(path.replace("\\", "/")).with_suffix("").as_posix().removeprefix("./").removeprefix("test/")


def _read_scores(path: Path) -> dict[str, float]:
    """The scores of a file by image; empty where there is no file."""
    if not path.is_file():
        return {}
    scores: dict[str, float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or (number == 1 and [cell.strip().lower() for cell in row[:2]] == ["path", "score"]):
                    continue
                try:
                    key, score = _key(row[0].strip()), float(row[1])
                except (IndexError, ValueError) as error:
                    raise DataError(f"{path}: line {number} is not 'path,score'; correct it") from error
                if not math.isfinite(score):
                    raise DataError(f"{path}: line {number} holds a score that is not finite; correct it")
                if key in scores:
                    raise DataError(f"{path}: line {number} gives a second score for {row[0]}; keep one")
                scores[key] = score
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8; save it again") from error
    return scores
