"""Patch embeddings: feature maps of several layers, locally pooled, on one grid, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from blemish.boundary import boundary
from blemish.errors import BackboneError
from blemish.graph.builder import GraphBuilder
from blemish.graph.grid import Grid, cell_grid, resample
from blemish.graph.pixels import image_input, scale_pixels
from blemish.schema import Backbone


def embedding_grid(backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int]) -> Grid:
    """The grid of the patch embeddings: that of the finest of the layers."""
    finest = min((backbone.layer(name) for name in layers), key=lambda layer: layer.stride)
    return cell_grid(input_hw, finest.stride, finest.offset)


def build_embedding(
    backbone: Backbone,
    layers: Sequence[str],
    input_hw: tuple[int, int],
    pooling: int,
    kept: NDArray[np.intp] | None = None,
) -> bytes:
    """The graph from `image` to `embedding`, float32 [batch, positions, channels] (positions row by row).

    The pooled layers are brought to the finest grid and concatenated (Roth et al., CVPR 2022, section 3.1); of all
    their channels those that `kept` counts, in rising order, or all. Raises BackboneError where the file does not keep
    its description.
    """
    builder = GraphBuilder("embedding")
    target = embedding_grid(backbone, layers, input_hw)
    total = sum(backbone.layer(name).channels for name in layers)
    kept = np.arange(total) if kept is None else kept
    maps = []
    start = 0
    for name, pooled in zip(layers, _pooled_layers(builder, backbone, layers, input_hw, pooling), strict=True):
        layer = backbone.layer(name)
        wanted = kept[(kept >= start) & (kept < start + layer.channels)] - start
        start += layer.channels
        if not len(wanted):
            continue
        if len(wanted) < layer.channels:
            pooled = builder.op("Gather", pooled, builder.constant(wanted.astype(np.int64)), axis=1)
        source = cell_grid(input_hw, layer.stride, layer.offset)
        maps.append(pooled if source == target else resample(builder, pooled, source, target))
    joined = builder.op("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]
    channels = len(kept)
    embedding = _by_position(builder, joined, channels, target.hw)
    builder.output(embedding, "embedding", np.float32, ["batch", target.hw[0] * target.hw[1], channels])
    return _built(builder, backbone, input_hw)


@dataclass(frozen=True)
class PackedLayer:
    """Where a layer lies in a packed embedding: `places` of its values, which are [positions, channels]."""

    places: slice
    grid: Grid
    channels: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.grid.hw[0] * self.grid.hw[1], self.channels


def packed_layers(backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int]) -> tuple[PackedLayer, ...]:
    """The layers of a packed embedding, one behind the other, each on its own grid."""
    packed = []
    start = 0
    for layer in map(backbone.layer, layers):
        grid = cell_grid(input_hw, layer.stride, layer.offset)
        stop = start + grid.hw[0] * grid.hw[1] * layer.channels
        packed.append(PackedLayer(slice(start, stop), grid, layer.channels))
        start = stop
    return tuple(packed)


def build_packed_embedding(backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int], pooling: int) -> bytes:
    """The graph from `image` to `embedding`, float32 [batch, values]: the pooled layers as `packed_layers` says.

    Raises BackboneError where the file does not keep its description.
    """
    builder = GraphBuilder("embedding")
    packed = packed_layers(backbone, layers, input_hw)
    parts = []
    for layer, pooled in zip(packed, _pooled_layers(builder, backbone, layers, input_hw, pooling), strict=True):
        by_position = _by_position(builder, pooled, layer.channels, layer.grid.hw)
        size = layer.places.stop - layer.places.start
        parts.append(builder.op("Reshape", by_position, builder.constant(np.array([-1, size], np.int64))))
    joined = builder.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    builder.output(joined, "embedding", np.float32, ["batch", packed[-1].places.stop])
    return _built(builder, backbone, input_hw)


def unpack_layer(builder: GraphBuilder, embedding: str, layer: PackedLayer) -> str:
    """One layer of a packed embedding as [batch, positions, channels]."""
    bounds = (np.array([place], np.int64) for place in (layer.places.start, layer.places.stop, 1))
    part = builder.op("Slice", embedding, *(builder.constant(bound) for bound in bounds))
    return builder.op("Reshape", part, builder.constant(np.array([-1, *layer.shape], np.int64)))


def _pooled_layers(
    builder: GraphBuilder, backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int], pooling: int
) -> list[str]:
    """The layers as [batch, channels, rows, columns], each averaged over `pooling` x `pooling` neighbors.

    Zeros count beyond the border: a mean of fewer values would vary more there and look anomalous.
    """
    remedy = "export the network again, docs/backbones.md says how"
    with boundary(backbone.path, BackboneError, remedy):  # what onnx raises for a damaged graph shares no base
        model = onnx.load(backbone.path)
        _check_input(backbone, model, input_hw)
        known = {output.name for output in model.graph.output}
        for name in layers:
            if name not in known:
                raise BackboneError(
                    f"{backbone.path.name}: no output '{name}'; the graph gives {', '.join(sorted(known))}: "
                    "correct the layers or the description file"
                )
        pixels = scale_pixels(builder, image_input(builder, input_hw), backbone.mean, backbone.std)
        features = builder.splice(model, {backbone.input_name: pixels}, list(layers))
    pooled = []
    for name, feature in zip(layers, features, strict=True):
        layer = backbone.layer(name)
        grid = cell_grid(input_hw, layer.stride, layer.offset)
        builder.expect(feature, np.float32, ["batch", layer.channels, *grid.hw])
        if pooling > 1:
            pads = [pooling // 2] * 4
            feature = builder.op(
                "AveragePool", feature, kernel_shape=[pooling, pooling], pads=pads, count_include_pad=1
            )
        pooled.append(feature)
    return pooled


def _built(builder: GraphBuilder, backbone: Backbone, input_hw: tuple[int, int]) -> bytes:
    try:
        return builder.build()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BackboneError(
            f"{backbone.path.name}: its layers do not keep the described channels and strides at {input_hw}: "
            f"correct the description file ({str(error).splitlines()[0]})"
        ) from error
    except UnicodeDecodeError as error:  # the checker's message quotes the damaged name of an operator
        raise BackboneError(f"{backbone.path.name}: a name in the graph is damaged; fetch the file again") from error


def _check_input(backbone: Backbone, model: onnx.ModelProto, input_hw: tuple[int, int]) -> None:
    """Raises where the graph has no such input or was exported for another size."""
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    if backbone.input_name not in inputs:
        raise BackboneError(
            f"{backbone.path.name}: no input '{backbone.input_name}', the graph has {', '.join(inputs)}: "
            "correct `input` in the description file"
        )
    for fixed, wanted in zip(inputs[backbone.input_name][2:4], input_hw, strict=False):
        if fixed.dim_value and fixed.dim_value != wanted:
            height, width = (dim.dim_value for dim in inputs[backbone.input_name][2:4])
            raise BackboneError(
                f"{backbone.path.name} was exported for {height} x {width} pixels, not {input_hw[0]} x {input_hw[1]}: "
                f"use --size {height}x{width}, or export it for any size"
            )


def build_pixel_embedding(input_hw: tuple[int, int], cell: int) -> bytes:
    """The graph from `image` to the mean color of each `cell` x `cell` square: float32 [batch, positions, 3]."""
    builder = GraphBuilder("embedding")
    pixels = scale_pixels(builder, image_input(builder, input_hw), (0, 0, 0), (1, 1, 1))
    height, width = input_hw
    grid = cell_grid(input_hw, cell)
    # average pooling over a border that was filled up, without counting the filling
    pads = [0, 0, grid.hw[0] * cell - height, grid.hw[1] * cell - width]
    means = builder.op(
        "AveragePool", pixels, kernel_shape=[cell, cell], strides=[cell, cell], pads=pads, count_include_pad=0
    )
    embedding = _by_position(builder, means, 3, grid.hw)
    builder.output(embedding, "embedding", np.float32, ["batch", grid.hw[0] * grid.hw[1], 3])
    return builder.build()


def _by_position(builder: GraphBuilder, maps: str, channels: int, grid_hw: tuple[int, int]) -> str:
    """[batch, channels, rows, columns] as [batch, positions, channels]."""
    shape = builder.constant(np.array([0, channels, grid_hw[0] * grid_hw[1]], np.int64))
    return builder.op("Transpose", builder.op("Reshape", maps, shape), perm=[0, 2, 1])
