"""What a threshold does to good and defective images: counts and rates at the operating point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.errors import MetricError
from blemish.metrics.levels import as_labels, checked


@dataclass(frozen=True)
class Confusion:
    """How many images of each true state were accepted, rejected and put up for review.

    A part put up for review is neither a false reject nor an escape, and no right verdict either. A rate over no image
    is None.
    """

    accepted_good: int
    rejected_good: int
    accepted_defective: int
    rejected_defective: int
    review_good: int = 0
    review_defective: int = 0

    @property
    def num_good(self) -> int:
        return self.accepted_good + self.rejected_good + self.review_good

    @property
    def num_defective(self) -> int:
        return self.accepted_defective + self.rejected_defective + self.review_defective

    @property
    def false_reject_rate(self) -> float | None:
        return self.rejected_good / self.num_good if self.num_good else None

    @property
    def escape_rate(self) -> float | None:
        return self.accepted_defective / self.num_defective if self.num_defective else None

    @property
    def accuracy(self) -> float | None:
        total = self.num_good + self.num_defective
        return (self.accepted_good + self.rejected_defective) / total if total else None

    @property
    def balanced_accuracy(self) -> float | None:
        if not self.num_good or not self.num_defective:
            return None
        return (self.accepted_good / self.num_good + self.rejected_defective / self.num_defective) / 2


def confusion(labels: ArrayLike, rejected: ArrayLike, reviewed: ArrayLike | None = None) -> Confusion:
    """The counts of images by true state (label 0 good, 1 defective) and decision; not rejected nor reviewed: accepted.

    >>> confusion([0, 0, 1, 1], [False, True, True, True]).false_reject_rate
    0.5
    """
    is_defective = as_labels(labels, "confusion")
    is_rejected: NDArray[np.bool_] = np.asarray(rejected, dtype=bool).ravel()
    if len(is_rejected) != len(is_defective):
        raise MetricError(
            f"confusion needs one decision per label; found {len(is_defective)} labels, {len(is_rejected)} decisions"
        )
    in_review = _in_review(is_rejected, reviewed)
    is_accepted = ~is_rejected & ~in_review
    return Confusion(
        accepted_good=int(np.count_nonzero(~is_defective & is_accepted)),
        rejected_good=int(np.count_nonzero(~is_defective & is_rejected)),
        accepted_defective=int(np.count_nonzero(is_defective & is_accepted)),
        rejected_defective=int(np.count_nonzero(is_defective & is_rejected)),
        review_good=int(np.count_nonzero(~is_defective & in_review)),
        review_defective=int(np.count_nonzero(is_defective & in_review)),
    )


def _in_review(is_rejected: NDArray[np.bool_], reviewed: ArrayLike | None) -> NDArray[np.bool_]:
    if reviewed is None:
        return np.zeros(len(is_rejected), dtype=bool)
    in_review: NDArray[np.bool_] = np.asarray(reviewed, dtype=bool).ravel()
    if len(in_review) != len(is_rejected) or (in_review & is_rejected).any():
        raise MetricError("confusion needs one decision per label: an image is either rejected or put up for review")
    return in_review


def separation_ratio(labels: ArrayLike, scores: ArrayLike) -> float:
    """The mean score of defective images over that of good ones; needs good images to score above 0 on average.

    >>> separation_ratio([0, 0, 1], [1.0, 3.0, 5.0])
    2.5
    """
    is_defective, values = checked(labels, scores, "separation_ratio")
    mean_good = float(values[~is_defective].mean(dtype=np.float64))
    if mean_good <= 0:
        raise MetricError(f"separation_ratio needs a mean score of good images above 0; found {mean_good:.4g}")
    return float(values[is_defective].mean(dtype=np.float64)) / mean_good
