"""Which good images look unlike the others: something to look at before anything is fitted in earnest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blemish.datasets.groups import group_folds, no_groups
from blemish.datasets.sequence import ResizedImages, read_image_sizes
from blemish.decisions.thresholds import suspicion_limit
from blemish.detectors.base import FitRequest
from blemish.errors import DataError
from blemish.images.resize import check_side, choose_input_hw
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR, load_detector
from blemish.runtime.threads import at_most, budget
from blemish.schema import AS_THEY_ARE, ImageItem, Progress, ReadSettings, silent
from blemish.weights import find_backbone


@dataclass(frozen=True)
class RankedImage:
    """A good image and how unlike the others it looks.

    `score` is its anomaly score by a model that did not see it; `p_value` the share of all good images that score as
    high; `is_suspicious` says that the score lies far above the rest (see `suspects`). `display_score` is 0 to 100 and
    above 50 where the image is suspicious.
    """

    item: ImageItem
    score: float
    p_value: float
    is_suspicious: bool
    display_score: float


def rank_good_images(
    items: Sequence[ImageItem],
    *,
    detector: str = DEFAULT_DETECTOR,
    backbone: str = DEFAULT_BACKBONE,
    size: int = 256,
    seed: int = 0,
    threads: int = 0,
    reading: ReadSettings = AS_THEY_ARE,
    progress: Progress = silent,
) -> tuple[RankedImage, ...]:
    """The good images, the most unlike first, by the held-out scores that a training would have found."""
    check_side(size)
    module = load_detector(detector)
    if len(items) < module.INFO.min_images:
        raise DataError(f"{len(items)} good images: to tell which are unlike the others, give at least 2, better 20")
    paths = tuple(item.path for item in items)
    at_once = budget(threads)
    sizes = read_image_sizes(paths, reading, threads=at_once)
    images = ResizedImages(paths, choose_input_hw(sizes, size), reading, threads=at_once)
    request = FitRequest(
        images=images,
        settings=module.INFO.settings(),
        backbone=find_backbone(backbone) if module.INFO.needs_backbone else None,
        seed=seed,
        folds=group_folds(no_groups(len(images)), module.INFO.most_folds),
        progress=progress,
        threads=at_once,
    )
    with at_most(at_once):
        fit = module.fit(request)
    assert fit.held_out is not None
    scores = fit.held_out.anomaly_scores
    limit = suspicion_limit(scores)
    num_as_high = len(scores) - np.searchsorted(np.sort(scores), scores, side="left")
    return tuple(
        RankedImage(
            items[place],
            float(scores[place]),
            float(num_as_high[place] / len(scores)),
            bool(scores[place] > limit),
            _display_score(float(scores[place]), limit),
        )
        for place in np.argsort(-scores, kind="stable").tolist()
    )


def _display_score(score: float, limit: float) -> float:
    """0 to 100, 50 at the limit; it nears 100 without reaching it.

    >>> _display_score(1.0, 2.0), _display_score(2.0, 2.0), _display_score(4.0, 2.0)
    (25.0, 50.0, 75.0)
    """
    if limit <= 0:
        return 100.0 if score > limit else 50.0
    return max(0.0, 50 * score / limit) if score <= limit else 100 - 50 * limit / score
