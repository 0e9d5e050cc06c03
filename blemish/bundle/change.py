"""Changes of a bundle file that several programs may make: in turn, so that none loses what another one did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from blemish.bundle.bundle import Bundle
from blemish.bundle.manifest import Manifest
from blemish.bundle.read import read_bundle
from blemish.bundle.write import replace_bundle, write_bundle
from blemish.errors import BundleError
from blemish.files import locked


def change_bundle(
    path: Path,
    change: Callable[[Bundle], Bundle],
    waiting: Callable[[], None] = lambda: None,
    *,
    to: Path | None = None,
) -> Bundle:
    """The bundle now in the file `to`, by default the one read: what `change` made of it.

    Until a file is written in its own place others that change it wait for their turn, and `waiting` is called where
    this one has to. Reading goes on meanwhile. Raises BundleError and OutputError, and what `change` raises.
    """
    bundle = read_bundle(path)  # also before a lock is made beside what is no bundle
    place = Path(os.path.realpath(path))
    if to is not None and Path(os.path.realpath(to)) != place:
        changed = change(bundle)
        write_bundle(changed, to)
        return changed
    with locked(place, waiting):
        changed = change(read_bundle(path))
        replace_bundle(changed, place)
    return changed


def save_changed(bundle: Bundle, path: Path, read: Manifest) -> Manifest:
    """The manifest now in the file, which holds the bundle; `read` is that of the one that was read and changed.

    Raises BundleError where another program has changed the file since.
    """
    place = Path(os.path.realpath(path))
    with locked(place):
        if place.exists() and read_bundle(path).manifest != read:
            raise BundleError(
                f"{path}: another program has changed this file since it was read; nothing was written: "
                "load it again and repeat the change, or save under another name"
            )
        return replace_bundle(bundle, place)
