"""The command about decisions: calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.console import print_json, say, waiting_for
from blemish.cli.facts import show_history
from blemish.cli.options import (
    BundleFile,
    IgnoreZone,
    InspectZone,
    Json,
    MaxPixels,
    MmPerPx,
    Page,
    Rules,
    Threads,
    ZoneFile,
    ZoneOn,
    read_settings,
)
from blemish.cli.places import list_places
from blemish.cli.progress import progress_bars

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle
    from blemish.schema import Calibration

KEPT = ("false reject rate", "confidence", "review rate", "costs", "rules", "zone", "scale")
"""Rows that are told as kept: what a person can ask for."""


def calibrate(
    bundle: BundleFile,
    good: Annotated[
        list[Path] | None,
        typer.Argument(help="Good images, new to the detector; without any, the scores kept in the bundle are used."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Bundle to write; by default the bundle itself.")
    ] = None,
    false_reject: Annotated[
        float | None, typer.Option(help="Wanted share of good parts that are rejected, on average.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Make the rate a limit that holds with this confidence, for example 0.95; 0: an average."),
    ] = None,
    review_rate: Annotated[
        float | None,
        typer.Option(help="Wanted share of good parts that are rejected or put up for review; 0: no review."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the good images cannot support the wanted rate.")
    ] = False,
    cost_escape: Annotated[
        float | None, typer.Option(help="Cost of a defective part that is accepted; 0: choose by the rate.")
    ] = None,
    cost_reject: Annotated[float | None, typer.Option(help="Cost of a good part that is rejected; at first 1.")] = None,
    defect_rate: Annotated[float | None, typer.Option(help="Expected share of defective parts; at first 0.01.")] = None,
    defective: Annotated[
        list[Path] | None, typer.Option(help="Defective images or their folder, for the choice by costs.")
    ] = None,
    assumed_shift: Annotated[
        float | None,
        typer.Option(
            help="Without defective images: how many deviations higher defects are taken to score; at first 4."
        ),
    ] = None,
    zone: ZoneFile = None,
    inspect_zone: InspectZone = None,
    ignore_zone: IgnoreZone = None,
    zone_on: ZoneOn = None,
    rules: Rules = None,
    mm_per_px: MmPerPx = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: Annotated[str, typer.Option(help="Who, for the history; by default the user's name.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Only list the calibrations so far.")] = False,
    page: Page = None,
    max_pixels: MaxPixels = None,
    restore: Annotated[int | None, typer.Option(help="Put this number of the history in force again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Set thresholds and rules anew, without a new fit; what is not given stays as it is.

    The old calibration is kept in the bundle's history.
    """
    from blemish.bundle.change import change_bundle
    from blemish.bundle.read import read_bundle
    from blemish.datasets.left_out import left_out_json
    from blemish.decisions.in_force import change_wishes, wishes_in_force
    from blemish.runtime.threads import budget
    from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle, product_facts, restore_bundle

    if history:
        show_history(read_bundle(bundle), json=json)
        return
    good_found, defective_found = list_places(good or []), list_places(defective or [])
    before: list[Bundle] = []

    def change(present: Bundle) -> Bundle:
        before[:] = [present]
        if restore is not None:
            return restore_bundle(present, restore, reason=reason, by=by)
        wishes = change_wishes(
            wishes_in_force(present.calibration),
            false_reject=false_reject,
            confidence=confidence,
            review_rate=review_rate,
            strict=strict,
            cost_escape=cost_escape,
            cost_reject=cost_reject,
            defect_rate=defect_rate,
            assumed_shift=assumed_shift,
        )
        with progress_bars() as progress:
            request = CalibrateRequest(
                good=good_found.images,
                defective=defective_found.images,
                wishes=wishes,
                product=product_facts(
                    zone,
                    rules,
                    mm_per_px,
                    present.calibration,
                    inspect=inspect_zone,
                    ignore=ignore_zone,
                    zone_on=zone_on,
                ),
                reason=reason,
                by=by,
                threads=budget(threads),
                reading=read_settings(page=page, max_pixels=max_pixels),
                progress=progress,
            )
            return calibrate_bundle(present, request)

    path = output or bundle
    new = change(read_bundle(bundle)) if dry_run else change_bundle(bundle, change, waiting_for(bundle), to=path)
    left_out = left_out_json((*good_found.left_out, *defective_found.left_out))
    _tell(path, before[0], new, left_out, dry_run=dry_run, is_rate_given=false_reject is not None, json=json)


def _tell(
    path: Path,
    before: Bundle,
    new: Bundle,
    left_out: Sequence[Mapping[str, str | int]],
    *,
    dry_run: bool,
    is_rate_given: bool,
    json: bool,
) -> None:
    """What was, what is, and what that promises."""
    from blemish.decisions.changes import changes, describe
    from blemish.decisions.explain import explain

    made = new.calibration
    found = changes(before.calibration, made)
    if json:
        print_json(
            {
                "bundle": str(path),
                "bundle_id": new.bundle_id,
                "number": len(new.history) + 1,
                "is_written": not dry_run,
                "threshold": made.image_threshold,
                "review_threshold": made.review_threshold,
                "pixel_threshold": made.pixel_threshold,
                "before": describe(before.calibration),
                "after": describe(made),
                "changes": [asdict(change) for change in found],
                "sentences": explain(made),
                "left_out": left_out,
            }
        )
        return
    is_now = "would be" if dry_run else "is"
    say(
        f"{path}: the limit {is_now} {_moved(before.calibration, made)}; "
        f"calibration number {len(new.history) + 1}, by {made.by}: {made.reason}"
    )
    for change in found:
        say(f"changed  {change}")
    changed = {change.name for change in found}
    for name, text in describe(made).items():
        if name in KEPT and name not in changed:
            say(f"kept     {name}: {text}")
    for sentence in explain(made):
        say(sentence)
    if is_rate_given and made.cost_curve is not None:
        say("The costs choose the threshold, not the rate; --cost-escape 0 lets the rate choose.")
    if dry_run:
        say("Nothing was written.")


def _moved(before: Calibration, after: Calibration) -> str:
    """Where the new limit lies on the scale that people knew until now, on which the old one was 50."""
    if before.graph_sha256 != after.graph_sha256:
        return "that of another graph"
    if before.image_threshold == after.image_threshold:
        return "as before"
    from blemish.decisions.judge import display_score

    place = display_score(after.image_threshold, before)
    how = "stricter" if after.image_threshold < before.image_threshold else "more lenient"
    return f"{how}: where a part scored {place:.3g} until now (0 to 100, rejected above 50)"
