"""Jobs as folders: the pages put one there, a process of its own does it, and leaves in it how it went."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from blemish.files import write_file
from blemish.text import json_text


@dataclass(frozen=True)
class JobState:
    """How a job goes: waiting, running, done, failed or cancelled."""

    state: str = "waiting"
    task: str = ""
    done: int = 0
    total: int = 0
    fault: str = ""


MOST_TRIES = 2
"""A job that ends its process twice is given up."""


def job_folder(data: Path, job_id: int) -> Path:
    return data / "work" / str(job_id)


def put_job(data: Path, job_id: int, params: dict[str, object]) -> None:
    """Lets a job be done. Raises OutputError."""
    write_file(job_folder(data, job_id) / "job.json", json_text(params).encode())


def next_job(data: Path) -> Path | None:
    """The folder of the job that is next."""
    folder = data / "work"
    if not folder.is_dir():
        return None
    ready = [each for each in folder.iterdir() if each.name.isdecimal() and (each / "job.json").exists()]
    waiting = [each for each in ready if not is_over(read_state(each))]
    return min(waiting, key=lambda each: int(each.name), default=None)


def is_over(state: JobState) -> bool:
    return state.state in ("done", "failed", "cancelled")


def read_state(folder: Path) -> JobState:
    try:
        return JobState(**json.loads((folder / "state.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return JobState()


def write_state(folder: Path, state: JobState) -> None:
    write_file(folder / "state.json", json_text(vars(state)).encode(), survives_power_cut=False)


def ask_to_cancel(folder: Path) -> None:
    write_file(folder / "cancel", b"", survives_power_cut=False)
    if read_state(folder).state == "waiting":
        write_state(folder, JobState("cancelled"))


def is_cancelled(folder: Path) -> bool:
    return (folder / "cancel").exists()
