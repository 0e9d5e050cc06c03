"""The other side of `vs_anomalib.py`: runs in anomalib's own environment and answers one JSON request a line.

    python benchmarks/anomalib_worker.py      is started by `python benchmarks/vs_anomalib.py`, not by hand

Requests: `fit` (detector, data, backbone, folder, entries, channels), `times` (detector, image, runs), `scores`
(detector, images). Each answer is a line that begins with RESULT.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.deploy import ExportType, OpenVINOInferencer
from anomalib.engine import Engine
from anomalib.models import Padim, Patchcore
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.pre_processing import PreProcessor
from PIL import Image
from torchvision.transforms.v2 import Compose, Normalize, Resize

from blemish.detectors.coreset import select_coreset  # numpy alone: it is given the same package on its path

SIDE = 256
LAYERS = ("stride8", "stride16")
FEW, SOME = 5, 25
"""Entries that the stock selection is timed on; the slope between them is one entry."""

INFERENCERS: dict[str, OpenVINOInferencer] = {}


class Backbone(torch.nn.Module):
    """The network that the other side uses: convolutions, limits and sums, read from a file of arrays."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with np.load(path) as arrays:
            self.steps = json.loads(str(arrays["steps"]))
            for number, step in enumerate(self.steps):
                if step["kind"] == "conv":
                    self.add_module(f"step{number}", convolution(step, arrays[f"w{number}"], arrays[f"b{number}"]))
        self.stride8, self.stride16 = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = {"input": image}
        for number, step in enumerate(self.steps):
            first = values[step["inputs"][0]]
            if step["kind"] == "conv":
                found = getattr(self, f"step{number}")(first)
            elif step["kind"] == "clip":
                found = torch.clamp(first, step["low"], step["high"])
            else:
                found = first + values[step["inputs"][1]]
            if step["layer"]:
                found = getattr(self, step["layer"])(found)
            values[step["output"]] = found
        return found


def convolution(step: dict[str, Any], weight: np.ndarray, bias: np.ndarray) -> torch.nn.Module:
    """With the padding that keeps `ceil(size / stride)` positions of an input of `step["size"]`."""
    top, left, bottom, right = step["padding"]
    conv = torch.nn.Conv2d(
        weight.shape[1] * step["groups"], weight.shape[0], weight.shape[2:], step["stride"], groups=step["groups"]
    )
    conv.weight.data, conv.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
    return torch.nn.Sequential(torch.nn.ZeroPad2d((left, right, top, bottom)), conv)


def fit(request: dict[str, Any]) -> dict[str, Any]:
    data, folder = Path(request["data"]), Path(request["folder"])
    transform = Compose([Resize((SIDE, SIDE), antialias=True), Normalize([127 / 255] * 3, [128 / 255] * 3)])
    network = Backbone(Path(request["backbone"])).eval()
    common: dict[str, Any] = {"backbone": network, "layers": LAYERS, "pre_processor": PreProcessor(transform)}
    common |= {"pre_trained": False, "visualizer": False, "evaluator": False}
    times: dict[str, float] = {}
    if request["detector"] == "patchcore":
        model: Any = Patchcore(**common)
        measure_selection(request["entries"], times)
    else:
        model = Padim(**common, n_features=request["channels"])
    defects = sorted(path.name for path in (data / "test").iterdir() if path.name != "good")
    module = Folder(
        name=data.name,
        root=data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{name}" for name in defects],
        train_batch_size=32,
        eval_batch_size=1,
        num_workers=2,
    )
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=folder)
    original = model.fit

    def timed_fit() -> None:
        times["features"] = time.perf_counter() - start
        before = time.perf_counter()
        original()
        times["rest"] = time.perf_counter() - before
        times["peak_memory_mb"] = peak_memory_mb()

    model.fit = timed_fit
    start = time.perf_counter()
    engine.fit(model=model, datamodule=module)
    times["with validation"] = time.perf_counter() - start
    # Left to itself the export takes an example of two images, and PatchCore's then accepts two alone.
    path = engine.export(
        model,
        ExportType.OPENVINO,
        export_root=folder,
        input_size=(SIDE, SIDE),
        onnx_kwargs={"dynamic_axes": None, "dynamic_shapes": None},
    )
    INFERENCERS[request["detector"]] = OpenVINOInferencer(path, device="CPU")
    size = sum(file.stat().st_size for file in (path.with_suffix(".xml"), path.with_suffix(".bin")))
    return {"seconds": times, "export_mb": size / 1e6, "file": str(path)}


def measure_selection(entries: int, times: dict[str, float]) -> None:
    """Times the stock selection of a few entries, then selects all by an exact, faster method, timed by itself."""

    def subsample(model: Any, sampling_ratio: float, embeddings: Any = None) -> None:
        bank = torch.vstack(model.embedding_store)
        model.embedding_store.clear()
        taken = []
        for count in (FEW, SOME):
            start = time.perf_counter()
            sampler = KCenterGreedy(embedding=bank, sampling_ratio=0.5)
            sampler.coreset_size = count
            sampler.select_coreset_idxs()
            taken.append(time.perf_counter() - start)
        each = (taken[1] - taken[0]) / (SOME - FEW)
        times["stock selection, extrapolated"] = taken[0] + each * (entries - FEW)
        start = time.perf_counter()
        model.memory_bank = bank[select_coreset(bank.numpy(), entries)]
        times["exact selection"] = time.perf_counter() - start

    PatchcoreModel.subsample_embedding = subsample


def predict(detector: str, image: np.ndarray) -> Any:
    return INFERENCERS[detector].predict(image)


def times(request: dict[str, Any]) -> list[float]:
    image = np.asarray(Image.open(request["image"]).convert("RGB"))
    taken = []
    for _ in range(request["runs"] + 3):
        start = time.perf_counter()
        predict(request["detector"], image)
        taken.append((time.perf_counter() - start) * 1000)
    return taken[3:]


def scores(request: dict[str, Any]) -> dict[str, Any]:
    """Anomaly scores of files, resized as the other side does it, and images a second with decoding."""
    found = []
    start = time.perf_counter()
    for path in request["images"]:
        image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        found.append(float(np.ravel(predict(request["detector"], np.asarray(image)).pred_score)[0]))
    return {"scores": found, "images_per_second": len(found) / (time.perf_counter() - start)}


def peak_memory_mb() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    work = {"fit": fit, "times": times, "scores": scores}
    for line in sys.stdin:
        request = json.loads(line)
        print("RESULT " + json.dumps(work[request["do"]](request)), flush=True)


if __name__ == "__main__":
    main()
