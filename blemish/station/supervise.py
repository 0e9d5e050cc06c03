"""Starts the processes of a station, hears their beats, starts them again when they end, and stops them in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blemish.errors import BlemishError
from blemish.files import make_folder, write_file
from blemish.station.core.lane_file import lane_ids, read_lane
from blemish.station.job_files import next_job
from blemish.station.process import EXIT_AGAIN
from blemish.station.settings import Settings
from blemish.text import json_text

PATIENCE_SECONDS = 30.0
"""Without a beat for so long a process hangs, and is ended."""
START_SECONDS = 180.0
"""For the first beat: libraries are read from the disk."""
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
CALM_SECONDS = 20.0
"""A process that ran for so long begins with the shortest wait again."""
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.5
"""How often it is looked for new lanes and jobs."""
MOST_LOG_BYTES = 4 << 20


@dataclass
class Child:
    """One process of the station, or the wait before it is started again."""

    name: str
    command: list[str]
    is_once: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    heard: float = 0.0
    is_ready: bool = False
    due: float = 0.0
    num_failures: int = 0
    num_starts: int = 0
    last_words: str = ""


class Supervisor:
    """Runs the processes of a station until `stop`. `tell` gets a line for whoever watches the console."""

    def __init__(self, settings: Settings, tell: Callable[[str], object]) -> None:
        self._settings, self._data, self._tell = settings, settings.data, tell
        self._children: dict[str, Child] = {}
        self._is_stopping = threading.Event()
        self._told = ""
        self._state = b""
        self._add("store", "blemish.station.store.process", str(self._data))
        self._add("web", "blemish.station.web.process", str(self._data))

    def stop(self) -> None:
        self._is_stopping.set()

    def run(self) -> None:
        """Returns when all have ended, after `stop`."""
        looked = 0.0
        while not self._is_stopping.is_set():
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                self._look_for_lanes()
                self._look_for_work()
            for child in list(self._children.values()):
                self._care(child)
            self._write_state()
            self._is_stopping.wait(POLL_SECONDS)
        self._stop_all()

    def is_ready(self) -> bool:
        """Whether every process is up."""
        return all(child.is_ready for child in self._children.values() if not child.is_once)

    def _add(self, name: str, module: str, *arguments: str, is_once: bool = False) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._children[name] = Child(name, command, is_once)

    def _look_for_lanes(self) -> None:
        wanted = set()
        for lane_id in lane_ids(self._data):
            wanted.add(f"lane-{lane_id}")
            if f"lane-{lane_id}" not in self._children:
                self._add(f"lane-{lane_id}", "blemish.station.lane.process", str(self._data), str(lane_id))
            with contextlib.suppress(BlemishError):
                rate = read_lane(self._data, lane_id).plc_rate
                if rate is not None:
                    wanted.add(f"plc-{lane_id}")
                    if f"plc-{lane_id}" not in self._children:
                        arguments = (str(self._data), str(lane_id), str(rate))
                        self._add(f"plc-{lane_id}", "blemish.station.plc.simulated", *arguments)
        for name in [name for name in self._children if name.startswith(("lane-", "plc-")) and name not in wanted]:
            self._end(self._children.pop(name))

    def _look_for_work(self) -> None:
        """One job at a time, begun when there is none."""
        if any(child.is_once for child in self._children.values()):
            return
        job = next_job(self._data)
        if job is not None:
            self._add(f"work-{job.name}", "blemish.station.work.process", str(self._data), str(job), is_once=True)

    def _care(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                self._start(child)
            return
        status = child.process.poll()
        limit = PATIENCE_SECONDS if child.is_ready else START_SECONDS
        if status is None and now - child.heard > limit and not child.is_once:
            self._tell(f"{child.name} gives no sign of life; it is started again")
            child.process.kill()
            status = child.process.wait()
        if status is None:
            return
        child.process = None
        child.is_ready = False
        if child.is_once:
            del self._children[child.name]
            return
        if status == EXIT_AGAIN:
            child.due = now
            return
        child.num_failures = 0 if now - child.started > CALM_SECONDS else child.num_failures + 1
        child.due = now + BACKOFF_SECONDS[min(child.num_failures, len(BACKOFF_SECONDS) - 1)]
        if child.last_words and child.last_words != self._told:
            self._told = child.last_words
            self._tell(f"{child.name}: {child.last_words}")

    def _start(self, child: Child) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        try:
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops them in order
            )
        except OSError as error:
            child.due = time.monotonic() + BACKOFF_SECONDS[-1]
            self._tell(f"{child.name} cannot be started: {error}")
            return
        child.started = child.heard = time.monotonic()
        child.num_starts += 1
        child.last_words = ""
        assert child.process.stdout is not None
        assert child.process.stderr is not None
        for target, stream in ((self._hear, child.process.stdout), (self._log, child.process.stderr)):
            threading.Thread(target=target, args=(child, stream), daemon=True).start()

    def _hear(self, child: Child, beats: IO[bytes]) -> None:
        while content := os.read(beats.fileno(), 64):
            child.heard = time.monotonic()
            child.is_ready = child.is_ready or b"r" in content
        beats.close()

    def _log(self, child: Child, messages: IO[bytes]) -> None:
        """Puts a process's messages into its log; of a long log the older half goes."""
        path = make_folder(self._data / "log") / f"{child.name}.log"
        for line in messages:
            child.last_words = line.decode("utf-8", "replace").strip()[:500]
            with contextlib.suppress(OSError):
                if path.exists() and path.stat().st_size > MOST_LOG_BYTES:
                    path.replace(path.with_suffix(".log.1"))
                with path.open("ab") as file:
                    file.write(line)
        messages.close()

    def _stop_all(self) -> None:
        """Whoever triggers first, then the lanes, then those who keep what the lanes said."""
        order = ("plc-", "work-", "lane-", "store", "web")
        for prefix in order:
            group = [child for name, child in self._children.items() if name.startswith(prefix)]
            for child in group:
                if child.process is not None:
                    with contextlib.suppress(OSError):
                        child.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for child in group:
                self._wait(child, deadline - time.monotonic())

    def _end(self, child: Child) -> None:
        if child.process is not None:
            child.process.terminate()
            self._wait(child, STOP_SECONDS)

    def _wait(self, child: Child, seconds: float) -> None:
        if child.process is None:
            return
        try:
            child.process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        child.process = None

    def _write_state(self) -> None:
        """Says in a file how the processes are, when that changes."""
        state = [
            {
                "name": child.name,
                "pid": None if child.process is None else child.process.pid,
                "is_ready": child.is_ready,
                "num_starts": child.num_starts,
                "last_words": child.last_words,
            }
            for child in self._children.values()
        ]
        content = json_text({"pid": os.getpid(), "processes": state}).encode()
        if content != self._state:
            self._state = content
            with contextlib.suppress(BlemishError):
                write_file(processes_path(self._data), content, survives_power_cut=False)


def processes_path(data: Path) -> Path:
    return data / "run" / "processes.json"
