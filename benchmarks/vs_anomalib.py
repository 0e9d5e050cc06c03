"""Side by side with anomalib on this machine: size, first verdict, fit, memory, latency, accuracy.

    python benchmarks/vs_anomalib.py DATA [--environment FOLDER] [-o benchmarks/results]

DATA is a data set in MVTec AD layout. anomalib is installed from PyPI into FOLDER (some 7 GB, the first time only),
runs there in a process of its own, and both sides are measured in turns. Linux. On an idle machine about ten minutes
for some 800 training images, after the installation.

How it is made fair:

- Both use the same network with the same weights (EfficientNet-Lite 0, layers of strides 8 and 16), the same pixel
  scaling, images of 256 x 256, as many bank entries in all (1 % of the patches of stride 8), and for PaDiM as many
  channels.
- anomalib's PatchCore is fitted as it comes. Its selection of bank entries is timed on the first few entries and
  extrapolated (it would take most of an hour); then an exact, faster selection (that of this package) is put in its
  place, and everything after that uses its result. Both fit times are given.
- Its latency is that of its own OpenVINO inferencer with an export for one image of the one input size, its fastest
  way. OpenVINO computes in bf16 there where the CPU can, as is its default; on this side `openvino` (f32) and
  `openvino-bf16` are both given.
- Latency is from an array of the input size to a score and map; on this side also to the verdict with its regions.
- The first verdict is timed from the start of a Python process: import, loading the file (OpenVINO on both sides), one
  image from its file to its score.
- Fit times are without calibration on this side and without validation on the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from record import RESULTS, origin, write_record
from speed import installed_mb

import blemish
from blemish.datasets.index import open_dataset
from blemish.datasets.sequence import ResizedImages
from blemish.detectors.base import FitRequest
from blemish.graph.read import AddStep, ClipStep, ConvStep, read_convolutions
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import Inspector
from blemish.metrics.ranking import auroc
from blemish.registry import load_detector
from blemish.runtime.engines import available_engines
from blemish.runtime.peak_memory import peak_memory_mb
from blemish.schema import Image
from blemish.weights import find_backbone
from blemish.workflow.detector_settings import make_settings

ROOT = Path(__file__).resolve().parents[1]
ANOMALIB = "anomalib[openvino]==2.7.0"
HW = (256, 256)
CORESET = 0.01
CHANNELS = 48
ROUNDS, RUNS = 5, 20
DETECTORS = ("patchcore", "padim")
ENGINES = tuple(name for name in ("openvino", "openvino-bf16") if name in available_engines())


class Worker:
    """anomalib in a process of its own."""

    def __init__(self, python: Path, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / "anomalib_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )

    def ask(self, do: str, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise RuntimeError("anomalib ended without an answer; see its messages above")

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "blemish-anomalib")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--fit", metavar="DETECTOR:ENTRIES", help="fit this side once, print seconds and memory, stop")
    arguments = parser.parse_args()
    if arguments.fit:
        print(json.dumps(fit_once(arguments.data, arguments.fit)))
        return
    python = set_up(arguments.environment)
    index = open_dataset(arguments.data)
    num_fit = len(index.train_good)
    entries = int(CORESET * num_fit * (HW[0] // 8) * (HW[1] // 8))
    record: dict[str, Any] = {
        **origin(),
        "versions": {"anomalib": ANOMALIB, "openvino here": version(sys.executable), "openvino there": version(python)},
        "data": index.name,
        "fingerprint": index.fingerprint,
        "num_fit": num_fit,
        "bank_entries": entries,
        "size": {
            "anomalib": environment_size(arguments.environment),
            "blemish": installed_mb(("openvino",)),
        },
        "detectors": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_backbone(folder / "backbone.npz")
        worker = Worker(python, folder)
        for detector in DETECTORS:
            say(detector)
            record["detectors"].append(side_by_side(worker, arguments.data, detector, entries, folder))
        record["first_verdict_seconds"] = first_verdicts(python, record["detectors"][0], folder)
        for entry in record["detectors"]:
            del entry["anomalib"]["file"]
        worker.close()
    target = arguments.output / "vs_anomalib.json"
    write_record(target, record)
    say(str(target))


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def side_by_side(worker: Worker, data: Path, detector: str, entries: int, folder: Path) -> dict[str, Any]:
    index = open_dataset(data)
    theirs = worker.ask(
        "fit",
        detector=detector,
        data=str(data.resolve()),
        backbone=str(folder / "backbone.npz"),
        folder=str(folder / detector),
        entries=entries,
        channels=CHANNELS,
    )
    command = [sys.executable, __file__, str(data), "--fit", f"{detector}:{entries}"]
    ours = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    model = blemish.train(data, detector=detector, size=HW, settings=settings_of(detector, entries))
    inspectors = {engine: Inspector(model.bundle, engine=engine) for engine in ENGINES}
    model.save(folder / f"{detector}.blemish")
    image = resize_image(read_image(index.test[0].path), HW)
    file = folder / "image.png"
    file.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    latency: dict[str, list[float]] = {name: [] for name in ("anomalib", *inspectors)}
    for _ in range(ROUNDS):
        latency["anomalib"] += worker.ask("times", detector=detector, image=str(file), runs=RUNS)
        for engine, inspector in inspectors.items():
            latency[engine] += own_times(inspector, image)
    paths = [item.path.resolve() for item in index.test]
    scored = worker.ask("scores", detector=detector, images=[str(path) for path in paths])
    labels = np.array([item.label for item in index.test])
    start = time.perf_counter()
    own_scores = np.array([verdict.score for _, verdict in model.inspect_files(paths)])
    rate = len(paths) / (time.perf_counter() - start)
    seconds = theirs["seconds"]
    if "exact selection" in seconds:
        theirs["fit_seconds"] = seconds["features"] + seconds["stock selection, extrapolated"]
        theirs["fit_seconds_exact_selection"] = seconds["features"] + seconds["exact selection"]
    else:
        theirs["fit_seconds"] = seconds["features"] + seconds["rest"]
    theirs["peak_memory_mb"] = seconds.pop("peak_memory_mb")
    medians = {name: round(statistics.median(values), 2) for name, values in latency.items()}
    return {
        "detector": detector,
        "anomalib": {**theirs, "images_per_second": scored["images_per_second"]},
        "blemish": {**ours, "images_per_second": rate},
        "milliseconds": medians,
        "latency_ratio": {engine: round(medians[engine] / medians["anomalib"], 3) for engine in inspectors},
        "image_auroc": {
            "anomalib": round(auroc(labels, np.array(scored["scores"])), 4),
            "blemish": round(auroc(labels, own_scores), 4),
        },
    }


def settings_of(detector: str, entries: int) -> dict[str, Any]:
    """As many entries in both banks together; as many channels of the Gaussians."""
    return {"bank_size": entries // 2} if detector == "patchcore" else {"channels": CHANNELS}


def own_times(inspector: Inspector, image: Image) -> list[float]:
    taken = [inspector.inspect_image(image, "").milliseconds for _ in range(RUNS + 3)]
    return taken[3:]


def fit_once(data: Path, wanted: str) -> dict[str, float | None]:
    """Seconds from the files to the graph, without calibration, in a process of its own."""
    name, entries = wanted.split(":")
    detector = load_detector(name)
    settings = make_settings(detector.INFO, settings_of(name, int(entries)))
    paths = tuple(item.path for item in open_dataset(data).train_good)
    start = time.perf_counter()
    images = ResizedImages(paths, HW)
    backbone = find_backbone("efficientnet-lite0")
    fitted = detector.fit(FitRequest(images=images, settings=settings, backbone=backbone))
    return {
        "fit_seconds": round(time.perf_counter() - start, 2),
        "peak_memory_mb": peak_memory_mb(),
        "export_mb": len(fitted.graph) / 1e6,
    }


def write_backbone(path: Path) -> None:
    """The network's steps and weights as plain arrays, with the padding for the one input size."""
    backbone = find_backbone("efficientnet-lite0")
    layers = {stride: [layer.name for layer in backbone.layers if layer.stride == stride][-1] for stride in (8, 16)}
    graph = read_convolutions(backbone.path, list(layers.values()))
    named = {name: f"stride{stride}" for stride, name in layers.items()}
    sizes = {graph.input: HW[0]}
    steps, arrays = [], {}
    for number, step in enumerate(graph.steps):
        inputs = list(step.inputs) if isinstance(step, AddStep) else [step.input]
        row: dict[str, Any] = {
            "output": step.output,
            "inputs": ["input" if name == graph.input else name for name in inputs],
            "layer": named.get(step.output, ""),
        }
        size = sizes[inputs[0]]
        if isinstance(step, ConvStep):
            out = -(-size // step.stride[0])
            total = max((out - 1) * step.stride[0] + step.weight.shape[2] - size, 0)
            padding = step.padding or (total // 2, total // 2, total - total // 2, total - total // 2)
            row |= {"kind": "conv", "stride": step.stride, "groups": step.groups, "padding": padding}
            arrays[f"w{number}"], arrays[f"b{number}"] = step.weight, step.bias
            size = out
        elif isinstance(step, ClipStep):
            row |= {"kind": "clip", "low": step.low, "high": step.high}
        else:
            row |= {"kind": "add"}
        sizes[step.output] = size
        steps.append(row)
    np.savez(path, steps=np.array(json.dumps(steps)), **arrays)


def set_up(environment: Path) -> Path:
    """anomalib's own Python, installed the first time."""
    python = environment / "bin" / "python"
    if not (environment / "installed").exists():
        say(f"installing {ANOMALIB} into {environment} ...")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", ANOMALIB], check=True)
        (environment / "installed").write_text(ANOMALIB, encoding="utf-8")
    return python


def environment_size(environment: Path) -> dict[str, float]:
    """Megabytes and number of packages of an environment."""
    found = (path for path in (environment / "lib").rglob("*") if "__pycache__" not in path.parts)
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    packages = sum(path.name == "METADATA" for path in files)
    return {"mb": round(sum(path.stat().st_size for path in files) / 1e6), "packages": packages}


def first_verdicts(python: Path, entry: dict[str, Any], folder: Path) -> dict[str, float]:
    """Seconds from the start of a process to the first verdict of each side; median of five."""
    image = folder / "image.png"
    theirs = (
        "import numpy as np; from anomalib.deploy import OpenVINOInferencer; from PIL import Image\n"
        f"image = np.asarray(Image.open({str(image)!r}).convert('RGB'))\n"
        f"OpenVINOInferencer({entry['anomalib']['file']!r}, device='CPU').predict(image)"
    )
    bundle = folder / f"{entry['detector']}.blemish"
    ours = f"import blemish; blemish.load({str(bundle)!r}, engine='openvino').inspect({str(image)!r})"
    return {
        "anomalib": seconds_of_process(python, theirs),
        "blemish": seconds_of_process(Path(sys.executable), ours),
    }


def seconds_of_process(python: Path, code: str) -> float:
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([str(python), "-c", code], capture_output=True, check=True)
        taken.append(time.perf_counter() - start)
    return round(statistics.median(taken), 2)


def version(python: Path | str) -> str:
    code = "import importlib.metadata as m; print(m.version('openvino'))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
