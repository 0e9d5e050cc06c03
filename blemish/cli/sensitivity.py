"""The command about missed defects: sensitivity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.console import print_json, say, show
from blemish.cli.options import BundleFile, Json, Threads
from blemish.cli.places import list_places
from blemish.cli.progress import progress_bars

if TYPE_CHECKING:
    from blemish.schema import Sensitivity


def sensitivity(
    bundle: BundleFile,
    good: Annotated[
        list[Path],
        typer.Argument(
            help="Good images, a folder of them, or a data set; best ones that the bundle was not trained on.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for a page with curves and pictures.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the result in the bundle: `info` and reports show it then.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0, help="Paint fewer defects where this time is over; for large images.")
    ] = 12.0,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Paint defects of graded size on good images and tell from which size on the bundle finds them."""
    from blemish import model
    from blemish.datasets.index import open_dataset
    from blemish.decisions.sensitivity import NOT_REAL, sensitivity_facts
    from blemish.workflow.sensitivity import num_seen

    made = model.load(bundle, threads=threads)
    if len(good) == 1 and good[0].is_dir():
        paths = [item.path for item in open_dataset(good[0]).train_good]
    else:
        paths = list(list_places(good).images)
    with progress_bars() as progress:
        found = made.sensitivity(paths, page=output, most_seconds=seconds, progress=progress)
    if keep:
        made.save(bundle)
    facts = sensitivity_facts(found, made.calibration.mm_per_px)
    page = None if output is None else output / "index.html"
    if json:
        print_json(
            {
                "bundle_id": made.bundle.bundle_id,
                **facts,
                "bundle": str(bundle) if keep else None,
                "page": None if page is None else str(page),
            }
        )
        return
    for line in size_lines(found, made.calibration.mm_per_px):
        show(line)
    say(facts["sensitivity"])
    say(
        f"Painted on {found.num_images} good images"
        + (f", {found.num_rejected} more are rejected as they are" if found.num_rejected else "")
        + f". {NOT_REAL}"
    )
    seen = num_seen(made.bundle, paths)
    if seen:
        say(
            f"{seen} of {len(paths)} images were used when this bundle was trained; on new ones slightly more is "
            "usually found"
        )
    if keep:
        say(f"kept in {bundle}")
    if page is not None:
        say(f"page: {page.resolve()}")


def size_lines(found: Sensitivity, mm_per_px: float | None) -> list[str]:
    """A table of the sizes from which on 90 % are found, for each kind and strength."""
    from blemish.decisions.sensitivity import NOUNS, STRENGTHS, detection_curves, size_text

    lines = [f"{'90 % found from':28}" + "".join(f"{name:>12}" for name in STRENGTHS)]
    for curve in detection_curves(found.trials):
        cells = []
        for strength in STRENGTHS.values():
            size = curve.size_found(strength)
            text = size_text(size.size_px, mm_per_px)
            cells.append(f"over {text}" if size.outcome == "not reached" else text)
        lines.append(f"{NOUNS[curve.kind]:28}" + "".join(f"{cell:>12}" for cell in cells))
    return lines
