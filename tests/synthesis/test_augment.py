"""Augmentation keeps a good part good, changes only what is declared, and is declared as text or file."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import SettingsError
from blemish.schema import Image
from blemish.synthesis.augment import (
    NONE,
    Augmentation,
    augment,
    augmentation_samples,
    parse_augmentation,
)

STRENGTHS = [field.name for field in fields(Augmentation)]


def picture(height: int = 48, width: int = 48) -> Image:
    """An image that no flip or turn leaves as it is."""
    y, x = np.mgrid[:height, :width]
    gray = 40 + 120 * (x / width) + 50 * (y / height)
    gray[: height // 4, : width // 4] = 230
    return np.repeat(np.rint(gray)[..., None], 3, 2).astype(np.uint8)


declared = st.builds(
    Augmentation,
    **{name: st.floats(0, 0.5) for name in ("brightness", "contrast", "noise", "shift", "zoom")},
    blur=st.floats(0, 3),
    rotation=st.floats(0, 180),
    quarter_turns=st.booleans(),
    flip_horizontal=st.booleans(),
    flip_vertical=st.booleans(),
)


@settings(deadline=None, max_examples=50)
@given(augmentation=declared, seed=st.integers(0, 2**32 - 1), hw=st.sampled_from([(48, 48), (33, 20), (16, 70)]))
def test_shape_and_type_stay_and_the_same_chance_gives_the_same_image(
    augmentation: Augmentation, seed: int, hw: tuple[int, int]
) -> None:
    image = picture(*hw)
    kept = image.copy()
    changed = augment(image, np.random.default_rng(seed), augmentation)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert (augment(image, np.random.default_rng(seed), augmentation) == changed).all()
    assert (image == kept).all()


@pytest.mark.parametrize("seed", range(20))
def test_by_default_nothing_is_flipped_or_turned(seed: int) -> None:
    image = picture()
    changed = augment(image, np.random.default_rng(seed), Augmentation()).astype(float)
    assert np.abs(changed - image).mean() < 15
    for other in (image[::-1], image[:, ::-1], np.rot90(image), np.rot90(image, 2)):
        assert np.abs(changed - other).mean() > 30


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_declared_change_changes_the_image_and_not_too_much(name: str) -> None:
    strength: Any = {"blur": 2.0, "rotation": 20.0}.get(name, True if "flip" in name or "turns" in name else 0.1)
    image = picture()
    images = [augment(image, np.random.default_rng(seed), replace(NONE, **{name: strength})) for seed in range(12)]
    assert any((changed != image).any() for changed in images)
    assert len({changed.tobytes() for changed in images}) > 1
    assert all(np.abs(np.sort(changed.ravel()) - np.sort(image.ravel()).astype(int)).mean() < 40 for changed in images)


def test_flips_and_turns_are_exact() -> None:
    image = picture()
    turned = replace(NONE, quarter_turns=True, flip_horizontal=True, flip_vertical=True)
    forms = {np.ascontiguousarray(np.rot90(image[:, ::side], turn)).tobytes() for side in (1, -1) for turn in range(4)}
    drawn = {augment(image, np.random.default_rng(seed), turned).tobytes() for seed in range(80)}
    assert drawn == forms


def test_brightness_and_contrast_stay_within_what_is_declared() -> None:
    gray = np.full((8, 8, 3), 120, np.uint8)
    levels = [augment(gray, np.random.default_rng(seed), replace(NONE, brightness=0.1)).mean() for seed in range(50)]
    assert 120 - 26 <= min(levels) < 105
    assert 135 < max(levels) <= 120 + 26
    bright = augment(np.full((8, 8, 3), 250, np.uint8), np.random.default_rng(1), replace(NONE, brightness=0.5))
    assert bright.max() <= 255


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", NONE),
        ("default", Augmentation()),
        ("", Augmentation()),
        ("rotation=180, flip_horizontal", Augmentation(rotation=180, flip_horizontal=True)),
        ("flip_vertical=false,noise=0", Augmentation(noise=0)),
        ('{"blur": 1.5}', Augmentation(blur=1.5)),
        ({"zoom": 0.2}, Augmentation(zoom=0.2)),
    ],
)
def test_it_is_declared_as_text(text: Any, expected: Augmentation) -> None:
    assert parse_augmentation(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("turn=3", "turn"), ("noise=9", "noise"), ("rotation=far", "rotation"), ("{", "known are brightness")],
)
def test_what_cannot_be_declared_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_augmentation(text)


def test_it_is_declared_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my part.json"
    path.write_text(json.dumps({"rotation": 90}), encoding="utf-8")
    assert parse_augmentation(str(path)) == Augmentation(rotation=90)
    for text, said in (
        ("[1]", "one JSON object"),
        ("{", "not valid JSON"),
        ('{"a":' * 10_000, "JSON"),
        ('{"spin": 1}', "spin"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=said):
            parse_augmentation(str(path))
    with pytest.raises(SettingsError, match="no such file"):
        parse_augmentation(str(tmp_path / "other.json"))


def test_samples_show_each_declared_change_and_all_together() -> None:
    image = picture()
    samples = augmentation_samples(image, Augmentation(rotation=10, flip_horizontal=True))
    titles = [title for title, _ in samples]
    assert titles[0] == "original"
    assert (samples[0][1] == image).all()
    assert "rotation 10" in titles
    assert "flip horizontal" in titles
    assert not any(title.startswith(("blur", "quarter")) for title in titles)
    assert all(changed.shape == image.shape for _, changed in samples)
    assert all((changed != image).any() for title, changed in samples if title != "original")
    assert (augmentation_samples(image, NONE)[1][1] == image).all()
