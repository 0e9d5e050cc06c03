"""The frozen dataclasses that pass between stages; plain values, validated where they are made."""

from __future__ import annotations

from blemish.schema.alignment import Align, Alignment, Pose
from blemish.schema.calibration import (
    Calibration,
    Condition,
    CostCurve,
    Costs,
    Polygon,
    Promise,
    RegionSettings,
    Rule,
    Zone,
    ZoneMask,
)
from blemish.schema.evaluation import Evaluation, ImageResult, Picture
from blemish.schema.fit import Backbone, Fit, HeldOut, Layer, Reduction, Tiling
from blemish.schema.images import (
    AS_THEY_ARE,
    DEFECTIVE,
    GOOD,
    MAX_PIXELS,
    AnomalyMap,
    Image,
    ImageItem,
    Mask,
    ReadSettings,
    Split,
)
from blemish.schema.progress import Cancel, Progress, cancellable, never, silent
from blemish.schema.sensitivity import GradedKind, PaintedTrial, Sensitivity
from blemish.schema.training import Device, Precision, RunLogger, TrainingRun
from blemish.schema.verdict import Decision, Judgement, Prediction, Region, Verdict

__all__ = [
    "AS_THEY_ARE",
    "DEFECTIVE",
    "GOOD",
    "MAX_PIXELS",
    "Align",
    "Alignment",
    "AnomalyMap",
    "Backbone",
    "Calibration",
    "Cancel",
    "Condition",
    "CostCurve",
    "Costs",
    "Decision",
    "Device",
    "Evaluation",
    "Fit",
    "GradedKind",
    "HeldOut",
    "Image",
    "ImageItem",
    "ImageResult",
    "Judgement",
    "Layer",
    "Mask",
    "PaintedTrial",
    "Picture",
    "Polygon",
    "Pose",
    "Precision",
    "Prediction",
    "Progress",
    "Promise",
    "ReadSettings",
    "Reduction",
    "Region",
    "RegionSettings",
    "Rule",
    "RunLogger",
    "Sensitivity",
    "Split",
    "Tiling",
    "TrainingRun",
    "Verdict",
    "Zone",
    "ZoneMask",
    "cancellable",
    "never",
    "silent",
]
