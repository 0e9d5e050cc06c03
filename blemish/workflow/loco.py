"""The metric that MVTec LOCO asks for: saturated overlap, with the category's own `defects_config.json`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.index import DatasetIndex
from blemish.images.mask import read_mask_parts
from blemish.images.resize import resize_map
from blemish.metrics.spro import auspro, read_defects_config
from blemish.schema import AnomalyMap, ImageItem

LIMITS = {"auspro_05": 0.05, "auspro_30": 0.3}


class SaturatedOverlap:
    """Gathers maps at the size of their masks (held in memory, 4 bytes a pixel) for `auspro_05` and `auspro_30`."""

    def __init__(self, index: DatasetIndex) -> None:
        self._config = read_defects_config(index.root / "defects_config.json")
        self._maps: list[AnomalyMap] = []
        self._channels: list[tuple[NDArray[np.integer[Any]], ...]] = []

    @staticmethod
    def is_defined(index: DatasetIndex) -> bool:
        """Whether the data set brings the saturation of its defects."""
        return (index.root / "defects_config.json").is_file()

    def update(self, item: ImageItem, anomaly_map: AnomalyMap, image_hw: tuple[int, int]) -> None:
        """Adds one image, good or with masks; a defective one without masks is left out."""
        if item.mask_path is None and not item.is_good:
            return
        channels = () if item.mask_path is None else read_mask_parts(item.mask_path)
        hw = image_hw if not channels else (channels[0].shape[0], channels[0].shape[1])
        self._maps.append(resize_map(anomaly_map, hw))
        self._channels.append(channels)

    def compute(self) -> dict[str, float]:
        return {name: auspro(self._maps, self._channels, self._config, limit) for name, limit in LIMITS.items()}
