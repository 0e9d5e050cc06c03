"""What a new bundle decides otherwise than the old one, picture by picture, and whether that is allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from blemish.errors import CalibrationError
from blemish.schema import Calibration, Decision

Group = Literal["good", "confirmed good", "shown defect", "golden good", "golden defect"]
"""Good images of the training; rejected ones that a person called good; shown defects; images that must stay right."""
NAMED = 3
"""Pictures that a message names."""


class TeachingRefusedError(CalibrationError):
    """A new bundle that breaks a gate; `regression` is the table."""

    def __init__(self, message: str, regression: Regression) -> None:
        super().__init__(message)
        self.regression = regression


@dataclass(frozen=True)
class Change:
    """The decision and display score of both bundles on one picture."""

    name: str
    group: Group
    kind: str
    before: Decision
    score_before: float
    after: Decision
    score_after: float

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Regression:
    """All pictures that both bundles were compared on, and the gates that the new one breaks, a line for each.

    Nothing is judged by what was learned from it: shown defects and good images were held out.
    """

    changes: tuple[Change, ...]
    broken: tuple[str, ...]

    @property
    def changed(self) -> tuple[Change, ...]:
        """The pictures with another verdict than before."""
        return tuple(change for change in self.changes if change.is_changed)

    def counts(self) -> list[dict[str, str | int]]:
        """A row for each group: how many pictures, and how many of them each bundle accepts, reviews and rejects."""
        rows: list[dict[str, str | int]] = []
        for group in dict.fromkeys(change.group for change in self.changes):
            of_group = [change for change in self.changes if change.group == group]
            before, after = Counter(one.before for one in of_group), Counter(one.after for one in of_group)
            rows.append(
                {
                    "group": group,
                    "pictures": len(of_group),
                    **{f"{decision}_before": before[decision] for decision in ("accept", "review", "reject")},
                    **{f"{decision}_after": after[decision] for decision in ("accept", "review", "reject")},
                }
            )
        return rows


def compare_verdicts(changes: Sequence[Change], old: Calibration, new: Calibration) -> Regression:
    """The table and the broken gates: no golden part wrong, no shown defect newly accepted, the promise kept."""
    gates: list[str] = []
    wrong = [
        change
        for change in changes
        if (change.group == "golden good" and change.after == "reject")
        or (change.group == "golden defect" and change.after == "accept")
    ]
    if wrong:
        gates.append(f"{_pictures(wrong, 'golden')} would be judged wrongly")
    lost = [one for one in changes if one.group == "shown defect" and one.after == "accept" and one.before != "accept"]
    if lost:
        gates.append(f"{_pictures(lost, 'shown')} found before would be accepted")
    if new.promise.rate > max(old.promise.rate, new.promise.wanted_rate) + 1e-9:
        gates.append(
            f"the promise would be {new.promise.rate:.2%} of good parts rejected, before it was {old.promise.rate:.2%}"
        )
    return Regression(tuple(changes), tuple(gates))


def _pictures(found: Sequence[Change], what: str) -> str:
    named = ", ".join(one.name for one in found[:NAMED]) + (", ..." if len(found) > NAMED else "")
    return f"{len(found)} {what} picture{'' if len(found) == 1 else 's'} ({named})"
