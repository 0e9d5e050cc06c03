"""The hand-written tables of detectors, sources and sinks and where they live; imported when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from blemish.boundary import boundary
from blemish.errors import SettingsError
from blemish.files import why_not_a_file
from blemish.spelling import did_you_mean, find_name

if TYPE_CHECKING:
    from blemish.detectors.base import Detector
    from blemish.line.sinks import Sink
    from blemish.line.sources import Source

DETECTORS = {
    "patchcore": "blemish.detectors.patchcore",
    "padim": "blemish.detectors.padim",
    "template": "blemish.detectors.template",
    "student_teacher": "blemish.learned.student_teacher",
    "reverse_distillation": "blemish.learned.reverse_distillation",
    "classifier": "blemish.learned.classifier",
    "cae": "blemish.learned.cae",
    "unet_ae": "blemish.learned.unet_ae",
    "vae": "blemish.learned.vae",
    "ganomaly": "blemish.learned.ganomaly",
}
"""Name -> module. Plug-ins add to it through the entry point group `blemish.detectors`."""

SOURCES = {
    "camera": "blemish.line.camera:open_camera",
    "http": "blemish.line.camera:open_stream",
    "https": "blemish.line.camera:open_stream",
    "rtmp": "blemish.line.camera:open_stream",
    "rtsp": "blemish.line.camera:open_stream",
    "rtsps": "blemish.line.camera:open_stream",
    "udp": "blemish.line.camera:open_stream",
    "video": "blemish.line.camera:open_video",
}
"""What stands before the colon of an address -> function of the whole address. Plug-ins: group `blemish.sources`."""

SINKS = {
    "copy": "blemish.line.sorting:SortSink",
    "csv": "blemish.line.sinks:CsvSink",
    "jsonl": "blemish.line.sinks:JsonLinesSink",
    "maps": "blemish.line.sinks:MapSink",
    "overlays": "blemish.line.sinks:OverlaySink",
    "parquet": "blemish.line.parquet:ParquetSink",
    "sqlite": "blemish.line.history:HistorySink",
}
"""Name -> class or function of the place to write to, a text. Plug-ins: group `blemish.sinks`."""

SINK_PACKAGES = {"parquet": "pyarrow"}
"""Sink -> the package of the extra of its name that it needs."""

LEARN_PACKAGES = ("torch", "lightning", "safetensors")
"""What the extra `learn` brings and its detectors import, some of it only once a training begins."""

FILE_MODULES = "blemish_file_"
"""Modules of detectors in Python files begin so."""
PLUGIN_GROUP = "blemish.detectors"
SOURCE_GROUP = "blemish.sources"
SINK_GROUP = "blemish.sinks"
DEFAULT_DETECTOR = "patchcore"
DEFAULT_BACKBONE = "efficientnet-lite0"


def detector_names() -> tuple[str, ...]:
    """All names that `load_detector` knows: the package's own, then those of plug-ins.

    >>> "patchcore" in detector_names()
    True
    """
    return _names(DETECTORS, PLUGIN_GROUP)


def detector_name(name: str) -> str:
    """The name as the registry has it: `PatchCore` is `patchcore`; of a Python file, its full path.

    Raises SettingsError where there is none.
    """
    if name.endswith(".py"):
        path = Path(name).resolve()
        if reason := why_not_a_file(path):
            raise SettingsError(f"{name}: {reason}")
        return str(path)
    found = find_name(name, detector_names())
    if found is None:
        hint = did_you_mean(name, detector_names())
        raise SettingsError(f"no detector is called '{name}'{hint or '; there are ' + ', '.join(detector_names())}")
    return found


def load_detector(name: str) -> Detector:
    """The detector module of that name. Raises SettingsError where there is none or an extra is missing."""
    name = detector_name(name)
    if name.endswith(".py"):
        return _load_file(Path(name))
    module = DETECTORS.get(name)
    if module is None:
        module = next(point.value for point in entry_points(group=PLUGIN_GROUP) if point.name == name)
    if module.startswith("blemish.learned."):
        missing = [package for package in LEARN_PACKAGES if find_spec(package) is None]
        if missing:
            raise SettingsError(
                f"detector '{name}' has learned weights and needs the extra `learn` (missing: {', '.join(missing)}): "
                'pip install "blemish[learn]"'
            )
    detector: Detector = importlib.import_module(module)
    return detector


def detector_label(name: str) -> str:
    """What a detector is called in tables and bundles: the name, or that of its file.

    >>> detector_label("patchcore"), detector_label("/home/ann/my_detector.py")
    ('patchcore', 'my_detector')
    """
    return Path(name).stem if name.endswith(".py") else name


def _load_file(path: Path) -> Detector:
    """The detector in a Python file: a module with `INFO` and `fit`."""
    name = f"{FILE_MODULES}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up the module that they were defined in
    with boundary(path, SettingsError, "docs/detectors.md shows how a detector is written"):
        spec.loader.exec_module(module)
    lacking = [part for part in ("INFO", "fit") if not hasattr(module, part)]
    if lacking:
        raise SettingsError(
            f"{path}: no detector: the file defines no {' and no '.join(lacking)}; see docs/detectors.md"
        )
    return cast("Detector", module)


def source_names() -> tuple[str, ...]:
    """What may stand before the colon of an address: the package's own, then that of plug-ins."""
    return _names(SOURCES, SOURCE_GROUP)


def sink_names() -> tuple[str, ...]:
    """All names that `load_sink` knows: the package's own, then those of plug-ins."""
    return _names(SINKS, SINK_GROUP)


def load_source(name: str) -> Callable[[str], Source]:
    """What opens addresses that begin with `name:`. Raises SettingsError where there is none."""
    found = _load(SOURCES, SOURCE_GROUP, find_name(name, source_names()) or name)
    if found is None:
        begins = f"; addresses begin with {', '.join(f'{known}:' for known in source_names())}, "
        stores = "and object stores are read with --ray (extra `cluster`)"
        raise SettingsError(f"no source is called '{name}'{did_you_mean(name, source_names()) or begins + stores}")
    opened: Callable[[str], Source] = found
    return opened


def load_sink(name: str) -> Callable[[str], Sink]:
    """What makes the sink of that name. Raises SettingsError where there is none or an extra is missing."""
    name = find_name(name, sink_names()) or name
    package = SINK_PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise SettingsError(
            f"sink '{name}' needs the extra `{name}` (missing: {package}): pip install \"blemish[{name}]\""
        )
    found = _load(SINKS, SINK_GROUP, name)
    if found is None:
        hint = did_you_mean(name, sink_names()) or f"; there are {', '.join(sink_names())}"
        raise SettingsError(f"no sink is called '{name}'{hint}")
    made: Callable[[str], Sink] = found
    return made


def _names(own: Mapping[str, str], group: str) -> tuple[str, ...]:
    return (*own, *sorted(point.name for point in entry_points(group=group) if point.name not in own))


def _load(own: Mapping[str, str], group: str, name: str) -> Any:
    """The object of a name, of the package or of a plug-in; None where there is none."""
    if name in own:
        module, _, attribute = own[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    return next((point.load() for point in entry_points(group=group) if point.name == name), None)
