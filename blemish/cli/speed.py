"""Commands about engines, precision and other programs: verify, bench, quantize, export."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blemish.cli.console import print_json, say, show, waiting_for
from blemish.cli.options import BundleFile, Json, MaxPixels, Page, Threads, read_settings
from blemish.cli.places import list_places
from blemish.cli.progress import progress_bars

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle

Engines = Annotated[
    list[str] | None, typer.Option("--engine", help="An engine to look at; may be given many times. By default all.")
]


def verify(
    bundle: BundleFile,
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images or folders to compare on; without any, those kept in the bundle."),
    ] = None,
    engines: Engines = None,
    threads: Threads = 0,
    page: Page = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Compare the engines of this machine on one bundle: largest differences, changed verdicts, speed."""
    from blemish import model
    from blemish.datasets.left_out import left_out_json
    from blemish.workflow.engine_choice import check_engines
    from blemish.workflow.verify import TOLERANCE, check_images
    from blemish.workflow.verify import verify as verify_engines

    wanted = check_engines(engines)
    made = model.load(bundle).bundle
    with progress_bars() as progress:
        found = list_places(images or [])
        checked = check_images(made, found.images, read_settings(page=page, max_pixels=max_pixels))
        rows = verify_engines(made, checked, engines=wanted, threads=threads, progress=progress)
    if json:
        print_json(
            {
                "bundle_id": made.bundle_id,
                "images": checked.source,
                "left_out": left_out_json(found.left_out),
                "tolerance": TOLERANCE,
                "engines": [{**asdict(row), "is_equal": row.is_equal} for row in rows],
            }
        )
        return
    say(f"Compared on {checked.source}.")
    ran = [row for row in rows if not row.error]
    table = [("engine", "median ms", "map differs by", "score differs by", "changed verdicts", "")]
    for row in ran:
        share = f"{row.score_difference:.2g} ({row.relative_difference:.2%})"
        changed = f"{row.num_flips} of {row.num_images}"
        verdict = "reference" if row is ran[0] else "equal" if row.is_equal else "NOT equal"
        table.append((row.engine, f"{row.milliseconds:.1f}", f"{row.map_difference:.2g}", share, changed, verdict))
    print_table(table)
    for row in rows:
        if row.error:
            say(f"{row.engine}: {row.error}")
    say(
        "Differences are the largest ones. Shares are of the distance from the usual good part to the threshold; equal "
        f"means that no verdict changed and no score by more than {TOLERANCE:.0%} of that."
    )


def bench(
    bundle: BundleFile,
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images or folders to measure with; without any, those kept in the bundle."),
    ] = None,
    engines: Engines = None,
    threads: Threads = 0,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="Time for the latency of each engine, and for its throughput.")
    ] = 5.0,
    page: Page = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Measure a bundle on this machine, by engine: cold start, latency, throughput, memory."""
    from blemish import model
    from blemish.datasets.left_out import left_out_json
    from blemish.workflow.bench import bench as bench_engines
    from blemish.workflow.bench import write_check_images
    from blemish.workflow.engine_choice import check_engines

    wanted = check_engines(engines)
    made = model.load(bundle).bundle
    with progress_bars() as progress, tempfile.TemporaryDirectory() as scratch:
        found = list_places(images or [])
        if found.images:
            paths: Sequence[Path] = found.images
            source = f"{len(paths)} images given"
        else:
            paths, source = write_check_images(made, Path(scratch))
        reading = read_settings(page=page, max_pixels=max_pixels)
        rows = bench_engines(
            bundle, paths, engines=wanted, threads=threads, seconds=seconds, reading=reading, progress=progress
        )
    if json:
        print_json(
            {
                "bundle_id": made.bundle_id,
                "images": source,
                "left_out": left_out_json(found.left_out),
                "engines": [asdict(row) for row in rows],
            }
        )
        return
    say(f"Measured with {source}.")
    table: list[tuple[str, ...]] = [("engine", "cold start", "p50", "p90", "p99", "images/s", "memory")]
    for row in rows:
        if not row.error:
            times = [f"{value:.1f} ms" for value in (row.p50_ms, row.p90_ms, row.p99_ms)]
            memory = "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f} MB"
            table.append(
                (row.engine, f"{row.cold_start_seconds:.2f} s", *times, f"{row.images_per_second:.1f}", memory)
            )
    print_table(table)
    for row in rows:
        if row.error:
            say(f"{row.engine}: {row.error}")
    say(
        "Cold start: from the start of a process to its first verdict. p50, p90, p99: from a decoded image to its "
        "verdict. Images/s: from files to verdicts."
    )


def quantize(
    bundle: BundleFile,
    good: Annotated[list[Path], typer.Argument(help="Good images or folders of them, 8 or more.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle file to write.", show_default=False)],
    threads: Threads = 0,
    page: Page = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Bring a bundle's backbone and memory banks to int8; it is written only where it still says the same."""
    from blemish.bundle.change import change_bundle
    from blemish.datasets.left_out import left_out_json
    from blemish.workflow.quantize import Quantized
    from blemish.workflow.quantize import quantize as quantize_bundle

    found = list_places(good)
    reading = read_settings(page=page, max_pixels=max_pixels)
    outcomes: list[Quantized] = []

    def change(present: Bundle) -> Bundle:
        with progress_bars() as progress:
            done = quantize_bundle(present, found.images, threads=threads, reading=reading, progress=progress)
        outcomes.append(done)
        return done.bundle

    change_bundle(bundle, change, waiting_for(bundle), to=output)
    [done] = outcomes
    if json:
        print_json(
            {
                "bundle": str(output),
                "bundle_id": done.bundle.bundle_id,
                "bundle_bytes": output.stat().st_size,
                "left_out": left_out_json(found.left_out),
                "num_convolutions": done.num_convolutions,
                "num_bank_blocks": done.num_bank_blocks,
                "engines": [{**asdict(gain.check), "milliseconds_f32": gain.milliseconds_f32} for gain in done.gains],
            }
        )
        return
    say(
        f"{output}: {done.num_convolutions} convolutions and {done.num_bank_blocks} blocks of memory banks in int8. "
        f"All {done.gains[0].check.num_images} verdicts are those of f32; some of the images are copies with painted "
        "defects."
    )
    table = [("engine", "f32", "int8", "map differs by", "score differs by")]
    for gain in done.gains:
        check = gain.check
        times = (f"{gain.milliseconds_f32:.1f} ms", f"{check.milliseconds:.1f} ms")
        share = f"{check.score_difference:.2g} ({check.relative_difference:.1%})"
        table.append((check.engine, *times, f"{check.map_difference:.2g}", share))
    print_table(table)
    if all(gain.check.milliseconds >= gain.milliseconds_f32 for gain in done.gains):
        say("It is not faster with any engine of this machine: keep the bundle in f32 here.")


def export(
    bundle: BundleFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", show_default=False)],
    to: Annotated[Literal["onnx", "openvino"], typer.Option(help="Form of the graph.")] = "onnx",
    json: Json = False,
) -> None:
    """Write the graph with all that other programs need to give the same verdicts, and sample programs."""
    from blemish import model
    from blemish.workflow.export import export as export_bundle

    done = export_bundle(model.load(bundle).bundle, output, to=to)
    if json:
        print_json(
            {
                "files": [str(path) for path in done.files],
                "score_decides": done.score_decides,
                "num_images": done.check.num_images,
                "num_flips": done.check.num_flips,
                "score_difference": done.check.score_difference,
                "map_difference": done.check.map_difference,
            }
        )
        return
    say(
        f"{output}: {len(done.files)} files. On {done.check.num_images} images the exported graph gives the same "
        f"verdicts; scores differ by {done.check.score_difference:.2g} at most."
    )
    if not done.score_decides:
        say("The bundle has a zone or rules: the score alone does not decide, and the sample programs refuse it.")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text as columns on standard output; the first row is the heading, the first column is left-aligned."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.ljust(width) if not place else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        show("  ".join(cells).rstrip())
