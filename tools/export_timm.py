"""Exports a network of timm as a backbone and adds it to the user's backbones.

    pip install timm onnxscript
    python tools/export_timm.py vit_small_patch14_dinov2.lvd142m --layers 5 8 11 --size 392 --name dinov2-small
    python tools/export_timm.py wide_resnet50_2.tv_in1k --layers 2 3 --size 256 --any-size --name wide-resnet50

`--layers` are timm's `out_indices`: block numbers of a transformer, levels of a convolutional network. Transformers
give their patch tokens as a grid, without class and register tokens. The graph takes images of the given size only;
`--any-size` lifts that for convolutional networks (the export of some then takes minutes).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from blemish.errors import BlemishError
from blemish.schema import Layer
from blemish.weights import add_backbone

OPSET = 18
TOLERANCE = 1e-3
STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Network:
    """A network whose result is a list of feature maps [batch, channels, height, width], named by `layer_names`.

    `mean` and `std` are for pixels from 0 to 255.
    """

    module: nn.Module
    layer_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str | None
    source: str


def load(
    name: str,
    layers: Sequence[int],
    size_hw: tuple[int, int],
    *,
    is_any_size: bool = False,
    is_pretrained: bool = True,
) -> Network:
    """The network of timm of this name, reduced to the wanted layers."""
    try:
        import timm
    except ImportError as error:
        raise SystemExit(f"timm cannot be imported ({error}); pip install timm onnxscript") from error
    options: dict[str, Any] = {"features_only": True, "out_indices": tuple(layers)}
    if timm.get_pretrained_cfg(name).to_dict().get("fixed_input_size"):
        if is_any_size:
            raise SystemExit(f"{name} is made for one size of images: leave --any-size out")
        options["img_size"] = size_hw
    module = timm.create_model(name, pretrained=is_pretrained, **options)
    settings: Mapping[str, Any] = module.pretrained_cfg
    return Network(
        module=module,
        layer_names=tuple(module.feature_info.module_name()),
        mean=tuple(255 * value for value in settings["mean"]),
        std=tuple(255 * value for value in settings["std"]),
        licence=settings.get("license"),
        source=f"timm {timm.__version__}, {name}"
        + ("" if is_any_size else f", exported for {size_hw[0]} x {size_hw[1]} pixels"),
    )


def describe(network: Network, size_hw: tuple[int, int]) -> list[Layer]:
    """The layers as they are found by running the network once."""
    centers = {1: 0.0}
    kernels: dict[int, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = round(size_hw[0] / inputs[0].shape[2]), round(size_hw[0] / output.shape[2])
        kernel = _first(module.kernel_size)
        if after == before or before not in centers or kernel <= kernels.get(after, 0):
            return
        kernels[after] = kernel
        centers[after] = centers[before] + before * _center(module, math.ceil(size_hw[0] / before), output.shape[2])

    hooks = [module.register_forward_hook(note) for module in network.module.modules() if isinstance(module, STRIDED)]
    try:
        maps = _run(network, torch.zeros(1, 3, *size_hw))
    finally:
        for hook in hooks:
            hook.remove()
    layers = []
    for name, found in zip(network.layer_names, maps, strict=True):
        if found.ndim != 4:
            raise SystemExit(f"{name}: expected [batch, channels, height, width], found {found.shape}")
        stride = round(size_hw[0] / found.shape[2])
        expected = tuple(math.ceil(side / stride) for side in size_hw)
        if found.shape[2:] != expected:
            raise SystemExit(f"{name}: a map of {found.shape[2:]} where stride {stride} gives {expected}")
        middle = (stride - 1) / 2
        layers.append(Layer(name, found.shape[1], stride, centers.get(stride, middle) - middle))
    return layers


def _center(module: Any, size_in: int, size_out: int) -> float:
    """The place of the first output's middle among the inputs of a strided module; sizes are without padding."""
    stride, padding, dilation = _first(module.stride), _first(module.padding), _first(getattr(module, "dilation", 1))
    reach = dilation * (_first(module.kernel_size) - 1)
    if padding == 0:
        # If there is padding, it is TensorFlow's SAME, added in front of the module or inside of it.
        padding = max((size_out - 1) * stride + reach + 1 - size_in, 0) // 2
    return reach / 2 - padding


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def _run(network: Network, x: Tensor) -> list[np.ndarray]:
    network.module.eval()
    with torch.no_grad():
        return [value.numpy() for value in network.module(x)]


def export(
    network: Network, layers: Sequence[Layer], size_hw: tuple[int, int], path: Path, *, is_any_size: bool = False
) -> None:
    """Writes the ONNX file and compares it with the network on random input; the batch size stays free."""
    names = [layer.name for layer in layers]
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, *size_hw, generator=generator)
    batches = [sample, sample[:1]]
    free = {0: torch.export.Dim("batch")}
    if is_any_size:
        batches.append(torch.randn(1, 3, size_hw[0] + 64, size_hw[1] + 32, generator=generator))
        free |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    network.module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.module,
            (sample,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=names,
            dynamic_shapes=(free,),
            verbose=False,
        )
    model = program.model_proto
    # The exporter notes where in the source each node comes from: paths of this machine, of no use elsewhere.
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in batches:
        for name, expected, got in zip(
            names, _run(network, batch), session.run(names, {"input": batch.numpy()}), strict=True
        ):
            difference = np.abs(expected - got).max() / np.abs(expected).max()
            if not difference <= TOLERANCE:
                raise SystemExit(f"{name}: the exported graph differs from the network by {difference:.2g}")
    path.write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Export a network of timm and add it as a backbone.")
    parser.add_argument("model", help="name of the network in timm")
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="timm's out_indices")
    parser.add_argument("--size", type=int, nargs="+", required=True, help="height and width, or one for both")
    parser.add_argument("--any-size", action="store_true", help="leave height and width free")
    parser.add_argument("--name", required=True, help="name of the backbone")
    parser.add_argument("--licence", help="licence of the weights, where timm does not know it")
    parser.add_argument("--random", action="store_true", help="random weights, to try the export without a download")
    options = parser.parse_args(arguments)
    if len(options.size) > 2:
        parser.error("--size takes one or two numbers")
    size_hw = (options.size[0], options.size[-1])
    network = load(
        options.model, options.layers, size_hw, is_any_size=options.any_size, is_pretrained=not options.random
    )
    licence = options.licence or network.licence
    if not licence:
        parser.error(f"timm does not know the licence of {options.model}; give it with --licence")
    layers = describe(network, size_hw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        export(network, layers, size_hw, path, is_any_size=options.any_size)
        try:
            backbone = add_backbone(
                path,
                layers=layers,
                mean=network.mean,
                std=network.std,
                licence=licence,
                source=network.source + (", random weights" if options.random else ""),
                name=options.name,
            )
        except BlemishError as error:
            raise SystemExit(str(error)) from error
    for layer in backbone.layers:
        print(
            f"{layer.name}: {layer.channels} channels, stride {layer.stride}, offset {layer.offset:g}", file=sys.stderr
        )
    print(backbone.path)


if __name__ == "__main__":
    main()
