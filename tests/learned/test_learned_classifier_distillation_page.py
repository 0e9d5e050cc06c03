"""What docs/learned_classifier_distillation.md says is true and runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from blemish.synthesis.painted import DEFECT_KINDS

pytest.importorskip("torch")

from blemish.learned import classifier, reverse_distillation, student_teacher
from blemish.learned.contract import TrainingSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "learned_classifier_distillation.md").read_text(encoding="utf-8")


def test_the_python_examples_run() -> None:
    for source in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(source, "docs/learned_classifier_distillation.md", "exec"), {})


def test_every_kind_of_defect_is_shown_as_it_is_described_in_the_code() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", PAGE, flags=re.MULTILINE))
    assert {kind: shown[kind] for kind in DEFECT_KINDS} == dict(DEFECT_KINDS)


@pytest.mark.parametrize("detector", [classifier, student_teacher, reverse_distillation])
def test_every_setting_of_its_own_is_explained_with_its_default(detector: Any) -> None:
    [section] = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if f"`{detector.INFO.name}`" in part[:50]]
    rows = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", section, flags=re.MULTILINE))
    common = {field.name for field in fields(TrainingSettings)}
    for field in fields(detector.Settings):
        if field.name in common:
            continue
        default = {False: "false", "": "none", (): "last of strides 4, 8, 16"}.get(field.default, field.default)
        shown = rows[field.name]
        assert shown == (f"{default:g}" if isinstance(default, (int, float)) else default), field.name
