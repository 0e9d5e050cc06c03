"""Patch embeddings: feature maps of several layers, locally pooled, on one grid, channels last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from blemish.errors import BackboneError
from blemish.graph.builder import GraphBuilder
from blemish.graph.grid import Grid, cell_grid, resample
from blemish.graph.pixels import image_input, scale_pixels
from blemish.schema import Backbone


def embedding_grid(backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int]) -> Grid:
    """The grid of the patch embeddings: that of the finest of the layers."""
    finest = min((backbone.layer(name) for name in layers), key=lambda layer: layer.stride)
    return cell_grid(input_hw, finest.stride, finest.offset)


def build_embedding(backbone: Backbone, layers: Sequence[str], input_hw: tuple[int, int], pooling: int) -> bytes:
    """The graph from `image` to `embedding`, float32 [batch, positions, channels] (positions row by row).

    Each layer is averaged over `pooling` x `pooling` neighbors (Roth et al., CVPR 2022, section 3.1), zeros counted
    beyond the border: a mean of fewer values would vary more there and look anomalous. It is then brought to the
    finest grid and concatenated. Raises BackboneError where the file does not keep its description.
    """
    model = onnx.load(backbone.path)
    _check_input(backbone, model, input_hw)
    known = {output.name for output in model.graph.output}
    for name in layers:
        if name not in known:
            raise BackboneError(
                f"{backbone.path.name}: no output '{name}'; the graph gives {', '.join(sorted(known))}: "
                "correct the layers or the description file"
            )
    builder = GraphBuilder("embedding")
    pixels = scale_pixels(builder, image_input(builder, input_hw), backbone.mean, backbone.std)
    try:
        features = builder.splice(model, {backbone.input_name: pixels}, list(layers))
    except ValueError as error:
        raise BackboneError(f"{backbone.path.name}: {error}") from error
    target = embedding_grid(backbone, layers, input_hw)
    channels = 0
    maps = []
    for name, feature in zip(layers, features, strict=True):
        layer = backbone.layer(name)
        source = cell_grid(input_hw, layer.stride, layer.offset)
        builder.expect(feature, np.float32, ["batch", layer.channels, *source.hw])
        pooled = feature
        if pooling > 1:
            pooled = builder.op(
                "AveragePool",
                feature,
                kernel_shape=[pooling, pooling],
                pads=[pooling // 2] * 4,
                count_include_pad=1,
            )
        maps.append(pooled if source == target else resample(builder, pooled, source, target))
        channels += layer.channels
    joined = builder.op("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]
    _output_positions(builder, joined, channels, target.hw)
    try:
        return builder.build()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BackboneError(
            f"{backbone.path.name}: its layers do not keep the described channels and strides at {input_hw}: "
            f"correct the description file ({str(error).splitlines()[0]})"
        ) from error


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
    _output_positions(builder, means, 3, grid.hw)
    return builder.build()


def _output_positions(builder: GraphBuilder, maps: str, channels: int, grid_hw: tuple[int, int]) -> None:
    """Declares [batch, channels, rows, columns] as `embedding`, [batch, positions, channels]."""
    positions = grid_hw[0] * grid_hw[1]
    shape = builder.constant(np.array([0, channels, positions], np.int64))
    embedding = builder.op("Transpose", builder.op("Reshape", maps, shape), perm=[0, 2, 1])
    builder.output(embedding, "embedding", np.float32, ["batch", positions, channels])
