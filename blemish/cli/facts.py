"""Commands that tell facts: info, detectors, backbones."""

from __future__ import annotations

from typing import Any

import typer

from blemish.cli.console import print_json, say
from blemish.cli.options import BundleFile, Json


def info(bundle: BundleFile, json: Json = False) -> None:
    """Show what a bundle holds and what it promises."""
    from blemish import model
    from blemish.calibration.promise import assumption_sentence, promise_sentence

    made = model.load(bundle).bundle
    manifest, calibration = made.manifest, made.calibration
    if json:
        print_json(
            {
                "bundle_id": made.bundle_id,
                "graph_sha256": made.graph_sha256,
                "threshold": calibration.image_threshold,
                "pixel_threshold": calibration.pixel_threshold,
                "promise": promise_sentence(calibration.promise),
                "num_calibrations": len(made.history) + 1,
                **manifest.model_dump(mode="json"),
            }
        )
        return
    backbone = f" on {manifest.backbone.name} ({manifest.backbone.licence})" if manifest.backbone else ""
    typer.echo(f"bundle      {made.bundle_id}, made {manifest.created} by blemish {manifest.versions.get('blemish')}")
    typer.echo(f"detector    {manifest.detector}{backbone}")
    typer.echo(
        f"input       {manifest.input_hw[0]} x {manifest.input_hw[1]} pixels, resized by rule '{manifest.resize_rule}'"
    )
    typer.echo(f"fitted on   {manifest.data.num_fit} good images of {manifest.data.name}")
    typer.echo(f"settings    {', '.join(f'{name}={value}' for name, value in manifest.settings.items())}")
    typer.echo(f"threshold   {calibration.image_threshold:.6g} (pixels {calibration.pixel_threshold:.6g})")
    typer.echo(f"promise     {promise_sentence(calibration.promise)}")
    typer.echo(f"            {assumption_sentence(calibration.method)}")


def detectors(json: Json = False) -> None:
    """List the detectors with their settings, paper and needs."""
    from blemish.errors import SettingsError
    from blemish.registry import detector_names, load_detector
    from blemish.workflow.settings import describe_settings

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
        typer.echo(f"{row['name']}: {row['summary']}")
        if row["paper"]:
            typer.echo(f"  paper: {row['paper']}")
        needs = [
            name for name, needed in (("a backbone", row["needs_backbone"]), ("PyTorch", row["needs_torch"])) if needed
        ]
        typer.echo(f"  needs: {' and '.join(needs) or 'nothing'}; at least {row['min_images']} good images")
        for setting in row["settings"]:
            typer.echo(f"  {setting['name']} = {setting['default']}  ({setting['type']}) {setting['description']}")


def backbones(json: Json = False) -> None:
    """List the backbones that can be used, with their layers and licence."""
    from blemish.weights import list_backbones

    found = list_backbones()
    if json:
        print_json(
            {
                "backbones": [
                    {
                        "name": backbone.name,
                        "path": str(backbone.path),
                        "sha256": backbone.sha256,
                        "licence": backbone.licence,
                        "source": backbone.source,
                        "layers": [
                            {"name": layer.name, "channels": layer.channels, "stride": layer.stride}
                            for layer in backbone.layers
                        ],
                    }
                    for backbone in found
                ]
            }
        )
        return
    for backbone in found:
        typer.echo(f"{backbone.name}: {backbone.licence}; {backbone.source}")
        for layer in backbone.layers:
            typer.echo(f"  {layer.name}: {layer.channels} channels, stride {layer.stride}")
