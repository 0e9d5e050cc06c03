"""The fast coreset is the plain greedy one: same points, same order, same cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from blemish.detectors import coreset
from blemish.detectors.coreset import covering_radius, select_coreset


def plain_greedy(points: np.ndarray, count: int) -> list[int]:
    """Gonzalez, 1985, one pass over all points for each choice."""
    points = points.astype(np.float64)
    chosen = [int(np.argmax(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distances = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(points)) and distances.max() > 0:
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def cloud(num_points: int, channels: int, seed: int) -> np.ndarray:
    """Clusters of different size and spread, as patch embeddings form."""
    rng = np.random.default_rng(seed)
    centers, spreads = rng.normal(0, 5, (6, channels)), rng.uniform(0.1, 2, 6)
    kinds = rng.choice(6, num_points, p=[0.5, 0.2, 0.1, 0.1, 0.07, 0.03])
    return (centers[kinds] + rng.normal(size=(num_points, channels)) * spreads[kinds, None]).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(num_points=st.integers(2, 400), count=st.integers(1, 120), channels=st.integers(1, 8), seed=st.integers(0, 99))
def test_it_chooses_the_points_of_the_plain_greedy_choice_in_its_order(
    num_points: int, count: int, channels: int, seed: int
) -> None:
    points = cloud(num_points, channels, seed)
    assert select_coreset(points, count).tolist() == plain_greedy(points, count)


def test_it_does_so_when_the_points_are_far_more_than_are_looked_at_together() -> None:
    points = cloud(6 * coreset.POOL_SIZE, 6, seed=1)
    assert select_coreset(points, 500).tolist() == plain_greedy(points, 500)


def test_its_cover_is_as_good_as_the_plain_one() -> None:
    points = cloud(5000, 16, seed=2)
    fast, plain = select_coreset(points, 300), plain_greedy(points, 300)
    assert covering_radius(points, points[fast]) <= 1.001 * covering_radius(points, points[plain])
    drawn = points[np.random.default_rng(0).permutation(len(points))[:300]]
    assert covering_radius(points, points[fast]) < 0.8 * covering_radius(points, drawn)


def test_the_covering_radius_is_the_largest_distance_to_the_nearest_entry() -> None:
    points, bank = cloud(300, 5, seed=3), cloud(40, 5, seed=4)
    assert covering_radius(points, bank) == pytest.approx(cdist(points, bank).min(axis=1).max(), rel=1e-4)


def test_it_ends_early_when_every_point_is_covered() -> None:
    three = np.repeat(np.array([[0, 0], [5, 0], [0, 9]], np.float32), 50, axis=0)
    chosen = select_coreset(three, 100)
    assert len(chosen) == 3
    assert len(np.unique(three[chosen], axis=0)) == 3


def test_no_point_is_chosen_twice() -> None:
    points = cloud(200, 4, seed=5)
    chosen = select_coreset(points, 1000)
    assert len(np.unique(chosen)) == len(chosen) == 200


def test_points_far_from_the_origin_are_told_apart() -> None:
    points = cloud(300, 4, seed=6)
    assert select_coreset(points + np.float32(1000), 50).tolist() == plain_greedy(points + np.float32(1000), 50)


def test_one_point_is_enough() -> None:
    assert select_coreset(np.ones((1, 3), np.float32), 10).tolist() == [0]


def test_progress_ends_at_the_number_announced() -> None:
    calls: list[tuple[str, int, int]] = []
    select_coreset(cloud(900, 4, seed=7), 700, progress=lambda *call: calls.append(call))
    assert calls[-1][1:] == (700, 700)
    assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})
