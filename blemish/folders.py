"""The folders of the user that running this program has: own backbones, and what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs

from blemish.errors import OutputError

BACKBONES_VARIABLE = "BLEMISH_BACKBONES"
CACHE_VARIABLE = "BLEMISH_CACHE"


def backbones_folder() -> Path:
    """The folder of the user's own backbones: `BLEMISH_BACKBONES`, or the system's place for a program's data.

    Raises `OutputError` where neither is known.
    """
    return _chosen(BACKBONES_VARIABLE) or _users("data", BACKBONES_VARIABLE) / "backbones"


def cache_folder() -> Path:
    """The folder for what can be measured again: `BLEMISH_CACHE`, or the system's place for caches.

    Raises `OutputError` where neither is known.
    """
    return _chosen(CACHE_VARIABLE) or _users("cache", CACHE_VARIABLE)


def _chosen(variable: str) -> Path | None:
    chosen = os.environ.get(variable)
    return Path(chosen) if chosen else None


def _users(kind: Literal["data", "cache"], variable: str) -> Path:
    place = platformdirs.user_data_path if kind == "data" else platformdirs.user_cache_path
    try:
        path = place("blemish", appauthor=False)
    except RuntimeError:
        path = Path("~")  # which older versions give
    if not path.is_absolute():  # an account without a home folder, as in many containers
        raise OutputError(f"this account has no home folder; name a folder in the environment variable {variable}")
    return path
