"""The good images that a bundle is trained on: from a folder, an index or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.found import question_notes
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.sequence import find_unreadable
from blemish.errors import DataError, ImageError
from blemish.images.taken import load_images
from blemish.schema import AS_THEY_ARE, DEFECTIVE, Image, Progress, ReadSettings, silent

DataSource = str | Path | DatasetIndex | Sequence[Any]
"""A folder, a data set, or images: paths, arrays and what else `load_image` takes."""


@dataclass(frozen=True)
class GoodImages:
    """The images to fit and calibrate on: paths or arrays, what each is called, and where they come from.

    `weights` say how much each counts in the calibration, 0 to 1; empty where all count alike.
    """

    name: str
    fingerprint: str
    sources: tuple[Path | Image, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reading: ReadSettings = AS_THEY_ARE
    weights: tuple[float, ...] = ()

    def weighed(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each image counts, given its share of its part."""
        return shares * np.array(self.weights) if self.weights else shares

    def only(self, places: NDArray[np.intp]) -> GoodImages:
        """Some of the images, in the given order."""
        chosen = places.tolist()
        return replace(
            self,
            sources=tuple(self.sources[place] for place in chosen),
            names=tuple(self.names[place] for place in chosen),
            weights=tuple(self.weights[place] for place in chosen) if self.weights else (),
        )


def good_images(
    data: DataSource,
    *,
    skip_unreadable: bool = False,
    reading: ReadSettings = AS_THEY_ARE,
    threads: int = 1,
    progress: Progress = silent,
) -> GoodImages:
    """The good images of a folder, an index or arrays. Raises DataError where one cannot be used."""
    if isinstance(data, (str, Path)):
        data = open_dataset(Path(data))
    if not isinstance(data, DatasetIndex):
        given = load_images(data, reading, "rgb")
        names = tuple(str(each) if isinstance(each, Path) else f"image {number}" for number, each in enumerate(given))
        return GoodImages("images", "", given, names, reading=reading)
    defective = [item for item in data.items if item.split == "train" and item.label == DEFECTIVE]
    if defective:
        raise DataError(
            f"{data.root}: {len(defective)} defective images stand among the training images, "
            f"the first is {data.relative(defective[0].path)}; move them to the test part"
            + "".join(f"; {note}" for note in question_notes(data.questions, data.root))
        )
    paths = [item.path for item in data.train_good]
    bad = {path for path, _ in find_unreadable(paths, progress, reading, threads=threads)} if skip_unreadable else set()
    kept = tuple(path for path in paths if path not in bad)
    return GoodImages(
        data.name,
        data.with_hashes(threads=threads).fingerprint,
        kept,
        tuple(data.relative(path) for path in kept),
        tuple(data.relative(path) for path in sorted(bad)),
        data.notes,
        reading,
    )


def explain_unreadable(error: ImageError, good: GoodImages, threads: int, progress: Progress) -> ImageError:
    """What to say after one image could not be read: all good ones that cannot, counted, or else what was wrong."""
    paths = [source for source in good.sources if isinstance(source, Path)]
    unreadable = find_unreadable(paths, progress, good.reading, threads=threads)
    if not unreadable:
        return error
    return ImageError(
        f"{len(unreadable)} of {len(paths)} training images cannot be read, the first: {unreadable[0][1]}; "
        "--skip-unreadable goes on without them"
    )
