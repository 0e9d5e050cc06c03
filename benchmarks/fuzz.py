"""Reads damaged and odd copies of every kind of file that users give, and counts what happens.

    python benchmarks/fuzz.py -o benchmarks/results/fuzz.json [--cases 20000] [--only NAME]

Each copy is made by `blemish.testing.fuzz` from a good file, from a seed that is told where something goes wrong.
A reader may take a copy or refuse it with an error of the package on one line; anything else is a fault. Each kind is
read in a process of its own: `slowest_seconds` is the processor time of the slowest copy, `memory_growth_mb` the most
memory of the process beyond what it had before the first one. The kinds with "run" load and run graphs that were not
refused; should the engine crash, the process ends, and that counts as a fault. Linux only, for the measure of memory.
`tests/test_fuzz.py` runs the same readers with Hypothesis.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import onnx
from record import origin, write_record

from blemish.boundary import parse_json
from blemish.bundle.bundle import CALIBRATION
from blemish.bundle.operators import OPERATORS
from blemish.bundle.read import read_bundle
from blemish.datasets.index import open_dataset
from blemish.datasets.maps import find_maps, read_map
from blemish.decisions.explain import explain
from blemish.errors import BlemishError, BundleError
from blemish.inspection.inspector import Inspector, judge_prediction
from blemish.metrics.spro import read_defects_config
from blemish.model import Model, train
from blemish.reports.report import evaluation_json
from blemish.schema import Prediction, Reduction
from blemish.study.plan import StudyTask, read_result, write_result
from blemish.study.tables import average_table, category_tables, rows_csv, table_csv
from blemish.synthesis.augment import parse_augmentation
from blemish.testing.fuzz import NUMBERS, damaged, odd_json
from blemish.testing.members import Members, pack, pack_as_is, unpack, with_graph
from blemish.testing.tiny import TINY_HW, make_tiny_backbone, make_tiny_product, write_tiny_product
from blemish.watching.watch import Watch
from blemish.weights import read_description
from blemish.workflow.drawn_zones import read_zone
from blemish.workflow.evaluate import model_facts

BARS = {
    "faults": "none: every copy is taken, or refused with an error of the package on one line",
    "slowest_seconds": "at most 10",
    "memory_growth_mb": "at most 1,000",
}


@dataclass(frozen=True)
class Reader:
    """One kind of file: `write` puts a bad copy in its place, `read` reads it as the product does."""

    write: Callable[[Random], object]
    read: Callable[[], object]


def make_readers(folder: Path) -> dict[str, Reader]:
    """Every kind of file by its name, made in an empty folder."""
    product = make_tiny_product()
    data = write_tiny_product(folder / "data", product)
    backbone = make_tiny_backbone(folder)
    model = train(list(product.good), backbone=str(backbone.path.with_suffix(".json")), size=TINY_HW)
    members = unpack(model.save(folder / "good.blemish"))
    return {
        **_pictures(folder, data),
        **_tables(folder, data),
        **_descriptions(folder, backbone.path.with_suffix(".json")),
        "drift watch": _drift(folder, model, product.held_out[0]),
        "study result": _study(folder, model, data),
        **_bundles(folder, members, model),
    }


def _changed(path: Path, read: Callable[[Path], object], *goods: bytes) -> Reader:
    """A file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Reader(lambda random: path.write_bytes(damaged(random.choice(goods), random)), lambda: read(path))


def _json(path: Path, good: Any, read: Callable[[Path], object]) -> Reader:
    """A file of JSON: odd values in two of three copies, damaged text in the third."""
    text = json.dumps(good).encode()
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(random: Random) -> None:
        path.write_bytes(odd_json(good, random) if random.randint(0, 2) else damaged(text, random))

    return Reader(write, lambda: read(path))


def _pictures(folder: Path, data: Path) -> dict[str, Reader]:
    mask = np.zeros((64, 64), np.uint8)
    mask[8:24, 8:40] = 255
    masks = [cv2.imencode(suffix, mask)[1].tobytes() for suffix in (".png", ".bmp", ".tiff", ".jpg", ".webp")]
    arrays = []
    for kind in ("<f4", ">f8", "|u1", "<f2", "?"):
        np.save(folder / "map.npy", np.linspace(0, 1, 48).reshape(6, 8).astype(kind))
        arrays.append((folder / "map.npy").read_bytes())
    return {
        "mask": _changed(folder / "mask.png", read_zone, *masks),
        "saved map": _changed(folder / "map.npy", read_map, *arrays),
    }


def _tables(folder: Path, data: Path) -> dict[str, Reader]:
    visa = folder / "visa" / "candle"
    rows = ["object,split,label,image,mask"]
    for label, name in (("normal", "Normal"), ("anomaly", "Anomaly")):
        place = visa / "Data" / "Images" / name
        place.mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(place / f"{number}.png"), np.full((32, 32), 40 * number, np.uint8))
            split = "train" if label == "normal" and number else "test"
            rows.append(f"candle,{split},{label},candle/Data/Images/{name}/{number}.png,")
    index = open_dataset(data)
    maps = folder / "maps"
    scores = ["path,score"]
    for item in index.test:
        place = maps / Path(index.relative(item.path)).with_suffix(".npy")
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, np.zeros((64, 64), np.float32))
        scores.append(f"{index.relative(item.path)},0.5")
    return {
        "VisA table": _changed(
            visa.parent / "split_csv" / "1cls.csv", lambda _: open_dataset(visa), "\n".join(rows).encode()
        ),
        "scores of maps": _changed(maps / "scores.csv", lambda _: find_maps(maps, index), "\n".join(scores).encode()),
    }


def _descriptions(folder: Path, description: Path) -> dict[str, Reader]:
    defect = {"defect_name": "a", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": True}
    return {
        "backbone description": _json(description, json.loads(description.read_bytes()), read_description),
        "defects_config.json": _json(folder / "defects_config.json", [defect] * 3, read_defects_config),
        "augmentation": _json(
            folder / "part.json",
            {"rotation": 90.0, "flip_horizontal": True, "blur": 0.5},
            lambda path: parse_augmentation(str(path)),
        ),
    }


def _drift(folder: Path, model: Model, image: Any) -> Reader:
    """The watch's file, and in half of the copies the journal beside it."""
    path = folder / "drift" / "drift.json"
    verdict = model.make_inspector(watch_drift=True).inspect(image)
    watch = Watch(model.calibration, path)
    for _ in range(3):
        watch.update(verdict)
    journal = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.name != path.name}
    watch.save()
    good = json.loads(path.read_bytes())

    def write(random: Random) -> None:
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(odd_json(good, random) if random.randint(0, 2) else damaged(json.dumps(good).encode(), random))
        for name, content in journal.items() if random.randint(0, 1) else ():
            (path.parent / name).write_bytes(damaged(content, random))

    def read() -> None:
        again = Watch(model.calibration, path)
        again.update(verdict)
        again.report()

    return Reader(write, read)


def _study(folder: Path, model: Model, data: Path) -> Reader:
    """The result of a task; in two of three copies odd values under a seal that is made right."""
    task = StudyTask(data, "0" * 64, "patchcore", folder=folder / "study")
    model.save(task.bundle_path)
    evaluation = dataclasses.replace(model.evaluate(data), pictures=())
    row = {
        "category": "tiny", "detector": "patchcore", "seed": 0, "bundle_bytes": 1000, "fit_seconds": 1.0,
        **evaluation_json(evaluation),
    }  # fmt: skip
    write_result(task, row)
    text = task.result_path.read_bytes()
    kept = json.loads(text)["row"]

    def write(random: Random) -> None:
        if not random.randint(0, 2):
            task.result_path.write_bytes(damaged(text, random))
            return
        odd = json.loads(odd_json(kept, random))
        sealed = json.dumps(odd, sort_keys=True)
        seal = hashlib.sha256(sealed.encode()).hexdigest()
        task.result_path.write_text(json.dumps({"row": odd, "seal": seal}), encoding="utf-8")

    def read() -> None:
        found = read_result(task)
        if found is not None:
            tables = category_tables([found])
            rows_csv([found])
            table_csv([*tables, average_table(tables)])

    return Reader(write, read)


def _bundles(folder: Path, members: Members, model: Model) -> dict[str, Reader]:
    path = folder / "bad.blemish"
    whole = pack(path, members).read_bytes()
    calibration = json.loads(members["calibration.json"])
    prediction = Prediction(1.0, np.linspace(0, 9, 64 * 64, dtype=np.float32).reshape(64, 64))

    def decide(file: Path) -> None:
        found = parse_json(file.read_bytes(), CALIBRATION, file, BundleError, "calibrate anew")
        explain(found)
        judge_prediction(prediction, found, Reduction(), image_hw=(80, 96), name="a", bundle_id="b")

    def member(name: str, good: Any) -> Reader:
        def write(random: Random) -> None:
            text = odd_json(good, random) if random.randint(0, 2) else damaged(json.dumps(good).encode(), random)
            try:
                pack(path, {**members, name: text})
            except (ValueError, TypeError):  # a manifest that is no JSON object cannot be given the right hashes
                pack_as_is(path, {**members, name: text})

        return Reader(write, lambda: model_facts(read_bundle(path)))

    def write_graph(random: Random) -> None:
        pack(path, with_graph(members, damaged(members["graph.onnx"], random)))

    def write_odd_graph(random: Random) -> None:
        pack(path, with_graph(members, odd_graph(members["graph.onnx"], random)))

    def inspect() -> None:
        Inspector(read_bundle(path), threads=1).inspect(np.full((80, 96, 3), 99, np.uint8))

    return {
        "calibration": _json(folder / "calibration.json", calibration, decide),
        "manifest": member("manifest.json", json.loads(members["manifest.json"])),
        "calibration of a bundle": member("calibration.json", calibration),
        "history of a bundle": member("history.json", [calibration] * 2),
        "archive": _changed(path, read_bundle, whole),
        "graph": Reader(write_graph, lambda: read_bundle(path)),
        "graph, run": Reader(write_graph, inspect),
        "graph of odd operations, run": Reader(write_odd_graph, inspect),
    }


def odd_graph(content: bytes, random: Random) -> bytes:
    """The graph with one to three operations changed: another operator, odd attributes, other inputs or constants."""
    model = onnx.load_from_string(content)
    nodes, constants = model.graph.node, model.graph.initializer
    for _ in range(random.randint(1, 3)):
        node, tensor, what = random.choice(nodes), random.choice(constants), random.randint(0, 6)
        if what == 0:
            node.op_type = random.choice(sorted(OPERATORS))
        elif what == 1:
            name = random.choice(("axis", "group", "strides", "pads", "kernel_shape", "dilations", "keepdims", "perm"))
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend(kept)
            numbers = [random.choice((-1, 0, 1, 2, 3, 7, 1000, *NUMBERS)) % 2**62 for _ in range(random.randint(1, 4))]
            value = numbers if name in ("strides", "pads", "kernel_shape", "dilations", "perm") else numbers[0]
            node.attribute.append(onnx.helper.make_attribute(name, value))
        elif what == 2:
            node.input[random.randrange(len(node.input))] = random.choice(
                (tensor.name, nodes[0].output[0], "image", "")
            )
        elif what == 3:
            sides = [random.choice((0, 1, 2, 64, 100, 4096)) for _ in range(random.randint(0, 4))]
            array = np.resize(onnx.numpy_helper.to_array(tensor), sides) if math.prod(sides) < 10**6 else np.zeros(1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
        elif what == 4:
            array = onnx.numpy_helper.to_array(tensor).copy()
            odd = random.choice((0, -1, 1, 2, 127)) if array.dtype.kind != "f" else random.choice((0, 1e38, math.nan))
            array.flat[random.randrange(max(1, array.size)) : None : random.randint(1, 9)] = odd
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        elif what == 5:
            nodes.insert(random.randrange(len(nodes)), random.choice(nodes))
        else:
            del nodes[random.randrange(len(nodes) - 1)]
    found: bytes = model.SerializeToString()
    return found


@dataclass
class Outcome:
    """What became of the copies of one kind of file."""

    cases: int = 0
    taken: int = 0
    refused: int = 0
    slowest_seconds: float = 0.0
    memory_growth_mb: float = 0.0
    faults: tuple[str, ...] = ()


def try_copy(reader: Reader, random: Random) -> tuple[bool, float]:
    """Whether a copy is taken, and the processor time of reading it. Raises AssertionError for a fault."""
    reader.write(random)
    start = time.process_time()
    try:
        reader.read()
        is_taken = True
    except BlemishError as error:
        is_taken = False
        if not 0 < len(str(error)) < 5000 or "\n" in str(error):
            raise AssertionError(f"not one short line: {str(error)[:200]!r}") from error
    return is_taken, time.process_time() - start


def memory_growth_mb(work: Callable[[], object]) -> float:
    """The most memory that this process had during some work, beyond what it had before."""

    def memory_mb(name: str) -> float:
        [line] = [line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if name in line]
        return int(line.split()[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak so far is forgotten
    before = memory_mb("VmRSS")
    work()
    return round(memory_mb("VmHWM") - before, 1)


def run(name: str, num_cases: int, seconds: float) -> Outcome:
    """Tries copies of one kind of file until there were enough or the time is up."""
    with tempfile.TemporaryDirectory() as folder:
        reader = make_readers(Path(folder))[name]
        outcome, begun = Outcome(), time.monotonic()

        def try_all() -> None:
            while outcome.cases < num_cases and time.monotonic() - begun < seconds:
                try:
                    is_taken, took = try_copy(reader, Random(f"{name} {outcome.cases}"))
                except Exception as fault:
                    outcome.faults += (f"seed {outcome.cases}: {type(fault).__name__}: {str(fault)[:200]}",)
                    is_taken, took = False, 0.0
                outcome.cases += 1
                outcome.taken += is_taken
                outcome.refused += not is_taken
                outcome.slowest_seconds = round(max(outcome.slowest_seconds, took), 3)

        outcome.memory_growth_mb = memory_growth_mb(try_all)
        return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--cases", type=int, default=20_000, help="copies of each kind of file")
    parser.add_argument("--seconds", type=float, default=600.0, help="the most time for each kind")
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows: dict[str, Mapping[str, Any]] = {}
    for name in arguments.only:
        with context.Pool(1, maxtasksperchild=1) as pool:
            waiting = pool.apply_async(run, (name, arguments.cases, arguments.seconds))
            try:
                outcome = waiting.get(arguments.seconds + 300)
            except multiprocessing.TimeoutError:  # the process crashed, or one copy took for ever
                outcome = Outcome(faults=("the process ended or hung",))
        rows[name] = {
            **dataclasses.asdict(outcome),
            "faults": list(outcome.faults[:20]),
            "num_faults": len(outcome.faults),
        }
        print(name, {key: value for key, value in rows[name].items() if value != []}, flush=True)
    if arguments.output is not None:
        total = sum(row["cases"] for row in rows.values())
        write_record(
            arguments.output,
            {**origin("onnxruntime", "pydantic", "numpy"), "bars": BARS, "cases": total, "readers": rows},
        )


NAMES = (
    "mask",
    "saved map",
    "VisA table",
    "scores of maps",
    "backbone description",
    "defects_config.json",
    "augmentation",
    "drift watch",
    "study result",
    "calibration",
    "manifest",
    "calibration of a bundle",
    "history of a bundle",
    "archive",
    "graph",
    "graph, run",
    "graph of odd operations, run",
)
"""Every kind of file that `make_readers` knows."""

if __name__ == "__main__":
    main()
