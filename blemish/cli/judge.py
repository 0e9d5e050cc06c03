"""Commands that judge: evaluate, inspect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from blemish.cli.console import print_json, progress_bars, say
from blemish.cli.options import BundleFile, DataFolder, Json

HEADLINES = (
    "image_auroc",
    "image_ap",
    "image_f1_max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "aupro_30",
    "aupro_05",
    "accuracy",
    "balanced_accuracy",
    "false_reject_rate",
    "escape_rate",
)


def evaluate(
    bundle: BundleFile,
    data: DataFolder,
    report: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the report page.")] = None,
    json: Json = False,
) -> None:
    """Measure a bundle on labelled test images; with -o, write a report page."""
    from blemish import model

    with progress_bars() as progress:
        evaluation = model.load(bundle).evaluate(data, report=report, progress=progress)
    metrics = evaluation.metrics
    if json:
        print_json({**metrics, "report": None if report is None else str(report / "index.html")})
        return
    for line in summary(metrics):
        typer.echo(line)
    for note in evaluation.data["notes"]:
        say(note)
    if report is not None:
        say(f"report: {(report / 'index.html').resolve()}")


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The headline numbers as aligned lines, each with its interval."""
    intervals = metrics["intervals"]
    lines = [f"{metrics['num_good']} good and {metrics['num_defective']} defective images"]
    for name in HEADLINES:
        value = metrics.get(name)
        if isinstance(value, float):
            low_high = intervals.get(name)
            between = f"  [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else ""
            lines.append(f"{name:18} {value:.4f}{between}")
    return lines


def inspect(
    bundle: BundleFile,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for verdicts.jsonl, verdicts.csv and overlays.")
    ] = None,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="End with exit status 1 where an image is rejected.")
    ] = False,
    json: Json = False,
) -> None:
    """Give a verdict on each image: accept, review or reject; with -o, also overlay pictures."""
    from blemish import model
    from blemish.outputs.sinks import verdict_json
    from blemish.workflow.inspect import collect_images, inspect_files, open_sinks

    paths = collect_images(images)
    made = model.load(bundle)
    decisions: Counter[str] = Counter()
    failed = 0
    with progress_bars() as progress, ExitStack() as stack:
        sinks = open_sinks(output, made.calibration, stack) if output is not None else ()
        for path, outcome in inspect_files(made.inspector, paths, sinks, progress):
            if isinstance(outcome, Exception):
                failed += 1
                say(f"blemish: {outcome}")
                if json:
                    print_json({"path": str(path), "error": str(outcome)})
                continue
            decisions[outcome.decision] += 1
            if json:
                print_json(verdict_json(outcome))
            else:
                found = f"  {len(outcome.regions)} regions" if outcome.regions else ""
                typer.echo(f"{outcome.decision:7} {outcome.display_score:5.1f}  {path}{found}")
    counts = ", ".join(f"{decisions[name]} {name}" for name in ("accept", "review", "reject") if decisions[name])
    say(f"{sum(decisions.values())} images: {counts or 'none judged'}" + (f", {failed} unreadable" if failed else ""))
    if failed:
        raise typer.Exit(2)
    if fail_on_reject and decisions["reject"]:
        raise typer.Exit(1)
