"""Whether the verdicts on many images look as if a bundle was taken for another product."""

from __future__ import annotations

FEWEST_IMAGES = 5
"""Of fewer images all may well be defective."""
DOUBTFUL_SHARE = 0.9


def is_wrong_bundle(num_rejected: int, num_judged: int) -> bool:
    """Whether so many are rejected that a person should be asked if this is the right bundle.

    >>> is_wrong_bundle(9, 10), is_wrong_bundle(4, 4), is_wrong_bundle(8, 10)
    (True, False, False)
    """
    return num_judged >= FEWEST_IMAGES and num_rejected >= DOUBTFUL_SHARE * num_judged
