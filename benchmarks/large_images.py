"""Folders and large images: how much faster a folder is than one image after the other, what large images cost.

    python benchmarks/large_images.py DATA [-o benchmarks/results] [--engine onnxruntime]

DATA is a data set with test images, such as MVTec AD bottle; the default detector is trained on it. Takes about three
minutes on an idle machine with two cores. Each part runs in a process of its own; its memory is that of the process.

- `folder`: images per second over the test images, for the whole way from files to overlays and tables (`blemish
  inspect -o`), and for verdicts alone. `one_by_one` reads, inspects, draws and writes one file after the other, the
  graph using all cores; `folder` is `Model.inspect_files`, what `blemish inspect` does. They alternate; all rounds are
  listed, `ratio` is that of the medians. The bar, for the whole way, is 1.6. With verdicts alone and images of 512 x
  512 pixels the graph is four fifths of the work, and one by one it has all cores already: the ratio cannot come near
  2 on two of them, whatever is done; it grows with the share of reading and drawing, and with the number of cores.
- `image_8000x2000`: seconds from a decoded image to its verdict, by tiles of 512 pixels at full resolution; for
  decoding and for the overlay; the most memory of the process. The bars are 6 s and 1500 MB.
- `image_20000x20000`: the same by tiles of 1024 pixels at half resolution.

The surfaces of the large images are made here: noise of two grain sizes, three spots of 18 pixels on it. Bundles are
trained on eight smaller surfaces, too little for thresholds of use: their largest value is over a smaller area.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from record import RESULTS, origin, write_record

ROUNDS = 5
BARS = {"folder_ratio_with_overlays": 1.6, "seconds_8000x2000": 6.0, "peak_memory_mb_8000x2000": 1500}
SPOTS = ((0.2, 0.3), (0.55, 0.8), (0.9, 0.12))


def measure_folder(bundle: Path, data: Path, engine: str) -> dict[str, Any]:
    """Images per second by both ways, with and without files written."""
    import blemish
    from blemish.datasets.index import open_dataset
    from blemish.images.decode import read_image
    from blemish.inspection.overlay import draw_overlay, map_scale, png_bytes
    from blemish.line.events import Event, Judged, Origin
    from blemish.line.sinks import output_sinks

    paths = [item.path for item in open_dataset(data).test]
    model = blemish.load(bundle, engine=engine)
    model.inspect(paths[0])
    rows: dict[str, dict[str, Any]] = {}
    for name, is_written in (("verdicts_and_overlays", True), ("verdicts", False)):
        rates: dict[str, list[float]] = {"one_by_one": [], "folder": []}
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as out:
                start = time.perf_counter()
                if is_written:
                    with ExitStack() as opened:
                        sinks = [opened.enter_context(sink) for sink in output_sinks(Path(out))]
                        for path in paths:
                            image = read_image(path)
                            verdict = model.inspector.inspect_image(image, str(path))
                            picture = png_bytes(draw_overlay(image, verdict, map_scale(model.calibration)))
                            event: Event = Judged(Origin(str(path), path), verdict, picture)
                            for sink in sinks:
                                event = sink.write(event) or event
                else:
                    for path in paths:
                        model.inspect(path)
                rates["one_by_one"].append(len(paths) / (time.perf_counter() - start))
            with tempfile.TemporaryDirectory() as out:
                # The engine is loaded within the measured time, as for every folder.
                start = time.perf_counter()
                for _ in model.inspect_files(paths, output=out if is_written else None):
                    pass
                rates["folder"].append(len(paths) / (time.perf_counter() - start))
        rows[name] = {
            **{way: [round(rate, 1) for rate in found] for way, found in rates.items()},
            "ratio": round(statistics.median(rates["folder"]) / statistics.median(rates["one_by_one"]), 2),
        }
    return {"num_images": len(paths), "engine": engine, **rows}


def measure_image(bundle: Path, image: Path, engine: str) -> dict[str, Any]:
    """Time and memory of one large image."""
    import blemish
    from blemish.images.decode import read_image
    from blemish.inspection.overlay import draw_overlay, map_scale, png_bytes
    from blemish.inspection.predict import TileGrid
    from blemish.runtime.peak_memory import peak_memory_mb

    model = blemish.load(bundle, engine=engine)
    inspector = model.inspector
    start = time.perf_counter()
    pixels = read_image(image)
    decoded = time.perf_counter()
    verdict = inspector.inspect_image(pixels, image.name)
    judged = time.perf_counter()
    memory = peak_memory_mb()
    with tempfile.TemporaryDirectory() as out:
        Path(out, "overlay.png").write_bytes(png_bytes(draw_overlay(pixels, verdict, map_scale(model.calibration))))
    manifest = model.bundle.manifest
    assert manifest.tiling is not None
    height, width = verdict.image_hw
    regions = [region.box for region in verdict.regions]
    found = [
        any(x - 40 <= right * width <= x + w + 40 and y - 40 <= down * height <= y + h + 40 for x, y, w, h in regions)
        for right, down in SPOTS
    ]
    return {
        "engine": engine,
        "image_hw": [height, width],
        "file_mb": round(image.stat().st_size / 1e6, 1),
        "tile_px": manifest.tiling.tile_px,
        "input_px": manifest.input_hw[0],
        "num_tiles": len(TileGrid.of((height, width), manifest.tiling, manifest.input_hw)),
        "map_hw": list(verdict.anomaly_map.shape),
        "decision": verdict.decision,
        "num_regions": len(regions),
        "spots_found": f"{sum(found)} of {len(SPOTS)}",
        "decode_seconds": round(decoded - start, 2),
        "seconds": round(judged - decoded, 2),
        "overlay_seconds": round(time.perf_counter() - judged, 2),
        "peak_memory_mb": memory,
        "peak_memory_mb_with_overlay": peak_memory_mb(),
    }


def train_on(data: Path | list[Any], path: Path, **options: Any) -> dict[str, Any]:
    import blemish

    start = time.perf_counter()
    blemish.train(data, **options).save(path)
    return {"train_seconds": round(time.perf_counter() - start, 1)}


def surface(height: int, width: int, seed: int) -> np.ndarray:
    """Gray uint8 noise of two grain sizes; larger surfaces repeat one of 2000 x 2000 that meets itself seamlessly."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(min(height, 2000), min(width, 2000))).astype(np.float32)
    around = np.pad(noise, 64, mode="wrap")
    blotches = 4 * cv2.GaussianBlur(around, (0, 0), 2) + 20 * cv2.GaussianBlur(around, (0, 0), 9)
    blotches = blotches[64:-64, 64:-64]
    one = np.clip(128 + 25 * blotches / blotches.std(), 0, 255).astype(np.uint8)
    return cv2.copyMakeBorder(one, 0, height - one.shape[0], 0, width - one.shape[1], cv2.BORDER_WRAP)


def write_large(path: Path, height: int, width: int) -> None:
    """A JPEG file of a surface with spots, in color."""
    image = cv2.cvtColor(surface(height, width, 100), cv2.COLOR_GRAY2BGR)
    for right, down in SPOTS:
        cv2.circle(image, (int(right * width), int(down * height)), 9, (60, 90, 230), -1)
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def run_part(name: str, folder: Path, data: Path, engine: str) -> dict[str, Any]:
    """One part, in this process."""
    if name == "train_folder":
        return train_on(data, folder / "part.blemish")
    if name == "folder":
        return measure_folder(folder / "part.blemish", data, engine)
    if name.startswith("train_"):
        tile, size = map(int, name.split("_")[1:])
        good = [cv2.cvtColor(surface(2 * tile + 100, 2 * tile + 100, seed), cv2.COLOR_GRAY2RGB) for seed in range(8)]
        return train_on(good, folder / f"{tile}.blemish", tile=tile, size=size, calibration="split")
    if name.startswith("write_"):
        width, height = map(int, name.removeprefix("write_").split("x"))
        write_large(folder / f"{width}x{height}.jpg", height, width)
        return {}
    tile = {"8000x2000": 512, "20000x20000": 1024}[name.removeprefix("image_")]
    image = folder / f"{name.removeprefix('image_')}.jpg"
    return measure_image(folder / f"{tile}.blemish", image, engine)


PARTS = (
    *("train_folder", "folder"),
    *("train_512_512", "write_8000x2000", "image_8000x2000"),
    *("train_1024_512", "write_20000x20000", "image_20000x20000"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--folder", type=Path, help="keep bundles and images here, in place of a temporary folder")
    parser.add_argument("--part", choices=PARTS, help="print one part as JSON and stop")
    arguments = parser.parse_args()
    if arguments.part:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(run_part(arguments.part, arguments.folder, arguments.data, arguments.engine)))
        return
    from blemish.datasets.index import open_dataset

    index = open_dataset(arguments.data)
    record: dict[str, Any] = {
        **origin("blemish", "onnxruntime", "numpy", "opencv-python-headless"),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "data": {"name": index.name, "fingerprint": index.fingerprint},
        "bars": BARS,
    }
    with tempfile.TemporaryDirectory() as temporary:
        for part in PARTS:
            print(f"{part} ...", file=sys.stderr, flush=True)
            folder = str(arguments.folder or temporary)
            command = [sys.executable, __file__, str(arguments.data), "--engine", arguments.engine]
            done = subprocess.run(
                [*command, "--folder", folder, "--part", part], stdout=subprocess.PIPE, text=True, check=True
            )
            record[part] = json.loads(done.stdout)
            print(f"  {done.stdout.strip()}", file=sys.stderr, flush=True)
    write_record(arguments.output / "large_images.json", {name: row for name, row in record.items() if row != {}})


if __name__ == "__main__":
    main()
