"""Commands that tell facts: info, detectors, backbones."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.console import print_json, say, show
from blemish.cli.options import BundleFile, Json
from blemish.errors import BackboneError, SettingsError
from blemish.schema import Backbone, Calibration, Layer

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle


def info(
    bundle: BundleFile,
    history: Annotated[
        bool, typer.Option("--history", help="List the calibrations so far: when, by whom, why, and what changed.")
    ] = False,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="List the teachings so far: what was shown, when, by whom and why.")
    ] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Print a config file for `train --config` that makes such a bundle again.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a bundle holds, what it decides by and what it promises, after opening it as `inspect` does."""
    from blemish import model
    from blemish.cli.config import config_lines, training_config
    from blemish.decisions.changes import describe
    from blemish.decisions.explain import explain
    from blemish.decisions.judge import display_score
    from blemish.decisions.promise import assumption_sentence, promise_sentence
    from blemish.decisions.rule_text import describe_rule
    from blemish.decisions.sensitivity import NOT_REAL, sensitivity_facts, sensitivity_sentence

    opened = model.load(bundle)
    made = opened.bundle
    if history:
        show_history(made, json=json)
        return
    if lineage:
        show_lineage(made, json=json)
        return
    if config:
        table, notes = training_config(made)
        if json:
            print_json({"train": table, "notes": notes})
        for line in () if json else config_lines("train", table, notes):
            show(line)
        return
    _ = opened.inspector  # what it cannot open is told here, too
    manifest, calibration, told = made.manifest, made.calibration, made.sensitivity
    decides = describe(calibration)
    if json:
        print_json(
            {
                "bundle_id": made.bundle_id,
                "graph_sha256": made.graph_sha256,
                "threshold": calibration.image_threshold,
                "review_threshold": calibration.review_threshold,
                "pixel_threshold": calibration.pixel_threshold,
                "promise": promise_sentence(calibration.promise),
                "sentences": explain(calibration),
                "rules": [describe_rule(rule) for rule in calibration.rules],
                "zone": None if calibration.zone is None else decides["zone"],
                "mm_per_px": calibration.mm_per_px,
                "costs": None if calibration.cost_curve is None else decides["costs"],
                "calibrated": {"created": calibration.created, "by": calibration.by, "reason": calibration.reason},
                "num_calibrations": len(made.history) + 1,
                **({} if told is None else sensitivity_facts(told, calibration.mm_per_px)),
                **manifest.model_dump(mode="json"),
            }
        )
        return
    backbone = f" on {manifest.backbone.name} ({manifest.backbone.licence})" if manifest.backbone else ""
    show(f"bundle      {made.bundle_id}, made {manifest.created} by blemish {manifest.versions.get('blemish')}")
    preset = manifest.facts.get("preset")
    show(f"detector    {manifest.detector}{f', preset {preset}' if preset else ''}{backbone}")
    show(
        f"input       {manifest.input_hw[0]} x {manifest.input_hw[1]} pixels, resized by rule '{manifest.resize_rule}'"
    )
    if manifest.tiling is not None:
        tile_px, num_tiles = manifest.tiling.tile_px, manifest.facts.get("num_tiles")
        show(f"tiles       images are cut into squares of {tile_px} pixels; {num_tiles} were learned from")
    show(f"fitted on   {manifest.data.num_fit} good images of {manifest.data.name}")
    show(f"settings    {', '.join(f'{name}={value}' for name, value in manifest.settings.items())}")
    show(f"calibrated  {_signed(calibration)}; number {len(made.history) + 1} (see --history)")
    show(f"limit       rejected above 50 on the scale of 0 to 100 (raw score {decides['threshold']})")
    if calibration.review_threshold is not None:
        limit = display_score(calibration.review_threshold, calibration)
        show(f"review      above {limit:.1f} (raw score {decides['review threshold']}), {decides['review rate']}")
    show(f"outlines    raw map values above {decides['pixel threshold']}, {decides['regions']}")
    show(f"promise     {promise_sentence(calibration.promise)}")
    show(f"            {assumption_sentence(calibration.method)}")
    show(f"costs       {decides['costs']}")
    show(f"zone        {decides['zone']}")
    show(f"scale       {decides['scale']}")
    for number, rule in enumerate(calibration.rules):
        show(f"{'' if number else 'rules':12}{describe_rule(rule)}")
    if not calibration.rules:
        show("rules       none")
    if told is None:
        show("sensitivity not measured; `blemish sensitivity` tells which defects would be missed")
    else:
        show(f"sensitivity {sensitivity_sentence(told, calibration.mm_per_px)}")
        show(f"            {NOT_REAL}")


def show_history(bundle: Bundle, *, json: bool) -> None:
    """Lists the calibrations of a bundle, oldest first, so that each can be told from the one before and restored."""
    from blemish.decisions.changes import changes, describe
    from blemish.decisions.history import obstacle

    entries = (*bundle.history, bundle.calibration)
    rows: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, start=1):
        rows.append(
            {
                "number": number,
                "in_force": number == len(entries),
                "created": entry.created,
                "by": entry.by,
                "reason": entry.reason,
                "threshold": entry.image_threshold,
                "decides": describe(entry),
                "changes": [asdict(change) for change in changes(entries[number - 2], entry)] if number > 1 else [],
                "obstacle": obstacle(number, entry, bundle.graph_sha256, bundle.carried),
            }
        )
    if json:
        print_json({"calibrations": rows})
        return
    for row, entry in zip(rows, entries, strict=True):
        show(f"{row['number']}  {_signed(entry)}{'  (in force)' if row['in_force'] else ''}")
        if row["number"] == 1:
            show("   " + "; ".join(f"{name} {text}" for name, text in row["decides"].items() if text != "none"))
        for change in row["changes"]:
            show(f"   {change['name']}: {change['before']} -> {change['after']}")
        if row["number"] > 1 and not row["changes"]:
            show("   nothing changed")
        if row["obstacle"]:
            show(f"   cannot be restored: {row['obstacle']}")


def show_lineage(bundle: Bundle, *, json: bool) -> None:
    """Lists the teachings of a bundle, oldest first, each under the id of the bundle that was taught."""
    rows = bundle.manifest.facts.get("lineage", [])
    if json:
        print_json({"bundle_id": bundle.bundle_id, "lineage": rows})
        return
    for row in rows:
        show(f"{row['parent']}  taught {row['created']}  {row['by']}  {row['reason']}")
        kinds = f" ({', '.join(row['kinds'])})" if row["kinds"] else ""
        show(f"   shown {len(row['shown'])} defects{kinds}, {len(row['confirmed_good'])} good parts")
        if row["accepted_regression"]:
            show(f"   accepted though worse: {row['accepted_regression']}")
    show(f"{bundle.bundle_id}  this bundle{'' if rows else ', never taught'}")
    if rows:
        show("`blemish teach BUNDLE --restore ID -o FILE` writes one of the bundles above")


def _signed(calibration: Calibration) -> str:
    """When, by whom and why; bundles of earlier versions do not say it of their first one."""
    who = calibration.by or "unknown"
    return f"{calibration.created or 'unknown date'}  {who}  {calibration.reason or 'no reason given'}"


def detectors(json: Json = False) -> None:
    """List the detectors with their settings, paper and needs."""
    from blemish.registry import detector_names, load_detector
    from blemish.workflow.detector_settings import describe_presets, describe_settings

    rows: list[dict[str, Any]] = []
    for name in detector_names():
        try:
            entry = load_detector(name).INFO
        except SettingsError as error:
            rows.append({"name": name, "error": str(error)})
            continue
        rows.append(
            {
                "name": name,
                "summary": entry.summary,
                "paper": entry.paper,
                "needs_backbone": entry.needs_backbone,
                "needs_torch": entry.needs_torch,
                "min_images": entry.min_images,
                "presets": describe_presets(entry),
                "settings": describe_settings(entry),
            }
        )
    if json:
        print_json({"detectors": rows})
        return
    for row in rows:
        if "error" in row:
            say(row["error"])
            continue
        show(f"{row['name']}: {row['summary']}")
        if row["paper"]:
            show(f"  paper: {row['paper']}")
        needs = [
            name for name, needed in (("a backbone", row["needs_backbone"]), ("PyTorch", row["needs_torch"])) if needed
        ]
        show(f"  needs: {' and '.join(needs) or 'nothing'}; at least {row['min_images']} good images")
        for preset in row["presets"]:
            show(f"  preset {preset['name']}: {preset['summary']}")
        for setting in row["settings"]:
            show(f"  {setting['name']} = {setting['default']}  ({setting['type']}) {setting['description']}")


backbones_app = typer.Typer(
    help="List the backbones that can be used, or add one.", invoke_without_command=True, rich_markup_mode=None
)


@backbones_app.callback()
def backbones(context: typer.Context, json: Json = False) -> None:
    """List the backbones that can be used, with their layers and licence."""
    if context.invoked_subcommand is not None:
        return
    from blemish.weights import backbone_names, find_backbone

    rows: list[dict[str, Any]] = []
    for name in backbone_names():
        try:
            rows.append(_backbone_row(find_backbone(name)))
        except BackboneError as error:
            rows.append({"name": name, "error": str(error)})
    if json:
        print_json({"backbones": rows})
        return
    for row in rows:
        if "error" in row:
            say(row["error"])
            continue
        show(f"{row['name']}: {row['licence']}; {row['source']}")
        for layer in row["layers"]:
            show(f"  {layer['name']}: {layer['channels']} channels, stride {layer['stride']}")


@backbones_app.command("add")
def add_backbone(
    file: Annotated[Path, typer.Argument(help="An ONNX file that takes scaled float32 pixels.", show_default=False)],
    layer: Annotated[list[str], typer.Option(help="NAME:CHANNELS:STRIDE[:OFFSET] of an output; once for each layer.")],
    mean: Annotated[str, typer.Option(help="R,G,B taken from pixels of 0 to 255.")],
    std: Annotated[str, typer.Option(help="R,G,B that pixels are divided by after that.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")],
    source: Annotated[str, typer.Option(help="Where the weights come from.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default the file's name.")] = None,
    input_name: Annotated[str, typer.Option("--input", help="Name of the graph's input.")] = "input",
    json: Json = False,
) -> None:
    """Make an ONNX network of your own usable as a backbone."""
    from blemish.weights import add_backbone as add

    added = add(
        file,
        layers=[_parse_layer(text) for text in layer],
        mean=_parse_rgb("--mean", mean),
        std=_parse_rgb("--std", std),
        licence=licence,
        source=source,
        name=name,
        input_name=input_name,
    )
    if json:
        print_json(_backbone_row(added))
    else:
        say(f"{added.name}: {added.path}; use it with --backbone {added.name}")


def _parse_layer(text: str) -> Layer:
    try:
        name, channels, stride, *offset = text.split(":")
        return Layer(name, int(channels), int(stride), float(offset[0]) if offset else 0.0)
    except BackboneError as error:
        raise SettingsError(f"--layer {text}: {error}") from error
    except ValueError:
        raise SettingsError(f"--layer {text}: give NAME:CHANNELS:STRIDE, for example blocks.2:40:8") from None


def _parse_rgb(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"{option} {text}: give three numbers, for example 123.7,116.3,103.5") from None
    return red, green, blue


def _backbone_row(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "path": str(backbone.path),
        "sha256": backbone.sha256,
        "licence": backbone.licence,
        "source": backbone.source,
        "layers": [
            {"name": layer.name, "channels": layer.channels, "stride": layer.stride} for layer in backbone.layers
        ],
    }
