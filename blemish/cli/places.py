"""The images that a command was given, with a line for each reason why something was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blemish.cli.console import say

if TYPE_CHECKING:
    from blemish.datasets.left_out import LeftOut
    from blemish.datasets.listing import Listing


def list_places(places: Sequence[Path]) -> Listing:
    """The images of the places; says what was left out. Raises DataError where something could not be looked at."""
    from blemish.datasets.listing import list_images

    found = list_images(places).checked()
    say_left_out(found.left_out)
    return found


def say_left_out(left_out: Iterable[LeftOut]) -> None:
    """One line for each reason why something that could be an image was left out."""
    from blemish.datasets.left_out import left_out_notes

    for note in left_out_notes(left_out):
        say(note)
