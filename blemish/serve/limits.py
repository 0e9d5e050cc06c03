"""What a server takes at most: bytes of an image, images of a request, images a second of a client."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from blemish.errors import SettingsError

MAX_CLIENTS = 10_000
"""Of so many clients the rates are remembered, the latest ones."""


@dataclass(frozen=True)
class ServeLimits:
    """Bytes of one image file, images of one request, and images a second of one client (0: no limit)."""

    max_image_bytes: int = 50_000_000
    max_images: int = 64
    images_per_second: float = 0.0

    def __post_init__(self) -> None:
        if self.max_image_bytes < 1 or self.max_images < 1:
            raise SettingsError("a server takes at least one image of one byte; raise --max-mb or --max-images")
        if not self.images_per_second >= 0:
            raise SettingsError(f"--rate {self.images_per_second:g}: give images a second, or 0 for no limit")

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a request with several images; each has some bytes of headers."""
        return self.max_images * (self.max_image_bytes + 10_000)


class RateLimit:
    """Tokens for the images of each client: as many at once as a second brings (at least one), and no more after that.

    >>> now = [0.0]
    >>> limit = RateLimit(2.0, clock=lambda: now[0])
    >>> [limit.wait("a", 1) for _ in range(3)]
    [0.0, 0.0, 0.5]
    >>> now[0] = 0.5
    >>> limit.wait("a", 1), limit.wait("b", 1)
    (0.0, 0.0)
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_second, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, client: str, count: int) -> float:
        """The seconds to wait before so many images of a client are taken; 0 takes them."""
        if not self._rate:
            return 0.0
        with self._lock:
            most, now = max(1.0, self._rate), self._clock()
            tokens, before = self._clients.pop(client, (most, now))
            tokens = min(most, tokens + (now - before) * self._rate)
            needed = min(float(count), most)  # else a request of many could never be taken
            missing = needed - tokens
            self._clients[client] = (tokens if missing > 0 else tokens - needed, now)
            while len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)
            return max(0.0, missing / self._rate)
