"""The networks of `classifier`: encoders that give feature maps at several strides, and the head that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from blemish.learned.backbone import BackboneModule, load_frozen
from blemish.learned.resnet import MEAN, STD, ResNet
from blemish.schema import Backbone


class Encoder(nn.Module):
    """Pixels from 0 to 1 to feature maps, the finest first; a frozen one keeps its weights and statistics."""

    def __init__(
        self,
        network: nn.Module,
        channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        is_frozen: bool,
    ) -> None:
        super().__init__()
        self.network, self.channels, self.is_frozen = network, tuple(channels), is_frozen
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, 3, 1, 1))
        network.requires_grad_(not is_frozen)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        scaled = (pixels * 255 - self.get_buffer("mean")) / self.get_buffer("std")
        return cast("tuple[Tensor, ...]", self.network(scaled))

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        if self.is_frozen:
            self.network.eval()
        return self


class SmallNetwork(nn.Module):
    """A small residual network of our own: four stages at strides 4 to 32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 3 * width, 4 * width)
        self.stem = block(3, width // 2, stride=2)
        before = (width // 2, *self.channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(block(inner, outer, stride=2), Residual(outer))
            for inner, outer in zip(before, self.channels, strict=True)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        values = self.stem(pixels)
        maps = []
        for stage in self.stages:
            values = stage(values)
            maps.append(values)
        return tuple(maps)


class PatchHead(nn.Module):
    """Feature maps, finest first, to one logit per position of the finest: how sure it is that a defect is there.

    A feature pyramid (Lin et al., CVPR 2017): each coarser map is handed down and added.
    """

    def __init__(self, channels: Sequence[int], width: int, dropout: float) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(each), nn.Conv2d(each, width, 1)) for each in channels
        )
        self.smooth = nn.ModuleList(block(width, width) for _ in channels)
        self.dropout = nn.Dropout2d(dropout)
        self.logit = nn.Conv2d(width, 1, 1)
        assert self.logit.bias is not None
        nn.init.constant_(self.logit.bias, -3.0)  # at first nothing is defective: few positions ever are

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        values: Tensor | None = None
        for lateral, smooth, feature in reversed(list(zip(self.laterals, self.smooth, features, strict=True))):
            own = lateral(feature)
            if values is not None:
                own = own + functional.interpolate(
                    values, size=list(own.shape[-2:]), mode="bilinear", align_corners=False
                )
            values = smooth(own)
        assert values is not None
        return cast(Tensor, self.logit(self.dropout(values)))


class Residual(nn.Module):
    """Two convolutions beside a direct way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            block(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu(values + self.inner(values))


def block(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    """Convolution 3 x 3, batch norm, rectifier."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    )


def small_encoder(width: int) -> Encoder:
    network = SmallNetwork(width)
    return Encoder(network, network.channels, (127.5,) * 3, (63.75,) * 3, is_frozen=False)


def resnet_encoder(network: ResNet, *, is_frozen: bool) -> Encoder:
    return Encoder(network, network.channels, MEAN, STD, is_frozen=is_frozen)


def backbone_encoder(backbone: Backbone, layers: Sequence[str], *, is_frozen: bool) -> Encoder:
    network: BackboneModule = load_frozen(backbone, layers)
    channels = [backbone.layer(name).channels for name in layers]
    return Encoder(network, channels, backbone.mean, backbone.std, is_frozen=is_frozen)
