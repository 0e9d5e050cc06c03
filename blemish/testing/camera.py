"""A camera made of pictures: for tests of sources and of programs that use one, without any device."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blemish.schema import Image


class FakeCamera:
    """Stands in for `cv2.VideoCapture`: gives its images, RGB, over and over, `rate` a second (0: at once).

    `hang` lets reads wait until `go_on`; `unplug` lets reads and attempts to open fail until `plug_in`. `num_read`
    counts the images given, and `num_opened` how often the camera was opened.

    >>> camera = FakeCamera([np.zeros((64, 64, 3), np.uint8)])
    >>> from blemish.line.camera import CameraSource
    >>> source = CameraSource(0, open_capture=camera.open)
    """

    def __init__(self, images: Sequence[Image], *, rate: float = 0.0) -> None:
        self.num_read = self.num_opened = 0
        self._frames = [np.ascontiguousarray(image[..., ::-1]) for image in images]
        self._pause = 1 / rate if rate else 0.0
        self._going = threading.Event()
        self._going.set()
        self._is_there = True

    def open(self, address: int | str) -> FakeCamera:
        """The camera itself; give this method as `open_capture`."""
        self.num_opened += 1
        return self

    def hang(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def unplug(self) -> None:
        self._is_there = False

    def plug_in(self) -> None:
        self._is_there = True

    def isOpened(self) -> bool:  # noqa: N802
        return self._is_there

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        time.sleep(self._pause)
        self._going.wait()
        if not self._is_there:
            return False, None
        self.num_read += 1
        return True, self._frames[(self.num_read - 1) % len(self._frames)]

    def release(self) -> None: ...
