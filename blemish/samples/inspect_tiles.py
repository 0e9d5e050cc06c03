"""Verdicts by tiles from an exported graph without the package: numpy, OpenCV and ONNX Runtime (or OpenVINO).

    python inspect_tiles.py FOLDER IMAGE...

FOLDER is what `blemish export` wrote. Prints decision, score and path of each image. An image that cannot be read costs
one line on standard error and the exit status 2; the others are judged all the same.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blemish.samples.read_file import Judge, ProgramError, run_program


def open_graph(path: Path) -> Callable[[Any], tuple[Any, float]]:
    """A function from a tile, uint8 [1, side, side, 3] RGB, to its anomaly map and score."""
    try:
        if path.suffix == ".xml":
            import openvino

            compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

            def run(tile: Any) -> tuple[Any, float]:
                found = compiled({"image": tile})
                return found["anomaly_map"][0], float(found["anomaly_score"][0])

            return run
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ProgramError(f"{path}: {' '.join(str(error).split())}") from error

    def run_onnx(tile: Any) -> tuple[Any, float]:
        anomaly_map, score = session.run(["anomaly_map", "anomaly_score"], {"image": tile})
        return anomaly_map[0], float(score[0])

    return run_onnx


def resize(image: Any, side: int) -> Any:
    """The rule "area": a side that shrinks is averaged over areas, then a side that grows is interpolated."""
    shrunk = (min(image.shape[1], side), min(image.shape[0], side))
    return cv2.resize(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), (side, side))


class Axis:
    """The tiles along one side of an image: where they begin in the map, and how much each of their pixels counts."""

    def __init__(self, length: int, facts: dict[str, Any]) -> None:
        self.length, self.tile, self.side = length, facts["tile_px"], facts["input_width"]
        overlap = facts["overlap_px"]
        self.scale = self.tile / self.side
        self.map_px = max(1, round(length / self.scale))
        step, last = self.side - overlap, max(0, self.map_px - self.side)
        self.starts = [min(number * step, last) for number in range(math.ceil(last / step) + 1)]
        from_edge = np.arange(self.side) + 0.5
        self.weights = np.ones((len(self.starts), self.side))
        for number in range(len(self.starts)):
            left = from_edge if number > 0 else np.inf
            right = from_edge[::-1] if number < len(self.starts) - 1 else np.inf
            self.weights[number] = np.clip((np.minimum(left, right) - overlap / 4) / (overlap / 2), 0, 1)
        total = np.zeros(self.starts[-1] + self.side)
        for start, row in zip(self.starts, self.weights, strict=True):
            total[start : start + self.side] += row
        for start, row in zip(self.starts, self.weights, strict=True):
            row /= total[start : start + self.side]

    def image_start(self, number: int) -> int:
        return int(max(0, min(round(self.starts[number] * self.scale), self.length - self.tile)))


def anomaly_map(graph: Callable[[Any], tuple[Any, float]], image: Any, facts: dict[str, Any]) -> tuple[Any, float]:
    """The map of the image, stitched from those of its tiles, and the largest score of a tile."""
    rows, columns = Axis(image.shape[0], facts), Axis(image.shape[1], facts)
    side, tile_px = rows.side, rows.tile
    stitched = np.zeros((rows.starts[-1] + side, columns.starts[-1] + side), np.float32)
    best = -math.inf
    for row, top in enumerate(rows.starts):
        for column, left in enumerate(columns.starts):
            y, x = rows.image_start(row), columns.image_start(column)
            tile = image[y : y + tile_px, x : x + tile_px]
            below, right = tile_px - tile.shape[0], tile_px - tile.shape[1]
            tile = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REFLECT_101)
            found, score = graph(np.ascontiguousarray(resize(tile, side)[None]))
            weights = rows.weights[row][:, None] * columns.weights[column]
            stitched[top : top + side, left : left + side] += cv2.resize(found, (side, side)) * weights
            best = max(best, score)
    return stitched[: rows.map_px, : columns.map_px], best


def open_judge(facts: dict[str, Any], folder: Path) -> Judge:
    """A function from an image to its decision and score."""
    if not facts["score_decides"] or facts["resize_rule"] != "area" or facts["reduction"]["kind"] == "top_mean":
        raise ProgramError(
            "this model has a zone or rules, another resize rule or another score: verdicts need the package"
        )
    graph = open_graph(folder / facts["graph"])

    def judge(image: Any) -> tuple[str, float]:
        stitched, best = anomaly_map(graph, image, facts)
        score = best if facts["reduction"]["kind"] == "features" else float(stitched.max())
        review = facts["review_threshold"]
        decision = "review" if review is not None and score > review else "accept"
        return "reject" if score > facts["image_threshold"] else decision, score

    return judge


if __name__ == "__main__":
    sys.exit(run_program(open_judge, sys.argv[1:]))
