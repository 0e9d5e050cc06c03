"""What docs/backbones.md says is true and runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from blemish.folders import BACKBONES_VARIABLE
from blemish.weights import backbone_names, find_backbone, read_description

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKBONES_VARIABLE, str(tmp_path))
    for source in blocks("python"):
        exec(compile(source, "docs/backbones.md", "exec"), {})
    assert backbone_names() == ("efficientnet-lite0", "my-backbone")
    assert find_backbone("my-backbone").layer("blocks.2").offset == 3.5


def test_the_description_shown_is_a_valid_one(tmp_path: Path) -> None:
    [text] = blocks("json")
    shipped = find_backbone("efficientnet-lite0")
    path = tmp_path / "efficientnet-lite0.json"
    path.write_text(text, encoding="utf-8")
    (tmp_path / json.loads(text)["onnx"]).write_bytes(shipped.path.read_bytes())
    shown = read_description(path)
    assert set(shown.layers) <= set(shipped.layers)
    assert (shown.mean, shown.std, shown.sha256) == (shipped.mean, shipped.std, shipped.sha256)


def test_every_shipped_layer_and_every_field_is_explained() -> None:
    shipped = find_backbone("efficientnet-lite0")
    for layer in shipped.layers:
        assert f"| `{layer.name}` | {layer.channels} | {layer.stride} |" in PAGE
    description = json.loads(shipped.path.with_suffix(".json").read_text(encoding="utf-8"))
    for field in (*description, *description["layers"][0]):
        assert f"`{field}`" in PAGE
    assert f"| `{shipped.name}` |" in PAGE


def test_the_notice_names_the_source_of_the_shipped_weights() -> None:
    notice = (Path(__file__).resolve().parents[2] / "NOTICE").read_text(encoding="utf-8")
    [package, sha256] = re.findall(r"package (\S+ \S+), sha256 (\w{64})", find_backbone("efficientnet-lite0").source)[0]
    name, version = package.split()
    assert f"{name}, version {version}" in " ".join(notice.split())
    assert sha256 in notice
