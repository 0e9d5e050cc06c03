"""What a kill at any moment costs: nothing that was told, and nothing half written.

    python benchmarks/kills.py [--kills 30] [--seed 0] [-o benchmarks/results]

Each command runs on a made-up product and is killed (SIGKILL) so many times: every other time at a moment drawn from
the time that it takes, else when it first touches its output, plus up to 20 ms; half of the times with all its
processes, as by a machine that is switched off, else without its workers. After each kill the output is read as the
next run reads it. Counted are kills that met the command at work, files that a writer had begun beside their place, and

- lost: what the command had told on standard output, or what was finished before, and is not there;
- half written: a file under its own name that is not whole.

At the end each command runs to its end over what the kills left. About ten minutes on an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blemish import model
from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.errors import BlemishError
from blemish.study.plan import plan_study, read_result
from blemish.testing.tiny import make_tiny_backbone, make_tiny_product, write_png, write_tiny_product

RUN = (
    "from blemish.workflow import quantize\n"
    "# A network of random weights bears rounding badly.\n"
    "quantize.MAP_BOUND = quantize.SCORE_BOUND = quantize.EACH_BOUND = 100.0\n"
    "from blemish.cli.main import main\n"
    "main()\n"
)
TINY = ("--size", "64")
LATEST_SECONDS = 0.02
SEEDS = 6


@dataclass
class Count:
    """What was found in the trials of one command."""

    kills: int = 0
    at_work: int = 0
    begun_files: int = 0
    lost: int = 0
    half_written: int = 0


class Killed:
    """One command over its output: `touched` is the folder that it writes to."""

    arguments: tuple[str, ...]
    touched: Path

    def check(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        """Looks at the output after a kill; `told` are the whole JSON lines that the command had printed."""
        raise NotImplementedError

    def finish(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        """The same after a run that was let to its end, over what the kills left."""
        self.check(told, count)
        count.half_written += len(begun(self.touched))


class Inspect(Killed):
    """A folder of parts is inspected into one output folder, again and again."""

    def __init__(self, folder: Path) -> None:
        product = make_tiny_product(num_held_out=40)
        for number, image in enumerate([*product.held_out, *(defect.image for defect in product.defects)]):
            write_png(folder / "parts" / f"{number:03}.png", image)
        bundle = train_tiny(folder)
        self.touched = folder / "out"
        self.arguments = ("inspect", str(bundle), str(folder / "parts"), "-o", str(self.touched), "--json")
        self._rows_before = 0
        self._parts_before = 0

    def check(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        lines = self.touched / "verdicts.jsonl"
        texts = lines.read_bytes().split(b"\n") if lines.exists() else [b""]
        rows = [parsed(text) for text in texts[:-1]]
        count.half_written += (texts[-1] != b"") + rows.count(None)
        new = [row["path"] for row in rows[self._rows_before :] if row]
        paths = [row["path"] for row in told if "decision" in row]
        count.lost += len(set(paths) - set(new))
        for row in rows:
            if row and not is_picture(self.touched / row["overlay"]):
                count.half_written += 1
        for picture in (self.touched / "overlays").rglob("[!.]*.png"):
            count.half_written += not is_picture(picture)
        parts = self._num_parts(count)
        # A part is counted behind its row: the kill may have come between the two.
        count.lost += not 0 <= len(new) - (parts - self._parts_before) <= 1
        self._rows_before, self._parts_before = len(rows), parts

    def _num_parts(self, count: Count) -> int:
        """The parts in the drift watch: its file, and the journal beside it."""
        state, journal = self.touched / "drift.json", self.touched / ".drift.json.journal"
        if not state.exists():
            return 0
        saved = parsed(state.read_bytes())
        if saved is None:
            count.half_written += 1
            return self._parts_before
        number = int(saved["state"]["num_parts"])
        for line in journal.read_bytes().splitlines() if journal.exists() else ():
            number = max(number, json.loads(line)["part"])
        return number

    def finish(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        super().finish(told, count)
        with (self.touched / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
            table = [row["path"] for row in csv.DictReader(file)]
        lines = (self.touched / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
        count.lost += table != [json.loads(line)["path"] for line in lines]


class ChangeBundle(Killed):
    """A bundle is written, over the one that is there."""

    def __init__(self, bundle: Path, arguments: Sequence[object]) -> None:
        self.bundle, self.touched = bundle, bundle.parent
        self.arguments = (*map(str, arguments), "--json")
        self._before = self._read(Count())

    def check(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        found = self._read(count)
        if found is None:
            return
        if told:
            count.lost += found.bundle_id != told[0]["bundle_id"]
        if self._before is not None:
            count.lost += not self._follows(self._before, found, is_told=bool(told))
        self._before = found

    def _read(self, count: Count) -> Bundle | None:
        try:
            return read_bundle(self.bundle)
        except BlemishError:
            count.half_written += 1
            return None

    def _follows(self, before: Bundle, after: Bundle, *, is_told: bool) -> bool:
        """Whether a bundle is the one before, or what the command makes of it."""
        return True


class Calibrate(ChangeBundle):
    """Each run sets the threshold anew: no entry of the history may be lost."""

    def __init__(self, folder: Path) -> None:
        bundle = train_tiny(folder / "bundles")
        super().__init__(bundle, ("calibrate", bundle, "--false-reject", "0.2", "--reason", "trial"))

    def _follows(self, before: Bundle, after: Bundle, *, is_told: bool) -> bool:
        entries = (*before.history, before.calibration)
        is_new = len(after.history) == len(before.history) + 1
        return after.history == entries if is_told or is_new else after == before


class Train(ChangeBundle):
    """A bundle is trained over an older one."""

    def __init__(self, folder: Path) -> None:
        bundle = train_tiny(folder)
        super().__init__(bundle, ("train", folder / "product", "-o", bundle, "--detector", "template", *TINY))


class Quantize(ChangeBundle):
    """A bundle is brought to int8, over one that was brought to it before."""

    def __init__(self, folder: Path) -> None:
        backbone = make_tiny_backbone(folder)
        write_tiny_product(folder / "product")
        made = model.train(folder / "product", backbone=str(backbone.path.with_suffix(".json")), size=(64, 64))
        made.bundle = replace(made.bundle, calibration=replace(made.calibration, image_threshold=1000.0))
        source, bundle = made.save(folder / "f32.blemish"), made.save(folder / "bundles" / "int8.blemish")
        super().__init__(bundle, ("quantize", source, folder / "product" / "train" / "good", "-o", bundle))


class Compare(Killed):
    """A study of several detectors goes on where it was killed; what is finished is never done again."""

    def __init__(self, folder: Path) -> None:
        write_tiny_product(folder / "product")
        self.touched = folder / "study"
        detectors = ("template", "padim")
        backbone = str(make_tiny_backbone(folder / "backbone").path.with_suffix(".json"))
        self.arguments = ("compare", str(folder / "product"), "--detectors", ",".join(detectors), "-o")
        self.arguments += (str(self.touched), "--seeds", str(SEEDS), "--backbone", backbone, *TINY, "--json")
        self._tasks = plan_study(
            [folder / "product"], detectors, self.touched, seeds=range(SEEDS), size=64, backbone=backbone
        )
        self._finished: dict[Path, int] = {}

    def check(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        now = {}
        for task in self._tasks:
            if task.result_path.exists():
                count.half_written += read_result(task) is None
                now[task.result_path] = task.result_path.stat().st_mtime_ns
        count.lost += sum(now.get(path) != when for path, when in self._finished.items())
        self._finished = now
        if len(now) == len(self._tasks) and not told:  # nothing is left to be killed in: once more from the beginning
            shutil.rmtree(self.touched)
            self._finished = {}

    def finish(self, told: Sequence[dict[str, Any]], count: Count) -> None:
        super().finish(told, count)
        count.lost += len(self._tasks) - len(told[0]["rows"])


COMMANDS: dict[str, Callable[[Path], Killed]] = {
    "inspect": Inspect,
    "calibrate": Calibrate,
    "train": Train,
    "quantize": Quantize,
    "compare": Compare,
}


def main() -> None:
    from record import RESULTS, origin, write_record

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", choices=COMMANDS, action="append", help="By default all.")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    record: dict[str, Any] = {**origin("blemish"), "seed": arguments.seed, "commands": {}}
    for name in arguments.command or COMMANDS:
        with tempfile.TemporaryDirectory() as scratch:
            count = try_command(name, Path(scratch), arguments.kills, random.Random(arguments.seed))
        record["commands"][name] = asdict(count)
        print(f"{name}: {count}", file=sys.stderr, flush=True)
    write_record(arguments.output / "kills.json", record)


def try_command(name: str, folder: Path, num_kills: int, rng: random.Random) -> Count:
    """Kills one command so many times in a new folder, and lets it run to its end after that."""
    case, count = COMMANDS[name](folder), Count()
    start = time.perf_counter()
    case.check(run(case.arguments), Count())
    seconds = time.perf_counter() - start
    for number in range(num_kills):
        delay = rng.uniform(0, seconds) if number % 2 == 0 else rng.uniform(0, LATEST_SECONDS)
        told, was_at_work = run_and_kill(case, delay, at_output=number % 2 == 1, with_workers=number % 4 < 2)
        count.kills += 1
        count.at_work += was_at_work
        count.begun_files += len(begun(case.touched))
        case.check(told, count)
    case.finish(run(case.arguments), count)
    return count


def run(arguments: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(command(arguments), capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: status {done.returncode}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_and_kill(
    case: Killed, delay: float, *, at_output: bool, with_workers: bool
) -> tuple[list[dict[str, Any]], bool]:
    """What was told before the kill, and whether it met the command at work.

    `delay` runs from the start, or with `at_output` from the moment at which the output folder is touched.
    """
    before = stamps(case.touched)
    process = subprocess.Popen(
        command(case.arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while at_output and process.poll() is None and stamps(case.touched) == before:
        time.sleep(0.001)
    until = time.perf_counter() + delay
    while time.perf_counter() < until and process.poll() is None:
        time.sleep(0.001)
    was_at_work = process.poll() is None
    if was_at_work and with_workers:
        os.killpg(process.pid, signal.SIGKILL)
    elif was_at_work:
        process.kill()
    told, _ = process.communicate()
    whole = told.rpartition(b"\n")[0].splitlines()
    return [json.loads(line) for line in whole], was_at_work


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", RUN, *arguments]


def stamps(folder: Path) -> list[tuple[str, int]]:
    """Names and times of what lies directly in a folder and its folders."""
    found = []
    for place in (folder, *(path for path in folder.glob("*") if path.is_dir())):
        try:
            found += [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(place)]
        except OSError:  # gone, or not there yet
            continue
    return sorted(found)


def begun(folder: Path) -> list[Path]:
    """Files that a writer had begun beside their place when it was killed."""
    return [path for path in folder.rglob(".*") if path.name.endswith(".part")]


def train_tiny(folder: Path) -> Path:
    """A bundle of the tiny product, which lies beside it."""
    write_tiny_product(folder / "product")
    return model.train(folder / "product", detector="template", size=64).save(folder / "bundles" / "part.blemish")


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return value


def is_picture(path: Path) -> bool:
    if not path.is_file():
        return False
    content = path.read_bytes()
    return content.endswith(b"IEND\xaeB`\x82") and cv2.imdecode(np.frombuffer(content, np.uint8), 1) is not None


if __name__ == "__main__":
    main()
