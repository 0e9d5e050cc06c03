"""Verdicts from an exported graph without the package: numpy, OpenCV and ONNX Runtime (or OpenVINO) are enough.

    python inspect_image.py FOLDER IMAGE...

FOLDER is what `blemish export` wrote. Prints decision, score and path of each image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def open_graph(path: Path) -> Callable[[Any], float]:
    """A function from an image, uint8 [1, height, width, 3] RGB, to its anomaly score."""
    if path.suffix == ".xml":
        import openvino

        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image: float(compiled({"image": image})["anomaly_score"][0])
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: float(session.run(["anomaly_score"], {"image": image})[0][0])


def resize(image: Any, height: int, width: int) -> Any:
    """The rule "area": a side that shrinks is averaged over areas, then a side that grows is interpolated."""
    shrunk = (min(image.shape[1], width), min(image.shape[0], height))
    return cv2.resize(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), (width, height))


def main(folder: Path, images: list[str]) -> None:
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if not facts["score_decides"] or facts["resize_rule"] != "area":
        sys.exit("this model has a zone or rules, or another resize rule: verdicts need the package")
    graph = open_graph(folder / facts["graph"])
    for name in images:
        blue_first = resize(cv2.imread(name, cv2.IMREAD_COLOR), facts["input_height"], facts["input_width"])
        score = graph(np.ascontiguousarray(blue_first[None, ..., ::-1]))
        review = facts["review_threshold"]
        decision = "review" if review is not None and score > review else "accept"
        print("reject" if score > facts["image_threshold"] else decision, f"{score:.6g}", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
