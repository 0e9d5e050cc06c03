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
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cae": BRIEFLY,
    "unet_ae": BRIEFLY,
    "vae": BRIEFLY,
    "ganomaly": BRIEFLY,
}
"""Settings that make a slow detector small; a detector that is not named here keeps its defaults."""


@pytest.fixture(scope="session")
def subject_of(backbone: Backbone) -> Callable[[str], Subject]:
    """The subject of a detector, made once."""
    return functools.cache(lambda name: Subject(name, backbone, settings=SETTINGS.get(name)))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=pytest.mark.xdist_group(name))
        for name in DETECTORS
        for check in CHECKS
    ],
)
def test_detector(name: str, check: Callable[[Subject], None], subject_of: Callable[[str], Subject]) -> None:
    check(subject_of(name))
