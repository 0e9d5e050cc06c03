"""int8 by other quantizers beside our own, all behind the rule by which `blemish quantize` accepts a graph.

    python benchmarks/quantizers.py DATA/mvtec_bottle DATA/mvtec_pill DATA/kolektorsdd [-o benchmarks/results]

Needs NNCF (`pip install nncf`, in an environment of its own), which is no part of the package. About ten minutes for a
data set on two cores. The detector is the default one at 256 pixels. Every method reads the same 32 good training
images; none sees a test image.

- `gptq`: what `blemish quantize` does: convolutions that bear it, weights rounded by GPTQ, and the banks.
- `ort-...`: the static quantizer of ONNX Runtime, weights by channel, ranges of activations by its three methods.
- `nncf-...`: `nncf.quantize`, with the fast or the accurate correction of biases.
- `...-chosen`: the inputs and weights of the same convolutions as `gptq`, so that only the method differs.
  `...-default`: all that the quantizer takes by itself.
- `...+banks`: its convolutions, and the banks as `gptq` rounds them.

For each engine: the largest change of maps and scores as shares of the distance from the usual good part to the
threshold and the changed verdicts, on 200 good training images and painted copies of 32 (what the rule looks at;
`accepted` where both engines keep it); on the test images changed verdicts and the image AUROC; and how many times
faster than f32 (the median of the ratios in 12 rounds of turns). `seconds` is the time to make the graph.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from record import RESULTS, origin, write_record
from speed import judged, median_ratio, times_in_turns

import blemish
from blemish.bundle.bundle import Bundle
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.graph.quantized import Roundable, find_roundable, round_graph
from blemish.graph.rounding import Seen
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.metrics.ranking import auroc
from blemish.runtime.session import Session
from blemish.schema import Image
from blemish.synthesis.painted import make_defect
from blemish.workflow.quantize import (
    EACH_IMAGES,
    ENGINES,
    MAP_BOUND,
    RANGE_IMAGES,
    SCORE_BOUND,
    sturdy_part,
    watch_values,
)
from blemish.workflow.verify import check_images, compare, judge_images

START = time.perf_counter()


@dataclass(frozen=True)
class Case:
    """A bundle, the images that quantizers see, and what of the graph is rounded."""

    bundle: Bundle
    ranges: Sequence[Image]
    seen: Mapping[str, Seen]
    chosen: Roundable

    @property
    def graph(self) -> bytes:
        return self.bundle.graph

    @property
    def others(self) -> list[str]:
        """All nodes but the chosen convolutions."""
        nodes = onnx.load_from_string(self.graph).graph.node
        return [node.name for node in nodes if node.name not in self.chosen.convolutions]

    def with_banks(self, graph: bytes) -> bytes:
        return round_graph(graph, Roundable((), self.chosen.banks), self.seen)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands images to ONNX Runtime's quantizer."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def by_ort(case: Case, method: CalibrationMethod, nodes: Sequence[str] = ()) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (str(Path(folder) / name) for name in ("f32.onnx", "prepared.onnx", "int8.onnx"))
        Path(source).write_bytes(case.graph)
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Reader(case.ranges),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(nodes),
            calibrate_method=method,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]} if nodes else {},
        )
        return Path(target).read_bytes()


def by_nncf(case: Case, others: Sequence[str] = (), *, is_fast: bool = True) -> bytes:
    model = nncf.quantize(
        onnx.load_from_string(case.graph),
        nncf.Dataset([{"image": image[None]} for image in case.ranges]),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=is_fast,
        subset_size=len(case.ranges),
        ignored_scope=nncf.IgnoredScope(names=list(others), validate=False),
    )
    return bytes(model.SerializeToString())


METHODS: Mapping[str, Callable[[Case], bytes]] = {
    "gptq": lambda case: round_graph(case.graph, case.chosen, case.seen),
    "gptq-convolutions": lambda case: round_graph(case.graph, Roundable(case.chosen.convolutions, ()), case.seen),
    "ort-minmax-chosen": lambda case: by_ort(case, CalibrationMethod.MinMax, case.chosen.convolutions),
    "ort-entropy-chosen": lambda case: by_ort(case, CalibrationMethod.Entropy, case.chosen.convolutions),
    "ort-percentile-chosen": lambda case: by_ort(case, CalibrationMethod.Percentile, case.chosen.convolutions),
    "ort-minmax-default": lambda case: by_ort(case, CalibrationMethod.MinMax),
    "nncf-fast-chosen": lambda case: by_nncf(case, case.others),
    "nncf-accurate-chosen": lambda case: by_nncf(case, case.others, is_fast=False),
    "nncf-fast-default": lambda case: by_nncf(case),
    "ort-minmax-chosen+banks": lambda case: case.with_banks(METHODS["ort-minmax-chosen"](case)),
    "nncf-accurate-chosen+banks": lambda case: case.with_banks(METHODS["nncf-accurate-chosen"](case)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        **origin("blemish", "onnxruntime", "openvino", "nncf", "onnx", "numpy"),
        "map_bound": MAP_BOUND,
        "score_bound": SCORE_BOUND,
        "bundles": [],
    }
    for data in arguments.data:
        record["bundles"].append(bundle_row(data))
        write_record(arguments.output / "quantizers.json", record)


def say(message: str) -> None:
    print(f"[{time.perf_counter() - START:6.1f} s] {message}", file=sys.stderr, flush=True)


def bundle_row(data: Path) -> dict[str, Any]:
    index = open_dataset(data)
    say(f"{index.name}: training")
    bundle = blemish.train(index, size=256).bundle
    good = check_images(bundle, [item.path for item in index.train_good]).images
    step = -(-len(good) // RANGE_IMAGES)
    rng = np.random.default_rng(0)
    painted = [make_defect(image, rng)[0] for image in good[::step]]
    few = slice(None, None, -(-len(painted) // EACH_IMAGES))
    roundable = find_roundable(bundle.graph)
    seen = watch_values(bundle.graph, roundable, good[::step])
    say(f"{index.name}: choosing convolutions")
    chosen = sturdy_part(bundle, roundable, seen, (*good[::step][few], *painted[few]))
    case = Case(bundle, good[::step], seen, chosen)
    rows = [method_row(name, case, (*good, *painted), index) for name in METHODS]
    return {
        "name": index.name,
        "fingerprint": index.fingerprint,
        "num_images": len(good) + len(painted),
        "num_test": len(index.test),
        "num_convolutions": len(chosen.convolutions),
        "num_possible_convolutions": len(roundable.convolutions),
        "num_bank_blocks": len(chosen.banks),
        "graph_mb_f32": round(len(bundle.graph) / 1e6, 2),
        "methods": rows,
    }


def method_row(name: str, case: Case, images: Sequence[Image], index: DatasetIndex) -> dict[str, Any]:
    say(f"{index.name}: {name}")
    start = time.perf_counter()
    try:
        graph = METHODS[name](case)
        seconds = time.perf_counter() - start
        engines = [engine_row(engine, graph, case, images, index) for engine in ENGINES]
    except Exception as error:  # quantizers raise what they like; that they fail is a result
        return {"method": name, "error": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    return {
        "method": name,
        "accepted": all(row["accepted"] for row in engines),
        "graph_mb": round(len(graph) / 1e6, 2),
        "seconds": round(seconds, 1),
        "engines": engines,
    }


def engine_row(engine: str, graph: bytes, case: Case, images: Sequence[Image], index: DatasetIndex) -> dict[str, Any]:
    bundle = case.bundle
    exact, rounded = Session(bundle.graph, engine=engine), Session(graph, engine=engine)
    check = compare(
        engine, judge_images(bundle, rounded, images), judge_images(bundle, exact, images), bundle.calibration
    )
    test = [resize_image(read_image(item.path), bundle.manifest.input_hw) for item in index.test]
    labels = np.array([item.label for item in index.test])
    model = blemish.Model(bundle)
    exact_scores, exact_decisions = judged(model, exact, test)
    scores, decisions = judged(model, rounded, test)
    taken = times_in_turns({"before": (bundle.graph, engine), "after": (graph, engine)}, test)
    return {
        "engine": engine,
        "accepted": not check.num_flips
        and check.relative_map_difference <= MAP_BOUND
        and check.relative_difference <= SCORE_BOUND,
        "map_change": round(check.relative_map_difference, 3),
        "score_change": round(check.relative_difference, 3),
        "changed_verdicts": check.num_flips,
        "test_changed_verdicts": sum(a != b for a, b in zip(decisions, exact_decisions, strict=True)),
        "test_image_auroc_f32": round(auroc(labels, exact_scores), 5),
        "test_image_auroc": round(auroc(labels, scores), 5),
        "times_faster": round(median_ratio(taken["before"], taken["after"]), 3),
    }


if __name__ == "__main__":
    main()
