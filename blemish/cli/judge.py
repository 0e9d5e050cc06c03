"""Commands that judge: evaluate, inspect."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from blemish.cli.console import print_json, progress_bars, say, show
from blemish.cli.options import BundleFile, EngineName, Json, RayAddress, Threads, parse_hw
from blemish.cli.places import say_left_out
from blemish.errors import DataError, OutputError, SettingsError

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
    bundle: Annotated[Path | None, typer.Argument(help="A bundle file; leave it out with --maps.")] = None,
    data: Annotated[Path | None, typer.Argument(help="A data set with labelled test images.")] = None,
    report: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the report page.")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Judge anomaly maps that another tool saved, in place of a bundle.")
    ] = None,
    map_size: Annotated[
        str | None, typer.Option(help="Score maps at this size, HEIGHTxWIDTH, in place of that of the masks.")
    ] = None,
    engine: EngineName = "onnxruntime",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Measure a bundle (or saved maps) on labelled test images; with -o, write a report page."""
    from blemish import model
    from blemish.workflow.evaluate import evaluate_maps

    map_hw = parse_hw(map_size) if map_size else None
    with progress_bars() as progress:
        if maps is not None:
            place = data or bundle
            if place is None or (data and bundle):
                raise SettingsError("with --maps give the data set alone: blemish evaluate --maps DIR DATA")
            if report is not None:
                raise SettingsError("a report page needs verdicts: leave -o out with --maps, or use --json")
            evaluation = evaluate_maps(maps, place, map_hw=map_hw, progress=progress)
        elif bundle is None or data is None:
            raise SettingsError("give a bundle and a data set: blemish evaluate part.blemish DATA")
        else:
            evaluation = model.load(bundle, engine=engine, threads=threads).evaluate(
                data, report=report, map_hw=map_hw, progress=progress
            )
    metrics = evaluation.metrics
    if json:
        page = None if report is None else str(report / "index.html")
        print_json({**metrics, "notes": evaluation.data["notes"], "report": page})
        return
    for line in summary(metrics):
        show(line)
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
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files or folders of images; with --ray also s3://bucket/folder and the like.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for verdicts.jsonl, verdicts.csv and overlays; with --ray for tables in Parquet.",
        ),
    ] = None,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="End with exit status 1 where an image is rejected.")
    ] = False,
    lot: Annotated[
        bool, typer.Option("--lot", help="Judge all images as one lot, with control of the false discovery rate.")
    ] = False,
    false_discovery_rate: Annotated[
        float, typer.Option(help="With --lot: the share of the rejects that may be false, on average.")
    ] = 0.1,
    watch: Annotated[
        Path | None,
        typer.Option(help="File that keeps the drift watch between runs; with -o it is drift.json there."),
    ] = None,
    engine: EngineName = "onnxruntime",
    threads: Threads = 0,
    ray: RayAddress = None,
    part: Annotated[
        Literal["folder", "hour"], typer.Option(help="With --ray: what cuts the table into parts.")
    ] = "folder",
    json: Json = False,
) -> None:
    """Give a verdict on each image: accept, review or reject; with -o, also overlay pictures."""
    from blemish import model
    from blemish.datasets.left_out import FAULTS, left_out_notes
    from blemish.datasets.listing import list_images
    from blemish.decisions.lot import judge_lot, lot_sentence
    from blemish.line.sinks import verdict_json
    from blemish.line.stream import VerdictFolder, inspect_files
    from blemish.watching.watch import Watch

    if ray is not None:
        from blemish.cli.archive import inspect_on_ray

        if lot or watch is not None or threads:
            raise SettingsError(
                "with --ray leave out --lot, --watch and --threads: workers judge in no order, one core each"
            )
        judged_there = inspect_on_ray(bundle, images, output, ray, engine=engine, part=part, json=json)
        raise typer.Exit(2 if judged_there["unreadable"] else int(fail_on_reject and judged_there["reject"] > 0))
    remote = [place for place in (*images, output or "") if "://" in place]
    if remote:
        raise SettingsError(f"{remote[0]}: object stores are read and written with --ray (extra `cluster`)")
    folder = None if output is None else Path(output)
    listing = list_images([Path(image) for image in images])
    paths = listing.images
    say_left_out(item for item in listing.left_out if item.reason not in FAULTS)
    made = model.load(bundle, engine=engine, threads=threads)
    inspector = made.make_inspector(watch_drift=True, num_images=len(paths))
    watch_file = watch or (None if folder is None else folder / "drift.json")
    drift = Watch(made.calibration, watch_file, say) if inspector.watch_drift else None
    decisions: Counter[str] = Counter()
    judged: list[tuple[dict[str, Any], float]] = []
    failed = len(listing.faults)
    faults: list[OutputError] = []
    start = time.perf_counter()
    for hidden in listing.faults:
        error = DataError(*left_out_notes([hidden]))
        say(f"blemish: {error}")
        if json:
            print_json({"path": str(hidden.path), "error": str(error)})
    try:
        with progress_bars() as progress, ExitStack() as stack:
            kept = None
            if folder is not None:
                kept = stack.enter_context(VerdictFolder(folder, made.calibration, say))
                faults = kept.faults
            for path, outcome in inspect_files(
                inspector, paths, kept, num_threads=threads, progress=progress, tell=say
            ):
                if isinstance(outcome, Exception):
                    failed += 1
                    say(f"blemish: {outcome}")
                    if json:
                        print_json({"path": str(path), "error": str(outcome)})
                    continue
                if drift is not None:
                    drift.update(outcome)
                decisions[outcome.decision] += 1
                if lot:
                    judged.append((verdict_json(outcome), outcome.p_value))
                if json and not lot:
                    print_json(verdict_json(outcome))
                elif not json:
                    count = len(outcome.regions)
                    found = f"  {count} region{'s' if count > 1 else ''}" if count else ""
                    show(f"{outcome.decision:7} {outcome.display_score:5.1f}  {path}{found}")
    finally:
        if drift is not None:
            try:
                drift.save()
            except OutputError as error:
                faults.append(error)
                say(f"blemish: {error}")
    seconds = time.perf_counter() - start
    counts = ", ".join(f"{decisions[name]} {name}" for name in ("accept", "review", "reject") if decisions[name])
    say(
        f"{sum(decisions.values())} images: {counts or 'none judged'}"
        + (f", {failed} unreadable" if failed else "")
        + f"; {len(paths) / seconds:.1f} images per second"
    )
    if judged:
        num_good = len(made.calibration.good_scores)
        outcome_of_lot = judge_lot(
            [p_value for _, p_value in judged], num_good=num_good, false_discovery_rate=false_discovery_rate
        )
        say(lot_sentence(outcome_of_lot))
        for (row, p_value), is_rejected in zip(judged, outcome_of_lot.is_rejected, strict=True):
            if json:
                print_json({**row, "lot_rejected": is_rejected})
            elif is_rejected:
                show(f"rejected in the lot: {row['path']} (p-value {p_value:.4g})")
    if drift is not None and drift.report().is_void:
        say(drift.report().sentence)
    if faults:
        say(f"blemish: {len(faults)} times an output file could not be written; the verdicts shown here are complete")
    if failed or faults:
        raise typer.Exit(2)
    if fail_on_reject and decisions["reject"]:
        raise typer.Exit(1)
