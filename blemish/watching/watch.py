"""The drift watch of a stream of verdicts, kept in a file between runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from blemish.errors import CalibrationError
from blemish.files import write_file
from blemish.schema import Calibration, Verdict
from blemish.watching.drift import DriftMonitor, DriftReport, DriftState


@dataclass(frozen=True)
class SavedWatch:
    """What the file holds; a watch belongs to one graph."""

    graph_sha256: str
    state: DriftState


SAVED = TypeAdapter(SavedWatch)


class Watch:
    """Takes verdicts in the order of production; goes on from `path` where there is a file, and writes it in `save`."""

    def __init__(self, calibration: Calibration, path: Path | None = None) -> None:
        self._calibration, self._path = calibration, path
        self._monitor = DriftMonitor(calibration.conditions, _load(path, calibration) if path else None)

    def update(self, verdict: Verdict) -> DriftReport:
        return self._monitor.update(verdict.conditions)

    def report(self) -> DriftReport:
        return self._monitor.report()

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        if self._path is not None:
            write_file(self._path, SAVED.dump_json(SavedWatch(self._calibration.graph_sha256, self._monitor.state)))


def _load(path: Path, calibration: Calibration) -> DriftState | None:
    try:
        saved = SAVED.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise CalibrationError(f"{path}: not a drift watch that can be read; remove it to begin a new one") from error
    if saved.graph_sha256 != calibration.graph_sha256:
        raise CalibrationError(f"{path}: this drift watch belongs to another bundle; name another file")
    return saved.state
