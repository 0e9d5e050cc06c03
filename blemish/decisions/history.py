"""The calibrations that were in force before the present one, oldest first."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from blemish.decisions.thresholds import check_graph
from blemish.errors import CalibrationError
from blemish.schema import Calibration

History = tuple[Calibration, ...]


def replace_calibration(present: Calibration, new: Calibration, history: History) -> tuple[Calibration, History]:
    """The new calibration in force and the history with the one before; both must belong to the same graph."""
    check_graph(new, present.graph_sha256)
    return new, (*history, present)


def restore_calibration(
    present: Calibration,
    history: History,
    number: int,
    *,
    created: str,
    by: str,
    reason: str,
    carried: Collection[int] = (),
) -> tuple[Calibration, History]:
    """Number `number` (from 1, the oldest) of the history in force again, and the history with the one before.

    Nothing is removed: the restored calibration is a new entry with its own date, person and reason. For `carried` see
    `obstacle`.
    """
    if not 1 <= number <= len(history):
        known = f"numbers 1 to {len(history)}" if history else "none yet"
        raise CalibrationError(
            f"no calibration number {number} in the history ({known}); number {len(history) + 1} is in force"
        )
    old = history[number - 1]
    lacking = obstacle(number, old, present.graph_sha256, carried)
    if lacking:
        raise CalibrationError(f"calibration number {number} cannot be restored: {lacking}")
    restored = dataclasses.replace(
        old,
        graph_sha256=present.graph_sha256,
        created=created,
        by=by,
        reason=reason or f"restored number {number}",
    )
    return replace_calibration(present, restored, history)


def obstacle(number: int, entry: Calibration, graph_sha256: str, carried: Collection[int]) -> str:
    """Why an entry of the history cannot be put in force for a graph; empty where it can.

    `carried` are the numbers of entries that were made for another graph, where this one was checked to say the same.
    """
    if entry.graph_sha256 == graph_sha256 or number in carried:
        return ""
    return (
        f"it was made for another graph ({entry.graph_sha256[:12]}, now {graph_sha256[:12]}), and its verdicts are not "
        "known to be the same with this one; calibrate with the same rate or costs instead"
    )
