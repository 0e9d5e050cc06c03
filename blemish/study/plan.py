"""What a study is made of: tasks, each keyed by all that decides its result, and the results that are there already."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blemish import __version__
from blemish.boundary import boundary, read_bytes
from blemish.datasets.index import list_categories, open_dataset
from blemish.detectors.base import Detector
from blemish.errors import DataError, SettingsError
from blemish.files import hash_file, write_file
from blemish.registry import DEFAULT_BACKBONE, FILE_MODULES, detector_label, detector_name, load_detector
from blemish.runtime.threads import budget, usable_cores
from blemish.schema import Device, Progress, TrainingRun, silent
from blemish.study.row import read_row
from blemish.text import json_text
from blemish.weights import find_backbone
from blemish.workflow.detector_settings import make_settings, settings_json
from blemish.workflow.train import TrainRequest

NUMERICAL_PACKAGES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless")
"""Another version of one of these may give other results; for detectors with learned weights, PyTorch's too."""
MAX_RESULT_BYTES = 256 * 2**20
_ANEW = "it is made again"


@dataclass(frozen=True)
class StudyTask:
    """One fit and evaluation: a detector with its settings on one category, from one seed.

    `backbone_hash` stands for the backbone's graph and description, `code_hash` for the program that does the task.
    """

    data: Path
    fingerprint: str
    detector: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    size: int = 256
    backbone: str = DEFAULT_BACKBONE
    backbone_hash: str = ""
    code_hash: str = ""
    folder: Path = Path("study")
    device: Device = "auto"

    @property
    def key(self) -> str:
        """Names the result by all that decides it, wherever it is made; 20 hex digits."""
        facts = [
            self.fingerprint,
            self.detector,
            dict(self.settings),
            self.seed,
            self.size,
            self.backbone_hash,
            self.code_hash,
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
        return read_result(self) is not None

    @property
    def _name(self) -> str:
        return f"{self.data.name}-{detector_label(self.detector)}-{self.key}"


def plan_study(
    data: Sequence[Path],
    detectors: Sequence[str],
    folder: Path,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0,),
    size: int = 256,
    backbone: str = DEFAULT_BACKBONE,
    device: Device = "auto",
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
    indexes = {category: open_dataset(category).with_hashes(threads=usable_cores()) for category in categories}
    detectors = [detector_name(name) for name in detectors]
    settings = {detector_name(name): values for name, values in (settings or {}).items()}
    unused = [name for name in settings if name not in detectors]
    if unused:
        raise SettingsError(f"settings of {unused[0]}, which is not among the detectors {', '.join(detectors)}")
    of_detector: dict[str, dict[str, Any]] = {}
    for detector in detectors:
        module = load_detector(detector)
        chosen = settings_json(module.INFO, make_settings(module.INFO, settings.get(detector, {})))
        of_detector[detector] = {
            "settings": chosen,
            "backbone_hash": backbone_hash(backbone) if module.INFO.needs_backbone else "",
            "code_hash": code_hash(module),
        }
    tasks = tuple(
        StudyTask(
            category,
            indexes[category].fingerprint,
            detector,
            seed=seed,
            size=size,
            backbone=backbone,
            folder=folder,
            device=device,
            **of_detector[detector],
        )
        for category in categories
        for detector in detectors
        for seed in seeds
    )
    for task in {task.detector: task for task in tasks}.values():
        request_of(task)
    return tasks


def read_result(task: StudyTask) -> Mapping[str, Any] | None:
    """The result of a task, None where there is none as it was written, of this task and of the bundle beside it."""
    try:
        with boundary(task.result_path, DataError, _ANEW):
            row, seal = read_row(read_bytes(task.result_path, MAX_RESULT_BYTES, DataError, _ANEW))
            is_whole = seal == _seal(row) and row["key"] == task.key
            return row if is_whole and row["bundle_sha256"] == hash_file(task.bundle_path) else None
    except DataError:
        return None


def write_result(task: StudyTask, row: Mapping[str, Any]) -> None:
    """Writes the result of a task; `row` is JSON-like and gets the key and the hash of the bundle."""
    row = json.loads(json_text({**row, "key": task.key, "bundle_sha256": hash_file(task.bundle_path)}))
    write_file(task.result_path, json.dumps({"row": row, "seal": _seal(row)}, sort_keys=True).encode())


def _seal(row: Mapping[str, Any]) -> str:
    """A hash of the row: an altered or cut result is made again."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, allow_nan=False).encode()).hexdigest()


def backbone_hash(name: str) -> str:
    """A hash of all of a backbone that decides a result: its graph, and how its pixels and layers are described."""
    backbone = find_backbone(name)
    facts = [
        backbone.sha256,
        backbone.mean,
        backbone.std,
        backbone.input_name,
        *map(dataclasses.astuple, backbone.layers),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def code_hash(module: Detector) -> str:
    """A hash of the program that fits and judges: this package, that of a plug-in, and versions of libraries.

    The source counts, since a program under development keeps its version number.
    """
    packages = (*NUMERICAL_PACKAGES, *(["torch"] if module.INFO.needs_torch else []))
    versions = [(package, importlib.metadata.version(package)) for package in packages]
    own = _source_hash(__name__.partition(".")[0])
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None) or ""
    is_file = name.startswith(FILE_MODULES)
    plugin = hash_file(Path(file)) if is_file else _source_hash(name.partition(".")[0])
    return hashlib.sha256(json.dumps([__version__, versions, own, plugin]).encode()).hexdigest()


@functools.cache
def _source_hash(package: str) -> str:
    """A hash of the Python files of a package or module, the same wherever it is installed."""
    spec = importlib.util.find_spec(package)
    files: dict[str, Path] = {}
    for folder in (spec and spec.submodule_search_locations) or ():
        files.update((path.relative_to(folder).as_posix(), path) for path in Path(folder).rglob("*.py"))
    if spec is not None and not files and spec.origin:
        files[package] = Path(spec.origin)
    facts = [(name, hash_file(files[name])) for name in sorted(files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


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


def request_of(task: StudyTask, *, threads: int = 0, progress: Progress = silent) -> TrainRequest:
    """Checkpoints of a detector with learned weights lie in the study's folder, so that a stopped one goes on."""
    run = TrainingRun()
    if load_detector(task.detector).INFO.needs_torch:
        run = TrainingRun(folder=task.checkpoints_path, resume=True, device=task.device)
    return TrainRequest(
        data=task.data,
        detector=task.detector,
        backbone=task.backbone,
        size=task.size,
        settings=task.settings,
        seed=task.seed,
        run=run,
        threads=budget(threads),
        progress=progress,
    )
