"""The command about decisions: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.console import print_json, progress_bars, say, show
from blemish.cli.options import BundleFile, Confidence, FalseReject, Json, MmPerPx, Rules, ZoneFile
from blemish.cli.places import list_places


def calibrate(
    bundle: BundleFile,
    good: Annotated[
        list[Path] | None,
        typer.Argument(help="Good images, new to the detector; without any, the scores kept in the bundle are used."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Bundle to write; by default the bundle itself.")
    ] = None,
    false_reject: FalseReject = 0.05,
    confidence: Confidence = None,
    review_rate: Annotated[
        float | None, typer.Option(help="Wanted share of good parts that are rejected or put up for review.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the good images cannot support the wanted rate.")
    ] = False,
    cost_escape: Annotated[float | None, typer.Option(help="Cost of a defective part that is accepted.")] = None,
    cost_reject: Annotated[float, typer.Option(help="Cost of a good part that is rejected.")] = 1.0,
    defect_rate: Annotated[float, typer.Option(help="Expected share of defective parts.")] = 0.01,
    defective: Annotated[
        list[Path] | None, typer.Option(help="Defective images or their folder, for the choice by costs.")
    ] = None,
    assumed_shift: Annotated[
        float, typer.Option(help="Without defective images: how many deviations higher defects are taken to score.")
    ] = 4.0,
    zone: ZoneFile = None,
    rules: Rules = None,
    mm_per_px: MmPerPx = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: Annotated[str, typer.Option(help="Who, for the history; by default the user's name.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Only list the calibrations so far.")] = False,
    restore: Annotated[int | None, typer.Option(help="Put this number of the history in force again.")] = None,
    json: Json = False,
) -> None:
    """Set thresholds and rules anew, without a new fit; the old calibration is kept in the bundle's history."""
    from blemish import model
    from blemish.datasets.left_out import left_out_json
    from blemish.decisions.explain import explain
    from blemish.decisions.wishes import CalibrationSettings
    from blemish.schema import Costs
    from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle, product_facts, restore_bundle

    present = model.load(bundle).bundle
    if history:
        rows = [
            {
                "number": number,
                "created": entry.created,
                "by": entry.by,
                "reason": entry.reason,
                "threshold": entry.image_threshold,
            }
            for number, entry in enumerate((*present.history, present.calibration), start=1)
        ]
        if json:
            print_json({"calibrations": rows})
        for row in rows if not json else ():
            show(f"{row['number']}  {row['created']}  {row['by']}  {row['threshold']:.6g}  {row['reason']}")
        return
    left_out: list[dict[str, str | int]] = []
    if restore is not None:
        new = restore_bundle(present, restore, reason=reason, by=by)
    else:
        costs = None if cost_escape is None else Costs(cost_escape, cost_reject, defect_rate)
        good_found, defective_found = list_places(good or []), list_places(defective or [])
        left_out = left_out_json((*good_found.left_out, *defective_found.left_out))
        with progress_bars() as progress:
            request = CalibrateRequest(
                good=good_found.images,
                defective=defective_found.images,
                wishes=CalibrationSettings(false_reject, confidence, review_rate, strict, costs, assumed_shift),
                product=product_facts(zone, rules, mm_per_px, present.calibration),
                reason=reason,
                by=by,
                progress=progress,
            )
            new = calibrate_bundle(present, request)
    path = model.Model(new).save(output or bundle)
    sentences = explain(new.calibration)
    if json:
        print_json(
            {
                "bundle": str(path),
                "bundle_id": new.bundle_id,
                "threshold": new.calibration.image_threshold,
                "review_threshold": new.calibration.review_threshold,
                "pixel_threshold": new.calibration.pixel_threshold,
                "sentences": sentences,
                "left_out": left_out,
            }
        )
        return
    say(f"{path}: threshold {new.calibration.image_threshold:.6g}, before {present.calibration.image_threshold:.6g}")
    for sentence in sentences:
        say(sentence)
