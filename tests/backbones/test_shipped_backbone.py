"""The shipped graph keeps what its description promises, at any image size."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
from numpy.typing import NDArray

from blemish.schema import Backbone
from blemish.weights import find_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return find_backbone("efficientnet-lite0")


@pytest.fixture(scope="module")
def model(backbone: Backbone) -> onnx.ModelProto:
    return onnx.load(backbone.path)


@pytest.fixture(scope="module")
def session(backbone: Backbone) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(backbone.path), providers=["CPUExecutionProvider"])


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_the_graph_is_valid_and_has_the_described_layers(model: onnx.ModelProto, backbone: Backbone) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == [backbone.input_name]
    assert [value.name for value in model.graph.output] == [layer.name for layer in backbone.layers]


def test_batch_norm_is_folded_and_nothing_is_left_of_the_classifier(model: onnx.ModelProto) -> None:
    assert set(Counter(node.op_type for node in model.graph.node)) == {"Conv", "Clip", "Add"}


def test_every_part_of_the_file_is_needed(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    made = {name for node in model.graph.node for name in node.output}
    assert {tensor.name for tensor in model.graph.initializer} | made <= used


def test_the_graph_says_where_it_comes_from(model: onnx.ModelProto, backbone: Backbone) -> None:
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "licence": backbone.licence,
        "source": backbone.source,
    }


@pytest.mark.parametrize("size_hw", [(256, 256), (224, 96), (97, 131), (33, 32), (1, 1)])
def test_maps_have_the_declared_channels_and_strides(
    session: onnxruntime.InferenceSession, backbone: Backbone, size_hw: tuple[int, int]
) -> None:
    names = [layer.name for layer in backbone.layers]
    for layer, found in zip(backbone.layers, session.run(names, {"input": noise(1, 3, *size_hw)}), strict=True):
        assert found.shape == (1, layer.channels, *(math.ceil(side / layer.stride) for side in size_hw)), layer.name
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


def test_images_of_a_batch_do_not_mix(session: onnxruntime.InferenceSession) -> None:
    batch = noise(3, 3, 64, 80)
    together = session.run(["blocks.6"], {"input": batch})[0]
    alone = np.concatenate([session.run(["blocks.6"], {"input": batch[i : i + 1]})[0] for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


def test_a_spot_is_found_where_the_offset_says(session: onnxruntime.InferenceSession, backbone: Backbone) -> None:
    rng = np.random.default_rng(0)
    image = noise(1, 3, 128, 128)
    for name in ("blocks.1", "blocks.2"):
        layer = backbone.layer(name)
        before = session.run([name], {"input": image})[0]
        shifts = []
        for corner in rng.integers(40, 80, (40, 2)):
            altered = image.copy()
            altered[0, :, corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] *= -1
            energy = ((session.run([name], {"input": altered})[0] - before)[0] ** 2).sum(axis=0)
            centers = (np.arange(len(energy)) + 0.5) * layer.stride
            found = np.array([energy.sum(axis=1) @ centers, energy.sum(axis=0) @ centers]) / energy.sum()
            shifts.append((corner + 2 - found).mean())
        assert abs(np.mean(shifts) - layer.offset) < 0.6


def test_a_shallow_layer_needs_a_small_part_of_the_file(backbone: Backbone, tmp_path: object) -> None:
    path = f"{tmp_path}/part.onnx"
    onnx.utils.extract_model(str(backbone.path), path, ["input"], ["blocks.2", "blocks.4"])
    part = onnx.load(path)
    assert part.ByteSize() < 3_000_000
    names = {node.output[0] for node in part.graph.node}
    assert not any(name.startswith(("blocks.5", "blocks.6")) for name in names)
