"""The command that compares detectors: compare."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from blemish.cli.console import print_json, say, show
from blemish.cli.options import BackboneName, ConfigFile, Json, RayAddress, Threads, parse_settings
from blemish.cli.progress import STUDY, progress_bars
from blemish.errors import SettingsError
from blemish.registry import DEFAULT_BACKBONE


def compare(
    data: Annotated[list[Path], typer.Argument(help="Data sets, or folders of several.", show_default=False)],
    detectors: Annotated[str, typer.Option(help="Names with commas between them; see `blemish detectors`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the study.")] = Path("study"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of one detector, DETECTOR.key=value.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Each fit is done from this many seeds.")] = 1,
    size: Annotated[int, typer.Option(help="Shorter side of the input in pixels.")] = 256,
    backbone: BackboneName = DEFAULT_BACKBONE,
    workers: Annotated[int, typer.Option(min=0, help="Fits at once; 0: one for every two threads.")] = 0,
    threads: Threads = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where learned weights are trained.")
    ] = "auto",
    ray: RayAddress = None,
    task_cpus: Annotated[float, typer.Option(min=0.1, help="With --ray: CPUs set aside for one fit.")] = 2.0,
    task_gpus: Annotated[float, typer.Option(min=0.0, help="With --ray: GPUs set aside for one fit.")] = 0.0,
    task_memory_mb: Annotated[float, typer.Option(min=0.0, help="With --ray: memory set aside for one fit.")] = 2000.0,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Fit and judge several detectors on several data sets; run again to go on where it was stopped."""
    from blemish.study.executor import Executor, LocalExecutor
    from blemish.study.pages import write_data_pages, write_study
    from blemish.study.plan import plan_study
    from blemish.study.run import describe_data, make_study, run_study

    tasks = plan_study(
        data,
        [name.strip() for name in detectors.split(",") if name.strip()],
        output,
        settings=_by_detector(settings),
        seeds=range(seeds),
        size=size,
        backbone=backbone,
        device=device,
    )
    with progress_bars(*STUDY) as progress, ExitStack() as stack:
        executor: Executor = LocalExecutor(workers, threads)
        if ray is not None:
            from blemish.cluster.connect import connected
            from blemish.cluster.executor import Needs, RayExecutor

            needs = Needs(task_cpus, task_gpus, task_memory_mb)
            seen = list(dict.fromkeys(task.data for task in tasks))
            needs.check(stack.enter_context(connected(ray, shared=tasks[0].folder, seen=seen)))
            executor = RayExecutor(needs)
        summaries = describe_data(tasks, progress)
        for path in write_data_pages(summaries, output).values():
            say(f"the data, before any training: {path.resolve()}")
        outcome = run_study(tasks, executor, progress)
        page = write_study(make_study(tasks, outcome, summaries, progress), output)
    for task, error in outcome.failures:
        say(f"failed: {task.detector} on {task.data.name}: {error}")
    if json:
        failures = [
            {"detector": task.detector, "data": str(task.data), "error": error} for task, error in outcome.failures
        ]
        rows = [{name: value for name, value in row.items() if name != "results"} for row in outcome.rows]
        print_json({"page": str(page), "rows": rows, "failures": failures, "num_new": outcome.num_new})
    else:
        for row in outcome.rows:
            show(f"{row['category']:20} {row['detector']:22} {_headline(row)}")
        say(f"{outcome.num_new} new of {len(tasks)} results; page: {page.resolve()}")
    if outcome.failures:
        raise typer.Exit(2)


def _headline(row: Mapping[str, Any]) -> str:
    names = ("image_auroc", "aupro_30", "balanced_accuracy", "false_reject_rate", "escape_rate")
    return "  ".join(f"{name} {row[name]:.3f}" for name in names if isinstance(row.get(name), float))


def _by_detector(texts: list[str] | None) -> dict[str, dict[str, str]]:
    """`["cae.epochs=5"]` -> {"cae": {"epochs": "5"}}."""
    settings: dict[str, dict[str, str]] = {}
    for place, value in parse_settings(texts).items():
        detector, separator, key = place.partition(".")
        if not separator:
            raise SettingsError(f"--set {place}={value}: name the detector too, for example patchcore.bank_size=2000")
        settings.setdefault(detector, {})[key] = value
    return settings
