"""Visual inspection for industry: learns good parts from good images, finds what is wrong with the next one.

The public names are loaded when they are first used, so that `import blemish` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blemish.errors import (
        BackboneError,
        BlemishError,
        BundleError,
        CalibrationError,
        Cancelled,
        DataError,
        EngineError,
        EngineWarning,
        ImageError,
        MetricError,
        OutputError,
        SettingsError,
        TrainingError,
    )
    from blemish.inspection.inspector import Inspector
    from blemish.line.addresses import open_source
    from blemish.model import Model, load, train
    from blemish.registry import detector_names
    from blemish.schema import Calibration, Evaluation, ReadSettings, Region, TrainingRun, Verdict
    from blemish.study.comparison import Comparison, compare

__version__ = "0.1.0"

_HOMES = {
    "BackboneError": "blemish.errors",
    "BlemishError": "blemish.errors",
    "BundleError": "blemish.errors",
    "Calibration": "blemish.schema",
    "CalibrationError": "blemish.errors",
    "Cancelled": "blemish.errors",
    "Comparison": "blemish.study.comparison",
    "DataError": "blemish.errors",
    "EngineError": "blemish.errors",
    "EngineWarning": "blemish.errors",
    "Evaluation": "blemish.schema",
    "ImageError": "blemish.errors",
    "Inspector": "blemish.inspection.inspector",
    "MetricError": "blemish.errors",
    "Model": "blemish.model",
    "OutputError": "blemish.errors",
    "ReadSettings": "blemish.schema",
    "Region": "blemish.schema",
    "SettingsError": "blemish.errors",
    "TrainingError": "blemish.errors",
    "TrainingRun": "blemish.schema",
    "Verdict": "blemish.schema",
    "compare": "blemish.study.comparison",
    "detector_names": "blemish.registry",
    "load": "blemish.model",
    "open_source": "blemish.line.addresses",
    "train": "blemish.model",
}

__all__ = [
    "BackboneError",
    "BlemishError",
    "BundleError",
    "Calibration",
    "CalibrationError",
    "Cancelled",
    "Comparison",
    "DataError",
    "EngineError",
    "EngineWarning",
    "Evaluation",
    "ImageError",
    "Inspector",
    "MetricError",
    "Model",
    "OutputError",
    "ReadSettings",
    "Region",
    "SettingsError",
    "TrainingError",
    "TrainingRun",
    "Verdict",
    "compare",
    "detector_names",
    "load",
    "open_source",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'blemish' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
