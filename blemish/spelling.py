"""Names that people type: matched without regard to case and to `-`, `_` or spaces, and guessed where none matches."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

MAX_SIBLINGS = 10_000
"""So many entries of a folder are looked at for a name like the one that is missing."""


def find_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that was meant, or None where none or several could be.

    >>> find_name("PatchCore", ["patchcore", "padim"]), find_name("unet-ae", ["unet_ae"]), find_name("patch", ["padim"])
    ('patchcore', 'unet_ae', None)
    """
    names = list(known)
    if name in names:
        return name
    found = [each for each in names if _plain(each) == _plain(name)]
    return found[0] if len(found) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'patchcore'?` where a known name is close, else nothing.

    >>> did_you_mean("patchcor", ["patchcore", "padim"]), did_you_mean("x", ["patchcore"])
    ("; did you mean 'patchcore'?", '')
    """
    close = _closest(name, known)
    return "" if close is None else f"; did you mean '{close}'?"


def path_like(path: Path) -> str:
    """`; did you mean part/test/scratch?` where a folder holds an entry with a name close to the missing one."""
    parent = path.parent
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for _, entry in zip(range(MAX_SIBLINGS), entries, strict=False)]
    except OSError:
        return ""
    close = _closest(path.name, names)
    return "" if close is None else f"; did you mean {parent / close}?"


def _closest(name: str, known: Iterable[str]) -> str | None:
    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(_plain(each), each)
    wanted = _plain(name)
    close = difflib.get_close_matches(wanted, plain, n=1)
    if not close and len(wanted) >= 3:
        close = [each for each in plain if each.startswith(wanted)][:1]
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
