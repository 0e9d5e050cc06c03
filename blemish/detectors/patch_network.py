"""A small network over patch embeddings that tells patches of shown defects from those of good parts; numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import PackedLayer, unpack_layer
from blemish.graph.grid import Grid, interpolation_matrix, on_grid, resample

HIDDEN = 32
"""Units of the hidden layer."""
STEPS = 300
"""Steps of the training: enough for a loss that hardly falls any more."""
BATCH = 1024
DEFECTIVE_SHARE = 0.25
"""Share of a batch that is of shown defects, however few these are."""
RATE, DECAY = 3e-3, 1e-3


@dataclass(frozen=True)
class PatchNetwork:
    """`weights` of each layer are float32 (channels, hidden); `odd`, `bias` and `out` (hidden,).

    The channels of all layers are joined on the finest grid by linear interpolation; `odd` belongs to what the
    unsupervised map says there. What the network says of a position, its evidence, is a logit: larger where the patch
    is more like the shown defects than like good parts.
    """

    weights: tuple[NDArray[np.float32], ...]
    odd: NDArray[np.float32]
    bias: NDArray[np.float32]
    out: NDArray[np.float32]
    offset: float

    def scaled(self, slope: float, level: float) -> PatchNetwork:
        """The network whose evidence is `level + slope * evidence`."""
        out = np.asarray(self.out * slope, np.float32)
        return PatchNetwork(self.weights, self.odd, self.bias, out, level + slope * self.offset)

    def evidence(self, seen: Seen, layers: Sequence[PackedLayer]) -> NDArray[np.float32]:
        """Of each position of one image: float32 (rows, columns) on the finest grid."""
        finest = finest_grid(layers)
        hidden = seen.unsupervised * self.odd[:, None, None]
        for layer, weights in zip(layers, self.weights, strict=True):
            of_layer = seen.embedding[layer.places].reshape(layer.shape) @ weights
            hidden = hidden + on_grid(of_layer.T.reshape(-1, *layer.grid.hw), layer.grid, finest)
        hidden = np.maximum(hidden + self.bias[:, None, None], 0)
        return np.asarray(np.tensordot(self.out, hidden, 1) + np.float32(self.offset), np.float32)

    def append(self, builder: GraphBuilder, embedding: str, unsupervised: str, layers: Sequence[PackedLayer]) -> str:
        """The evidence in a graph, [batch, rows, columns] on the finest grid.

        It is given packed embeddings [batch, values] and the unsupervised map on that grid.
        """
        finest = finest_grid(layers)
        channel = builder.op("Reshape", unsupervised, builder.constant(np.array([-1, 1, *finest.hw], np.int64)))
        parts = [builder.op("Mul", channel, builder.constant(self.odd[:, None, None]))]
        for layer, weights in zip(layers, self.weights, strict=True):
            product = builder.op("MatMul", unpack_layer(builder, embedding, layer), builder.constant(weights))
            channels_first = builder.op("Transpose", product, perm=[0, 2, 1])
            shape = np.array([-1, len(self.bias), *layer.grid.hw], np.int64)
            grid = builder.op("Reshape", channels_first, builder.constant(shape))
            parts.append(grid if layer.grid == finest else resample(builder, grid, layer.grid, finest))
        biased = builder.op("Add", builder.op("Sum", *parts), builder.constant(self.bias[:, None, None]))
        weighted = builder.op("Mul", builder.op("Relu", biased), builder.constant(self.out[:, None, None]))
        summed = builder.op("ReduceSum", weighted, builder.constant(np.array([1], np.int64)), keepdims=0)
        return builder.op("Add", summed, builder.constant(np.float32(self.offset)))


@dataclass(frozen=True)
class Seen:
    """What the network sees of one image: its packed embedding, and its unsupervised map on the finest grid."""

    embedding: NDArray[np.float32]
    unsupervised: NDArray[np.float32]


def finest_grid(layers: Sequence[PackedLayer]) -> Grid:
    """The grid of the layer with the smallest stride."""
    return min((layer.grid for layer in layers), key=lambda grid: grid.stride)


def patches_of(seen: Seen, layers: Sequence[PackedLayer], positions: NDArray[np.intp]) -> NDArray[np.float32]:
    """The channels of all layers at some positions of the finest grid, then the unsupervised value: (n, channels)."""
    finest = finest_grid(layers)
    rows, columns = np.divmod(positions, finest.hw[1])
    parts = []
    for layer in layers:
        values = seen.embedding[layer.places].reshape(layer.shape)
        if layer.grid == finest:
            parts.append(values[positions])
            continue
        down, across = (interpolation_matrix(layer.grid.centers(axis), finest.centers(axis)) for axis in (0, 1))
        shares = down[rows][:, :, None] * across[columns][:, None, :]
        parts.append(shares.reshape(len(positions), -1).astype(np.float32) @ values)
    return np.concatenate([*parts, seen.unsupervised.ravel()[positions, None]], axis=1)


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each channel over patches of good parts."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @staticmethod
    def of(patches: NDArray[np.float32]) -> Scaling:
        deviation = patches.std(axis=0)
        return Scaling(patches.mean(axis=0), deviation + np.float32(1e-3 * deviation.mean() + 1e-6))

    def apply(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((patches - self.mean) / self.deviation, np.float32)


def train_network(
    good: NDArray[np.float32],
    defective: NDArray[np.float32],
    weights: NDArray[np.float64],
    scaling: Scaling,
    layers: Sequence[PackedLayer],
    seed: int,
) -> PatchNetwork:
    """The network that tells `defective` patches (n, channels) from `good` ones; `weights` say how often each is drawn.

    Adam on the logistic loss of drawn patches, its steps shrinking to nothing along half a cosine.
    """
    rng = np.random.default_rng(seed)
    good, defective = scaling.apply(good), scaling.apply(defective)
    channels, num_defective = good.shape[1], int(BATCH * DEFECTIVE_SHARE)
    rising = np.cumsum(weights) / weights.sum()
    target = np.zeros(BATCH, np.float32)
    target[:num_defective] = 1
    first = rng.normal(0, np.sqrt(2 / channels), (channels, HIDDEN)).astype(np.float32)
    parameters = [first, np.zeros(HIDDEN, np.float32)]
    parameters += [rng.normal(0, np.sqrt(1 / HIDDEN), HIDDEN).astype(np.float32), np.zeros(1, np.float32)]
    moments = [(np.zeros_like(values), np.zeros_like(values)) for values in parameters]
    for step in range(1, STEPS + 1):
        drawn = np.minimum(np.searchsorted(rising, rng.random(num_defective)), len(defective) - 1)
        patches = np.concatenate([defective[drawn], good[rng.integers(len(good), size=BATCH - num_defective)]])
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        for place, gradient in enumerate(_gradients(parameters, patches, target)):
            mean, square = moments[place]
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            direction = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            decay = DECAY if place in (0, 2) else 0.0
            parameters[place] = (parameters[place] - rate * (direction + decay * parameters[place])).astype(np.float32)
    hidden, bias, out, offset = parameters
    hidden = hidden / scaling.deviation[:, None]
    bias = (bias - scaling.mean @ hidden).astype(np.float32)
    *weights_of_layers, odd = np.split(hidden.astype(np.float32), np.cumsum([layer.channels for layer in layers]))
    return PatchNetwork(tuple(weights_of_layers), odd[0], bias, out, float(offset[0]))


def _gradients(
    parameters: Sequence[NDArray[np.float32]], patches: NDArray[np.float32], target: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Of the mean logistic loss, for each of the parameters."""
    hidden, bias, out, offset = parameters
    active = np.maximum(patches @ hidden + bias, 0)
    logits = active @ out + offset
    error = ((1 / (1 + np.exp(-np.clip(logits, -30, 30))) - target) / len(patches)).astype(np.float32)
    behind = error[:, None] * out * (active > 0)
    return [patches.T @ behind, behind.sum(axis=0), active.T @ error, error.sum(keepdims=True)]
