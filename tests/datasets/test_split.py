"""Good images are divided into disjoint parts, always in the same way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.datasets.groups import named_groups, no_groups
from blemish.datasets.split import block_folds, holdout_split
from blemish.errors import SettingsError


@given(st.integers(2, 2000), st.data())
@settings(deadline=None)
def test_folds_hold_every_image_once_and_are_of_nearly_equal_size(num_images: int, data: st.DataObject) -> None:
    num_folds = data.draw(st.integers(2, num_images))
    folds = block_folds(num_images, num_folds)
    assert len(folds) == num_folds
    assert sorted(np.concatenate(folds).tolist()) == list(range(num_images))
    sizes = [len(fold) for fold in folds]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert all(fold.dtype == np.intp for fold in folds)


@given(st.integers(2, 2000), st.integers(2, 10))
@settings(deadline=None)
def test_a_fold_is_of_few_blocks_of_at_least_twenty_neighbors_or_of_one(num_images: int, num_folds: int) -> None:
    for fold in block_folds(max(num_images, num_folds), num_folds):
        blocks = np.split(fold, np.flatnonzero(np.diff(fold) > 1) + 1)
        assert len(blocks) <= 4
        assert len(blocks) == 1 or min(len(block) for block in blocks) >= 20


def test_no_fold_holds_out_all_of_a_kind_that_stands_together() -> None:
    for start in range(0, 360, 7):
        kind = np.arange(start, start + 40)
        assert all(len(np.setdiff1d(kind, fold)) >= 10 for fold in block_folds(400, 5))


@pytest.mark.parametrize(("num_images", "num_folds"), [(0, 2), (1, 2), (5, 1), (5, 6)])
def test_too_few_folds_or_images_are_refused(num_images: int, num_folds: int) -> None:
    with pytest.raises(SettingsError, match="at least 2 folds"):
        block_folds(num_images, num_folds)


@given(st.integers(2, 500), st.floats(0.001, 0.999), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_holdout_split_covers_all_images_and_leaves_neither_part_empty(
    num_images: int, share: float, seed: int
) -> None:
    fit, calibration = holdout_split(no_groups(num_images), share, seed)
    assert sorted([*fit, *calibration]) == list(range(num_images))
    assert fit.size >= 1
    assert calibration.size >= 1
    assert abs(calibration.size - share * num_images) <= 1
    assert (np.diff(fit) > 0).all()
    assert (np.diff(calibration) > 0).all()


def test_the_calibration_part_comes_from_all_over_the_order_of_names() -> None:
    """One block of neighbors would miss whole kinds of good parts, or hold nothing else."""
    for seed in range(30):
        _, calibration = holdout_split(no_groups(200), 0.25, seed)
        quarters = np.bincount(calibration // 50, minlength=4)
        assert quarters.min() >= 4


def test_images_of_one_part_are_kept_out_together() -> None:
    groups = named_groups([f"part{place // 4:02}_{place % 4}.png" for place in range(80)], "part..")
    for seed in range(10):
        fit, calibration = holdout_split(groups, 0.25, seed)
        assert not set(groups.numbers[fit]) & set(groups.numbers[calibration])
        assert len(calibration) == 20


def test_the_seed_decides_the_split() -> None:
    splits = {tuple(holdout_split(no_groups(100), 0.2, seed)[1]) for seed in range(10)}
    assert len(splits) > 5
    assert holdout_split(no_groups(100), 0.2, 7)[1].tolist() == holdout_split(no_groups(100), 0.2, 7)[1].tolist()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        holdout_split(no_groups(10), share, 0)


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(SettingsError, match="at least 2"):
        holdout_split(no_groups(1), 0.5, 0)
