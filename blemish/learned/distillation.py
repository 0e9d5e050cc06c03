"""A student predicts the features of a frozen teacher; where it fails, the part is not as good parts are.

What `student_teacher` and `reverse_distillation` share: the teacher's standardized features, the distance between
features and predictions, one raw anomaly map from the distances of several layers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, cast

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.detectors.base import FitRequest
from blemish.errors import SettingsError
from blemish.graph.grid import cell_grid, interpolation_matrix
from blemish.learned.backbone import checked_layers, load_frozen
from blemish.learned.contract import Batch, Learner, Samples, TrainingSettings, pixels_of
from blemish.learned.fitting import Made, fit_learned, prepare_augmented
from blemish.learned.reading import MapReader, OneGraph, raw_maps
from blemish.learned.training import train
from blemish.schema import Backbone, Fit, Image, Reduction

Distance = Literal["cosine", "l2"]
Fusion = Literal["sum", "product"]

REDUCTION = Reduction("max")
MIN_SIDE = 32
"""Images below this have too few positions at the coarser layers."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DistillationSettings(TrainingSettings):
    """What both detectors let a user set."""

    layers: Annotated[
        tuple[str, ...], Field(description="layers of the backbone; none: the last of strides 4, 8 and 16")
    ] = ()
    distance: Annotated[Distance, Field(description="between features: 1 - cosine, or the mean squared difference")] = (
        "cosine"
    )
    fusion: Annotated[Fusion, Field(description="of the layers' maps: mean or geometric mean")] = "product"
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 6.0


NUM_STATISTICS = 64
"""How many images tell the center and scale of the teacher's channels."""


def fit_distilled(
    student: Callable[[Teacher], nn.Module], request: FitRequest[DistillationSettings], *, name: str
) -> Fit:
    """The `Fit` of a detector whose untrained student `student` builds for a teacher."""
    settings, backbone = request.settings, request.backbone
    if backbone is None:
        raise SettingsError(f"{name} needs a backbone to learn from: give one, such as efficientnet-lite0")
    height, width = request.input_hw
    if min(height, width) < MIN_SIDE:
        raise SettingsError(f"{name} takes images of at least {MIN_SIDE} px a side, found {width} x {height} px")
    layers = checked_layers(backbone, settings.layers)

    def make(some: Sequence[Image], training_name: str) -> Made:
        def build() -> DistillationLearner:
            teacher = Teacher(backbone, layers, some)
            return DistillationLearner(teacher, student(teacher), settings.distance, settings.fusion)

        prepare = functools.partial(prepare_augmented, settings.augmentation)
        trained = train(build, Samples(some, prepare), request, name=training_name)
        learner = cast(DistillationLearner, trained.learner)
        reader = MapReader(learner.grid, (height, width), sigma=settings.sigma, reduction=REDUCTION)
        reader.learn_usual(raw_maps(learner, some))
        return Made(OneGraph(learner, reader), {**trained.facts, "layers": list(layers)})

    return fit_learned(make, request, name=name, reduction=REDUCTION)


class Teacher(nn.Module):
    """Pixels from 0 to 1 to the frozen backbone's feature maps, each channel centered and scaled on good images."""

    def __init__(self, backbone: Backbone, layers: Sequence[str], images: Sequence[Image]) -> None:
        super().__init__()
        described = [backbone.layer(name) for name in layers]
        self.channels = tuple(layer.channels for layer in described)
        self.strides = tuple(layer.stride for layer in described)
        height, width = images[0].shape[:2]
        self.grids = tuple(cell_grid((height, width), layer.stride, layer.offset) for layer in described)
        self.network = load_frozen(backbone, layers)
        self.register_buffer("pixel_mean", torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(backbone.std).reshape(1, 3, 1, 1))
        for name, value in (("mean", 0.0), ("std", 1.0)):
            for index, channels in enumerate(self.channels):
                self.register_buffer(f"{name}_{index}", torch.full((1, channels, 1, 1), value))
        self._standardize(images)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            features = self.network(self.scaled(pixels))
            return tuple(
                (feature - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"std_{index}")
                for index, feature in enumerate(features)
            )

    def scaled(self, pixels: Tensor) -> Tensor:
        """The pixels as the backbone wants them."""
        return (pixels * 255 - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_std")

    def _standardize(self, images: Sequence[Image]) -> None:
        step = max(1, len(images) // NUM_STATISTICS)
        chosen = [images[index] for index in range(0, len(images), step)][:NUM_STATISTICS]
        sums = [torch.zeros(2, channels, dtype=torch.float64) for channels in self.channels]
        counts = [0] * len(self.channels)
        for start in range(0, len(chosen), 8):
            for index, feature in enumerate(self(pixels_of(chosen[start : start + 8]))):
                values = feature.double().transpose(0, 1).flatten(1)
                sums[index] += torch.stack([values.sum(1), values.square().sum(1)])
                counts[index] += values.shape[1]
        for index, (total, count) in enumerate(zip(sums, counts, strict=True)):
            mean = total[0] / count
            std = (total[1] / count - mean.square()).clamp_min(0).sqrt()
            std = std.clamp_min(1e-3 * float(std.mean()) + 1e-6)
            self.get_buffer(f"mean_{index}").copy_(mean.reshape(1, -1, 1, 1))
            self.get_buffer(f"std_{index}").copy_(std.reshape(1, -1, 1, 1))


class DistillationLearner(Learner):
    """A teacher and a student; `student` takes scaled pixels and the teacher's features and predicts the features.

    The raw anomaly map is on `grid`, that of the finest layer.
    """

    def __init__(self, teacher: Teacher, student: nn.Module, distance: Distance, fusion: Fusion) -> None:
        super().__init__()
        self.teacher, self.student = teacher, student
        self.distance, self.fusion = distance, fusion
        self.grid = min(teacher.grids, key=lambda grid: grid.stride)
        for index, source in enumerate(teacher.grids):
            for axis, name in enumerate(("rows", "columns")):
                matrix = interpolation_matrix(source.centers(axis), self.grid.centers(axis)).astype(np.float32)
                self.register_buffer(f"{name}_{index}", torch.from_numpy(matrix if axis == 0 else matrix.T.copy()))

    def distances(self, pixels: Tensor) -> list[Tensor]:
        """One map [batch, 1, rows, columns] per layer: how far the prediction is from the teacher's features."""
        features = self.teacher(pixels)
        predictions = self.student(self.teacher.scaled(pixels), features)
        return [
            feature_distance(feature.float(), prediction.float(), self.distance)
            for feature, prediction in zip(features, predictions, strict=True)
        ]

    def loss(self, batch: Batch, group: int) -> Tensor:
        return torch.stack([distance.mean() for distance in self.distances(batch.input)]).sum()

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        maps = [
            self.get_buffer(f"rows_{index}") @ distance @ self.get_buffer(f"columns_{index}")
            for index, distance in enumerate(self.distances(pixels))
        ]
        return fuse(maps, self.fusion), None


def feature_distance(features: Tensor, predictions: Tensor, distance: Distance) -> Tensor:
    """[batch, channels, rows, columns] twice to [batch, 1, rows, columns]: 1 - cosine, or the mean square."""
    if distance == "cosine":
        return 1 - F.cosine_similarity(features, predictions, dim=1, eps=1e-6)[:, None]
    return (features - predictions).square().mean(dim=1, keepdim=True)


def fuse(maps: Sequence[Tensor], fusion: Fusion) -> Tensor:
    """Maps [batch, 1, rows, columns] of several layers as one [batch, rows, columns]: their mean or geometric mean."""
    stacked = torch.cat(list(maps), dim=1)
    if fusion == "sum":
        return stacked.mean(dim=1)
    return stacked.clamp_min(1e-6).log().mean(dim=1).exp()
