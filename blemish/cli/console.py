"""What all commands share: the standard streams, messages on standard error, lines and JSON on standard output.

The streams take any text, as UTF-8. No write to them raises: where nobody reads standard output any more, or its disk
is full, the command goes on with what else it does, and `lost_output` says why nothing arrives.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

from blemish.text import json_text, one_line, safe_lines

EXIT_REJECT, EXIT_USER, EXIT_FAULT, EXIT_DRIFT, EXIT_SIGNAL = 1, 2, 3, 4, 128
SIGPIPE = 13


class Stream(io.TextIOWrapper):
    """A standard stream. Its first failure is kept in `fault`, not raised; nothing is written after it.

    Control characters are escaped, except for a terminal's own (`is_raw`).
    """

    def __init__(self, binary: BinaryIO, *, is_raw: bool = False) -> None:
        super().__init__(binary, encoding="utf-8", errors="backslashreplace")
        self.fault: OSError | None = None
        self._is_raw = is_raw

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # some ask a stream in this way whether it takes bytes
            raise TypeError(f"a text stream takes str, not {type(text).__name__}")
        if self.fault is None:
            try:
                super().write(text if self._is_raw else safe_lines(text))
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.fault is None:
            try:
                super().flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.fault = error
        with contextlib.suppress(OSError):  # what is held back must not fail again when the stream is closed
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


@contextmanager
def own_streams() -> Iterator[None]:
    """Both standard streams are ours alone inside: what libraries print to them goes nowhere.

    A crash within a library is told all the same. Where the streams are no files of the process, as in tests, only what
    goes through `sys` is taken over.
    """
    before = sys.stdout, sys.stderr
    with _taken_over(sys.stdout, 1) as output, _taken_over(sys.stderr, 2) as messages:
        sys.stdout, sys.stderr = output, messages
        is_process = _is_file(messages)
        if is_process:
            faulthandler.enable(messages)
        try:
            yield
        finally:
            if is_process:
                faulthandler.disable()
            sys.stdout, sys.stderr = before


def lost_output() -> OSError | None:
    """Why standard output takes nothing any more, None while it does."""
    sys.stdout.flush()
    return getattr(sys.stdout, "fault", None)


def is_reader_gone(error: OSError) -> bool:
    """Whether the program that read our output has ended, as `head` does."""
    return error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL)


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[list[int]]:
    """Inside, the first Ctrl-C or request to end calls `stop`; the second ends the program. Holds the signal then."""
    met: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals are not for other threads
        yield met
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        met.append(number)
        restore()
        stop()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as in a background job
            signal.signal(number, note)
    try:
        yield met
    finally:
        restore()


def say(message: str) -> None:
    """A message for people, one line on standard error."""
    sys.stderr.write(one_line(message) + "\n")
    sys.stderr.flush()


def waiting_for(place: object) -> Callable[[], None]:
    """Says that another program is at a file or folder, and that this one waits for it."""
    return lambda: say(f"{place}: another program is changing it; waiting for it")


def show(line: str) -> None:
    """One line on standard output."""
    sys.stdout.write(one_line(line) + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output; numbers that are not finite become null."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


@contextmanager
def _taken_over(stream: TextIO | None, number: int) -> Iterator[TextIO]:
    """The stream as a `Stream`; where it is the file descriptor `number`, that leads nowhere meanwhile."""
    if stream is None:  # it was closed before the program began
        with Stream(open(os.devnull, "wb")) as made:
            yield made
    elif _is_file(stream) and stream.fileno() == number:
        stream.flush()
        kept = os.dup(number)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
        with Stream(open(kept, "wb")) as made:
            try:
                yield made
            finally:
                made.flush()
                os.dup2(kept, number)
    elif hasattr(stream, "buffer"):
        made = Stream(stream.buffer)
        try:
            yield made
        finally:
            made.flush()
            made.detach()
    else:
        yield stream


def _is_file(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False
