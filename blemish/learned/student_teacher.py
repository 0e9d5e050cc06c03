"""Student and teacher: a network of the backbone's form learns its features on good parts, and only there.

Feature pyramid matching of Wang et al., BMVC 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.learned.backbone import checked_layers, fresh_like
from blemish.learned.distillation import DistillationSettings, fit_distilled
from blemish.schema import Backbone, Fit


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(DistillationSettings):
    """Settings of `student_teacher`."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 40
    batch_size: Annotated[int, Field(ge=1, le=1024, description="images per step")] = 8
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="of the first epoch")] = 4e-3


INFO = DetectorInfo(
    name="student_teacher",
    summary="a student learns a frozen backbone's features on good parts; where it fails is a defect",
    paper="Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021",
    settings=Settings,
    needs_backbone=True,
    needs_torch=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)


class Student(nn.Module):
    """A network of the backbone's form, from random weights, that sees the pixels alone."""

    def __init__(self, backbone: Backbone, layers: Sequence[str]) -> None:
        super().__init__()
        self.network = fresh_like(backbone, layers)
        self.heads = nn.ModuleList(
            nn.Conv2d(backbone.layer(name).channels, backbone.layer(name).channels, 1) for name in layers
        )

    def forward(self, pixels: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        return [cast(Tensor, head(value)) for head, value in zip(self.heads, self.network(pixels), strict=True)]


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""

    def student(_: object) -> Student:
        backbone = request.backbone
        assert backbone is not None
        return Student(backbone, checked_layers(backbone, request.settings.layers))

    return fit_distilled(student, request, name=INFO.name)
