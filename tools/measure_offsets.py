"""Measures where a backbone's layers really look: the offsets of description files.

    python tools/measure_offsets.py efficientnet-lite0

Small squares of photographs are inverted, one at a time, and the center of gravity of the change in each layer is
compared with the square's place. Padding alone would put the receptive field of a position (stride - 1) / 2 pixels
right of and below its cell; trained filters make up for much of that. Prints `offset` for each layer: the mean over
both axes, rounded to half a pixel, with its deviation over squares.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import skimage.data
from numpy.typing import NDArray

from blemish.images.resize import resize_image
from blemish.schema import Backbone
from blemish.weights import find_backbone

SIDE = 256
SQUARE = 4
NUM_SQUARES = 60


def changes(backbone: Backbone, session: onnxruntime.InferenceSession, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far the change of each layer lies from the square that caused it: (squares, layers, x and y), pixels."""
    rng = np.random.default_rng(0)
    names = [layer.name for layer in backbone.layers]

    def features(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        scaled = ((pixels - np.array(backbone.mean)) / np.array(backbone.std)).astype(np.float32)
        found: list[NDArray[np.float32]] = session.run(names, {backbone.input_name: scaled.transpose(2, 0, 1)[None]})
        return found

    before = features(image)
    shifts = np.zeros((NUM_SQUARES, len(names), 2))
    for number in range(NUM_SQUARES):
        corner = rng.integers(SIDE // 4, 3 * SIDE // 4, 2)
        changed = image.copy()
        rows, columns = (slice(start, start + SQUARE) for start in corner)
        changed[rows, columns] = 255 - changed[rows, columns]
        for place, (old, new) in enumerate(zip(before, features(changed), strict=True)):
            energy = ((new - old)[0] ** 2).sum(axis=0, dtype=np.float64)
            centers = (np.arange(energy.shape[0]) + 0.5) * (SIDE / energy.shape[0])
            center = np.array([energy.sum(axis=1) @ centers, energy.sum(axis=0) @ centers]) / energy.sum()
            shifts[number, place] = corner + SQUARE / 2 - center
    return shifts


def main() -> None:
    backbone = find_backbone(sys.argv[1])
    session = onnxruntime.InferenceSession(str(backbone.path), providers=["CPUExecutionProvider"])
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    shifts = np.concatenate([changes(backbone, session, resize_image(image, (SIDE, SIDE))) for image in photographs])
    for place, layer in enumerate(backbone.layers):
        mean, deviation = shifts[:, place].mean(), shifts[:, place].std()
        found = f"offset {round(2 * mean) / 2:4.1f}  ({mean:.2f} +- {deviation:.2f})"
        print(f"{layer.name:20} stride {layer.stride:2}  {found}")


if __name__ == "__main__":
    main()
