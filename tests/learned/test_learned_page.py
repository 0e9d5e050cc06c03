"""What docs/learned.md says is true and runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from blemish.learned import cae, ganomaly, unet_ae, vae
from blemish.learned.contract import TrainingSettings
from blemish.learned.reading import NEGLIGIBLE, PRIOR_IMAGES
from blemish.schema import TrainingRun
from blemish.synthesis.augment import Augmentation

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "learned.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    """First cell to second cell of the tables under a heading."""
    [section] = [part for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE) if part.startswith(heading)]
    return dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", section, flags=re.MULTILINE))


def written(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value).replace("F", "f")


def test_the_python_examples_run() -> None:
    for source in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(source, "docs/learned.md", "exec"), {})


@pytest.mark.parametrize(
    ("heading", "declared"),
    [("Training", TrainingSettings), ("Augmentation", Augmentation), ("Checkpoints", TrainingRun)],
)
def test_every_common_field_is_explained_with_its_default(heading: str, declared: Any) -> None:
    explained = rows(heading)
    assert set(explained) == {field.name for field in fields(declared)}
    for field in fields(declared):
        if field.name != "augmentation":
            assert explained[field.name] == written(field.default)


@pytest.mark.parametrize("detector", [cae, unet_ae, vae, ganomaly])
def test_every_setting_of_its_own_is_explained_with_its_default(detector: Any) -> None:
    explained = rows(f"`{detector.INFO.name}`")
    common = {field.name for field in fields(TrainingSettings)}
    own = {field.name: written(field.default) for field in fields(detector.Settings) if field.name not in common}
    assert explained == own


def test_the_reading_is_described_with_the_numbers_of_the_code() -> None:
    assert f"floor at {NEGLIGIBLE} of the typical error" in PAGE
    assert f"prior weight: {PRIOR_IMAGES} images" in PAGE
