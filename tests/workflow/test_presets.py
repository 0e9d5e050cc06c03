"""Presets: choices of size and settings by name, which --size and --set override."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import blemish
from blemish.errors import SettingsError
from blemish.model import Model
from blemish.registry import load_detector
from blemish.testing.tiny import TinyProduct
from blemish.workflow.detector_settings import describe_presets, make_settings

INFO = load_detector("patchcore").INFO

Train = Callable[..., Model]


@pytest.fixture
def train(product: TinyProduct, backbone_description: str) -> Train:
    def train_small(**options: Any) -> Model:
        return blemish.train(list(product.good), backbone=backbone_description, **options)

    return train_small


@pytest.mark.parametrize("name", INFO.presets)
def test_a_preset_holds_settings_that_the_detector_knows(name: str) -> None:
    preset = INFO.presets[name]
    assert preset.size % 32 == 0
    assert preset.summary
    make_settings(INFO, preset.settings)


def test_balanced_is_what_is_used_without_a_preset() -> None:
    assert list(INFO.presets) == ["fast", "balanced", "accurate"]
    balanced = INFO.presets["balanced"]
    assert (balanced.size, dict(balanced.settings)) == (256, {})


def test_a_preset_gives_size_and_settings(train: Train) -> None:
    preset = INFO.presets["fast"]
    manifest = train(preset="fast").bundle.manifest
    assert min(manifest.input_hw) == preset.size
    assert {name: manifest.settings[name] for name in preset.settings} == preset.settings
    assert manifest.facts["preset"] == "fast"


def test_what_is_given_by_hand_goes_before_the_preset(train: Train) -> None:
    manifest = train(preset="fast", size=64, settings={"bank_size": 30}).bundle.manifest
    assert manifest.input_hw == (64, 64)
    assert manifest.settings["bank_size"] == 30


def test_a_preset_does_not_enlarge_small_images(train: Train) -> None:
    assert train(preset="accurate").bundle.manifest.input_hw == (256, 256)


def test_a_size_given_by_hand_may_enlarge(train: Train) -> None:
    assert train(preset="accurate", size=288, settings={"bank_size": 30}).bundle.manifest.input_hw == (288, 288)


def test_without_a_preset_the_bundle_names_none(train: Train) -> None:
    assert train(size=64).bundle.manifest.facts["preset"] is None


def test_an_unknown_preset_names_those_there_are(train: Train) -> None:
    with pytest.raises(SettingsError, match="patchcore has no preset 'quick'; it has fast, balanced, accurate"):
        train(preset="quick")


def test_a_detector_without_presets_says_so(train: Train) -> None:
    with pytest.raises(SettingsError, match="template has no preset 'fast'; it has none"):
        train(detector="template", preset="fast")


def test_presets_are_described_in_plain_values() -> None:
    first = describe_presets(INFO)[0]
    assert first["name"] == "fast"
    assert set(first) == {"name", "size", "settings", "summary"}
