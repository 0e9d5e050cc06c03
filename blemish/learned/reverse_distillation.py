"""Reverse distillation: a narrow code of the frozen teacher's features, decoded back into them, coarse to fine.

Deng and Li, CVPR 2022, with a small decoder of our own: its width does not depend on the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.learned.distillation import DistillationSettings, fit_distilled
from blemish.learned.pyramid import Residual, block
from blemish.schema import Fit


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(DistillationSettings):
    """Settings of `reverse_distillation`."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 40
    batch_size: Annotated[int, Field(ge=1, le=1024, description="images per step")] = 8
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="of the first epoch")] = 4e-3
    width: Annotated[int, Field(ge=16, le=1024, description="channels of the decoder's coarsest stage")] = 128
    code_channels: Annotated[int, Field(ge=1, le=1024, description="channels of the code between the two halves")] = 64


INFO = DetectorInfo(
    name="reverse_distillation",
    summary="features of a frozen backbone, decoded from a narrow code; what does not pass the code is a defect",
    paper="Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022",
    settings=Settings,
    needs_backbone=True,
    needs_torch=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""
    settings = request.settings
    return fit_distilled(
        lambda teacher: Decoder(teacher.channels, teacher.strides, settings.width, settings.code_channels),
        request,
        name=INFO.name,
    )


class Decoder(nn.Module):
    """Compresses feature maps of several layers into one narrow code on the coarsest grid and decodes them again.

    What only defects show does not pass the code, so it is missing in the decoded features.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int, code_channels: int) -> None:
        super().__init__()
        coarsest = max(strides)
        reduced = [width if stride == coarsest else width // 2 for stride in strides]
        self.reducers = nn.ModuleList(
            _patches(inner, outer, coarsest // stride)
            for inner, outer, stride in zip(channels, reduced, strides, strict=True)
        )
        self.encode = nn.Sequential(block(sum(reduced), 2 * width), nn.Conv2d(2 * width, code_channels, 1))
        # Coarse to fine; each stage decodes one layer and hands on.
        self.order = sorted(range(len(channels)), key=lambda index: -strides[index])
        widths = [max(width // 4, width * strides[index] // coarsest) for index in self.order]
        before = [code_channels, *widths[:-1]]
        self.narrow = nn.ModuleList(nn.Conv2d(inner, outer, 1) for inner, outer in zip(before, widths, strict=True))
        self.stages = nn.ModuleList(Residual(outer) for outer in widths)
        self.heads = nn.ModuleList(
            nn.Conv2d(outer, channels[index], 1) for outer, index in zip(widths, self.order, strict=True)
        )

    def forward(self, pixels: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        coarsest = features[self.order[0]].shape[-2:]
        reduced = [reduce(feature) for reduce, feature in zip(self.reducers, features, strict=True)]
        values = self.encode(torch.cat([_resized(each, coarsest) for each in reduced], dim=1))
        predictions: dict[int, Tensor] = {}
        for index, narrow, stage, head in zip(self.order, self.narrow, self.stages, self.heads, strict=True):
            values = stage(_resized(narrow(values), features[index].shape[-2:]))
            predictions[index] = head(values)
        return [predictions[index] for index in range(len(features))]


def _patches(inner: int, outer: int, side: int) -> nn.Sequential:
    """Each square of `side` positions as one position of `outer` channels."""
    return nn.Sequential(nn.Conv2d(inner, outer, side, side, bias=False), nn.BatchNorm2d(outer), nn.ReLU())


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return F.interpolate(values, size=list(size), mode="bilinear", align_corners=False)
