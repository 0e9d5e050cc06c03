"""The calibrations that were in force before the present one, oldest first."""

from __future__ import annotations

import dataclasses

from blemish.decisions.thresholds import check_graph
from blemish.errors import CalibrationError
from blemish.schema import Calibration

History = tuple[Calibration, ...]


def replace_calibration(present: Calibration, new: Calibration, history: History) -> tuple[Calibration, History]:
    """The new calibration in force and the history with the one before; both must belong to the same graph."""
    check_graph(new, present.graph_sha256)
    return new, (*history, present)


def restore_calibration(
    present: Calibration, history: History, number: int, *, created: str, by: str, reason: str
) -> tuple[Calibration, History]:
    """Number `number` (from 1, the oldest) of the history in force again, and the history with the one before.

    Nothing is removed: the restored calibration is a new entry with its own date, person and reason.
    """
    if not 1 <= number <= len(history):
        known = f"numbers 1 to {len(history)}" if history else "none yet"
        raise CalibrationError(f"no calibration number {number} in the history ({known})")
    old = history[number - 1]
    restored = dataclasses.replace(old, created=created, by=by, reason=reason or f"restored number {number}")
    return replace_calibration(present, restored, history)
