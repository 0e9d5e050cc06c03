"""The building blocks of the reconstructing networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def halving(before: int, after: int) -> nn.Sequential:
    """A 4 x 4 convolution of stride 2, batch norm, LeakyReLU: half the size, without an uneven grid."""
    return nn.Sequential(
        nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)
    )


def doubling(before: int, after: int) -> nn.Sequential:
    """The transposed form of `halving`: double the size."""
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)
    )


def pixels_from(channels: int) -> nn.Sequential:
    """The last doubling, to pixels from 0 to 1."""
    return nn.Sequential(nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Sigmoid())


def encoder(widths: Sequence[int]) -> nn.Sequential:
    """One halving for each width, from pixels."""
    return nn.Sequential(*(halving(before, after) for before, after in itertools.pairwise([3, *widths])))


def decoder(widths: Sequence[int]) -> nn.Sequential:
    """As many doublings as widths: from the first width through the others to pixels."""
    steps = [doubling(before, after) for before, after in itertools.pairwise(widths)]
    return nn.Sequential(*steps, pixels_from(widths[-1]))


def doubled(width: int, count: int) -> list[int]:
    """`count` widths, each twice the one before.

    >>> doubled(32, 4)
    [32, 64, 128, 256]
    """
    return [width * 2**step for step in range(count)]
