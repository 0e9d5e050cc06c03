"""Weights in 8 bits, rounded so that what is lost by one is made up for by the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Largest int8 used; -128 is left out, so that the range is symmetric."""
DAMPING = 0.01
"""Share of the mean second moment added to each: channels that are sums of others would leave the answer open."""


@dataclass(frozen=True)
class Seen:
    """Range and second moments of a value, over `count` positions.

    `moments` is float64 (channels + 1, channels + 1): sums over the positions of the products of all channels with each
    other and with a constant 1, which comes last.
    """

    low: float
    high: float
    count: int
    moments: NDArray[np.float64]

    @staticmethod
    def of(value: NDArray[np.float32]) -> Seen:
        """What one array (positions, channels) tells.

        >>> Seen.of(np.array([[1.0, 3.0]], np.float32)).moments.tolist()
        [[1.0, 3.0, 1.0], [3.0, 9.0, 3.0], [1.0, 3.0, 1.0]]
        """
        with_one = np.concatenate([value, np.ones((len(value), 1), np.float32)], axis=1)
        return Seen(float(value.min()), float(value.max()), len(value), (with_one.T @ with_one).astype(np.float64))

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            min(self.low, other.low),
            max(self.high, other.high),
            self.count + other.count,
            self.moments + other.moments,
        )

    def part(self, channels: slice) -> Seen:
        """The same of some of the channels; the range stays that of all."""
        kept = np.append(np.arange(len(self.moments) - 1)[channels], len(self.moments) - 1)
        return Seen(self.low, self.high, self.count, self.moments[np.ix_(kept, kept)])

    @property
    def farthest(self) -> float:
        """The largest distance from zero."""
        return max(-self.low, self.high)


@dataclass(frozen=True)
class Scale:
    """How real values are written in 8 bits without sign: `value = step * (stored - zero)`."""

    step: np.float32
    zero: np.uint8

    @staticmethod
    def over(low: float, high: float) -> Scale:
        """The scale over a range, with an exact zero.

        >>> Scale.over(0.0, 2.55).zero.item(), Scale.over(-1.0, 1.0).zero.item()
        (0, 128)
        """
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / 255, 1e-9)
        return Scale(np.float32(step), np.uint8(round(-low / step)))


def round_weights(
    weights: NDArray[np.float32], steps: NDArray[np.float32], seen: Seen, noise: float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows of weights (rows, columns) in units of each row's step, and what to add to each row's sum (its bias).

    Columns are rounded one after the other, and the columns still to come are changed so that the sums over inputs
    as `seen`, which carry noise of that variance, move least in the mean of squares (Frantar et al., GPTQ, ICLR 2023).
    Behind them comes the constant 1, a column that is not rounded: it takes up the mean of what is left.
    """
    rows, columns = weights.shape
    moments = seen.moments / seen.count
    inner = np.arange(columns)
    moments[inner, inner] += noise + DAMPING * np.trace(moments[:columns, :columns]) / columns + 1e-12
    moments[columns, columns] *= 1 + 1e-6
    # A row of the triangle says how a change of its column is best answered by those behind it: the inverse of the
    # moments is triangle.T @ triangle. It comes from their own factor, which exists however alike channels are.
    triangle = np.linalg.inv(np.linalg.cholesky(moments[::-1, ::-1])[::-1, ::-1])
    left = np.concatenate([weights, np.zeros((rows, 1))], axis=1)
    stored = np.empty((rows, columns), np.int8)
    for column in range(columns):
        rounded = np.clip(np.round(left[:, column] / steps), -LARGEST, LARGEST)
        stored[:, column] = rounded
        error = (left[:, column] - rounded * steps) / triangle[column, column]
        left[:, column + 1 :] -= np.outer(error, triangle[column, column + 1 :])
    return stored, left[:, columns].astype(np.float32)
