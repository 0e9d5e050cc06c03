"""Images that show nearly the same part are found, and held out together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.datasets.groups import (
    Groups,
    found_groups,
    group_folds,
    named_groups,
    no_groups,
    share_in_new_batches,
)
from blemish.errors import SettingsError


def distances(points: np.ndarray) -> np.ndarray:
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2).astype(np.float32)
    np.fill_diagonal(squared, np.inf)
    return squared


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 200))


def test_different_parts_are_groups_of_their_own() -> None:
    groups = found_groups([distances(points(100))])
    assert (groups.count, groups.num_grouped, groups.origin) == (100, 0, "none")


@pytest.mark.parametrize("shots", [2, 3, 4])
def test_several_shots_of_a_part_are_one_group_wherever_they_stand(shots: int) -> None:
    rng = np.random.default_rng(1)
    part = rng.permutation(np.repeat(np.arange(30), shots))
    groups = found_groups([distances(points(30)[part] + 0.3 * rng.normal(size=(len(part), 200)))])
    assert groups.count == 30
    for number in range(30):
        assert len(set(part[groups.numbers == number])) == 1
    np.testing.assert_allclose(groups.shares(), 1 / shots)


def test_poses_with_many_neighbors_as_near_are_no_copies() -> None:
    """Parts in any pose: each has others in nearly its pose, far nearer than usual, and yet they are different."""
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, 300)
    pose = 30 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    groups = found_groups([distances(np.concatenate([pose, points(300)], axis=1))])
    assert groups.num_grouped == 0


def test_a_batch_that_looks_alike_is_no_video() -> None:
    """Parts of a batch stand together in the order of names, in no order among themselves."""
    rng = np.random.default_rng(4)
    batches = np.repeat(rng.normal(size=(12, 200)), 20, axis=0)
    groups = found_groups([distances(batches + 0.5 * rng.normal(size=batches.shape))])
    assert groups.num_grouped == 0


def test_frames_of_a_video_are_cut_into_runs_and_count_each_by_itself() -> None:
    walk = np.cumsum(np.random.default_rng(3).normal(size=(90, 200)), axis=0)
    groups = found_groups([distances(walk)])
    assert groups.count == 5
    assert (np.diff(groups.numbers) >= 0).all()
    assert not groups.is_part.any()
    np.testing.assert_array_equal(groups.shares(), 1)


def test_exact_copies_are_found() -> None:
    good = points(40)
    good[7] = good[3]
    assert found_groups([distances(good)]).numbers[7] == found_groups([distances(good)]).numbers[3]


def test_groups_named_by_folder() -> None:
    groups = named_groups(["a/1.png", "b/1.png", "a/2.png", "c/9.png"], "folder")
    assert groups.numbers.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "not a regular expression"),
        ("^x", "matches nothing in 4 of 4 names, the first: p1_a.png"),
        ("^p1", "matches nothing in 2 of 4 names, the first: p2_a.png"),
        ("^p", "4 of 4 images are in the group 'p'; a group holds at most half"),
    ],
)
def test_patterns_that_do_not_tell_parts_apart(pattern: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("(", "\\(")):
        named_groups(["p1_a.png", "p1_b.png", "p2_a.png", "p2_b.png"], pattern)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=200), st.integers(2, 50), st.integers(0, 1000))
def test_folds_hold_every_image_once_and_whole_groups(keys: list[int], num_folds: int, seed: int) -> None:
    numbers = np.unique(keys, return_inverse=True)[1]
    groups = Groups(numbers.astype(np.intp), np.ones(len(keys), np.bool_), "named")
    if groups.count < 2:
        with pytest.raises(SettingsError, match="one group"):
            group_folds(groups, num_folds, seed)
        return
    folds = group_folds(groups, num_folds, seed)
    assert sorted(np.concatenate(folds)) == list(range(len(keys)))
    assert len(folds) == min(num_folds, groups.count)
    for fold in folds:
        assert not set(numbers[fold]) & set(np.delete(numbers, fold))


def test_folds_of_single_images_are_about_equally_large() -> None:
    sizes = [len(fold) for fold in group_folds(no_groups(209), 50)]
    assert max(sizes) - min(sizes) <= 1


def test_batches_that_differ_are_told() -> None:
    """Fifty batches of ten parts with a common offset, against as many parts without."""
    rng = np.random.default_rng(4)
    offsets = np.repeat(3 * rng.normal(size=(10, 200)), 30, axis=0)
    assert share_in_new_batches(distances(points(300))) < 0.1
    assert share_in_new_batches(distances(points(300) + offsets)) > 0.5
