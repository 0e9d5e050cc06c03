"""A study: several detectors fitted and judged on several categories; what is finished is never done twice."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blemish import __version__
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.datasets.describe import CategorySummary, summarize_category
from blemish.datasets.index import DatasetIndex, list_categories, open_dataset
from blemish.errors import DataError, SettingsError
from blemish.files import write_file
from blemish.images.decode import read_image, read_mask
from blemish.images.resize import resize_mask
from blemish.inspection.inspector import Inspector
from blemish.inspection.overlay import map_scale
from blemish.registry import DEFAULT_BACKBONE, load_detector
from blemish.reports.gallery import ComparedPart
from blemish.reports.report import evaluation_json
from blemish.schema import Image, ImageItem, Mask, Progress, silent
from blemish.study.executor import Executor
from blemish.study.pages import Study, choose_parts
from blemish.workflow.detector_settings import make_settings, settings_json
from blemish.workflow.evaluate import evaluate
from blemish.workflow.train import train
from blemish.workflow.training import training_context


@dataclass(frozen=True)
class StudyTask:
    """One fit and evaluation: a detector with its settings on one category, from one seed."""

    data: Path
    fingerprint: str
    detector: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    size: int = 256
    backbone: str = DEFAULT_BACKBONE
    folder: Path = Path("study")
    device: str = "auto"

    @property
    def key(self) -> str:
        """Names the result by its content: data, settings and version; 20 hex digits."""
        facts = [
            self.fingerprint,
            self.detector,
            dict(self.settings),
            self.seed,
            self.size,
            self.backbone,
            __version__,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def bundle_path(self) -> Path:
        return self.folder / "bundles" / f"{self._name}.blemish"

    @property
    def result_path(self) -> Path:
        return self.folder / "results" / f"{self._name}.json"

    @property
    def checkpoints_path(self) -> Path:
        """Where a training that was stopped goes on from; gone when the task is finished."""
        return self.folder / "checkpoints" / self._name

    @property
    def is_finished(self) -> bool:
        return self.result_path.exists() and self.bundle_path.exists()

    @property
    def _name(self) -> str:
        return f"{self.data.name}-{self.detector}-{self.key}"


@dataclass(frozen=True)
class StudyOutcome:
    """A finished study: one row of results a task, and what failed with its error."""

    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[tuple[StudyTask, str], ...]
    num_new: int


def plan_study(
    data: Sequence[Path],
    detectors: Sequence[str],
    folder: Path,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0,),
    size: int = 256,
    backbone: str = DEFAULT_BACKBONE,
    device: str = "auto",
) -> tuple[StudyTask, ...]:
    """All tasks of a study; a data folder may hold one category or several. Raises before any work is done."""
    # Resolved: `.` has no name, and a data set given by two paths is one.
    categories = [category.resolve() for place in data for category in list_categories(place)]
    if not categories:
        raise DataError(f"{', '.join(map(str, data))}: no data set found; see docs/data.md for the layouts")
    _check_names(categories)
    # Workers may stand in another folder than this process.
    folder = folder.resolve()
    backbone = str(Path(backbone).resolve()) if backbone.endswith(".json") else backbone
    chosen = {}
    for detector in detectors:
        info = load_detector(detector).INFO
        checked = make_settings(info, (settings or {}).get(detector, {}))
        chosen[detector] = settings_json(info, checked)
    prints = {category: open_dataset(category).fingerprint for category in categories}
    tasks = tuple(
        StudyTask(category, prints[category], detector, chosen[detector], seed, size, backbone, folder, device)
        for category in categories
        for detector in detectors
        for seed in seeds
    )
    for task in {task.detector: task for task in tasks}.values():
        _training(task)
    return tasks


def run_study(tasks: Sequence[StudyTask], executor: Executor, progress: Progress = silent) -> StudyOutcome:
    """The rows of all tasks: finished ones are read, the others run; a failed one is reported, not fatal."""
    waiting = [task for task in tasks if not task.is_finished]
    failures = []
    run = functools.partial(run_task, progress=progress) if executor.shares_process else run_task
    for number, (task, outcome) in enumerate(executor.run(run, waiting), start=1):
        if isinstance(outcome, BaseException):
            failures.append((task, f"{type(outcome).__name__}: {outcome}"))
        progress("running the study", number, len(waiting))
    rows = tuple(json.loads(task.result_path.read_bytes()) for task in tasks if task.is_finished)
    return StudyOutcome(rows, tuple(failures), len(waiting) - len(failures))


def run_task(task: StudyTask, progress: Progress = silent) -> str:
    """Fits, judges, and writes bundle and result of a task; the key of the result. A finished one is not done again."""
    if task.is_finished:  # by a worker that was lost before it could say so
        return task.key
    with _training(task):
        bundle = train(
            task.data,
            detector=task.detector,
            backbone=task.backbone,
            size=task.size,
            settings=task.settings,
            seed=task.seed,
            progress=progress,
        )
    path = write_bundle(bundle, task.bundle_path)
    evaluation = evaluate(Inspector(bundle), task.data, progress=progress)
    row = {
        "key": task.key,
        "category": task.data.name,
        "detector": task.detector,
        "seed": task.seed,
        "bundle": path.relative_to(task.folder).as_posix(),
        "bundle_bytes": path.stat().st_size,
        "fit_seconds": bundle.manifest.facts["fit_seconds"],
        **evaluation_json(dataclasses.replace(evaluation, pictures=())),
    }
    # The result is written last: a task counts as finished when all of it is there.
    write_file(task.result_path, json.dumps(row, sort_keys=True, allow_nan=False).encode())
    shutil.rmtree(task.checkpoints_path, ignore_errors=True)
    return task.key


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
                finished.setdefault(task.detector, task)  # of several seeds the first
        inspectors = {detector: Inspector(read_bundle(task.bundle_path)) for detector, task in finished.items()}
        for place in choose_parts(index.test):
            item = index.test[place]
            image = read_image(item.path)
            mask = read_mask(item.mask_path) if item.mask_path else None
            verdicts = {
                detector: inspector.inspect_image(image, index.relative(item.path))
                for detector, inspector in inspectors.items()
            }
            scales = {detector: map_scale(inspector.bundle.calibration) for detector, inspector in inspectors.items()}
            hw = (image.shape[0], image.shape[1])
            parts.append(
                ComparedPart(data.name, item, image, None if mask is None else resize_mask(mask, hw), verdicts, scales)
            )
        progress("comparing parts", number, len(categories))
    return Study(
        rows=outcome.rows,
        parts=tuple(parts),
        summaries=tuple(summaries),
        failures=tuple(f"{task.detector} on {task.data.name}: {error}" for task, error in outcome.failures),
    )


def _check_names(categories: Sequence[Path]) -> None:
    """Tables tell categories apart by the names of their folders."""
    first: dict[str, Path] = {}
    for category in categories:
        other = first.setdefault(category.name, category)
        if other is not category:
            raise SettingsError(
                f"two data sets are called {category.name}: {other} and {category}; "
                "give each once, and rename the folder of one if they differ"
            )


def _training(task: StudyTask) -> AbstractContextManager[Any]:
    """Checkpoints of a detector with learned weights lie in the study's folder, so that a stopped one goes on."""
    if not load_detector(task.detector).INFO.needs_torch:
        return nullcontext()
    return training_context(task.detector, checkpoints=task.checkpoints_path, resume=True, device=task.device)


def _describe(index: DatasetIndex) -> CategorySummary:
    def read() -> Iterator[tuple[ImageItem, Image, Mask | None]]:
        for item in index.items:
            yield item, read_image(item.path), read_mask(item.mask_path) if item.mask_path else None

    return summarize_category(index.name, read())
