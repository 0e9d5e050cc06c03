"""Reading an error map: smoothing, comparison with what is usual, reduction."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ndimage = pytest.importorskip("scipy.ndimage")

from blemish.graph.grid import cell_grid  # noqa: E402
from blemish.learned.reading import NEGLIGIBLE, PRIOR_IMAGES, MapReader  # noqa: E402
from blemish.schema import Reduction  # noqa: E402

HW = (24, 32)


def make(sigma: float = 0.0, reduction: Reduction = Reduction("max"), **options: bool) -> MapReader:  # noqa: B008
    return MapReader(cell_grid(HW, 1), HW, sigma=sigma, reduction=reduction, **options)


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).gamma(2, 1, (20, *HW)).astype(np.float32))


def test_smoothing_is_a_gaussian(maps: torch.Tensor) -> None:
    found = make(sigma=2).smooth(maps)[:, 10:-10, 10:-10]
    expected = ndimage.gaussian_filter(maps.numpy(), (0, 2, 2), truncate=4)[:, 10:-10, 10:-10]
    np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_a_map_is_compared_with_mean_and_deviation_of_good_ones(maps: torch.Tensor) -> None:
    reader = make()
    reader.learn_usual(maps.split(7))
    values = maps.numpy().astype(np.float64)
    variance = values.var(0)
    scale = np.sqrt((20 * variance + PRIOR_IMAGES * variance.mean()) / (20 + PRIOR_IMAGES))
    anomaly_map, score = reader(maps[:3])
    np.testing.assert_allclose(anomaly_map, (values[:3] - values.mean(0)) / scale, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(score, anomaly_map.amax((1, 2)))


def test_with_logarithms_the_unit_of_the_error_does_not_matter(maps: torch.Tensor) -> None:
    results = []
    for unit in (1.0, 1e-3):
        reader = make(sigma=1, logarithm=True)
        reader.learn_usual((unit * maps).split(6))
        results.append(reader(unit * maps)[0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)
    smooth = make(sigma=1).smooth(maps)
    level = np.log(smooth.numpy() / float(maps.mean()) + NEGLIGIBLE)
    np.testing.assert_allclose(reader.center, level.mean(0), rtol=1e-3, atol=1e-3)


def test_the_score_is_the_declared_reduction(maps: torch.Tensor) -> None:
    anomaly_map, score = make(reduction=Reduction("top_mean", 5))(maps)
    np.testing.assert_allclose(score, np.sort(anomaly_map.numpy().reshape(20, -1))[:, -5:].mean(1), rtol=1e-5)


def test_each_kind_of_error_counts_by_its_own_scale(maps: torch.Tensor) -> None:
    both = torch.stack([maps, 1000 * maps.flip(0)], 1)
    reader = make(logarithm=True)
    reader.learn_usual(both.split(5))
    single = [make(logarithm=True) for _ in range(2)]
    for index, alone in enumerate(single):
        alone.learn_usual(both[:, index].split(5))
    expected = (single[0](both[:, 0])[0] + single[1](both[:, 1])[0]) / 2
    torch.testing.assert_close(reader(both)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("logarithm", [False, True])
def test_images_without_any_error_are_read_as_finite(logarithm: bool) -> None:
    reader = make(logarithm=logarithm)
    reader.learn_usual([torch.zeros(4, *HW)])
    for raw in (torch.zeros(1, *HW), torch.ones(1, *HW)):
        anomaly_map, score = reader(raw)
        assert torch.isfinite(anomaly_map).all()
        assert torch.isfinite(score).all()
    assert score > 0
