"""Time and memory of a training with very many images.

    python benchmarks/fit_memory.py DATA [--images 10000] [-o benchmarks/results]

The good training images of DATA are resized to 256 x 256 and repeated with small changes (shifted by up to 4 pixels,
brightness changed by up to 5 %, noise of 2 gray levels) until there are so many; they are written as JPEG files into a
temporary folder (some 300 MB for 10,000). Each detector is trained on that folder with its defaults, as `blemish train`
does it, in a process of its own: seconds by part, and the most memory that the process has had. The bar is 4096 MB.
On an idle machine with two cores about six minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from record import RESULTS, origin, write_record

import blemish
from blemish.datasets.index import open_dataset
from blemish.images.decode import read_image
from blemish.images.resize import resize_image

HW = (256, 256)
DETECTORS = ("patchcore", "padim")
BAR_MB = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--train", metavar="DETECTOR", help="train on the folder DATA once, print the facts, stop")
    arguments = parser.parse_args()
    if arguments.train:
        print(json.dumps(train_once(arguments.data, arguments.train)))
        return
    index = open_dataset(arguments.data)
    record: dict[str, Any] = {
        **origin("blemish", "onnxruntime", "numpy", "opencv-python-headless"),
        "data": {"name": index.name, "fingerprint": index.fingerprint, "num_images": arguments.images},
        "bar_mb": BAR_MB,
        "detectors": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        write_images([item.path for item in index.train_good], Path(scratch), arguments.images)
        for detector in DETECTORS:
            command = [sys.executable, __file__, scratch, "--train", detector]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            record["detectors"].append(json.loads(done.stdout.splitlines()[-1]))
            print(done.stdout.strip(), file=sys.stderr, flush=True)
    write_record(arguments.output / "fit_memory.json", record)


def write_images(paths: list[Path], folder: Path, count: int) -> None:
    """`count` files, each one of the images with small changes."""
    originals = [resize_image(read_image(path), HW) for path in paths]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = np.roll(originals[number % len(originals)], tuple(rng.integers(-4, 5, 2)), (0, 1))
        changed = image * rng.uniform(0.95, 1.05) + rng.normal(0, 2, image.shape)
        pixels = np.clip(changed, 0, 255).astype(np.uint8)
        file = folder / f"{number:06}.jpg"
        file.write_bytes(cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def train_once(data: Path, detector: str) -> dict[str, Any]:
    manifest = blemish.train(data, detector=detector).bundle.manifest
    facts = manifest.facts
    return {
        "detector": detector,
        "num_fit": manifest.data.num_fit,
        "num_calibration": manifest.data.num_calibration,
        "fit_seconds": facts["fit_seconds"],
        "seconds_by_part": facts["seconds_by_part"],
        "peak_memory_mb": facts["peak_memory_mb"],
        "notes": facts["notes"],
    }


if __name__ == "__main__":
    main()
