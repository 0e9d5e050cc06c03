"""What a results file says of itself, so that its figures can be traced: date, commit, machine, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def origin(*packages: str) -> dict[str, Any]:
    """Date, commit and machine of a measurement, and the versions of these packages."""
    found = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, no GPU",
    }
    return {**found, "versions": {name: installed(name) for name in packages}} if packages else found


def commit() -> str:
    """The commit that is measured, marked where files have been changed since."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
