"""What `train` says of parts of a new batch: measured, where batches look different."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import blemish
from blemish.testing.tiny import make_tiny_product
from blemish.workflow.parts import batch_notes

NUM_BATCHES, BATCH_SIZE, TINT = 12, 10, 12.0


def parts(*, batches_differ: bool) -> list[NDArray[np.uint8]]:
    """Parts in the order of production; each batch may have a tint of its own."""
    rng = np.random.default_rng(0)
    good = list(make_tiny_product(num_good=NUM_BATCHES * BATCH_SIZE).good)
    if batches_differ:
        tints = rng.normal(0, TINT, (NUM_BATCHES, 3))
        good = [
            (image + tints[number // BATCH_SIZE]).clip(0, 255).astype(np.uint8) for number, image in enumerate(good)
        ]
    return good


@pytest.mark.parametrize(
    ("detector", "batches_differ", "is_told"),
    [("patchcore", True, True), ("patchcore", False, False), ("template", True, False)],
)
def test_what_a_new_batch_does_is_measured_with_the_detector(
    detector: str, *, batches_differ: bool, is_told: bool
) -> None:
    """The template compares parts with all others at once: without a batch it judges that batch as before."""
    good = parts(batches_differ=batches_differ)
    facts = blemish.train(good, detector=detector, size=64).bundle.manifest.facts
    notes = [note for note in facts["notes"] if note.startswith("batches differ")]
    assert len(notes) == is_told
    if is_told:
        assert "measured with neighbors in the order of names held out together" in notes[0]
        assert facts["rejects_in_new_batches"] > 0.2


@pytest.mark.parametrize("share", [None, 0.0, 0.07])
def test_nothing_is_said_where_hardly_more_are_rejected(share: float | None) -> None:
    assert batch_notes(share, 0.05, is_measured=True) == ()
