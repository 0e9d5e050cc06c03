"""Commands that judge: evaluate, inspect."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from blemish.cli.console import (
    EXIT_SIGNAL,
    SIGPIPE,
    lost_output,
    print_json,
    progress_bars,
    say,
    show,
    stopped_by_signals,
)
from blemish.cli.options import (
    BundleFile,
    EngineName,
    Json,
    MaxPixels,
    Page,
    RayAddress,
    Threads,
    parse_hw,
    read_settings,
)
from blemish.errors import SettingsError

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
    page: Page = None,
    max_pixels: MaxPixels = None,
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
            reading = read_settings(page=page, max_pixels=max_pixels)
            evaluation = model.load(bundle, engine=engine, threads=threads, reading=reading).evaluate(
                data, report=report, map_hw=map_hw, progress=progress
            )
    metrics = evaluation.metrics
    if json:
        written = None if report is None else str(report / "index.html")
        print_json({**metrics, "notes": evaluation.data["notes"], "report": written})
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
        bool,
        typer.Option(
            "--fail-on-reject",
            help="End with exit status 1 where an image is rejected; with --lot, where one is in its lot.",
        ),
    ] = False,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="End with exit status 4 where the drift alarm is raised.")
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
    page: Page = None,
    max_pixels: MaxPixels = None,
    ray: RayAddress = None,
    part: Annotated[
        Literal["folder", "hour"], typer.Option(help="With --ray: what cuts the table into parts.")
    ] = "folder",
    json: Json = False,
) -> None:
    """Give a verdict on each image: accept, review or reject; with -o, also overlay pictures."""
    from blemish import model
    from blemish.cli.tell import Teller
    from blemish.line.sinks import output_sinks
    from blemish.line.sources import FileSource
    from blemish.line.stream import run
    from blemish.watching.watch import Watch

    reading = read_settings(page=page, max_pixels=max_pixels)
    if ray is not None:
        from blemish.cli.archive import inspect_on_ray

        if lot or watch is not None or threads:
            raise SettingsError(
                "with --ray leave out --lot, --watch and --threads: workers judge in no order, one core each"
            )
        judged_there = inspect_on_ray(bundle, images, output, ray, engine=engine, reading=reading, part=part, json=json)
        raise typer.Exit(2 if judged_there["unreadable"] else int(fail_on_reject and judged_there["reject"] > 0))
    remote = [place for place in (*images, output or "") if "://" in place]
    if remote:
        raise SettingsError(f"{remote[0]}: object stores are read and written with --ray (extra `cluster`)")
    folder = None if output is None else Path(output)
    source = FileSource(images)
    made = model.load(bundle, engine=engine, threads=threads, reading=reading)
    inspector = made.make_inspector(watch_drift=True, num_images=len(source.paths))
    watch_file = watch or (None if folder is None else folder / "drift.json")
    drift = Watch(made.calibration, watch_file, say) if inspector.watch_drift else None
    events = run(
        source,
        inspector,
        () if folder is None else output_sinks(folder),
        watch=drift,
        lot=false_discovery_rate if lot else None,
        num_threads=threads,
    )
    teller = Teller(is_json=json, is_lot=lot)
    with stopped_by_signals(source.close) as stopped, progress_bars() as progress, closing(events):
        for event in events:
            teller.tell(event)
            if source.size:
                progress("inspecting", teller.num_images, source.size)
            if folder is None and lost_output() is not None:
                raise typer.Exit(EXIT_SIGNAL + SIGPIPE)  # nobody is left to be told
    status = teller.status(fail_on_reject=fail_on_reject, fail_on_drift=fail_on_drift)
    raise typer.Exit(status or (EXIT_SIGNAL + stopped[0] if stopped else 0))
