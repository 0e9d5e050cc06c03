"""The newest part of each lane, for all who watch: picture and verdict in one message, to slow ones the newest only."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from blemish.station import wire

RETRY_SECONDS = 0.3
QUIET_SECONDS = 5.0
"""A lane says something each second: without a word for so long it is gone."""


class LiveLane:
    """Follows one lane, as long as somebody watches. Made and used on the loop of the server."""

    def __init__(self, data: Path, lane_id: int) -> None:
        self._data, self._lane_id = data, lane_id
        self._loop = asyncio.get_running_loop()
        self._newest = self._newest_part = b""
        self._watching: set[asyncio.Event] = set()
        self._is_watched = threading.Event()
        self._is_closing = False
        threading.Thread(target=self._follow, name=f"live {lane_id}", daemon=True).start()

    async def messages(self) -> AsyncIterator[bytes]:
        """The newest message whenever there is a new one, the newest part first."""
        is_new = asyncio.Event()
        self._watching.add(is_new)
        self._is_watched.set()
        try:
            if self._newest_part:
                yield self._newest_part
            while True:
                await is_new.wait()
                is_new.clear()
                yield self._newest
        finally:
            self._watching.discard(is_new)
            if not self._watching:
                self._is_watched.clear()
                self._newest_part = b""

    def close(self) -> None:
        self._is_closing = True
        self._is_watched.set()

    def _follow(self) -> None:
        while not self._is_closing:
            self._is_watched.wait()
            with (
                contextlib.suppress(OSError, EOFError, wire.UnreachableError),
                wire.connect(self._data, f"lane-{self._lane_id}") as connection,
            ):
                wire.send(connection, {"do": "watch"})
                while self._is_watched.is_set() and not self._is_closing and connection.poll(QUIET_SECONDS):
                    self._put(connection.recv_bytes(wire.MAX_MESSAGE_BYTES))
            if self._is_watched.is_set():
                self._put(wire.pack({"kind": "away", "lane": self._lane_id, "at": time.time()}))
            time.sleep(RETRY_SECONDS)

    def _put(self, message: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._tell, message)

    def _tell(self, message: bytes) -> None:
        self._newest = message
        if wire.unpack(message)[0]["kind"] == "part":
            self._newest_part = message
        for is_new in self._watching:
            is_new.set()


class Live:
    """All lanes that are watched."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lanes: dict[int, LiveLane] = {}

    def lane(self, lane_id: int) -> LiveLane:
        found = self._lanes.get(lane_id)
        if found is None:
            found = self._lanes[lane_id] = LiveLane(self._data, lane_id)
        return found

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
