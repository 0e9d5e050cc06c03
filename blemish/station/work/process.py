"""Does one job, beside the lanes and after them: `python -m blemish.station.work.process DATA FOLDER`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from blemish.errors import BlemishError, Cancelled
from blemish.model import train
from blemish.station.job_files import MOST_TRIES, JobState, is_cancelled, write_state
from blemish.station.process import Life, run_child, say

NICE = 10
BUNDLE = "trained.blemish"


def train_job(folder: Path, life: Life) -> JobState:
    """Trains on the folder of good images that the job names; the bundle lies in the job's folder then."""
    params = json.loads((folder / "job.json").read_text("utf-8"))
    last = 0.0

    def progress(task: str, done: int, total: int) -> None:
        nonlocal last
        life.beat()
        if time.monotonic() - last > 0.25 or done == total:
            last = time.monotonic()
            write_state(folder, JobState("running", task, done, total))

    def cancel() -> bool:
        return is_cancelled(folder) or life.is_ending.is_set()

    write_state(folder, JobState("running"))
    try:
        model = train(
            params["folder"],
            detector=params.get("detector", "patchcore"),
            backbone=params.get("backbone", "efficientnet-lite0"),
            size=tuple(params["size"]) if params.get("size") else None,
            false_reject=float(params.get("false_reject", 0.01)),
            settings=params.get("settings"),
            progress=progress,
            cancel=cancel,
        )
        model.save(folder / BUNDLE)
    except Cancelled:
        return JobState("waiting" if life.is_ending.is_set() else "cancelled")
    except BlemishError as error:
        return JobState("failed", fault=str(error))
    return JobState("done", done=1, total=1)


def main() -> int:
    folder = Path(sys.argv[2])
    life = Life(patience_seconds=3600.0)
    if hasattr(os, "nice"):
        os.nice(NICE)
    tries = folder / "tries"
    number = len(tries.read_bytes()) + 1 if tries.exists() else 1
    with contextlib.suppress(OSError), tries.open("ab") as file:
        file.write(b".")
    if number > MOST_TRIES:
        write_state(folder, JobState("failed", fault="the training ended its process twice; is there enough memory?"))
        return 0
    life.ready()
    try:
        state = train_job(folder, life)
    except Exception as error:
        state = JobState("failed", fault=f"{type(error).__name__}: {error}")
    say(f"job {folder.name}: {state.state} {state.fault}")
    write_state(folder, state)
    return 0


if __name__ == "__main__":
    run_child(main)
