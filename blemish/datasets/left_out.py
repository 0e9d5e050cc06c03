"""What was left out of a listing, and why: counted, named, and told in one line for each reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from blemish.text import one_line

Reason = Literal[
    "unlistable_folder",
    "dead_link",
    "other_suffix",
    "folder_link",
    "deeper_folder",
    "outside_layout",
    "mask",
    "overlay",
    "hidden",
    "tool_folder",
    "given_twice",
]
FAULTS: frozenset[Reason] = frozenset({"unlistable_folder", "dead_link"})
"""Reasons that hide parts nobody has seen: a run that met one is not complete."""

_SENTENCES: dict[Reason, tuple[str, str, str]] = {
    "unlistable_folder": (
        "folder cannot be listed",
        "folders cannot be listed",
        "change the rights, or leave out what you may not read",
    ),
    "dead_link": ("link leads nowhere", "links lead nowhere", "mend or remove what leads nowhere"),
    "other_suffix": (
        "image of another kind is left out",
        "images of another kind are left out",
        "convert to PNG, or rename where only the ending is unusual",
    ),
    "folder_link": (
        "link to a folder is not followed",
        "links to folders are not followed",
        "name such a folder itself",
    ),
    "deeper_folder": (
        "image in a deeper folder is not used",
        "images in deeper folders are not used",
        "move up what belongs to the data, or give that folder by itself",
    ),
    "outside_layout": (
        "image outside the folders of the data set's layout is not used",
        "images outside the folders of the data set's layout are not used",
        "move what belongs to the data into the folder of its kind",
    ),
    "mask": ("mask beside its image is left out", "masks beside their images are left out", ""),
    "overlay": ("overlay of an earlier run is left out", "overlays of earlier runs are left out", ""),
    "hidden": ("hidden image is left out", "hidden images are left out", ""),
    "tool_folder": ("image in a folder of a tool is left out", "images in folders of tools are left out", ""),
    "given_twice": ("image was given twice and counts once", "images were given twice and count once", ""),
}


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that could hold a part and is not inspected or learned from."""

    path: Path
    reason: Reason


@dataclass
class Tally:
    """What was left out, by reason: how many, and the first one. It stays small however many there are."""

    counts: Counter[Reason] = field(default_factory=Counter)
    firsts: dict[Reason, Path] = field(default_factory=dict)

    def add(self, left_out: Iterable[LeftOut]) -> Tally:
        for item in left_out:
            self.counts[item.reason] += 1
            self.firsts.setdefault(item.reason, item.path)
        return self

    @property
    def num_faults(self) -> int:
        """How many of them may hide parts nobody has seen."""
        return sum(self.counts[reason] for reason in FAULTS)

    def notes(self, root: Path | None = None) -> tuple[str, ...]:
        """One line for each reason, with the count and the first name (from `root`, where given)."""
        notes = []
        for reason, (one, several, remedy) in _SENTENCES.items():
            if count := self.counts[reason]:
                name = shown(self.firsts[reason], root)
                told = f"1 {one}: {name}" if count == 1 else f"{count} {several}, the first {name}"
                notes.append(f"{told}; {remedy}" if remedy else told)
        return tuple(notes)

    def json(self) -> list[dict[str, str | int]]:
        """For each reason the count and the first path."""
        return [
            {"reason": reason, "count": count, "first": str(self.firsts[reason])}
            for reason, count in self.counts.items()
        ]


def left_out_notes(left_out: Iterable[LeftOut], root: Path | None = None) -> tuple[str, ...]:
    """One line for each reason, with the count and the first name (from `root`, where given).

    >>> left_out_notes([LeftOut(Path("in/._0.png"), "hidden"), LeftOut(Path("in/.1.png"), "hidden")], Path("in"))
    ('2 hidden images are left out, the first ._0.png',)
    """
    return Tally().add(left_out).notes(root)


def left_out_json(left_out: Iterable[LeftOut]) -> list[dict[str, str | int]]:
    """For each reason the count and the first path."""
    return Tally().add(left_out).json()


def shown(path: Path, root: Path | None) -> str:
    """A path as messages name it: from `root`, where given, on one line."""
    return one_line(path if root is None else Path(os.path.relpath(path, root)).as_posix())
