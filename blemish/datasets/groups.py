"""Which good images show nearly the same part: they are held out together, and count as one part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blemish.errors import SettingsError

Distances = NDArray[np.float32]
"""Squared distances between images (n, n), infinite on the diagonal."""

COPIES = 0.4
"""Images nearer than this share of what is usual show the same part. Shots in another light or pose may lie further
apart; they can be named."""
FRAMES, NEXT_SHARE, WITHIN = 0.7, 0.75, 5
"""Images follow each other like frames where neighbors in the order of names are nearer than this share of what is
usual, and the nearest image is mostly near in that order (`WITHIN` places) and then, for so many, the very next one. In
a batch the nearest is any other one of the batch."""
OTHERS_AROUND = 5
"""A near copy is far nearer than an image's next neighbors; poses and batches have many neighbors as near."""
LARGEST_SHARE = 0.2
"""Longest run of consecutive frames that is held out at once, as a share of all images."""


@dataclass(frozen=True)
class Groups:
    """The group of each image (n,), numbered from 0 in the order of first appearance, and how they came about.

    `is_part` says of each image whether its group counts as one part. It does not where frames follow each other so
    closely that a long run had to be cut: then each image counts by itself, and the promise is approximate.
    """

    numbers: NDArray[np.intp]
    is_part: NDArray[np.bool_]
    origin: Literal["found", "named", "none"]

    @property
    def count(self) -> int:
        return int(self.numbers.max()) + 1

    @property
    def num_grouped(self) -> int:
        """How many images share their group with another."""
        return int((np.bincount(self.numbers)[self.numbers] > 1).sum())

    def shares(self) -> NDArray[np.float64]:
        """Of each image 1 divided by the number of images of its part."""
        sizes = np.bincount(self.numbers)[self.numbers]
        return np.where(self.is_part, 1 / sizes, 1.0)


def no_groups(num_images: int) -> Groups:
    """Each image by itself."""
    return Groups(np.arange(num_images), np.ones(num_images, np.bool_), "none")


def named_groups(names: Sequence[str], pattern: str) -> Groups:
    """Groups by what a regular expression finds in each name: its first group in parentheses, or all that matches.

    "folder" stands for the folder of each image. Raises SettingsError where the pattern cannot be read, matches not
    all names, or puts more than half of the images into one group.

    >>> named_groups(["a1_x.png", "a1_y.png", "b7_x.png", "c2_x.png"], r"^[a-z]\\d").numbers.tolist()
    [0, 0, 1, 2]
    """
    if pattern == "folder":
        keys = [name.rpartition("/")[0] for name in names]
    else:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise SettingsError(f"--group-by {pattern}: not a regular expression ({error})") from None
        found = [expression.search(name) for name in names]
        missing = [name for name, match in zip(names, found, strict=True) if match is None]
        if missing:
            raise SettingsError(
                f"--group-by {pattern}: matches nothing in {len(missing)} of {len(names)} names, the first: "
                f"{missing[0]}; give a pattern that finds the part's id in every name, for example '^[^_]+'"
            )
        keys = [(match.group(1) or "") if match.re.groups else match.group() for match in found if match]
    numbers = _numbered(keys)
    largest = int(np.bincount(numbers).argmax())
    size = int((numbers == largest).sum())
    if size > len(names) / 2:
        key = keys[int(np.argmax(numbers == largest))]
        raise SettingsError(
            f"--group-by {pattern}: {size} of {len(names)} images are in the group '{key}'; a group holds at most half "
            "of the images: give a pattern that tells parts apart"
        )
    return Groups(numbers, np.ones(len(names), np.bool_), "named")


def found_groups(distances: Sequence[Distances]) -> Groups:
    """Groups by how near the images lie to each other, in any of several kinds of squared distances.

    Two images are copies where they are nearer than `COPIES` of what is usual among all images and of what is usual
    among their next neighbors. Where images are consecutive frames (`FRAMES`), near neighbors in the order of names are
    joined, and long runs are cut.
    """
    num_images = len(distances[0])
    if num_images < 4:
        return no_groups(num_images)
    joined = np.zeros((num_images, num_images), np.bool_)
    is_sequence = False
    for squared in distances:
        usual = float(np.median(squared[np.isfinite(squared)]))
        around = np.sort(squared, axis=1)[:, min(OTHERS_AROUND, num_images - 2)]
        joined |= squared <= COPIES**2 * np.minimum(usual, np.minimum(around[:, None], around[None, :]))
        steps = np.diagonal(squared, 1)
        if np.median(steps) <= FRAMES**2 * usual and _is_in_order(squared):
            is_sequence = True
            near = np.flatnonzero(steps <= FRAMES**2 * usual)
            joined[near, near + 1] = True
    if is_sequence or joined.any():
        numbers, is_part = _cut_long_groups(_components(joined))
        return Groups(numbers, is_part, "found")
    return no_groups(num_images)


def _is_in_order(squared: Distances) -> bool:
    """Whether the image nearest to an image is mostly the next one, or the one before, in the order of names."""
    places_away = np.abs(squared.argmin(axis=1) - np.arange(len(squared)))
    is_near = places_away <= WITHIN
    return bool(is_near.mean() >= 0.5 and (places_away[is_near] == 1).mean() >= NEXT_SHARE)


def group_folds(groups: Groups, num_folds: int, seed: int = 0) -> tuple[NDArray[np.intp], ...]:
    """At most `num_folds` folds of whole groups, about equally large; the seed chooses which come together.

    >>> [fold.tolist() for fold in group_folds(named_groups(["a", "a", "b", "c"], "."), 2)]
    [[0, 1], [2, 3]]
    """
    num_folds = min(num_folds, groups.count)
    if num_folds < 2:
        raise SettingsError("all images are of one group: nothing is left to fit on while it is held out")
    sizes = np.bincount(groups.numbers)
    order = np.random.default_rng(seed).permutation(groups.count)
    order = order[np.argsort(-sizes[order], kind="stable")]
    load = np.zeros(num_folds, np.intp)
    fold_of_group = np.empty(groups.count, np.intp)
    for group in order:
        fold = int(load.argmin())
        fold_of_group[group] = fold
        load[fold] += sizes[group]
    folds = [np.flatnonzero(fold_of_group[groups.numbers] == fold) for fold in range(num_folds)]
    return tuple(sorted(folds, key=lambda fold: int(fold[0])))


def share_in_new_batches(distances: Distances, num_batches: int = 5, rate: float = 0.05, seed: int = 0) -> float:
    """How many parts of a new batch would lie further from all others than `rate` of the parts of known batches do.

    Images next to each other in the order of names are taken for a batch. Each image is compared with its nearest
    among the images outside its batch, and outside a random set of the same size.
    """
    num_images = len(distances)
    batches = np.arange(num_images) * num_batches // num_images
    mixed = np.random.default_rng(seed).permutation(batches)

    def nearest_outside(fold: NDArray[np.intp]) -> NDArray[np.float32]:
        return np.asarray(np.where(fold[:, None] == fold[None, :], np.inf, distances).min(axis=1))

    limit = np.quantile(nearest_outside(mixed), 1 - rate)
    return float((nearest_outside(batches) > limit).mean())


def _numbered(keys: Sequence[object]) -> NDArray[np.intp]:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def _components(joined: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The connected component of each image."""
    root = np.arange(len(joined))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = int(root[place])
        return place

    for first, second in np.argwhere(joined):
        one, other = find(int(first)), find(int(second))
        root[max(one, other)] = min(one, other)
    return _numbered([find(place) for place in range(len(joined))])


def _cut_long_groups(numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Groups of more than `LARGEST_SHARE` of the images cut into runs in the order of names, which are no one part."""
    most = max(2, int(LARGEST_SHARE * len(numbers)))
    keys: list[tuple[int, int]] = [(int(number), 0) for number in numbers]
    is_part = np.ones(len(numbers), np.bool_)
    for number in np.flatnonzero(np.bincount(numbers) > most):
        members = np.flatnonzero(numbers == number)
        is_part[members] = False
        num_runs = -(-len(members) // most)
        for place, member in enumerate(members):
            keys[member] = (int(number), place * num_runs // len(members))
    return _numbered(keys), is_part
