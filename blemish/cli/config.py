"""What a bundle was trained with, as a config file for `train --config`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blemish.text import json_value, one_line

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle


def training_config(bundle: Bundle) -> tuple[dict[str, Any], list[str]]:
    """The options of `train` by name, `set` among them as a table of its own, and what they cannot say."""
    from blemish.decisions.in_force import wishes_in_force
    from blemish.decisions.rule_text import describe_rule

    manifest, calibration = bundle.manifest, bundle.calibration
    wishes, tiling = wishes_in_force(calibration), manifest.tiling
    height, width = manifest.input_hw
    table: dict[str, Any] = {
        "detector": manifest.detector,
        "backbone": manifest.backbone.name if manifest.backbone else None,
        "size": f"{height}x{width}" if tiling is None else str(height),
        "tile": None if tiling is None else tiling.tile_px,
        "align": "off" if manifest.alignment is None else "part",
        "seed": manifest.seed,
        "calibration": calibration.method,
        "trust": manifest.facts.get("trusted") or None,
        "false_reject": wishes.false_reject,
        "confidence": wishes.confidence,
        "review_rate": wishes.review_rate,
        "rule": [describe_rule(rule) for rule in calibration.rules] or None,
        "mm_per_px": calibration.mm_per_px,
        "bits": manifest.bits,
        "page": manifest.page,
        "set": {name: value for name, value in manifest.settings.items() if value is not None},
    }
    notes = []
    if calibration.zone is not None:
        notes.append("The bundle has a zone: give its mask image too, zone = 'mask.png'.")
    if calibration.cost_curve is not None:
        notes.append("Costs choose its threshold: give them again with `blemish calibrate`.")
    if manifest.facts.get("int8"):
        notes.append("It was quantized: do so again with `blemish quantize`.")
    return {name: json_value(value) for name, value in table.items() if value is not None}, notes


def config_lines(command: str, table: Mapping[str, Any], notes: Sequence[str]) -> Iterator[str]:
    """The lines of a TOML file with one table, and tables in it behind the rest.

    >>> list(config_lines("train", {"seed": 0, "set": {"layers": ["a", "b"]}}, ["no zone"]))
    ['# no zone', '[train]', 'seed = 0', '[train.set]', 'layers = ["a", "b"]']
    """
    yield from (f"# {one_line(note)}" for note in notes)
    yield f"[{command}]"
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    for name, value in table.items():
        if name not in inner:
            yield f"{name} = {_toml(value)}"
    for name, values in inner.items():
        yield f"[{command}.{name}]"
        for key, value in values.items():
            yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    # A JSON text, number, truth or list of these is also one of TOML; only DEL must be escaped there besides.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
