"""Networks of timm's form become backbones: feature maps by name, patch tokens as grids, any batch size."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

from blemish.folders import BACKBONES_VARIABLE
from blemish.schema import Layer
from blemish.weights import add_backbone, find_backbone

torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional

PATCH = 14
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "tools" / "export_timm.py"
    spec = importlib.util.spec_from_file_location("export_timm", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["export_timm"] = module
    spec.loader.exec_module(module)
    return module


class VisionTransformer(nn.Module):
    """DINOv2's form, small: class token and registers before the patch tokens, layer scale; gives blocks as grids."""

    def __init__(self, size_hw: tuple[int, int], blocks: tuple[int, ...]) -> None:
        super().__init__()
        width, self.blocks, self.heads = 32, blocks, 4
        self.grid_hw = (size_hw[0] // PATCH, size_hw[1] // PATCH)
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.extra = nn.Parameter(torch.randn(1, 5, width))
        self.places = nn.Parameter(torch.randn(1, self.grid_hw[0] * self.grid_hw[1], width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(6))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(3))
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)) for _ in range(3))
        self.scale = nn.Parameter(torch.full((width,), 0.5))
        self.last_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        tokens = torch.cat([self.extra.expand(x.shape[0], -1, -1), tokens], dim=1)
        maps = []
        for index in range(3):
            batch, count, width = tokens.shape
            split = self.qkv[index](self.norms[2 * index](tokens)).reshape(batch, count, 3, self.heads, -1)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            tokens = tokens + self.scale * mixed
            tokens = tokens + self.scale * self.mlp[index](self.norms[2 * index + 1](tokens))
            if index in self.blocks:
                patches = self.last_norm(tokens)[:, 5:]
                maps.append(patches.transpose(1, 2).reshape(batch, width, *self.grid_hw))
        return maps


class Chain(nn.Module):
    """Modules one after the other; gives what each of the chosen ones gives."""

    def __init__(self, modules: list[nn.Module], chosen: tuple[int, ...]) -> None:
        super().__init__()
        self.steps, self.chosen = nn.ModuleList(modules), chosen

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for index, step in enumerate(self.steps):
            x = step(x)
            if index in self.chosen:
                maps.append(x)
        return maps


CHAINS = {
    "resnet": (
        [nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 2, 1)],
        8,
    ),
    "patches": ([nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 7, 1, 3), nn.Conv2d(4, 4, 2, 2)], 8),
    "tensorflow": (
        [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2), nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(4, 4, 5, 2)],
        4,
    ),
    "pooled": ([nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2, 2), nn.Conv2d(4, 4, 3, 1, 2, dilation=2)], 4),
}


def network(exporter: ModuleType, module: nn.Module, *names: str) -> object:
    return exporter.Network(module, names, **IMAGENET, licence="Apache-2.0", source="made here")


@pytest.mark.parametrize("kind", CHAINS)
def test_the_offset_is_where_the_receptive_field_lies(exporter: ModuleType, kind: str) -> None:
    torch.manual_seed(0)
    modules, stride = CHAINS[kind]
    module = Chain(modules, (len(modules) - 1,))
    [layer] = exporter.describe(network(exporter, module, "last"), (128, 128))
    assert (layer.name, layer.channels, layer.stride) == ("last", 4, stride)
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    position = 64 // stride
    module(image)[0][..., position, position].sum().backward()
    reached = torch.nonzero(image.grad.abs().sum((0, 1, 2))).flatten()
    middle = (int(reached[0]) + int(reached[-1])) / 2
    # a maximum passes gradients of one of its inputs only, so that the field seen may be a little smaller
    slack = 1.0 if kind == "resnet" else 0.0
    assert abs(middle - (position * stride + (stride - 1) / 2 + layer.offset)) <= slack


def test_patch_tokens_lie_in_the_middle_of_their_patches(exporter: ModuleType) -> None:
    vit = network(exporter, VisionTransformer((56, 84), (0, 2)), "blocks.0", "blocks.2")
    assert exporter.describe(vit, (56, 84)) == [Layer("blocks.0", 32, PATCH), Layer("blocks.2", 32, PATCH)]


def test_what_is_no_feature_map_is_refused(exporter: ModuleType) -> None:
    module = Chain([nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten()], (1,))
    with pytest.raises(SystemExit, match=r"flat: expected \[batch, channels, height, width\]"):
        exporter.describe(network(exporter, module, "flat"), (32, 32))
    module = Chain([nn.Conv2d(3, 4, 5, 2)], (0,))
    with pytest.raises(SystemExit, match="unpadded: a map of"):
        exporter.describe(network(exporter, module, "unpadded"), (32, 32))


def test_a_convolutional_network_may_take_any_size(exporter: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    modules, _ = CHAINS["resnet"]
    chain = network(exporter, Chain(modules, (2, 3)), "a", "b")
    layers = exporter.describe(chain, (64, 64))
    exporter.export(chain, layers, (64, 64), tmp_path / "chain.onnx", is_any_size=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "chain.onnx"), providers=["CPUExecutionProvider"])
    shapes = [value.shape for value in session.run(None, {"input": np.zeros((1, 3, 50, 90), np.float32)})]
    assert shapes == [(1, 4, 13, 23), (1, 4, 7, 12)]


def test_an_exported_transformer_is_a_backbone(
    exporter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv(BACKBONES_VARIABLE, str(tmp_path / "user"))
    torch.manual_seed(0)
    size_hw = (56, 84)
    vit = network(exporter, VisionTransformer(size_hw, (0, 2)), "blocks.0", "blocks.2")
    layers = exporter.describe(vit, size_hw)
    exporter.export(vit, layers, size_hw, tmp_path / "vit.onnx")
    add_backbone(tmp_path / "vit.onnx", layers=layers, **IMAGENET, licence="Apache-2.0", source="made here")
    backbone = find_backbone("vit")
    model = onnx.load(backbone.path)
    assert model.opset_import[0].version == exporter.OPSET
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    session = onnxruntime.InferenceSession(str(backbone.path), providers=["CPUExecutionProvider"])
    batch = torch.randn(3, 3, *size_hw)
    with torch.no_grad():
        expected = vit.module(batch)
    for layer, want, got in zip(layers, expected, session.run(None, {"input": batch.numpy()}), strict=True):
        assert got.shape == (3, layer.channels, 4, 6)
        np.testing.assert_allclose(got, want.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("test_vit.r160_in1k", ["3", "5"], [Layer("blocks.3", 64, 16), Layer("blocks.5", 64, 16)]),
        ("test_resnet.r160_in1k", ["1", "2"], [Layer("layer1", 32, 4, -1.5), Layer("layer2", 48, 8, -3.5)]),
    ],
)
def test_networks_of_timm_are_added_by_one_command(
    exporter: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    layers: list[str],
    expected: list[Layer],
) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("onnxscript")
    monkeypatch.setenv(BACKBONES_VARIABLE, str(tmp_path))
    exporter.main([name, "--layers", *layers, "--size", "160", "--name", "from-timm", "--random"])
    backbone = find_backbone("from-timm")
    assert list(backbone.layers) == expected
    assert name in backbone.source
    assert backbone.source.endswith("random weights")
