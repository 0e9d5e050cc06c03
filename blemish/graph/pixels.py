"""The first piece of every graph: uint8 RGB pixels to scaled planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.graph.builder import GraphBuilder


def image_input(builder: GraphBuilder, input_hw: tuple[int, int]) -> str:
    """The graph's input `image`: uint8 [batch, height, width, 3]."""
    return builder.input("image", np.uint8, ["batch", *input_hw, 3])


def scale_pixels(builder: GraphBuilder, image: str, mean: Sequence[float], std: Sequence[float]) -> str:
    """`(pixel - mean) / std` per channel: uint8 [batch, height, width, 3] to float32 [batch, 3, height, width]."""
    planes = builder.op("Cast", builder.op("Transpose", image, perm=[0, 3, 1, 2]), to=1)
    per_channel = (1, 3, 1, 1)
    centered = builder.op("Sub", planes, builder.constant(np.asarray(mean, np.float32).reshape(per_channel)))
    return builder.op("Mul", centered, builder.constant((1 / np.asarray(std, np.float32)).reshape(per_channel)))
