"""Keeps pictures as files named by their SHA-256, beside the loop of the lane: a failed one fails no part."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from blemish.errors import OutputError
from blemish.files import write_file
from blemish.station.core.parts import Picture
from blemish.station.core.pictures import picture_path
from blemish.station.core.save_rule import SaveRule
from blemish.station.lane.lane import Shown
from blemish.station.lane.look import picture_file

MOST_WAITING = 32


class PictureKeeper:
    """Writes the pictures that the rule asks for, from a thread of its own; `tell` gets a record of each.

    `trouble` gets why pictures cannot be kept, and "" when they can be again. `num_dropped` counts those that nobody
    had time for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rule: SaveRule,
        form: str,
        now: Callable[[], int],
        tell: Callable[[Picture], object],
        trouble: Callable[[str], object],
    ) -> None:
        self.rule, self.form = rule, form
        self.num_dropped = 0
        self._folder, self._now, self._tell, self._trouble = folder, now, tell, trouble
        self._waiting: queue.Queue[Shown | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def take(self, shown: Shown) -> None:
        """Takes the picture of a part where the rule wants it, and never waits."""
        if shown.image is None or not self.rule.keeps(shown.answer.decision, shown.ticket.seq):
            return
        try:
            self._waiting.put_nowait(shown)
        except queue.Full:
            self.num_dropped += 1

    def close(self, seconds: float = 5.0) -> None:
        """Writes what waits."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (shown := self._waiting.get()) is not None:
            try:
                self._tell(self._keep(shown))
                self._trouble("")
            except (OSError, OutputError) as error:
                self.num_dropped += 1
                self._trouble(f"pictures cannot be kept: {error}")

    def _keep(self, shown: Shown) -> Picture:
        assert shown.image is not None
        is_accepted = shown.answer.decision == "accept"
        form = self.form if is_accepted else "png"
        content = picture_file(shown.image, form)
        digest = hashlib.sha256(content).hexdigest()
        path = picture_path(self._folder, digest, form)
        if not path.exists():
            write_file(path, content, survives_power_cut=False)
        height, width = shown.image.shape[:2]
        return Picture(shown.ticket.seq, 1, digest, form, len(content), height, width, self._now())
