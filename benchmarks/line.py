"""A watched folder and a long run: how soon a file is judged, whether each is judged once, whether memory stays flat.

    python benchmarks/line.py [-o benchmarks/results] [--part latency|kills|flat]

Needs no data: the tiny product of `blemish.testing` is drawn, `template` is trained on it. Takes about ten minutes on
two cores; `latency` wants an otherwise idle machine. Each part drives `blemish inspect` in a process of its own.

- `latency`: 200 files are renamed into a watched folder, one after the other, at random moments. Milliseconds from the
  rename to the verdict's line on standard output, less those that the verdict says the inspection took. The bar is 100.
- `kills`: 10,000 files are dropped into the folder while the program runs with `--move`; it is killed (SIGKILL) and
  started again ten times meanwhile. Each file must have exactly one row in `verdicts.jsonl` and in `verdicts.csv`, and
  lie in exactly one folder.
- `flat`: 20,000 images in one run with `-o`. Resident memory and open handles, read from the system every second; the
  first tenth of the run is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from record import RESULTS, origin, write_record

from blemish.model import train
from blemish.testing.tiny import make_tiny_product, write_png

BARS = {"milliseconds": 100.0, "megabytes_gained": 8.0, "handles_gained": 0}


def inspecting(bundle: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def image_files(folder: Path, count: int) -> list[bytes]:
    """Files of images, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    product = make_tiny_product(num_good=count, num_held_out=0, num_defects=0, seed=1)
    return [write_png(folder / "one.png", image).read_bytes() for image in product.good]


def measure_latency(bundle: Path, work: Path, count: int) -> dict[str, Any]:
    contents = image_files(work / "made", 50)
    incoming = work / "incoming"
    incoming.mkdir()
    rng = random.Random(0)
    times = []
    with inspecting(bundle, "--follow", incoming, "--json") as process:
        rows: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                row = json.loads(line)
                if "decision" in row:
                    rows.put((time.monotonic(), row))

        threading.Thread(target=read, daemon=True).start()
        for number in range(-3, count):  # the first ones load and warm up
            place = incoming / f"{number}.part"
            place.write_bytes(contents[number % len(contents)])
            time.sleep(rng.uniform(0.05, 0.3))
            place.rename(place.with_suffix(".png"))
            renamed = time.monotonic()
            shown, row = rows.get(timeout=60)
            if number >= 0:
                times.append((shown - renamed) * 1000 - row["milliseconds"])
        process.send_signal(signal.SIGTERM)
    times.sort()
    return {
        "num_files": count,
        "milliseconds": {
            "median": round(median(times), 1),
            "p99": round(times[int(0.99 * count)], 1),
            "largest": round(times[-1], 1),
        },
    }


def measure_kills(bundle: Path, work: Path, count: int, kills: int) -> dict[str, Any]:
    contents = image_files(work / "made", 200)
    incoming, out = work / "incoming", work / "out"
    incoming.mkdir()
    done = threading.Event()

    def drop() -> None:
        for number in range(count):
            place = incoming / f"{number:05}.part"
            place.write_bytes(contents[number % len(contents)])
            place.rename(place.with_suffix(".png"))
            if number % 20 == 0:
                time.sleep(0.02)
        done.set()

    def num_rows() -> int:
        path = out / "verdicts.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    threading.Thread(target=drop, daemon=True).start()
    rng = random.Random(0)
    start = time.monotonic()
    arguments = (bundle, "--follow", incoming, "-o", out, "--move", "--json")
    for _ in range(kills):
        with inspecting(*arguments) as process:
            threading.Thread(target=process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
            begun = num_rows()
            until = begun + rng.randrange(count // (2 * kills), count // kills)
            while num_rows() < until and not (done.is_set() and num_rows() >= count):
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    with inspecting(*arguments) as process:
        threading.Thread(target=process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
        while num_rows() < count:
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
    seconds = time.monotonic() - start
    rows = [json.loads(line) for line in (out / "verdicts.jsonl").read_bytes().splitlines()]
    judged = Counter(Path(row["path"]).name for row in rows)
    table = Counter(
        line.partition(",")[0].rpartition("/")[2] for line in (out / "verdicts.csv").read_text("utf-8").splitlines()[1:]
    )
    lying = Counter(
        path.name for folder in ("accept", "review", "reject", "unreadable") for path in (out / folder).glob("*.png")
    )
    return {
        "num_files": count,
        "num_kills": kills,
        "seconds": round(seconds, 1),
        "judged_once": sum(times == 1 for times in judged.values()),
        "judged_more_often": sum(times > 1 for times in judged.values()),
        "not_judged": count - len(judged),
        "rows_of_the_table": sum(table.values()),
        "moved_once": sum(times == 1 for times in lying.values()),
        "left_over": sum(1 for _ in incoming.glob("*.png")),
    }


def measure_flat(bundle: Path, work: Path, count: int) -> dict[str, Any]:
    contents = image_files(work / "made", 200)
    folder, out = work / "parts", work / "out"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.png").write_bytes(contents[number % len(contents)])
    start = time.monotonic()
    samples: list[tuple[float, int]] = []
    with inspecting(bundle, folder, "-o", out, "--json") as process:
        threading.Thread(target=process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
        while process.poll() is None:
            try:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                handles = len(os.listdir(f"/proc/{process.pid}/fd"))
            except (OSError, IndexError):
                break
            samples.append((pages * os.sysconf("SC_PAGE_SIZE") / 1e6, handles))
            time.sleep(1)
    seconds = time.monotonic() - start
    steady = samples[len(samples) // 10 :]
    rows = [json.loads(line)["path"] for line in (out / "verdicts.jsonl").read_bytes().splitlines()]
    tenth = max(1, len(steady) // 10)
    return {
        "num_images": count,
        "seconds": round(seconds, 1),
        "rows": len(rows),
        "rows_in_order": rows == [str(path) for path in sorted(folder.iterdir())],
        "megabytes": {
            "first": round(median(size for size, _ in steady[:tenth]), 1),
            "last": round(median(size for size, _ in steady[-tenth:]), 1),
            "largest": round(max(size for size, _ in steady), 1),
        },
        "handles": {"first": steady[0][1], "last": steady[-1][1], "largest": max(handles for _, handles in steady)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--part", choices=("latency", "kills", "flat"), help="one part alone; the others are kept as they are"
    )
    arguments = parser.parse_args()
    path = arguments.output / "line.json"
    kept = json.loads(path.read_bytes()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = train(list(make_tiny_product(num_good=60).good), detector="template", size=64).save(
            work / "part.blemish"
        )
        parts = {
            "latency": lambda: measure_latency(bundle, work / "latency", 200),
            "kills": lambda: measure_kills(bundle, work / "kills", 10_000, 10),
            "flat": lambda: measure_flat(bundle, work / "flat", 20_000),
        }
        for name, measure in parts.items():
            if arguments.part in (None, name):
                (work / name).mkdir()
                kept[name] = {**origin("onnxruntime", "opencv-python-headless"), **measure()}
                print(name, json.dumps(kept[name], indent=1))
                write_record(path, {"bars": BARS, **kept})


if __name__ == "__main__":
    main()
