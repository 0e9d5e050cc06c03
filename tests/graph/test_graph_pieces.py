"""Each piece of a graph computes what five lines of numpy or scipy compute, in two independent evaluators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import cdist
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from blemish.graph.builder import GraphBuilder
from blemish.graph.finish import finish
from blemish.graph.gaussian import mahalanobis
from blemish.graph.grid import Grid, cell_grid, interpolation_matrix, resample, smoothing_matrix
from blemish.graph.neighbor import nearest_distance
from blemish.graph.pixels import image_input, scale_pixels
from blemish.runtime.onnx_runner import GraphRunner
from blemish.schema import Reduction

Array = NDArray[Any]


def evaluate(graph: bytes, **inputs: Array) -> dict[str, Array]:
    """The graph's outputs by ONNX Runtime, after ONNX's reference evaluator agreed."""
    found = GraphRunner(graph).run(inputs)
    evaluator = ReferenceEvaluator(onnx.load_from_string(graph))
    for name, expected in zip(evaluator.output_names, evaluator.run(None, inputs), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-3)
    return found


def apply(piece: Callable[[GraphBuilder, str], str], values: Array, output_shape: Sequence[int | str]) -> Array:
    """What a piece makes of an array whose first dimension is the batch."""
    builder = GraphBuilder("piece")
    name = builder.input("values", values.dtype, ["batch", *values.shape[1:]])
    builder.output(piece(builder, name), "result", np.float32, output_shape)
    return evaluate(builder.build(), values=values)["result"]


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def test_pixels_are_scaled_by_mean_and_deviation() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
    mean, std = (127.0, 120.0, 100.0), (128.0, 60.0, 50.0)
    builder = GraphBuilder("pixels")
    planes = scale_pixels(builder, image_input(builder, (4, 6)), mean, std)
    builder.output(planes, "planes", np.float32, ["batch", 3, 4, 6])
    expected = ((images - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(evaluate(builder.build(), image=images)["planes"], expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(
    source=st.integers(1, 12),
    target=st.integers(1, 40),
    first=st.floats(0, 20),
    stride=st.sampled_from([1.0, 4.0, 8.0]),
)
def test_interpolation_is_that_of_numpy(source: int, target: int, first: float, stride: float) -> None:
    places, values = first + stride * np.arange(source), normal(source)
    wanted = np.arange(target) + 0.5
    matrix = interpolation_matrix(places, wanted)
    np.testing.assert_allclose(matrix @ values, np.interp(wanted, places, values), atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_smoothing_is_that_of_scipy_with_the_border_made_up_for(sigma: int) -> None:
    values = normal(30).astype(np.float64)
    cut_off = gaussian_filter1d(values, sigma, mode="constant")
    inside = gaussian_filter1d(np.ones(30), sigma, mode="constant")
    found = smoothing_matrix(np.arange(30.0), sigma) @ values
    np.testing.assert_allclose(found, cut_off / inside, atol=1e-12)


def test_no_smoothing_is_the_identity() -> None:
    np.testing.assert_array_equal(smoothing_matrix(np.arange(5.0), 0), np.eye(5))


def test_a_layer_of_stride_8_has_its_first_position_in_the_middle_of_its_cell() -> None:
    grid = cell_grid((20, 33), 8)
    assert grid.hw == (3, 5)
    np.testing.assert_array_equal(grid.centers(0), [4, 12, 20])
    np.testing.assert_array_equal(cell_grid((16, 16), 8, offset=3.5).centers(1), [7.5, 15.5])


def test_resampling_puts_every_value_where_it_was_seen() -> None:
    """A map of coordinates, seen at stride 8, is again the map of coordinates at stride 1."""
    source, target = cell_grid((32, 48), 8, offset=1.5), cell_grid((32, 48), 1)
    y, x = np.meshgrid(source.centers(0), source.centers(1), indexing="ij")
    maps = (y * 1000 + x)[None].astype(np.float32)
    found = apply(lambda builder, name: resample(builder, name, source, target), maps, ["batch", 32, 48])[0]
    y, x = np.meshgrid(target.centers(0), target.centers(1), indexing="ij")
    inner = (slice(6, 28), slice(6, 44))
    np.testing.assert_allclose(found[inner], (y * 1000 + x)[inner], rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(entries=st.integers(1, 2100), positions=st.integers(1, 9), channels=st.integers(1, 7), shift=st.floats(-50, 50))
def test_nearest_distance_is_the_smallest_of_all(entries: int, positions: int, channels: int, shift: float) -> None:
    bank = normal(entries, channels, seed=1) + np.float32(shift)
    embedding = normal(3, positions, channels, seed=2) + np.float32(shift)
    embedding[0, 0] = bank[-1]
    found = apply(lambda builder, name: nearest_distance(builder, name, bank), embedding, ["batch", positions])
    expected = cdist(embedding.reshape(-1, channels), bank).min(axis=1).reshape(3, positions)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@settings(deadline=None, max_examples=15)
@given(entries=st.integers(1, 2100), num_spacings=st.integers(1, 6), channels=st.integers(1, 7))
def test_distances_are_divided_by_the_spacings_of_entries(entries: int, num_spacings: int, channels: int) -> None:
    bank, embedding = normal(entries, channels, seed=1), normal(3, 8, channels, seed=2)
    spacings = np.sort(np.random.default_rng(3).choice(np.linspace(0.5, 2, num_spacings), entries)).astype(np.float32)
    found = apply(lambda builder, name: nearest_distance(builder, name, bank, spacings), embedding, ["batch", 8])
    expected = (cdist(embedding.reshape(-1, channels), bank) / spacings).min(axis=1).reshape(3, 8)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("is_shared", [False, True], ids=["position", "shared"])
def test_mahalanobis_distance_is_that_of_scipy(is_shared: bool) -> None:
    positions, channels = 5, 3
    roots = normal(1 if is_shared else positions, channels, channels, seed=1).astype(np.float64)
    covariances = roots @ roots.transpose(0, 2, 1) + 0.5 * np.eye(channels)
    whiteners = np.linalg.inv(np.linalg.cholesky(covariances)).transpose(0, 2, 1).astype(np.float32)
    means, embedding = normal(positions, channels, seed=2), normal(4, positions, channels, seed=3)
    given_whiteners = whiteners[0] if is_shared else whiteners
    found = apply(
        lambda builder, name: mahalanobis(builder, name, means, given_whiteners), embedding, ["batch", positions]
    )
    for image in range(4):
        for place in range(positions):
            inverse = np.linalg.inv(covariances[0 if is_shared else place])
            expected = scipy_mahalanobis(embedding[image, place], means[place], inverse)
            assert found[image, place] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("reduction", [Reduction("max"), Reduction("top_mean", 10)], ids=["max", "top_mean"])
def test_the_last_piece_gives_map_and_score(reduction: Reduction) -> None:
    values = np.abs(normal(2, 12))
    builder = GraphBuilder("last")
    name = builder.input("values", np.float32, ["batch", 12])
    finish(builder, name, Grid((3, 4), 8, 4), (24, 32), sigma=2.0, reduction=reduction)
    outputs = evaluate(builder.build(), values=values)
    assert outputs["anomaly_map"].shape == (2, 24, 32)
    largest = np.sort(outputs["anomaly_map"].reshape(2, -1), axis=1)[:, -reduction.count :]
    np.testing.assert_allclose(outputs["anomaly_score"], largest.mean(axis=1), rtol=1e-5)


def test_a_score_of_features_is_no_reduction_of_the_map() -> None:
    builder = GraphBuilder("last")
    name = builder.input("values", np.float32, ["batch", 12])
    with pytest.raises(ValueError, match="features"):
        finish(builder, name, Grid((3, 4), 8, 4), (24, 32), sigma=0, reduction=Reduction("features"))
