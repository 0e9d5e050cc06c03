"""Commands about data sets: check, list, fetch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.console import print_json, say, show
from blemish.cli.options import BackboneName, Bits, Json, MaxPixels, Page, read_settings
from blemish.cli.progress import progress_bars
from blemish.registry import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from blemish.datasets.index import DatasetIndex
    from blemish.workflow.suspicious import RankedImage

app = typer.Typer(help="Look at data sets before training.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="The folder of a data set, or of several.", show_default=False)]


@app.command()
def check(
    folder: Folder,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Name the good training images that look unlike the others.")
    ] = False,
    backbone: BackboneName = DEFAULT_BACKBONE,
    size: Annotated[int, typer.Option(help="Shorter side in pixels at which --suspicious looks.")] = 256,
    bits: Bits = None,
    page: Page = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Tell what is wrong with a data set; exit status 2 where training on it would be meaningless."""
    from blemish.datasets.check import blocks_training, check_dataset
    from blemish.datasets.index import list_categories, open_dataset
    from blemish.runtime.threads import usable_cores
    from blemish.workflow.suspicious import rank_good_images

    reading = read_settings(bits=bits, page=page, max_pixels=max_pixels)
    rankings = []
    with progress_bars() as progress:
        findings = check_dataset(folder, progress, reading, threads=usable_cores())
        if suspicious and not blocks_training(findings):
            for index in map(open_dataset, list_categories(folder)):
                ranked = rank_good_images(
                    index.train_good, backbone=backbone, size=size, reading=reading, progress=progress
                )
                rankings.append((index, ranked))
    if json:
        found: dict[str, Any] = {
            "trainable": not blocks_training(findings),
            "findings": [
                {
                    "severity": finding.severity,
                    "code": finding.code,
                    "message": finding.message,
                    "blocks_training": finding.blocks_training,
                    "paths": [str(path) for path in finding.paths],
                }
                for finding in findings
            ],
        }
        if suspicious:
            found["good_images"] = [
                {
                    "path": str(image.item.path),
                    "score": image.score,
                    "display_score": image.display_score,
                    "p_value": image.p_value,
                    "is_suspicious": image.is_suspicious,
                }
                for _, ranked in rankings
                for image in ranked
            ]
        print_json(found)
    else:
        for finding in findings:
            show(f"{finding.severity}: {finding.message}")
        if not findings:
            show(f"{folder}: nothing wrong found")
        for index, ranked in rankings:
            _tell_suspicious(index, ranked)
    if blocks_training(findings):
        say("training on this data would be meaningless; mend the errors above first")
        raise typer.Exit(2)


def _tell_suspicious(index: DatasetIndex, ranked: Sequence[RankedImage]) -> None:
    far = [image for image in ranked if image.is_suspicious]
    if not far:
        first = ranked[0]
        show(
            f"{index.name}: none of {len(ranked)} good images stands out; the most unlike the others is "
            f"{index.relative(first.item.path)}, score {first.display_score:.1f} (0 to 100, suspicious above 50)"
        )
        return
    show(f"{index.name}: {len(far)} of {len(ranked)} good images look unlike the others, the most unlike first:")
    for image in far:
        show(f"  score {image.display_score:.1f}  p-value {image.p_value:.3f}  {index.relative(image.item.path)}")
    say(
        "look at each: move a defective part to test/<defect>, remove a bad picture, and keep a good part that is rare "
        "(with more of its kind it no longer stands out)"
    )


@app.command("list")
def list_(folder: Folder, json: Json = False) -> None:
    """List the data sets in a folder with their layout and counts."""
    from blemish.datasets.index import list_categories, open_dataset
    from blemish.datasets.left_out import left_out_json
    from blemish.errors import DataError
    from blemish.schema import DEFECTIVE, GOOD

    roots = list_categories(folder)
    if not roots:
        raise DataError(f"{folder}: no data set in this folder; see docs/data.md for the layouts that are known")
    indexes = [open_dataset(root) for root in roots]
    rows = [
        {
            "name": index.name,
            "path": str(index.root),
            "layout": index.layout,
            "num_train_good": len(index.train_good),
            "num_test_good": index.count("test", GOOD),
            "num_test_defective": index.count("test", DEFECTIVE),
            "num_unlabeled": len(index.unlabeled),
            "defect_types": list(index.defect_types),
            "left_out": left_out_json(index.left_out),
            "notes": list(index.notes),
        }
        for index in indexes
    ]
    if json:
        print_json({"datasets": rows})
        return
    for index, row in zip(indexes, rows, strict=True):
        show(
            f"{row['name']}: {row['layout']}; {row['num_train_good']} good for training, "
            f"{row['num_test_good']} good and {row['num_test_defective']} defective for the test"
        )
        for note in index.notes:
            say(f"{index.name}: {note}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The data set, for example mvtec-ad.", show_default=False)],
    category: Annotated[str, typer.Option(help="One category of it, for example bottle.")] = "",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to unpack into.")] = Path("."),
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You have read the licence and keep to it.")
    ] = False,
    base_url: Annotated[
        str,
        typer.Option(help="Another place with the same archives; their hashes are checked all the same."),
    ] = "",
    json: Json = False,
) -> None:
    """Download the official archive of a data set, check it and unpack it."""
    from blemish.datasets.fetch import fetch as fetch_dataset

    with progress_bars() as progress:
        fetched = fetch_dataset(
            name, output, category, accept_license=accept_license, base_url=base_url, progress=progress
        )
    if json:
        print_json({"path": str(fetched.path), "licence": fetched.licence, "checked_by": fetched.checked_by or None})
    else:
        say(f"{fetched.title}: {fetched.path}; licence {fetched.licence}, {fetched.licence_url}")
