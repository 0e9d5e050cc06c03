"""The command that shows a bundle defects and good parts: teach."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.console import print_json, say
from blemish.cli.options import BundleFile, Json, MaxPixels, Page, Threads, read_settings
from blemish.cli.progress import TEACHING, progress_bars
from blemish.errors import SettingsError

if TYPE_CHECKING:
    from blemish.workflow.regression import Regression

MOST_SHOWN = 40
"""Changed pictures that are listed; the others are counted."""


def teach(
    bundle: BundleFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle file to write.", show_default=False)],
    defective: Annotated[
        list[Path] | None,
        typer.Option(help="Defects: a data set with labelled defects, or a folder or files of defective images."),
    ] = None,
    good: Annotated[
        list[Path] | None,
        typer.Option(
            help="Good images: those of the training, unless the data set of --defective holds them, and parts that "
            "were rejected and are good."
        ),
    ] = None,
    golden: Annotated[
        list[Path] | None,
        typer.Option(help="Images that the new bundle must judge rightly: a data set, or a folder of good images."),
    ] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(
            help="Where a defect without a mask is: IMAGE:x,y for a click, IMAGE:x,y,width,height for a box; may be "
            "given many times."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the lineage.")] = "",
    by: Annotated[str, typer.Option(help="Who, for the lineage; by default the user's name.")] = "",
    accept_regression: Annotated[
        str, typer.Option(help="Write the bundle though the comparison refuses it; say why, for the lineage.")
    ] = "",
    backbone: Annotated[
        str | None, typer.Option(help="The bundle's backbone, where it has another name or place here.")
    ] = None,
    group_by: Annotated[str | None, typer.Option(help="As given to `train`: the images of one part.")] = None,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity/--no-sensitivity", help="Tell which painted defects would be missed; takes some seconds."
        ),
    ] = True,
    restore: Annotated[
        str | None, typer.Option(help="Write the ancestor with this id (see `info --lineage`); nothing is learned.")
    ] = None,
    page: Page = None,
    max_pixels: MaxPixels = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Show a bundle real defects, and good parts that it rejected; it learns them in seconds.

    The new bundle is compared with the old one picture by picture, and refused where it is worse.
    """
    from blemish.bundle.read import read_bundle
    from blemish.bundle.write import write_bundle
    from blemish.decisions.explain import explain
    from blemish.runtime.threads import budget
    from blemish.workflow import teach as recipe
    from blemish.workflow.regression import TeachingRefusedError
    from blemish.workflow.shown import parse_mark

    old = read_bundle(bundle)
    if restore is not None:
        if defective or good:
            raise SettingsError("--restore learns nothing: leave --defective and --good out")
        restored = recipe.restore_ancestor(old, restore)
        write_bundle(restored, output)
        if json:
            print_json({"bundle": str(output), "is_written": True, "bundle_id": restored.bundle_id})
        else:
            say(f"{output}: {restored.bundle_id}, made {restored.manifest.created}, is restored")
        return
    try:
        with progress_bars(*TEACHING) as progress:
            request = recipe.TeachRequest(
                defective=defective or (),
                good=good or (),
                golden=golden or (),
                marks=dict(parse_mark(text) for text in mark or ()),
                reason=reason,
                by=by,
                accept_regression=accept_regression,
                backbone=backbone,
                group_by=group_by,
                with_sensitivity=sensitivity,
                reading=read_settings(page=page, max_pixels=max_pixels),
                threads=budget(threads),
                progress=progress,
            )
            taught = recipe.teach(old, request)
    except TeachingRefusedError as error:
        if json:
            print_json({"bundle": str(output), "is_written": False, **_facts(error.regression)})
        else:
            _tell(error.regression)
        raise
    write_bundle(taught.bundle, output)
    calibration = taught.bundle.calibration
    if json:
        print_json(
            {
                "bundle": str(output),
                "is_written": True,
                "bundle_id": taught.bundle.bundle_id,
                "parent": old.bundle_id,
                "threshold": calibration.image_threshold,
                "sentences": explain(calibration),
                "notes": [*taught.notes, *taught.bundle.manifest.facts.get("notes", [])],
                **_facts(taught.regression),
            }
        )
        return
    _tell(taught.regression)
    for gate in taught.regression.broken:
        say(f"accepted all the same: {gate}")
    for sentence in explain(calibration):
        say(sentence)
    for note in (*taught.notes, *taught.bundle.manifest.facts.get("notes", [])):
        say(note)
    say(f"{output}: {calibration.reason}, from {old.bundle_id} to {taught.bundle.bundle_id}")


def _facts(regression: Regression) -> dict[str, Any]:
    return {
        "broken_gates": list(regression.broken),
        "groups": regression.counts(),
        "changed": [asdict(change) for change in regression.changed],
    }


def _tell(regression: Regression) -> None:
    """The counts of each group, then each picture with another verdict than before."""
    for row in regression.counts():
        before, after = (
            ", ".join(
                f"{row[f'{decision}_{when}']} {word}"
                for decision, word in (("accept", "accepted"), ("review", "for review"), ("reject", "rejected"))
                if row[f"{decision}_{when}"]
            )
            for when in ("before", "after")
        )
        say(f"{row['group']:15} {row['pictures']:5}  {before}  ->  {after}")
    for change in regression.changed[:MOST_SHOWN]:
        say(
            f"changed  {change.group}, {change.kind}: {change.name}  {change.before} {change.score_before:.1f}  ->  "
            f"{change.after} {change.score_after:.1f}"
        )
    if len(regression.changed) > MOST_SHOWN:
        say(f"and {len(regression.changed) - MOST_SHOWN} more; --json lists all")
