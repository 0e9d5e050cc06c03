"""A study: several detectors fitted and judged on several categories; what is finished is never done twice."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.datasets.describe import CategorySummary, summarize_category
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.mask_fit import read_fitting_mask
from blemish.errors import DataError, SettingsError
from blemish.files import locked
from blemish.images.decode import read_image
from blemish.inspection.inspector import Inspector
from blemish.inspection.overlay import map_scale
from blemish.registry import detector_label, load_detector
from blemish.reports.gallery import ComparedPart
from blemish.reports.report import evaluation_json
from blemish.runtime.threads import at_most, budget
from blemish.schema import Image, ImageItem, Mask, Progress, silent
from blemish.study.executor import Executor
from blemish.study.pages import Study, choose_parts
from blemish.study.plan import StudyTask, backbone_hash, code_hash, read_result, request_of, write_result
from blemish.text import readable
from blemish.workflow.evaluate import evaluate
from blemish.workflow.train import train


@dataclass(frozen=True)
class StudyOutcome:
    """A finished study: one row of results a task, and what failed with its error."""

    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[tuple[StudyTask, str], ...]
    num_new: int


def run_study(tasks: Sequence[StudyTask], executor: Executor, progress: Progress = silent) -> StudyOutcome:
    """The rows of all tasks: finished ones are read, the others run; a failed one is reported, not fatal."""
    kept = {task.result_path: read_result(task) for task in tasks}
    waiting = [task for task in tasks if kept[task.result_path] is None]
    failures = []
    run = functools.partial(run_task, threads=executor.threads)
    if executor.shares_process:
        run = functools.partial(run, progress=progress)
    for number, (task, outcome) in enumerate(executor.run(run, waiting), start=1):
        if isinstance(outcome, BaseException):
            failures.append((task, f"{type(outcome).__name__}: {outcome}"))
        progress("running the study", number, len(waiting))
    found = (kept[task.result_path] or read_result(task) for task in tasks)
    return StudyOutcome(tuple(row for row in found if row), tuple(failures), len(waiting) - len(failures))


def run_task(task: StudyTask, *, threads: int = 0, progress: Progress = silent) -> str:
    """Fits, judges, and writes bundle and result of a task; the key of the result. A finished one is not done again.

    No more than `threads` are used; 0 uses all cores. Of several runs of one study one does the task, the others wait
    for it.
    """
    with at_most(budget(threads)), locked(task.result_path):
        if not task.is_finished:  # by another run, or by a worker that was lost before it could say so
            _do_task(task, threads, progress)
    return task.key


def _do_task(task: StudyTask, threads: int, progress: Progress) -> None:
    _check_unchanged(task)
    bundle = train(request_of(task, threads=threads, progress=progress))
    if bundle.manifest.data.fingerprint != task.fingerprint:
        raise DataError(f"{task.data}: its images are not those that the study was planned with; run again")
    path = write_bundle(bundle, task.bundle_path)
    evaluation = evaluate(Inspector(bundle, threads=threads), task.data, progress=progress)
    row = {
        "category": readable(task.data.name),
        "detector": detector_label(task.detector),
        "seed": task.seed,
        "bundle": path.relative_to(task.folder).as_posix(),
        "bundle_bytes": path.stat().st_size,
        "fit_seconds": bundle.manifest.facts["fit_seconds"],
        **evaluation_json(dataclasses.replace(evaluation, pictures=())),
    }
    # The result is written last: a task counts as finished when all of it is there.
    write_result(task, row)
    shutil.rmtree(task.checkpoints_path, ignore_errors=True)


def describe_data(tasks: Sequence[StudyTask], progress: Progress = silent) -> tuple[CategorySummary, ...]:
    """What each category's images are like; every image is read once."""
    places = list(dict.fromkeys(task.data for task in tasks))
    summaries = []
    for number, place in enumerate(places, start=1):
        summaries.append(_describe(open_dataset(place)))
        progress("looking at the data", number, len(places))
    return tuple(summaries)


def make_study(
    tasks: Sequence[StudyTask],
    outcome: StudyOutcome,
    summaries: Sequence[CategorySummary] = (),
    progress: Progress = silent,
) -> Study:
    """What the page shows: the rows, the same test parts under each detector, and what each category is like."""
    categories = {task.data: open_dataset(task.data) for task in tasks}
    parts: list[ComparedPart] = []
    for number, (data, index) in enumerate(categories.items(), start=1):
        finished: dict[str, StudyTask] = {}
        for task in tasks:
            if task.data == data and task.is_finished:
                finished.setdefault(detector_label(task.detector), task)  # of several seeds the first
        inspectors = {detector: Inspector(read_bundle(task.bundle_path)) for detector, task in finished.items()}
        for place in choose_parts(index.test):
            item = index.test[place]
            image = read_image(item.path)
            hw = (image.shape[0], image.shape[1])
            mask = _mask_of(item, hw)
            verdicts = {
                detector: inspector.inspect_image(image, index.relative(item.path))
                for detector, inspector in inspectors.items()
            }
            scales = {detector: map_scale(inspector.bundle.calibration) for detector, inspector in inspectors.items()}
            parts.append(ComparedPart(readable(data.name), item, image, mask, verdicts, scales))
        progress("comparing parts", number, len(categories))
    return Study(
        rows=outcome.rows,
        parts=tuple(parts),
        summaries=tuple(summaries),
        failures=tuple(f"{task.detector} on {readable(task.data.name)}: {error}" for task, error in outcome.failures),
    )


def _check_unchanged(task: StudyTask) -> None:
    """A result under a key that says otherwise would be taken for another one. Raises SettingsError."""
    module = load_detector(task.detector)
    if module.INFO.needs_backbone and backbone_hash(task.backbone) != task.backbone_hash:
        raise SettingsError(f"the backbone {task.backbone} is not the one that the study was planned with; run again")
    if code_hash(module) != task.code_hash:
        raise SettingsError(
            "blemish, the detector or a library has another version here than where the study was planned; "
            "install the same versions, or run again"
        )


def _describe(index: DatasetIndex) -> CategorySummary:
    def read() -> Iterator[tuple[ImageItem, Image, Mask | None]]:
        for item in index.items:
            image = read_image(item.path)
            yield item, image, _mask_of(item, (image.shape[0], image.shape[1]))

    return summarize_category(index.name, read())


def _mask_of(item: ImageItem, image_hw: tuple[int, int]) -> Mask | None:
    """The mask to show; one that does not fit was told of where the detectors were evaluated."""
    if item.mask_path is None:
        return None
    try:
        return read_fitting_mask(item.mask_path, item.path, image_hw).mask
    except DataError:
        return None
