"""What a verdict costs on this machine: graph against bare backbone, cold start, import, size, int8.

    python benchmarks/speed.py DATA/mvtec_bottle DATA/mvtec_pill [-o benchmarks/results]

On an otherwise idle machine it takes about five minutes. Nothing is compared with other programs here; what a folder
gains over one image after the other is measured by `large_images.py`.

- `banks`: `patchcore` with so many entries in each of its two memory banks (`bank_size`), fitted on 64 images, and the
  bare backbone (pixels to the two feature maps) in the same engine: median milliseconds of one image, over 12 rounds
  that alternate between all graphs, and the median of the ratios in each. The time does not depend on what the entries
  are. The bars, for entries of both banks together (`entries_in_all`), are ratios of 1.4 at 2,000 and 2.2 at 10,000.
- `parts`: where the milliseconds of the default detector go, beside what the arithmetic would take at the speed of
  this machine's own matrix product (`peak_gflops`, NumPy, 1024 x 1024, all cores).
- `bundles`: bundles of the data sets as `blemish train` makes them: latency from a decoded image to its verdict,
  cold start and memory by engine (as `blemish bench`), and int8 against f32: speed, verdicts and image AUROC on the
  test images, and whether `blemish quantize` accepts it.
- `installed_mb`: the files of the package with all that it needs, core and with OpenVINO, as they are installed here.
- `import_seconds`: `import blemish` in a process of its own, median of seven.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from record import RESULTS, origin, write_record

import blemish
from blemish.datasets.index import open_dataset
from blemish.detectors.base import FitRequest
from blemish.detectors.features import deepest_layers
from blemish.errors import EngineError
from blemish.graph.builder import GraphBuilder
from blemish.graph.pixels import image_input, scale_pixels
from blemish.graph.quantized import find_roundable, round_graph
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import judge_prediction
from blemish.metrics.ranking import auroc
from blemish.registry import load_detector
from blemish.runtime.engines import available_engines, open_runner
from blemish.runtime.session import Session
from blemish.schema import Image
from blemish.synthesis.painted import make_defect
from blemish.weights import find_backbone
from blemish.workflow.bench import bench
from blemish.workflow.detector_settings import make_settings
from blemish.workflow.quantize import RANGE_IMAGES, quantize, sturdy_part, watch_values

HW = (256, 256)
BANKS = (1000, 2000, 5000, 10000)
FIT_IMAGES = 64
ROUNDS, RUNS_OF_ROUND = 12, 10
"""Graphs that are compared are run in turns, a few times each, so that a busy moment does not fall on one of them."""
START = time.perf_counter()
RUNS = 40
Key = TypeVar("Key")
ENGINES = tuple(name for name in ("onnxruntime", "openvino", "openvino-bf16") if name in available_engines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    packages = ("blemish", "onnxruntime", "openvino", "numpy", "opencv-python-headless")
    images = fit_images(arguments.data[0])
    record: dict[str, Any] = {
        **origin(*packages),
        "input_hw": list(HW),
    }
    say("import and size")
    record["import_seconds"] = round(import_seconds(), 4)
    record["installed_mb"] = {"core": installed_mb(()), "core and openvino": installed_mb(("openvino",))}
    say("banks")
    record["banks"] = bank_rows(images)
    record["bundles"] = []
    for data in arguments.data:
        say(str(data))
        record["bundles"].append(bundle_row(data))
    say("parts")
    record["parts"] = parts(images)
    target: Path = arguments.output / "speed.json"
    write_record(target, record)
    say(str(target))


def say(message: str) -> None:
    print(f"[{time.perf_counter() - START:6.1f} s] {message}", file=sys.stderr, flush=True)


def fit_images(data: Path) -> list[Image]:
    index = open_dataset(data)
    return [resize_image(read_image(item.path), HW) for item in index.train_good[:FIT_IMAGES]]


def bare_backbone() -> bytes:
    """Pixels to the two feature maps that the default detector reads, and nothing else."""
    backbone = find_backbone("efficientnet-lite0")
    builder = GraphBuilder("backbone")
    pixels = scale_pixels(builder, image_input(builder, HW), backbone.mean, backbone.std)
    layers = deepest_layers(backbone, (8, 16))
    features = builder.splice(onnx.load(backbone.path), {backbone.input_name: pixels}, list(layers))
    for feature, layer in zip(features, map(backbone.layer, layers), strict=True):
        shape = ["batch", layer.channels, HW[0] // layer.stride, HW[1] // layer.stride]
        builder.output(feature, f"stride{layer.stride}", np.float32, shape)
    return builder.build()


def fitted(images: Sequence[Image], bank_size: int) -> bytes:
    detector = load_detector("patchcore")
    settings = make_settings(detector.INFO, {"bank_size": bank_size})
    backbone = find_backbone("efficientnet-lite0")
    return detector.fit(FitRequest(images=images, settings=settings, backbone=backbone)).graph


def bank_rows(images: Sequence[Image]) -> list[dict[str, Any]]:
    graphs = {0: bare_backbone(), **{size: fitted(images, size) for size in BANKS}}
    taken = times_in_turns(
        {(size, engine): (graph, engine) for engine in ENGINES for size, graph in graphs.items()}, images
    )
    return [
        {
            "bank_size": size,
            "entries_in_all": 2 * size,
            "engine": engine,
            "milliseconds": round(statistics.median(taken[size, engine]), 2),
            "bare_backbone": round(statistics.median(taken[0, engine]), 2),
            "ratio": round(median_ratio(taken[size, engine], taken[0, engine]), 3),
        }
        for size in BANKS
        for engine in ENGINES
    ]


def times_in_turns(graphs: Mapping[Key, tuple[bytes, str]], images: Sequence[Image]) -> dict[Key, list[float]]:
    """Median milliseconds of one image in each round, for each of some graphs, each in its engine."""
    times: dict[Key, list[float]] = {key: [] for key in graphs}
    for _ in range(ROUNDS):
        for key, (graph, engine) in graphs.items():
            times[key].append(statistics.median(run_times(graph, engine, images)))
    return times


def median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios in each round: a machine that is slower for a while slows both."""
    return statistics.median(one / other for one, other in zip(times, others, strict=True))


def run_times(graph: bytes, engine: str, images: Sequence[Image]) -> list[float]:
    runner = open_runner(graph, engine=engine)
    inputs = [{"image": image[None]} for image in images[:8]]
    return timed([lambda values=values: runner.run(values) for values in inputs], RUNS_OF_ROUND)  # type: ignore[misc]


def timed(calls: Sequence[Callable[[], object]], runs: int = RUNS) -> list[float]:
    """Milliseconds of so many calls, taken in turn, after three that do not count."""
    taken = []
    for number in range(runs + 3):
        start = time.perf_counter()
        calls[number % len(calls)]()
        taken.append((time.perf_counter() - start) * 1000)
    return taken[3:]


def bundle_row(data: Path) -> dict[str, Any]:
    index = open_dataset(data)
    paths = [item.path for item in index.test]
    with tempfile.TemporaryDirectory() as folder:
        path = blemish.train(data).save(Path(folder) / "part.blemish")
        model = blemish.load(path)
        speeds = bench(path, paths, engines=ENGINES, seconds=3.0)
    return {
        "name": index.name,
        "fingerprint": index.fingerprint,
        "engines": [rounded(asdict(speed)) for speed in speeds],
        "int8": int8_row(model, data),
    }


def int8_row(model: blemish.Model, data: Path) -> dict[str, Any]:
    """int8 against f32 on the test images, whether or not `blemish quantize` accepts it."""
    bundle, index = model.bundle, open_dataset(data)
    hw = bundle.manifest.input_hw
    good = [item.path for item in index.train_good]
    ranges = [resize_image(read_image(path), hw) for path in good[:: -(-len(good) // RANGE_IMAGES)]]
    roundable = find_roundable(bundle.graph)
    seen = watch_values(bundle.graph, roundable, ranges)
    rng = np.random.default_rng(0)
    few = [image for good_image in ranges[::4] for image in (good_image, make_defect(good_image, rng)[0])]
    roundable = sturdy_part(bundle, roundable, seen, few)
    graph = round_graph(bundle.graph, roundable, seen)
    test = [resize_image(read_image(item.path), hw) for item in index.test]
    labels = np.array([item.label for item in index.test])
    exact_scores, exact_decisions = judged(model, Session(bundle.graph), test)
    rows = []
    for engine in ENGINES:
        scores, decisions = judged(model, Session(graph, engine=engine), test)
        f32 = "openvino" if engine == "openvino-bf16" else engine
        taken = times_in_turns({"before": (bundle.graph, f32), "after": (graph, engine)}, test)
        rows.append(
            {
                "engine": engine,
                "milliseconds_f32": round(statistics.median(taken["before"]), 2),
                "milliseconds_int8": round(statistics.median(taken["after"]), 2),
                "times_faster": round(median_ratio(taken["before"], taken["after"]), 3),
                "changed_verdicts": sum(a != b for a, b in zip(decisions, exact_decisions, strict=True)),
                "image_auroc_f32": round(auroc(labels, exact_scores), 5),
                "image_auroc_int8": round(auroc(labels, scores), 5),
            }
        )
    try:
        quantize(bundle, good)
        told = "accepted"
    except EngineError as error:
        told = str(error)
    numbers = {"num_convolutions": len(roundable.convolutions), "num_bank_blocks": len(roundable.banks)}
    return {**numbers, "num_test": len(test), "rows": rows, "quantize": told}


def judged(model: blemish.Model, session: Session, images: Sequence[Image]) -> tuple[np.ndarray, list[str]]:
    scores, decisions = [], []
    for image in images:
        [prediction] = session.predict([image])
        scores.append(prediction.anomaly_score)
        verdict = judge_prediction(
            prediction,
            model.calibration,
            model.bundle.manifest.reduction,
            image_hw=session.input_hw,
            name="",
            bundle_id="",
        )
        decisions.append(verdict.decision)
    return np.array(scores), decisions


def parts(images: Sequence[Image]) -> dict[str, Any]:
    """Milliseconds of one image of 900 x 900 by part, and the products that the graph needs."""
    graph = fitted(images, 4000)
    model = blemish.train(list(images), size=HW)
    large = [np.repeat(np.repeat(image, 4, 0), 4, 1)[:900, :900].copy() for image in images[:8]]
    predictions = Session(graph).predict(images[:1])
    size, calibration, reduction = HW, model.calibration, model.bundle.manifest.reduction
    a, b = (np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32) for _ in range(2))
    peak = 2 * 1024**3 / (min(timed([lambda: a @ b])) / 1000) / 1e9
    backbone_flops, distance_flops = conv_flops(bare_backbone()), matrix_flops(graph)
    rows: dict[str, Any] = {
        "resize_ms": statistics.median(timed([lambda image=image: resize_image(image, size) for image in large])),
        "judge_ms": statistics.median(
            timed(
                [
                    lambda: judge_prediction(
                        predictions[0], calibration, reduction, image_hw=(900, 900), name="", bundle_id=""
                    )
                ]
            )
        ),
        "peak_gflops": peak,
        "backbone_gflop": backbone_flops / 1e9,
        "backbone_ms_at_peak": backbone_flops / peak / 1e6,
        "other_products_gflop": distance_flops / 1e9,
        "other_products_ms_at_peak": distance_flops / peak / 1e6,
    }
    for engine in ENGINES:
        taken = times_in_turns({"bare": (bare_backbone(), engine), "whole": (graph, engine)}, images)
        bare = statistics.median(taken["bare"])
        rows[f"{engine}_backbone_ms"] = bare
        rows[f"{engine}_distances_and_finish_ms"] = statistics.median(taken["whole"]) - bare
        runner = open_runner(graph, engine=engine)
        together = timed([lambda runner=runner: runner.run({"image": np.stack(images[:8])})])  # type: ignore[misc]
        rows[f"{engine}_batch_of_8_ms_an_image"] = statistics.median(together) / 8
    return rounded(rows)


def shapes_of(model: onnx.ModelProto) -> Mapping[str, list[int]]:
    inferred = onnx.shape_inference.infer_shapes(model)
    found = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    return {**found, **{tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}}


def conv_flops(graph: bytes) -> float:
    """Multiplications and additions of all convolutions, for one image."""
    model = onnx.load_from_string(graph)
    shapes = shapes_of(model)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    return float(sum(2 * np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]) for node in nodes))


def matrix_flops(graph: bytes) -> float:
    """Those of all matrix products: projections, distances, up-sampling of the map."""
    model = onnx.load_from_string(graph)
    shapes = shapes_of(model)
    nodes = [node for node in model.graph.node if node.op_type == "MatMul"]
    return float(sum(2 * np.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1] for node in nodes))


def import_seconds() -> float:
    code = "import time; start = time.perf_counter(); import blemish; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)]
    return statistics.median(float(run.stdout) for run in runs)


def installed_mb(extras: Sequence[str]) -> dict[str, Any]:
    """The package and all that it needs: number of packages, and megabytes of their files."""
    sizes: dict[str, int] = {}
    for name in needed("blemish", extras, set()):
        files = importlib.metadata.distribution(name).files or []
        places = {Path(str(file.locate())) for file in files}
        sizes[name] = sum(
            place.stat().st_size for place in places if place.is_file() and "__pycache__" not in str(place)
        )
    sizes["blemish"] = sum(path.stat().st_size for path in Path(blemish.__file__).parent.rglob("*") if path.is_file())
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:6]
    return {
        "packages": len(sizes),
        "mb": round(sum(sizes.values()) / 1e6, 1),
        "largest": {name: round(sizes[name] / 1e6, 1) for name in largest},
    }


def needed(name: str, extras: Sequence[str], seen: set[str]) -> Iterator[str]:
    """The package and those it requires, as far as they are installed here."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:  # needed on other systems alone
        return
    if name not in seen:
        seen.add(name)
        yield name
    for requirement in distribution.requires or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        wanted = re.match(r"[A-Za-z0-9._-]+", requirement)
        if wanted and (extra is None or extra[1] in extras) and wanted[0].lower() not in seen:
            yield from needed(wanted[0], (), seen)


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


if __name__ == "__main__":
    main()
