"""Which source stands behind a place: a file, a folder, an address such as `camera:0`, arrays or a queue."""

from __future__ import annotations

import os
import queue
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blemish.line.follow import FollowSource
from blemish.line.sources import ArraySource, FileSource, QueueSource, ReplaySource, Source
from blemish.registry import load_source

VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".m4v", ".mpg", ".mpeg", ".webm"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


def open_source(
    place: Any, *, follow: bool = False, record: str | Path | None = None, rate: float | None = None
) -> Source:
    """The source at a place: a file, a folder, a video, an address such as `camera:0` or `rtsp://...`; arrays; a queue.

    Several files or folders are one source, and so is any iterable of arrays or `Item`s. With `follow` a folder is
    watched without end: each image file is given once, when it is complete, and not where the rows of `record`, the
    `verdicts.jsonl` of an earlier run, have it. `rate` is the most images a second. Raises SettingsError for an address
    of an unknown kind, DataError where there is nothing.

    >>> import numpy as np
    >>> [item.origin.name for item in open_source([np.zeros((32, 32), np.uint8)])]
    ['image 0']
    """
    if follow:
        source: Source = FollowSource(place, record=None if record is None else Path(record))
    elif isinstance(place, (str, Path)):
        source = _open_address(str(place))
    elif isinstance(place, queue.Queue):
        source = QueueSource(place)
    elif isinstance(place, Sequence) and place and all(isinstance(each, (str, Path)) for each in place):
        source = FileSource(place)
    else:
        source = ArraySource([place] if isinstance(place, np.ndarray) else place)
    return source if rate is None else ReplaySource(source, rate)


def is_address(place: str) -> bool:
    """Whether a place is an address such as `camera:0` and no file.

    >>> is_address("camera:0"), is_address("rtsp://10.0.0.7/stream1"), is_address("parts/0.png"), is_address("C:/parts")
    (True, True, False, False)
    """
    return _SCHEME.match(place) is not None and not os.path.lexists(place)


def _open_address(place: str) -> Source:
    if is_address(place):
        return load_source(place.partition(":")[0])(place)
    if Path(place).suffix.lower() in VIDEO_SUFFIXES and os.path.lexists(place):
        return load_source("video")(f"video:{place}")
    return FileSource([place])
