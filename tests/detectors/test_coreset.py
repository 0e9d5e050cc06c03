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


def assert_greedy(points: np.ndarray, chosen: np.ndarray, count: int) -> None:
    """Each choice is the point farthest from those before, but for rounding; all choices, or all is covered."""
    nearest = ((points - points.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=1) ** 0.5
    tolerance = 1e-4 * nearest.max()
    for number, place in enumerate(chosen):
        assert nearest[place] >= nearest.max() - tolerance
        distances = cdist(points, points[[place]])[:, 0]
        nearest = distances if number == 0 else np.minimum(nearest, distances)
    assert len(chosen) == min(count, len(points)) or nearest.max() < 20 * tolerance


@settings(deadline=None, max_examples=20)
@given(num_points=st.integers(2, 400), count=st.integers(1, 120), channels=st.integers(1, 8), seed=st.integers(0, 99))
def test_each_choice_is_the_point_farthest_from_those_before(
    num_points: int, count: int, channels: int, seed: int
) -> None:
    points = cloud(num_points, channels, seed)
    assert_greedy(points, select_coreset(points, count), count)


def test_it_is_so_when_the_points_are_far_more_than_are_looked_at_together() -> None:
    points = cloud(6 * coreset.POOL_SIZE, 6, seed=1)
    assert_greedy(points, select_coreset(points, 500), 500)


def test_few_points_are_chosen_in_the_order_of_the_plain_greedy_choice() -> None:
    points = cloud(400, 4, seed=8)
    assert select_coreset(points, 30).tolist() == plain_greedy(points, 30)


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
    points = cloud(300, 4, seed=6) + np.float32(1000)
    assert_greedy(points, select_coreset(points, 50), 50)


def test_one_point_is_enough() -> None:
    assert select_coreset(np.ones((1, 3), np.float32), 10).tolist() == [0]


def test_progress_ends_at_the_number_announced() -> None:
    calls: list[tuple[str, int, int]] = []
    select_coreset(cloud(900, 4, seed=7), 700, progress=lambda *call: calls.append(call))
    assert calls[-1][1:] == (700, 700)
    assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})
