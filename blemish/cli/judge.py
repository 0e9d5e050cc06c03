"""Commands that judge: evaluate, inspect."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blemish.cli.console import (
    EXIT_SIGNAL,
    SIGPIPE,
    lost_output,
    print_json,
    say,
    show,
    stopped_by_signals,
)
from blemish.cli.options import (
    BundleFile,
    ConfigFile,
    EngineName,
    Json,
    MaxPixels,
    Page,
    RayAddress,
    Threads,
    parse_hw,
    read_settings,
)
from blemish.cli.progress import progress_bars
from blemish.errors import SettingsError

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle
    from blemish.line.sinks import Sink
    from blemish.line.sources import Source
    from blemish.schema import Evaluation


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
    config: ConfigFile = None,
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
    for line in summary(evaluation):
        show(line)
    for note in evaluation.data["notes"]:
        say(note)
    if report is not None:
        say(f"report: {(report / 'index.html').resolve()}")


def summary(evaluation: Evaluation) -> list[str]:
    """The headline numbers as aligned lines, each with its interval."""
    lines = [f"{evaluation.metrics['num_good']} good and {evaluation.metrics['num_defective']} defective images"]
    for name, value, limits in evaluation.headlines():
        between = f"  [{limits[0]:.4f}, {limits[1]:.4f}]" if limits else ""
        lines.append(f"{name:18} {value:.4f}{between}")
    return lines


def inspect(
    bundle: BundleFile,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files or folders of images; a camera (camera:0), a stream (rtsp://...) or a video; with --ray "
            "also s3://bucket/folder and the like.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for verdicts.jsonl, verdicts.csv and overlays; with --ray for tables in Parquet.",
        ),
    ] = None,
    follow: Annotated[
        Path | None,
        typer.Option(
            help="Watch this folder: each image is judged once, when it is complete, until the command is stopped; "
            "with -o also over a restart."
        ),
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="With -o: move image files to accept, review, reject or unreadable there.")
    ] = False,
    copy: Annotated[bool, typer.Option("--copy", help="With -o: copy image files to these folders.")] = False,
    save_maps: Annotated[
        bool,
        typer.Option("--save-maps", help="With -o: keep raw anomaly maps too, as .npy files in its folder maps."),
    ] = False,
    sinks: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            metavar="NAME:PLACE",
            help="Another place for verdicts: csv:FILE, jsonl:FILE, overlays:FOLDER, maps:FOLDER, copy:FOLDER, "
            "sqlite:FILE, parquet:FOLDER (extra `parquet`), or that of a plug-in; may be given many times.",
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="At most so many images a second, as a line would bring them.")
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
    drift_state: Annotated[
        Path | None,
        typer.Option(help="File that keeps the drift monitor's state between runs; with -o it is drift.json there."),
    ] = None,
    engine: EngineName = "onnxruntime",
    threads: Threads = 0,
    page: Page = None,
    max_pixels: MaxPixels = None,
    ray: RayAddress = None,
    part: Annotated[
        Literal["folder", "hour"], typer.Option(help="With --ray: what cuts the table into parts.")
    ] = "folder",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Give a verdict on each image: accept, review or reject; with -o, also overlay pictures."""
    from blemish import model
    from blemish.cli.tell import Teller
    from blemish.line.stream import images_at_once, run
    from blemish.watching.watch import Watch

    reading = read_settings(page=page, max_pixels=max_pixels)
    places = images or []
    if ray is not None:
        from blemish.cli.archive import inspect_on_ray

        if lot or drift_state is not None or threads:
            raise SettingsError(
                "with --ray leave out --lot, --drift-state and --threads: workers judge in no order, one core each"
            )
        if follow is not None or move or copy or sinks or save_maps or rate is not None or not places:
            raise SettingsError(
                "with --ray give folders of images, and leave out --follow, --move, --copy, --sink, --save-maps, --rate"
            )
        judged_there = inspect_on_ray(bundle, places, output, ray, engine=engine, reading=reading, part=part, json=json)
        raise typer.Exit(2 if judged_there["unreadable"] else int(fail_on_reject and judged_there["reject"] > 0))
    if output is not None and "://" in output:
        raise SettingsError(f"{output}: object stores are written to with --ray (extra `cluster`)")
    folder = None if output is None else Path(output)
    source = _open_source(places, follow, folder, is_moving=move, rate=rate)
    if lot and source.size is None:
        raise SettingsError("--lot needs images that have an end: leave it out with a camera or --follow")
    made = model.load(bundle, engine=engine, threads=threads, reading=reading)
    inspector = made.make_inspector(watch_drift=True, num_images=images_at_once(source))
    state_file = drift_state or (None if folder is None else folder / "drift.json")
    drift = Watch(made.calibration, state_file, say) if inspector.watch_drift else None
    events = run(
        source,
        inspector,
        _sinks(folder, [*(sinks or ()), *_map_sink(folder, save_maps)], is_moving=move, is_copying=copy),
        watch=drift,
        lot=false_discovery_rate if lot else None,
        num_threads=threads,
    )
    teller = Teller(bundle=_called(bundle, made.bundle), is_json=json, is_lot=lot, is_endless=source.size is None)
    with stopped_by_signals(source.close) as stopped, progress_bars() as progress, closing(events):
        for event in events:
            teller.tell(event)
            if source.size:
                progress("inspecting", teller.num_images, source.size)
            if folder is None and lost_output() is not None:
                raise typer.Exit(EXIT_SIGNAL + SIGPIPE)  # nobody is left to be told
    status = teller.status(fail_on_reject=fail_on_reject, fail_on_drift=fail_on_drift)
    # What has no end is stopped in this way, and only so.
    raise typer.Exit(status or (EXIT_SIGNAL + stopped[0] if stopped and source.size is not None else 0))


def _called(path: Path, bundle: Bundle) -> str:
    """What a bundle is called where a person is asked whether it is the right one."""
    data = bundle.manifest.data
    return f"{path} learned {data.num_fit:,} good images of {data.name}"


def _open_source(
    places: Sequence[str], follow: Path | None, folder: Path | None, *, is_moving: bool, rate: float | None
) -> Source:
    """The source that the arguments name."""
    from blemish.line.addresses import is_address, open_source
    from blemish.line.sources import FileSource, ReplaySource

    if follow is not None:
        from blemish.datasets.listing import VERDICTS
        from blemish.line.follow import FollowSource
        from blemish.line.sorting import output_folders

        if places:
            raise SettingsError(f"{places[0]}: with --follow give no other images")
        source: Source = FollowSource(
            follow,
            record=None if folder is None else folder / VERDICTS,
            finishes_moves=is_moving,
            without=() if folder is None else output_folders(folder, follow),
        )
    elif not places:
        raise SettingsError("give images or folders, a camera such as camera:0, or --follow FOLDER")
    elif len(places) == 1:
        source = open_source(places[0])
    else:
        address = next((place for place in places if is_address(place)), None)
        if address is not None:
            raise SettingsError(f"{address}: give a camera or stream by itself, without other images")
        source = FileSource(places)
    return source if rate is None else ReplaySource(source, rate)


def _sinks(folder: Path | None, named: Sequence[str], *, is_moving: bool, is_copying: bool) -> tuple[Sink, ...]:
    """The sinks that the arguments name; the JSON lines of the output folder, which say what is done, come last."""
    from blemish.line.sinks import output_sinks

    made = [] if not named else [_named_sink(text) for text in named]
    if folder is None:
        if is_moving or is_copying:
            raise SettingsError("--move and --copy need an output folder: -o out")
        return tuple(made)
    if not (is_moving or is_copying):
        return (*made, *output_sinks(folder))
    from blemish.line.sorting import RemoveSink, SortSink

    if is_moving and is_copying:
        raise SettingsError("--move and --copy exclude each other")
    kept = (SortSink(folder, is_moving=is_moving), *made, *output_sinks(folder))
    return (*kept, RemoveSink()) if is_moving else kept


def _map_sink(folder: Path | None, is_wanted: bool) -> list[str]:
    if is_wanted and folder is None:
        raise SettingsError("--save-maps needs an output folder: -o out")
    return [f"maps:{folder / 'maps'}"] if is_wanted and folder is not None else []


def _named_sink(text: str) -> Sink:
    from blemish.registry import load_sink, sink_names

    name, separator, place = text.partition(":")
    if not separator or not place:
        raise SettingsError(
            f"--sink {text}: give NAME:PLACE, for example sqlite:history.db; names: {', '.join(sink_names())}"
        )
    return load_sink(name)(place)
