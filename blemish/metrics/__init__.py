"""Metrics that can be trusted: NumPy alone, exact, usable on their own (`from blemish import metrics`)."""

from blemish.metrics.accumulate import PixelAccumulator
from blemish.metrics.aupimo import aupimo
from blemish.metrics.compare import Difference, compare_images, compare_pixels, delong
from blemish.metrics.components import label_regions
from blemish.metrics.evaluate import image_metrics, operating_point
from blemish.metrics.intervals import auroc_interval, beta_cdf, beta_quantile, clopper_pearson
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
from blemish.metrics.reconstruction import mse, psnr, ssim
from blemish.metrics.segf1 import pixel_threshold, segf1
from blemish.metrics.spro import Saturation, auspro, read_defects_config

__all__ = [
    "Confusion",
    "Difference",
    "PixelAccumulator",
    "PrecisionRecallCurve",
    "RocCurve",
    "Saturation",
    "aupimo",
    "aupro",
    "auroc",
    "auroc_interval",
    "auspro",
    "average_precision",
    "beta_cdf",
    "beta_quantile",
    "clopper_pearson",
    "compare_images",
    "compare_pixels",
    "confusion",
    "delong",
    "f1_max",
    "image_metrics",
    "label_regions",
    "mse",
    "operating_point",
    "pixel_threshold",
    "precision_recall_curve",
    "psnr",
    "read_defects_config",
    "roc_curve",
    "segf1",
    "separation_ratio",
    "ssim",
]
