"""Commands that make a bundle: train, demo."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blemish.cli.console import print_json, say
from blemish.cli.options import (
    BackboneName,
    Bits,
    Confidence,
    ConfigFile,
    DataFolder,
    DetectorName,
    FalseReject,
    IgnoreZone,
    InspectZone,
    Json,
    MaxPixels,
    MmPerPx,
    Page,
    PresetName,
    RayAddress,
    Rules,
    Seed,
    SettingTexts,
    SizeText,
    SkipUnreadable,
    Threads,
    ZoneFile,
    ZoneOn,
    parse_settings,
    parse_size,
    read_settings,
)
from blemish.cli.progress import EVALUATION, FROZEN, LEARNED, progress_bars
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR

if TYPE_CHECKING:
    from blemish.bundle.bundle import Bundle


def train(
    data: DataFolder,
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle file to write.", show_default=False)],
    detector: DetectorName = DEFAULT_DETECTOR,
    backbone: BackboneName = DEFAULT_BACKBONE,
    preset: PresetName = None,
    size: SizeText = None,
    tile: Annotated[
        int | None,
        typer.Option(help="Cut large images into overlapping squares of so many pixels; see docs/large-images.md."),
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option(help="Without --size: most milliseconds that one image may take on this machine (50)."),
    ] = None,
    settings: SettingTexts = None,
    seed: Seed = 0,
    calibration: Annotated[
        Literal["cross", "split", "blocks"] | None,
        typer.Option(
            help="cross: every good image is used, the promise is approximate; split: a part is kept out, it is exact; "
            "blocks: cross with blocks of neighbors in the order of names."
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Images of one part: a pattern that finds the part's id in the file name, or 'folder'. Left out, "
            "near copies are found by themselves."
        ),
    ] = None,
    trusted: Annotated[
        list[str] | None,
        typer.Option("--trust", help="A good image that looks odd and is good; may be given many times."),
    ] = None,
    false_reject: FalseReject = 0.05,
    confidence: Confidence = None,
    review_rate: Annotated[
        float | None, typer.Option(help="Wanted share of good parts that are rejected or put up for review.")
    ] = None,
    align: Annotated[
        Literal["auto", "off", "part"],
        typer.Option(
            help="Find the part in each image and lay it straight; auto: where its pose differs from image to image on "
            "a plain background. See docs/alignment.md."
        ),
    ] = "auto",
    zone: ZoneFile = None,
    inspect_zone: InspectZone = None,
    ignore_zone: IgnoreZone = None,
    zone_on: ZoneOn = None,
    rules: Rules = None,
    mm_per_px: MmPerPx = None,
    skip_unreadable: SkipUnreadable = False,
    bits: Bits = None,
    page: Page = None,
    max_pixels: MaxPixels = None,
    with_defects: Annotated[
        bool,
        typer.Option("--with-defects", help="Learn from half of the labelled defects too (`patchcore`, `classifier`)."),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity/--no-sensitivity", help="Tell which painted defects would be missed; takes some seconds."
        ),
    ] = True,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and logs of detectors with learned weights.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in that folder.")] = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where learned weights are trained.")
    ] = "auto",
    num_devices: Annotated[int, typer.Option("--devices", min=1, help="Train on so many of them at once.")] = 1,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Numbers to train with; auto: bfloat16 where the device is fast with it."),
    ] = "auto",
    log: Annotated[
        Literal["none", "tensorboard", "mlflow"], typer.Option(help="Log the training into the checkpoints folder.")
    ] = "none",
    ray: RayAddress = None,
    threads: Threads = 0,
    config: ConfigFile = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also tell how the time was spent and what the promise rests on.")
    ] = False,
    json: Json = False,
) -> None:
    """Fit a detector on good images, calibrate it, and write one bundle file."""
    from blemish.decisions.promise import promise_sentence
    from blemish.decisions.sensitivity import sensitivity_facts
    from blemish.decisions.wishes import CalibrationSettings
    from blemish.model import Model
    from blemish.registry import load_detector
    from blemish.runtime.threads import budget
    from blemish.schema import TrainingRun
    from blemish.workflow import train as recipe
    from blemish.workflow.calibrate import product_facts

    plan = LEARNED if load_detector(detector).INFO.needs_torch else FROZEN
    with progress_bars(*plan) as progress, ExitStack() as stack:
        request = recipe.TrainRequest(
            data=data,
            detector=detector,
            backbone=backbone,
            preset=preset,
            size=None if size in (None, "auto") else parse_size(size),
            tile=tile,
            align=align,
            max_ms=max_ms,
            settings=parse_settings(settings),
            seed=seed,
            calibration=calibration,
            group_by=group_by,
            trusted=tuple(trusted or ()),
            wishes=CalibrationSettings(false_reject, confidence, review_rate),
            product=product_facts(zone, rules, mm_per_px, inspect=inspect_zone, ignore=ignore_zone, zone_on=zone_on),
            with_defects=with_defects,
            with_sensitivity=sensitivity,
            skip_unreadable=skip_unreadable,
            reading=read_settings(bits=bits, page=page, max_pixels=max_pixels),
            run=TrainingRun(
                folder=checkpoints,
                resume=resume,
                device=device,
                precision=precision,
                logger=log,
                num_devices=num_devices,
                on_ray=ray is not None,
            ),
            threads=budget(threads),
            progress=progress,
        )
        if ray is not None:
            from blemish.cluster.connect import connected

            stack.enter_context(connected(ray, shared=checkpoints, packages=("torch", "lightning")))
        made = Model(recipe.train(request))
        made.save(output)
    manifest, thresholds = made.bundle.manifest, made.calibration
    skipped, told = manifest.facts.get("skipped", []), made.bundle.sensitivity
    if json:
        from blemish.workflow.odd_good import odd_json

        print_json(
            {
                "bundle": str(output),
                "bundle_id": made.bundle.bundle_id,
                "bundle_bytes": output.stat().st_size,
                "detector": manifest.detector,
                "preset": manifest.facts["preset"],
                "input_hw": manifest.input_hw,
                "input_size": manifest.facts["input_size"],
                "alignment": manifest.facts.get("alignment", ""),
                "tile_px": manifest.tiling.tile_px if manifest.tiling else None,
                "num_good": manifest.data.num_calibration,
                "skipped": skipped,
                "suspicious": manifest.facts.get("suspicious", []),
                "notes": manifest.facts.get("notes", []),
                "fit_seconds": manifest.facts["fit_seconds"],
                "seconds_by_part": manifest.facts["seconds_by_part"],
                "peak_memory_mb": manifest.facts["peak_memory_mb"],
                "threshold": thresholds.image_threshold,
                "promise": promise_sentence(thresholds.promise),
                "odd": odd_json(made.bundle),
                **({} if told is None else sensitivity_facts(told, thresholds.mm_per_px)),
            }
        )
        return
    _tell_trained(made.bundle, output, data, is_verbose=verbose)


def _tell_trained(bundle: Bundle, output: Path, data: Path, *, is_verbose: bool) -> None:
    """What needs a look, then three lines: what was learned, what it will find and miss, what to type next."""
    from blemish.decisions.explain import explain
    from blemish.decisions.promise import promise_sentence
    from blemish.decisions.sensitivity import NOT_REAL, sensitivity_sentence
    from blemish.workflow.odd_good import odd_json, odd_sentence

    manifest, calibration, told = bundle.manifest, bundle.calibration, bundle.sensitivity
    facts = manifest.facts
    skipped, suspicious = facts.get("skipped", []), facts.get("suspicious", [])
    if is_verbose:
        _tell_details(bundle)
        for sentence in explain(calibration)[1:]:
            say(sentence)
        if told is not None:
            say(NOT_REAL)
    elif bundle.manifest.alignment is not None:
        say(f"alignment: {facts['alignment']}")
    if skipped:
        say(f"{len(skipped)} unreadable images were left out: {', '.join(skipped[:5])}")
    for odd in odd_json(bundle):
        say(odd_sentence(odd))
    for note in facts.get("notes", []):
        say(note)
    if suspicious:
        say(
            f"{len(suspicious)} good images score far above the rest, look at them: {', '.join(suspicious[:5])}; "
            "a defective part among the good images lets defects escape"
        )
    height, width = manifest.input_hw
    say(
        f"{output}: learned {manifest.data.num_fit:,} good images of {manifest.data.name} ({manifest.detector}, "
        f"{height} x {width}, {facts['fit_seconds']:.1f} s, {output.stat().st_size / 1e6:.1f} MB)"
    )
    finds = "What it misses was not measured." if told is None else sensitivity_sentence(told, calibration.mm_per_px)
    say(f"{finds} {promise_sentence(calibration.promise)}")
    file = shlex.quote(str(output))
    if _has_test_images(data):
        say(f"next: blemish evaluate {file} {shlex.quote(str(data))} -o report")
    else:
        say(f"next: blemish inspect {file} NEW_IMAGES -o out   (NEW_IMAGES: a folder of parts it has not seen)")


def _tell_details(bundle: Bundle) -> None:
    from blemish.workflow.timing import parts_sentence

    facts, tiling = bundle.manifest.facts, bundle.manifest.tiling
    if facts.get("alignment"):
        say(f"alignment: {facts['alignment']}")
    if facts["input_size"]:
        say(f"input size: {facts['input_size']}")
    parts = parts_sentence(facts["seconds_by_part"])
    if parts:
        say(f"of the time: {parts}")
    if tiling is not None:
        say(
            f"images are cut into tiles of {tiling.tile_px} pixels; "
            f"{facts['num_tiles']} of {facts['num_possible_tiles']} were learned from"
        )


def _has_test_images(data: Path) -> bool:
    """Whether a data set has good and defective images to evaluate on."""
    from blemish.datasets.index import open_dataset

    return {item.label for item in open_dataset(data).test} >= {0, 1}


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for bundle and report.")] = Path("demo"),
    json: Json = False,
) -> None:
    """Run the main job on real images of solar cells (needs the extra `demo`)."""
    from blemish import model
    from blemish.datasets.demo import open_solar_cells
    from blemish.decisions.promise import promise_sentence

    index = open_solar_cells()
    with progress_bars(*FROZEN, *EVALUATION) as progress:
        made = model.train(index, with_sensitivity=True, progress=progress)
        bundle = made.save(output / "solar-cells.blemish")
        evaluation = made.evaluate(index, report=output / "report", progress=progress)
    metrics = evaluation.metrics
    page = output / "report" / "index.html"
    if json:
        print_json({"bundle": str(bundle), "report": str(page), **metrics})
        return
    confusion = metrics["confusion_matrix"]
    say(f"fitted on {made.bundle.manifest.data.num_fit} good solar cells. {promise_sentence(made.calibration.promise)}")
    say(
        f"found {confusion['rejected_defective']} of {metrics['num_defective']} defective cells, "
        f"rejected {confusion['rejected_good']} of {metrics['num_good']} good ones; "
        f"image AUROC {metrics['image_auroc']:.3f}"
    )
    say(f"bundle: {bundle}")
    say(f"report: {page.resolve()}")
