"""The backbone in PyTorch gives what its ONNX file gives, and fresh networks of its form start from nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from blemish.errors import BackboneError  # noqa: E402
from blemish.graph.read import read_convolutions  # noqa: E402
from blemish.learned.backbone import BackboneModule, fresh_like, load_frozen  # noqa: E402
from blemish.weights import find_backbone  # noqa: E402

LAYERS = ("blocks.1", "blocks.2", "blocks.4", "blocks.4.expansion")


def write_graph(
    path: Path, nodes: list[onnx.NodeProto], outputs: dict[str, int], weights: dict[str, np.ndarray]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", 1, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info(name, 1, ["batch", channels, None, None]) for name, channels in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Every kind of step once: strides, groups, dilation, both paddings, rectifiers, a sum, an unused branch."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(size=8).astype(np.float32),
        "w2": rng.normal(size=(8, 1, 5, 5)).astype(np.float32),
        "w3": rng.normal(size=(8, 8, 3, 3)).astype(np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["c1"], ["first"]),
        helper.make_node("Conv", ["first", "w2"], ["c2"], strides=[2, 2], group=8, auto_pad="SAME_UPPER"),
        helper.make_node("Clip", ["c2", "low", "high"], ["second"]),
        helper.make_node("Conv", ["second", "w3"], ["c3"], pads=[2, 2, 2, 2], dilations=[2, 2]),
        helper.make_node("Add", ["c3", "second"], ["third"]),
        helper.make_node("Sigmoid", ["third"], ["other"]),
    ]
    return write_graph(tmp_path / "small.onnx", nodes, {"first": 8, "third": 8, "other": 8}, weights)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 8)])
def test_every_kind_of_step_equals_the_reference_evaluator(small: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).normal(size=(2, 3, *size)).astype(np.float32)
    expected = ReferenceEvaluator(str(small)).run(["first", "third"], {"pixels": pixels})
    module = BackboneModule(read_convolutions(small, ["first", "third"]), ["first", "third"]).eval()
    with torch.no_grad():
        found = module(torch.from_numpy(pixels))
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_the_shipped_backbone_equals_its_onnx_file(size: tuple[int, int]) -> None:
    backbone = find_backbone("efficientnet-lite0")
    pixels = np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
    session = ort.InferenceSession(str(backbone.path), providers=["CPUExecutionProvider"])
    expected = session.run(list(LAYERS), {session.get_inputs()[0].name: pixels})
    with torch.no_grad():
        found = load_frozen(backbone, LAYERS)(torch.from_numpy(pixels))
    for name, ours, reference in zip(LAYERS, found, expected, strict=True):
        assert ours.shape == reference.shape
        assert ours.shape[1] == backbone.layer(name).channels
        np.testing.assert_allclose(ours.numpy(), reference, rtol=1e-4, atol=3e-4)


def test_a_frozen_backbone_learns_nothing() -> None:
    module = load_frozen(find_backbone("efficientnet-lite0"), ["blocks.1"])
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_only_what_the_layers_need_is_built() -> None:
    backbone = find_backbone("efficientnet-lite0")
    sizes = [len(load_frozen(backbone, [name]).convolutions) for name in ("blocks.1", "blocks.2", "blocks.4")]
    assert sizes == sorted(set(sizes))


def test_a_fresh_network_has_the_form_but_no_knowledge() -> None:
    backbone = find_backbone("efficientnet-lite0")
    pixels = torch.zeros(1, 3, 64, 64)
    torch.manual_seed(0)
    fresh, again, frozen = (
        fresh_like(backbone, LAYERS).eval(),
        fresh_like(backbone, LAYERS).eval(),
        load_frozen(backbone, LAYERS),
    )
    for ours, reference in zip(fresh(pixels), frozen(pixels), strict=True):
        assert ours.shape == reference.shape
    first, second = (next(iter(module.parameters())) for module in (fresh, again))
    assert not torch.equal(first, second)
    assert all(parameter.requires_grad for parameter in fresh.parameters())


def test_a_missing_layer_is_named_with_those_that_are_there(small: Path) -> None:
    with pytest.raises(BackboneError, match=r"small\.onnx: no output 'fourth'; the graph gives first, other, third"):
        read_convolutions(small, ["fourth"])


def test_a_node_that_cannot_be_trained_is_named(small: Path) -> None:
    with pytest.raises(BackboneError, match=r"\(Sigmoid\) cannot be trained on.*efficientnet-lite0"):
        read_convolutions(small, ["other"])


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BackboneError, match=r"broken\.onnx: .*not a readable ONNX file: fetch or convert it again"):
        read_convolutions(path, ["first"])


def test_unequal_padding_is_told_in_one_line(tmp_path: Path) -> None:
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    node = helper.make_node("Conv", ["pixels", "w"], ["only"], pads=[1, 1, 0, 0])
    path = write_graph(tmp_path / "odd.onnx", [node], {"only": 4}, weights)
    with pytest.raises(BackboneError, match=r"'only' is padded unequally \(1, 1, 0, 0\): export it"):
        BackboneModule(read_convolutions(path, ["only"]), ["only"])
