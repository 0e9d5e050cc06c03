"""Cameras, network streams and video files, by OpenCV.

A camera is read by a thread of its own without a pause, so that no buffer fills with old pictures, and a read that
hangs hangs nothing else. Only the newest picture is kept, and it is given once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import DataError, ImageError, SettingsError
from blemish.line.events import Item, Origin
from blemish.line.sources import WAIT_SECONDS, item_of

MAX_AGE_SECONDS = 1.0
"""A picture that has waited longer is not given: the camera has stopped, and the part has moved on."""
PATIENCE_SECONDS = 5.0
"""So long without a picture is told."""
REOPEN_SECONDS = 1.0
"""Between two attempts to open a camera that was lost."""

Address: TypeAlias = int | str
"""The number of a camera, or what OpenCV takes for a device or stream."""


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def read(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


def open_capture(address: Address) -> Capture:
    """The camera or stream at an address; a read that gives nothing ends after a while, where OpenCV can do that."""
    milliseconds = int(PATIENCE_SECONDS * 1000)
    if isinstance(address, int):
        capture = cv2.VideoCapture(address)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
    return cv2.VideoCapture(address, cv2.CAP_ANY, limits)


@dataclass(frozen=True)
class _Frame:
    pixels: NDArray[Any]
    taken: datetime
    arrived: float


class CameraSource:
    """The newest picture of a camera or stream whenever a thread is free for it; without end until closed.

    Each picture is given once, and none that is older than `MAX_AGE_SECONDS`; `num_missed` counts the others. A camera
    that gives nothing for `patience_seconds` is an unreadable item, once; it is opened anew until it is back. Raises
    DataError, when it is iterated, where the camera cannot be opened at first. Passwords are in no name.
    """

    size: int | None = None
    is_live = True

    def __init__(
        self,
        address: Address,
        *,
        name: str = "",
        open_capture: Callable[[Address], Capture] = open_capture,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.num_missed = 0
        self.name = name or (f"camera:{address}" if isinstance(address, int) else shown_address(address))
        self._address, self._open, self._patience = address, open_capture, patience_seconds
        self._newest: _Frame | None = None
        self._arrived = time.monotonic()
        self._cannot_open = False
        self._changed = threading.Condition()
        self._closing = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        self._arrived = time.monotonic()
        # A daemon: a read that hangs must not keep the program from ending.
        threading.Thread(target=self._read, name=self.name, daemon=True).start()
        is_told = False
        while not self._closing.is_set():
            frame = self._take()
            if frame is not None:
                is_told = False
                yield item_of(_to_rgb(frame.pixels), f"{self.name}/{frame.taken:%Y%m%d-%H%M%S-%f}", frame.taken)
            elif self._cannot_open:
                raise DataError(f"{self.name}: cannot be opened; check its number or address, its cable and its power")
            elif not is_told and time.monotonic() - self._arrived > self._patience:
                is_told = True
                why = f"{self.name}: no picture for {self._patience:g} s; check cable, power and network"
                yield Item(Origin(self.name, time=datetime.now(timezone.utc)), ImageError(why))

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify_all()

    def _take(self) -> _Frame | None:
        """The newest picture, waited for a little, unless it is old."""
        with self._changed:
            if self._newest is None:
                self._changed.wait(WAIT_SECONDS)
            frame, self._newest = self._newest, None
        if frame is not None and time.monotonic() - frame.arrived > MAX_AGE_SECONDS:
            self.num_missed += 1
            return None
        return None if self._closing.is_set() else frame

    def _read(self) -> None:
        has_opened = False
        while not self._closing.is_set():
            try:
                capture = self._open(self._address)
                try:
                    has_opened = has_opened or capture.isOpened()
                    if not has_opened:
                        self._cannot_open = True
                        return
                    while not self._closing.is_set() and self._arrive(*capture.read()):
                        pass
                finally:
                    capture.release()
            except cv2.error:  # as a read that gives nothing
                pass
            self._closing.wait(REOPEN_SECONDS)

    def _arrive(self, is_read: bool, pixels: Any) -> bool:
        """Takes in what a read gave; False where that was nothing."""
        if not is_read or pixels is None:
            return False
        with self._changed:
            if self._newest is not None:
                self.num_missed += 1
            self._arrived = time.monotonic()
            self._newest = _Frame(pixels, datetime.now(timezone.utc), self._arrived)
            self._changed.notify_all()
        return True


class VideoSource:
    """The pictures of a video file, each of them, in order. Raises DataError where it cannot be opened."""

    size: int | None = None
    is_live = False
    num_missed = 0

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise DataError(f"{path}: cannot be opened as a video; check the file, or convert it to MP4")
        self._is_closed = False

    def __iter__(self) -> Iterator[Item]:
        number = 0
        try:
            while not self._is_closed:
                is_read, pixels = self._capture.read()
                if not is_read:
                    return
                item = item_of(_to_rgb(pixels), f"{self._path}/{number:06}")
                yield Item(Origin(item.origin.name), item.content)
                number += 1
        finally:
            self._capture.release()

    def close(self) -> None:
        self._is_closed = True


def open_camera(address: str) -> CameraSource:
    """`camera:0`, or the name of a device, as `camera:/dev/video2`."""
    place = address.partition(":")[2]
    if not place:
        raise SettingsError(f"{address}: give the number of the camera or its device, for example camera:0")
    return CameraSource(int(place) if place.isdecimal() else place, name=address)


def open_stream(address: str) -> CameraSource:
    """A stream of the network, as `rtsp://10.0.0.7/stream1`."""
    return CameraSource(address)


def open_video(address: str) -> VideoSource:
    """A video file, as `video:parts.mp4`."""
    return VideoSource(address.partition(":")[2])


def shown_address(address: str) -> str:
    """An address as it may be shown: without name and password.

    >>> shown_address("rtsp://user:secret@10.0.0.7:554/stream1")
    'rtsp://10.0.0.7:554/stream1'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", address).partition("?")[0].rstrip("/")


def _to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """A picture of OpenCV, gray or BGR, as it is kept everywhere else."""
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return pixels
