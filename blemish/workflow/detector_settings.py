"""Detector settings from text or plain values, checked, with errors that a person can act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from blemish.detectors.base import DetectorInfo, Preset
from blemish.errors import SettingsError
from blemish.spelling import did_you_mean, find_name


def make_settings(info: DetectorInfo, values: Mapping[str, Any]) -> Any:
    """The detector's typed settings; values may be text, as on the command line. Raises SettingsError."""
    values = {setting_name(info, name): value for name, value in values.items()}
    # Text of several parts stands for a tuple: layers=blocks.2,blocks.4
    tuples = {field.name for field in dataclasses.fields(info.settings) if "tuple[" in str(field.type)}
    plain = {
        name: tuple(part for part in value.split(",") if part) if name in tuples and isinstance(value, str) else value
        for name, value in values.items()
    }
    try:
        return TypeAdapter(info.settings).validate_python(plain)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "settings"
        raise SettingsError(f"{info.name} setting {place}: {fault['msg']} (got {fault['input']!r})") from error


def setting_name(info: DetectorInfo, name: str) -> str:
    """The name of a setting as the detector has it. Raises SettingsError where there is none."""
    known = sorted(field.name for field in dataclasses.fields(info.settings))
    found = find_name(name, known)
    if found is None:
        raise SettingsError(
            f"{info.name} has no setting '{name}'{did_you_mean(name, known) or '; it has ' + ', '.join(known)}"
        )
    return found


def find_preset(info: DetectorInfo, name: str) -> Preset:
    """The detector's preset of that name. Raises SettingsError where there is none."""
    return info.presets[preset_name(info, name)]


def preset_name(info: DetectorInfo, name: str) -> str:
    """The name of a preset as the detector has it. Raises SettingsError where there is none."""
    found = find_name(name, info.presets)
    if found is None:
        known = f"; it has {', '.join(info.presets)}" if info.presets else "; it has none: leave out --preset"
        raise SettingsError(f"{info.name} has no preset '{name}'{did_you_mean(name, info.presets) or known}")
    return found


def settings_json(info: DetectorInfo, settings: Any) -> dict[str, Any]:
    """The settings as plain JSON values."""
    values: dict[str, Any] = TypeAdapter(info.settings).dump_python(settings, mode="json")
    return values


def describe_settings(info: DetectorInfo) -> list[dict[str, Any]]:
    """Name, default, type and meaning of each setting, as plain values."""
    properties = TypeAdapter(info.settings).json_schema()["properties"]
    return [
        {
            "name": name,
            "default": schema.get("default"),
            "type": _type_text(schema),
            "description": schema.get("description", ""),
        }
        for name, schema in properties.items()
    ]


def describe_presets(info: DetectorInfo) -> list[dict[str, Any]]:
    """Name, size, settings and meaning of each preset, as plain values."""
    return [
        {"name": name, "size": preset.size, "settings": dict(preset.settings), "summary": preset.summary}
        for name, preset in info.presets.items()
    ]


def _type_text(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type_text(option) for option in schema["anyOf"])
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    bounds = f" {low} to {high}" if low is not None and high is not None else ""
    return f"{schema.get('type', schema.get('const', 'value'))}{bounds}"
