"""Every registered detector keeps every promise of the contract."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from blemish.registry import DETECTORS
from blemish.schema import Backbone
from blemish.testing.checks import CHECKS, Subject

BRIEFLY = {"width": 8, "epochs": 6, "batch_size": 8, "augmentation": "none"}
FEW_STEPS = {"epochs": 5, "patience": 0, "width": 4}
DISTILLED = {"epochs": 15, "patience": 0, "batch_size": 4, "layers": "stride4,stride8", "fusion": "sum"}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cae": FEW_STEPS,
    "unet_ae": {**FEW_STEPS, "scales": 2},
    "vae": {**FEW_STEPS, "latent": 4},
    "ganomaly": {**FEW_STEPS, "width": 8, "latent": 8},
    "student_teacher": DISTILLED,
    "reverse_distillation": {**DISTILLED, "epochs": 20, "layers": "", "width": 16, "code_channels": 8},
    "classifier": {"epochs": 20, "patience": 0, "batch_size": 4, "width": 16},
}
"""Settings that make the learned detectors small; those that are not named here keep their defaults."""

KNOWN_FAILURES = {
    ("classifier", "peak_lies_in_the_defect"): "sixteen images and a few seconds teach it that something is wrong, "
    "not where",
}
"""What a detector does not keep on the tiny product, and why."""


@pytest.fixture(scope="session")
def subject_of(backbone: Backbone) -> Callable[[str], Subject]:
    """The subject of a detector, made once."""
    return functools.cache(lambda name: Subject(name, backbone, settings=SETTINGS.get(name)))


def marks(name: str, check: Callable[[Subject], None]) -> list[pytest.MarkDecorator]:
    reason = KNOWN_FAILURES.get((name, check.__name__))
    one_worker = pytest.mark.xdist_group(name)
    return [one_worker] if reason is None else [one_worker, pytest.mark.xfail(reason=reason, strict=False)]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=marks(name, check))
        for name in DETECTORS
        for check in CHECKS
    ],
)
def test_detector(name: str, check: Callable[[Subject], None], subject_of: Callable[[str], Subject]) -> None:
    if DETECTORS[name].startswith("blemish.learned."):
        pytest.importorskip("torch")
    check(subject_of(name))
