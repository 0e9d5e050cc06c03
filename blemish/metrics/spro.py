"""Saturated region overlap of MVTec LOCO (Bergmann et al., IJCV 2022): finding enough of a defect is finding it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.boundary import boundary, read_bytes
from blemish.errors import DataError, MetricError
from blemish.metrics.levels import Values, aupro_of, finite
from blemish.metrics.overlap import Pixels, Room, pool

MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class Saturation:
    """How many pixels of a defect are enough: a number of pixels or, if relative, a share of its area."""

    defect_name: str
    threshold: float
    is_relative: bool

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"a saturation threshold is larger than 0, not {self.threshold}")

    def area(self, defect_area: int) -> int:
        """The number of pixels at which a defect of this area counts as found."""
        enough = int(self.threshold * defect_area) if self.is_relative else int(self.threshold)
        return max(1, min(enough, defect_area))


def read_defects_config(path: Path) -> dict[int, Saturation]:
    """The saturation of each pixel value, from the `defects_config.json` of a category of MVTec LOCO."""
    remedy = (
        "copy the defects_config.json of MVTec LOCO again, a list of defect_name, pixel_value, saturation_threshold "
        "and relative_saturation"
    )
    content = read_bytes(path, MAX_CONFIG_BYTES, DataError, remedy)
    with boundary(path, DataError, remedy):
        return {
            int(entry["pixel_value"]): Saturation(
                str(entry["defect_name"]), float(entry["saturation_threshold"]), bool(entry["relative_saturation"])
            )
            for entry in json.loads(content)
        }


def auspro(
    anomaly_maps: Iterable[NDArray[Any]],
    channels: Iterable[Sequence[NDArray[np.integer[Any]]]],
    config: Mapping[int, Saturation],
    limit: float = 0.05,
) -> float:
    """The area under the mean saturated overlap up to a pixel false positive rate of `limit`, divided by it.

    `channels` gives for each image its ground truth files, one array (height, width) for each defect, 0 but for the
    pixel value of `config`; none for a good image. A pixel is good that is in no channel. Exact, as `aupro`.

    >>> config = {255: Saturation("scratch", 1, is_relative=False)}
    >>> mask = np.array([[255, 255, 0, 0]], dtype=np.uint8)
    >>> auspro([np.array([[9, 0, 1, 2]])], [[mask]], config, limit=0.5)
    1.0
    """
    if not 0 < limit <= 1:
        raise MetricError(f"auspro needs a limit above 0 and at most 1; found {limit}")
    maps = list(anomaly_maps)
    pixels = (_split(scores, found, config) for scores, found in zip(maps, channels, strict=True))
    return float(aupro_of(pool(pixels, Room.of(maps), "auspro", limit), limit))


def _split(
    anomaly_map: NDArray[Any], channels: Sequence[NDArray[np.integer[Any]]], config: Mapping[int, Saturation]
) -> Pixels:
    """The good pixels of an image, and those of each defect with what they add to its saturated overlap."""
    scores = finite(anomaly_map, "auspro")
    is_good = np.ones(scores.shape, bool)
    found: list[Values] = [np.empty(0, scores.dtype)]
    overlap = [np.empty(0)]
    for channel in channels:
        if channel.shape != scores.shape:
            raise MetricError(
                f"auspro needs each map at the size of its masks; found a map of {scores.shape} "
                f"and a mask of {channel.shape}: resize the map first"
            )
        is_defective = channel != 0
        values = np.unique(channel[is_defective])
        if len(values) != 1 or int(values[0]) not in config:
            raise MetricError(
                "auspro needs one pixel value, named in the defects configuration, in each mask; "
                f"found {values.tolist()}, known {sorted(config)}"
            )
        is_good &= ~is_defective
        highest_first = np.sort(scores[is_defective])[::-1]
        enough = config[int(values[0])].area(len(highest_first))
        # Only the first pixels that are found, up to the saturation, add to the overlap.
        found.append(highest_first)
        overlap.append(np.where(np.arange(len(highest_first)) < enough, 1.0 / enough, 0.0))
    return Pixels(scores[is_good], np.concatenate(found), np.concatenate(overlap), len(channels))
