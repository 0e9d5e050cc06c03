"""The hand-written table of detectors and where they live; modules are imported when they are asked for."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

from blemish.errors import SettingsError

if TYPE_CHECKING:
    from blemish.detectors.base import Detector

DETECTORS = {
    "patchcore": "blemish.detectors.patchcore",
    "padim": "blemish.detectors.padim",
    "template": "blemish.detectors.template",
    "student_teacher": "blemish.learned.student_teacher",
    "reverse_distillation": "blemish.learned.reverse_distillation",
    "classifier": "blemish.learned.classifier",
    "cae": "blemish.learned.cae",
    "unet_ae": "blemish.learned.unet_ae",
    "vae": "blemish.learned.vae",
    "ganomaly": "blemish.learned.ganomaly",
}
"""Name -> module. Plug-ins add to it through the entry point group `blemish.detectors`."""

LEARN_PACKAGES = ("torch", "lightning", "safetensors")
"""What the extra `learn` brings and its detectors import, some of it only once a training begins."""

PLUGIN_GROUP = "blemish.detectors"
DEFAULT_DETECTOR = "patchcore"
DEFAULT_BACKBONE = "efficientnet-lite0"


def detector_names() -> tuple[str, ...]:
    """All names that `load_detector` knows: the package's own, then those of plug-ins."""
    return (
        *DETECTORS,
        *sorted(point.name for point in entry_points(group=PLUGIN_GROUP) if point.name not in DETECTORS),
    )


def load_detector(name: str) -> Detector:
    """The detector module of that name. Raises SettingsError where there is none or an extra is missing."""
    module = DETECTORS.get(name)
    if module is None:
        module = next((point.value for point in entry_points(group=PLUGIN_GROUP) if point.name == name), None)
    if module is None:
        raise SettingsError(f"no detector is called '{name}'; there are {', '.join(detector_names())}")
    if module.startswith("blemish.learned."):
        missing = [package for package in LEARN_PACKAGES if find_spec(package) is None]
        if missing:
            raise SettingsError(
                f"detector '{name}' has learned weights and needs the extra `learn` (missing: {', '.join(missing)}): "
                'pip install "blemish[learn]"'
            )
    detector: Detector = importlib.import_module(module)
    return detector
