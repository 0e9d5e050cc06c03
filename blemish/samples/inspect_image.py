"""Verdicts from an exported graph without the package: numpy, OpenCV and ONNX Runtime (or OpenVINO) are enough.

    python inspect_image.py FOLDER IMAGE...

FOLDER is what `blemish export` wrote. Prints decision, score and path of each image. An image that cannot be read costs
one line on standard error and the exit status 2; the others are judged all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from blemish.alignment.pose import cut_frame, find_part, frame_matrix
from blemish.samples.read_file import Judge, ProgramError, run_program


def open_graph(path: Path) -> Callable[[Any], float]:
    """A function from an image, uint8 [1, height, width, 3] RGB, to its anomaly score."""
    try:
        if path.suffix == ".xml":
            import openvino

            compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            return lambda image: float(compiled({"image": image})["anomaly_score"][0])
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ProgramError(f"{path}: {' '.join(str(error).split())}") from error
    return lambda image: float(session.run(["anomaly_score"], {"image": image})[0][0])


def resize(image: Any, height: int, width: int) -> Any:
    """The rule "area": a side that shrinks is averaged over areas, then a side that grows is interpolated."""
    shrunk = (min(image.shape[1], width), min(image.shape[0], height))
    return cv2.resize(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), (width, height))


def open_judge(facts: dict[str, Any], folder: Path) -> Judge:
    """A function from an image to its decision and score."""
    parts = facts["alignment"]
    if not facts["score_decides"] or facts["resize_rule"] != ("area" if parts is None else "part, then area"):
        raise ProgramError("this model has a zone or rules, or another resize rule: verdicts need the package")
    graph = open_graph(folder / facts["graph"])

    def judge(image: Any) -> tuple[str, float]:
        is_found = True
        if parts is not None:
            alignment = SimpleNamespace(**parts)
            found = find_part(image, alignment)
            is_found = not found.fault
            image = cut_frame(image, frame_matrix(found, alignment), tuple(alignment.frame_hw))
        score = graph(np.ascontiguousarray(resize(image, facts["input_height"], facts["input_width"])[None]))
        review = facts["review_threshold"]
        decision = "review" if review is not None and score > review else "accept"
        if not is_found:
            return "review", score
        return "reject" if score > facts["image_threshold"] else decision, score

    return judge


if __name__ == "__main__":
    sys.exit(run_program(open_judge, sys.argv[1:]))
