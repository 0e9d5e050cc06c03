"""Metrics that can be trusted: NumPy alone, exact, usable on their own (`from blemish import metrics`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blemish.metrics.accumulate import PixelAccumulator
    from blemish.metrics.compare import Difference, compare_images, compare_pixels, delong
    from blemish.metrics.components import label_regions
    from blemish.metrics.evaluate import image_metrics, operating_point
    from blemish.metrics.image_overlap import aupimo
    from blemish.metrics.intervals import auroc_interval, clopper_pearson
    from blemish.metrics.marking import pixel_threshold, segf1
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
    from blemish.metrics.spro import Saturation, auspro, read_defects_config

_HOMES = {
    "Confusion": "operating",
    "Difference": "compare",
    "PixelAccumulator": "accumulate",
    "PrecisionRecallCurve": "ranking",
    "RocCurve": "ranking",
    "Saturation": "spro",
    "aupimo": "image_overlap",
    "aupro": "overlap",
    "auroc": "ranking",
    "auroc_interval": "intervals",
    "auspro": "spro",
    "average_precision": "ranking",
    "clopper_pearson": "intervals",
    "compare_images": "compare",
    "compare_pixels": "compare",
    "confusion": "operating",
    "delong": "compare",
    "f1_max": "ranking",
    "image_metrics": "evaluate",
    "label_regions": "components",
    "mse": "reconstruction",
    "operating_point": "evaluate",
    "pixel_threshold": "marking",
    "precision_recall_curve": "ranking",
    "psnr": "reconstruction",
    "read_defects_config": "spro",
    "roc_curve": "ranking",
    "segf1": "marking",
    "separation_ratio": "operating",
    "ssim": "reconstruction",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
