"""Patch embeddings: the backbone's own feature maps, pooled, on the grid of the finest layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.ndimage import uniform_filter

from blemish.errors import BackboneError
from blemish.graph.embedding import build_embedding, build_pixel_embedding, embedding_grid
from blemish.runtime.onnx_runner import GraphRunner
from blemish.schema import Backbone, Layer
from blemish.testing.tiny import TinyProduct


@pytest.fixture
def images(product: TinyProduct) -> np.ndarray:
    return np.stack(product.good[:2])


def run_backbone(backbone: Backbone, images: np.ndarray, layer: str) -> np.ndarray:
    """The feature map of a layer, channels last."""
    planes = ((images - np.array(backbone.mean)) / np.array(backbone.std)).transpose(0, 3, 1, 2).astype(np.float32)
    runner = GraphRunner(onnx.load(backbone.path).SerializeToString())
    return runner.run({backbone.input_name: planes})[layer].transpose(0, 2, 3, 1)


def test_without_pooling_it_is_the_feature_map(backbone: Backbone, images: np.ndarray) -> None:
    found = GraphRunner(build_embedding(backbone, ("stride8",), (64, 64), 1)).run({"image": images})["embedding"]
    expected = run_backbone(backbone, images, "stride8")
    assert found.shape == (2, 64, 12)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_pooling_averages_neighbors_with_zeros_beyond_the_border(backbone: Backbone, images: np.ndarray) -> None:
    found = GraphRunner(build_embedding(backbone, ("stride8",), (64, 64), 3)).run({"image": images})["embedding"]
    features = run_backbone(backbone, images, "stride8")
    size = (1, 3, 3, 1)
    expected = uniform_filter(features.astype(np.float64), size, mode="constant")
    np.testing.assert_allclose(found.reshape(features.shape), expected, rtol=1e-4, atol=1e-5)


def test_layers_are_joined_on_the_finest_grid(backbone: Backbone, images: np.ndarray) -> None:
    layers = ("stride8", "stride16")
    found = GraphRunner(build_embedding(backbone, layers, (64, 64), 1)).run({"image": images})["embedding"]
    assert embedding_grid(backbone, layers, (64, 64)).hw == (8, 8)
    assert found.shape == (2, 64, 12 + 16)
    fine = run_backbone(backbone, images, "stride8").reshape(2, 64, 12)
    np.testing.assert_allclose(found[..., :12], fine, rtol=1e-4, atol=1e-5)
    coarse = run_backbone(backbone, images, "stride16")
    corner = found[:, 0, 12:]
    np.testing.assert_allclose(corner, coarse[:, 0, 0], rtol=1e-4, atol=1e-5)


def test_a_layer_that_the_file_does_not_have_is_named(backbone: Backbone) -> None:
    wrong = dataclasses.replace(backbone, layers=(Layer("stride32", 4, 32),))
    with pytest.raises(BackboneError, match=r"'stride32'.*stride16.*stride4"):
        build_embedding(wrong, ("stride32",), (64, 64), 1)


@pytest.mark.parametrize("layer", [Layer("stride8", 13, 8), Layer("stride8", 12, 16)], ids=["channels", "stride"])
def test_a_file_that_does_not_keep_its_description_is_refused(backbone: Backbone, layer: Layer) -> None:
    wrong = dataclasses.replace(backbone, layers=(layer,))
    with pytest.raises(BackboneError, match=r"tiny\.onnx.*correct the description"):
        build_embedding(wrong, ("stride8",), (64, 64), 3)


@pytest.mark.parametrize("hw", [(64, 64), (30, 45)])
def test_pixel_embedding_is_the_mean_color_of_each_cell(hw: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *hw, 3)).astype(np.uint8)
    found = GraphRunner(build_pixel_embedding(hw, 8)).run({"image": images})["embedding"]
    rows, columns = -(-hw[0] // 8), -(-hw[1] // 8)
    for row in range(rows):
        for column in range(columns):
            cell = images[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, row * columns + column], cell, rtol=1e-5)


def test_a_graph_exported_for_another_size_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    model = onnx.load(backbone.path)
    for axis, side in ((2, 96), (3, 64)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    onnx.save(model, tmp_path / "fixed.onnx")
    fixed = dataclasses.replace(backbone, path=tmp_path / "fixed.onnx")
    with pytest.raises(BackboneError, match="--size 96x64"):
        build_embedding(fixed, ("stride8",), (64, 64), 1)


def test_an_unknown_input_is_named(backbone: Backbone) -> None:
    with pytest.raises(BackboneError, match="no input 'pixels'"):
        build_embedding(dataclasses.replace(backbone, input_name="pixels"), ("stride8",), (64, 64), 1)
