"""A network that learns good parts against painted defects, and against real ones where some are known.

Every position of a feature pyramid is judged, so that it localizes; the image's score is read from the map. Painted
defects in place of real ones follow CutPaste (Li et al., CVPR 2021) and DRAEM (Zavrtanik et al., ICCV 2021).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.errors import SettingsError
from blemish.graph.grid import cell_grid
from blemish.learned.backbone import usual_layers
from blemish.learned.contract import Batch, Learner, Sample, Samples, TrainingSettings
from blemish.learned.fitting import Made, fit_learned
from blemish.learned.pyramid import Encoder, PatchHead, backbone_encoder, resnet_encoder, small_encoder
from blemish.learned.reading import MapReader, OneGraph, raw_maps
from blemish.learned.resnet import load_resnet
from blemish.learned.training import train
from blemish.schema import Backbone, Fit, Image, Mask, Reduction
from blemish.synthesis.augment import Augmentation, augment
from blemish.synthesis.painted import make_defect

Network = Literal["cnn", "resnet18", "resnet50", "efficientnet-lite0"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(TrainingSettings):
    """Settings of `classifier`."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 20
    batch_size: Annotated[int, Field(ge=1, le=1024, description="images per step")] = 8
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="of the first epoch")] = 2e-3
    network: Annotated[
        Network, Field(description="cnn is trained from scratch; efficientnet-lite0 is the backbone that is given")
    ] = "efficientnet-lite0"
    weights: Annotated[
        str, Field(description="file of pretrained weights of a resnet; empty: through timm; random: none")
    ] = ""
    finetune: Annotated[bool, Field(description="also train the pretrained network, not the head alone")] = False
    width: Annotated[int, Field(ge=4, le=256, description="channels of the head and of the finest stage of cnn")] = 32
    synthetic_ratio: Annotated[
        float, Field(gt=0.0, lt=1.0, description="share of the good images that get a painted defect")
    ] = 0.5
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


INFO = DetectorInfo(
    name="classifier",
    summary="network that learns good parts against painted defects, position by position",
    paper="Li et al., CutPaste: Self-Supervised Learning for Anomaly Detection and Localization, CVPR 2021",
    settings=Settings,
    needs_backbone=True,
    needs_torch=True,
    learns_from_defects=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)

REDUCTION = Reduction("max")
MIN_SIDE = 32
"""Images below this have no position left at the coarsest stride."""


class Classifier(Learner):
    """An encoder and a head that gives each position the logit of a defect there."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = PatchHead(encoder.channels, width, dropout=0.1)

    def logits(self, pixels: Tensor) -> Tensor:
        """[batch, 1, rows, columns] on the grid of the finest stage."""
        logits: Tensor = self.head(self.encoder(pixels)).float()
        return logits

    def loss(self, batch: Batch, group: int) -> Tensor:
        logits = self.logits(batch.input)
        return patch_loss(logits, batch.mask) + 0.5 * image_loss(logits, batch.mask)

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        # Softplus: how sure a good position is of being good says nothing about defects elsewhere.
        return F.softplus(self.logits(pixels)[:, 0]), None


def patch_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017) of the positions, per defective position of the batch.

    `logits` is [batch, 1, rows, columns], `mask` [batch, 1, height, width]. A position is defective where more than a
    fifth of it is. A mask that covers the whole image says only that the image is defective, not where: such images
    don't count here.
    """
    is_located = (mask.flatten(1).amin(1) == 0)[:, None, None, None]
    rows, columns = logits.shape[-2:]
    target = (F.adaptive_avg_pool2d(mask, (rows, columns)) > 0.2).to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = (torch.sigmoid(logits) - target).abs()
    focal = miss.square() * cross_entropy * is_located
    return focal.sum() / (target * is_located).sum().clamp_min(MIN_POSITIVE)


MIN_POSITIVE = 50.0
"""Defective positions that a batch counts as having at least; without any, the good ones would weigh without limit."""

TOP_POSITIONS = 10


def image_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of the images, each judged by the mean of its highest logits."""
    is_defective = (mask.flatten(1).amax(1) > 0).to(logits.dtype)
    positions = logits.flatten(1)
    highest = positions.topk(min(TOP_POSITIONS, positions.shape[1]), dim=1).values.mean(1)
    return F.binary_cross_entropy_with_logits(highest, is_defective)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`; where defects are given, learns from them too."""
    settings, defects = request.settings, request.defects
    height, width = request.input_hw
    if min(height, width) < MIN_SIDE:
        raise SettingsError(f"classifier takes images of at least {MIN_SIDE} px a side, found {width} x {height} px")
    masks = [np.ones((height, width), np.bool_) if mask is None else mask for mask in defects.masks]
    build, stride = _builder(settings, request.backbone)

    def make(some: Sequence[Image], name: str) -> Made:
        prepare = functools.partial(_prepare, settings, len(some), masks)
        trained = train(build, Samples([*some, *defects.images], prepare, len(some)), request, name=name)
        # The grid of the cells that `patch_loss` takes the mask on, wherever the network's receptive fields lie.
        grid = cell_grid((height, width), stride)
        reader = MapReader(grid, (height, width), sigma=settings.sigma, reduction=REDUCTION)
        reader.learn_usual(raw_maps(trained.learner, some))
        facts = {**trained.facts, "network": settings.network, "num_defects": len(defects.images)}
        return Made(OneGraph(trained.learner, reader), facts)

    return fit_learned(make, request, name=INFO.name, reduction=REDUCTION)


def _prepare(
    settings: Settings, num_good: int, masks: Sequence[Mask], index: int, image: Image, rng: np.random.Generator
) -> Sample:
    """An augmented image: good, good with a painted defect, or with its real one."""
    draw = int(rng.integers(2**63))
    changed = augment(image, np.random.default_rng(draw), settings.augmentation)
    if index >= num_good:
        return Sample(changed, changed, _move_mask(masks[index - num_good], draw, settings.augmentation))
    if rng.random() >= settings.synthetic_ratio:
        return Sample(changed, changed, np.zeros(changed.shape[:2], np.bool_))
    damaged, mask = make_defect(changed, rng)
    return Sample(damaged, changed, mask)


def _move_mask(mask: Mask, draw: int, augmentation: Augmentation) -> Mask:
    """The mask moved as `augment` moves the image with the same draw; one that covers everything still does."""
    moves_only = replace(augmentation, brightness=0.0, contrast=0.0, noise=0.0, blur=0.0)
    picture = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    return augment(picture, np.random.default_rng(draw), moves_only)[..., 0] > 127


def _builder(settings: Settings, backbone: Backbone | None) -> tuple[Callable[[], Classifier], int]:
    """What builds the network, and the stride of its logits."""
    if settings.network == "cnn":
        return lambda: Classifier(small_encoder(settings.width), settings.width), 4
    if settings.network == "efficientnet-lite0":
        if backbone is None:
            raise SettingsError("network=efficientnet-lite0 needs a backbone: give one, or set network=cnn")
        layers = usual_layers(backbone)
        encoder = functools.partial(backbone_encoder, backbone, layers, is_frozen=not settings.finetune)
        return lambda: Classifier(encoder(), settings.width), backbone.layer(layers[0]).stride
    name = settings.network
    is_frozen = not settings.finetune and settings.weights != "random"
    return (
        lambda: Classifier(resnet_encoder(load_resnet(name, settings.weights), is_frozen=is_frozen), settings.width),
        4,
    )
