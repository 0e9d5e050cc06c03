"""What every process of a station does: it says that it lives, ends in order when asked, and ends with its parent.

The parent reads the beats from the child's standard output. Messages go to standard error, which is its log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

BEAT_SECONDS = 1.0
EXIT_AGAIN = 75
"""A child that ends with this wants to be started again at once."""


class Life:
    """The life of a child process. `is_ending` is set when it should end; `beat` is called by its main loop.

    Where `beat` was not called for `patience_seconds`, no beat is sent: the parent ends a process that hangs.
    """

    def __init__(self, *, patience_seconds: float = 20.0) -> None:
        self.is_ending = threading.Event()
        self._patience = patience_seconds
        self._last = time.monotonic()
        self._output = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.is_ending.set())
        threading.Thread(target=self._send, name="beats", daemon=True).start()

    def beat(self) -> None:
        self._last = time.monotonic()

    def ready(self) -> None:
        """Tells the parent that all is up."""
        self._write(b"r")

    def _send(self) -> None:
        while True:
            if time.monotonic() - self._last < self._patience and not self._write(b"."):
                self.is_ending.set()  # the parent is gone
                return
            time.sleep(BEAT_SECONDS)

    def _write(self, content: bytes) -> bool:
        try:
            os.write(self._output, content)
        except OSError:
            return False
        return True


def say(message: str) -> None:
    """One line in the log, with its time."""
    from blemish.text import one_line

    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{stamp}Z {one_line(message)}\n")
        sys.stderr.flush()


def run_child(main: Callable[[], int]) -> None:
    """Runs the main function of a child; what goes wrong is one line in the log."""
    try:
        status = main()
    except Exception as error:
        if os.environ.get("BLEMISH_TRACEBACK"):
            raise
        say(f"ends: {type(error).__name__}: {error}")
        status = 2
    sys.stderr.flush()
    os._exit(status)  # threads that hang in a camera or a disk must not keep it


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def machine_boot() -> str:
    """Which run of the machine this is, "" where nobody knows."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""
