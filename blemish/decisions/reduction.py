"""The declared reduction of an anomaly map to an anomaly score, for use inside a zone."""

from __future__ import annotations

import numpy as np

from blemish.errors import CalibrationError
from blemish.schema import AnomalyMap, Mask, Reduction


def reduce_map(anomaly_map: AnomalyMap, reduction: Reduction, zone_mask: Mask | None = None) -> float:
    """The anomaly score of a map, over all of it or inside `zone_mask` (bool, the map's shape, True: look here).

    Without a mask, or with one that is all True, this is the score the graph gives. Where a zone holds fewer pixels
    than a top mean takes, the mean is over the whole zone.

    >>> reduce_map(np.array([[1.0, 2.0], [9.0, 4.0]], np.float32), Reduction("top_mean", count=2))
    6.5
    """
    if reduction.kind == "features":
        raise CalibrationError(
            "this detector's score comes from features of the whole image, so a zone cannot be applied to it; "
            "use a detector that scores by its anomaly map, or crop the images"
        )
    if zone_mask is None:
        values = anomaly_map.ravel()
    else:
        if zone_mask.shape != anomaly_map.shape:
            raise CalibrationError(f"the zone mask is {zone_mask.shape}, but the anomaly map {anomaly_map.shape}")
        values = anomaly_map[zone_mask]
        if values.size == 0:
            raise CalibrationError("the zone leaves nothing of the image to look at")
    if reduction.kind == "max" or reduction.count == 1:
        return float(values.max())
    count = min(reduction.count, values.size)
    return float(np.partition(values, values.size - count)[values.size - count :].mean(dtype=np.float32))
