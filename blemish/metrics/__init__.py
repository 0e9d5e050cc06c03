"""Metrics that can be trusted: NumPy alone, exact, usable on their own (`from blemish import metrics`)."""

from blemish.metrics.accumulate import PixelAccumulator
from blemish.metrics.components import label_regions
from blemish.metrics.evaluate import image_metrics, operating_point
from blemish.metrics.intervals import clopper_pearson
from blemish.metrics.operating import Confusion, confusion, separation_ratio
from blemish.metrics.overlap import aupro
from blemish.metrics.ranking import (
    PrecisionRecallCurve,
    RocCurve,
    auroc,
    average_precision,
    f1_max,
    precision_recall_curve,
    roc_curve,
)

__all__ = [
    "Confusion",
    "PixelAccumulator",
    "PrecisionRecallCurve",
    "RocCurve",
    "aupro",
    "auroc",
    "average_precision",
    "clopper_pearson",
    "confusion",
    "f1_max",
    "image_metrics",
    "label_regions",
    "operating_point",
    "precision_recall_curve",
    "roc_curve",
    "separation_ratio",
]
