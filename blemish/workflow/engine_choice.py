"""Which engine runs a bundle on this machine: measured once, kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from blemish.boundary import parse_json, read_bytes
from blemish.bundle.bundle import Bundle
from blemish.errors import OutputError, SettingsError
from blemish.files import write_file
from blemish.folders import cache_folder
from blemish.runtime.engines import AUTO, DEFAULT_ENGINE, available_engines, check_engine
from blemish.schema import Progress, silent
from blemish.workflow.verify import EngineCheck, check_images, verify

WORTHWHILE = 0.9
"""Another engine than the default is taken where it needs at most this share of the default's time."""
MAX_CHOICE_BYTES = 100_000
_ANEW = "it is made anew"


class _Choice(BaseModel):
    """What is read again of a kept choice."""

    engine: str


_CHOICE = TypeAdapter(_Choice)


def resolve_engine(bundle: Bundle, engine: str, *, threads: int = 0, progress: Progress = silent) -> str:
    """The engine to run: the one named, or the one chosen for `auto`. Raises SettingsError for an unknown name."""
    if check_engine(engine) == AUTO:
        return choose_engine(bundle, threads=threads, progress=progress)
    return engine


def check_engines(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """The engines named, None where none is. Raises SettingsError for an unknown name, "auto" among them."""
    found = []
    for name in names or ():
        engine = check_engine(name)
        if engine == AUTO:
            raise SettingsError(
                "auto is a choice among the engines, not one to look at by itself: leave --engine out to see all, "
                "or name one"
            )
        found.append(engine)
    return tuple(dict.fromkeys(found)) or None


def choose_engine(bundle: Bundle, *, threads: int = 0, progress: Progress = silent) -> str:
    """The fastest engine of this machine whose verdicts on the bundle's own images are those of the default engine.

    It is measured once for each bundle, number of threads and installation; the choice is kept in `cache_folder()`. A
    file there that cannot be used is written anew; where nothing can be written, the next start measures again.
    """
    engines = available_engines()
    if len(engines) == 1:
        return engines[0]
    path = _choice_path(f"{_key(bundle, engines, threads)}.json")
    kept = _read_choice(path, engines) if path else None
    if kept is not None:
        return kept
    rows = verify(bundle, check_images(bundle), engines=engines, threads=threads, progress=progress)
    chosen = fastest(rows)
    record = {"engine": chosen, "bundle_id": bundle.bundle_id, "checks": [asdict(row) for row in rows]}
    if path:
        with contextlib.suppress(OutputError):  # a read-only home is no reason to stop judging parts
            write_file(path, json.dumps(record, indent=1).encode())
    return chosen


def fastest(rows: Sequence[EngineCheck]) -> str:
    """The engine to take: equal to the default and clearly faster, or the default itself."""
    [default] = [row for row in rows if row.engine == DEFAULT_ENGINE]
    equal = [row for row in rows if row.is_equal]
    best = min(equal, key=lambda row: row.milliseconds, default=default)
    return best.engine if best.milliseconds <= WORTHWHILE * default.milliseconds else DEFAULT_ENGINE


def _choice_path(name: str) -> Path | None:
    """Where a choice is kept, None for an account without a home folder."""
    try:
        return cache_folder() / "engines" / name
    except OutputError:
        return None


def _read_choice(path: Path, engines: Sequence[str]) -> str | None:
    """The engine that a file names, None where there is none or the file cannot be used."""
    try:
        content = read_bytes(path, MAX_CHOICE_BYTES, OutputError, _ANEW)
        engine = parse_json(content, _CHOICE, path, OutputError, _ANEW, unknown="ignore").engine
    except OutputError:
        return None
    return engine if engine in engines else None


def _key(bundle: Bundle, engines: Sequence[str], threads: int) -> str:
    """Changes with all that may change the choice: bundle, machine, engines with their versions, threads."""
    facts = [
        bundle.bundle_id,
        platform.node(),
        platform.machine(),
        platform.processor(),
        os.cpu_count(),
        threads,
        [(name, _version(name)) for name in ("blemish", "onnxruntime", "openvino")],
        list(engines),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
