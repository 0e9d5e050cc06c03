"""A small evaluation with known numbers: 6 good and 4 defective images, one escape and one false reject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.decisions.promise import make_promise
from blemish.metrics.evaluate import image_metrics, operating_point
from blemish.schema import (
    DEFECTIVE,
    GOOD,
    Calibration,
    Decision,
    Evaluation,
    ImageItem,
    ImageResult,
    Picture,
    Region,
    RegionSettings,
    Verdict,
)

THRESHOLD = 5.0
GOOD_SCORES = (1.0, 1.5, 2.0, 2.5, 3.0, 6.0)
DEFECTIVE_SCORES = (4.0, 7.0, 8.0, 9.0)


def make_region(box: tuple[int, int, int, int] = (4, 6, 8, 6), **changes: Any) -> Region:
    x, y, width, height = box
    right, bottom = x + width - 1, y + height - 1
    facts: dict[str, Any] = {
        "box": box,
        "contour": ((x, y), (right, y), (right, bottom), (x, bottom)),
        "area_px": float(width * height),
        "centroid": (x + width / 2, y + height / 2),
        "peak": (x + width // 2, y + height // 2),
        "peak_score": 9.0,
        "mean_score": 6.0,
        "length_px": float(np.hypot(width, height)),
    }
    return Region(**{**facts, **changes})


def make_verdict(path: str = "test/good/000.png", score: float = 3.0, **changes: Any) -> Verdict:
    decision: Decision = "reject" if score > THRESHOLD else "accept"
    facts: dict[str, Any] = {
        "path": path,
        "decision": decision,
        "score": score,
        "threshold": THRESHOLD,
        "p_value": 0.25,
        "display_score": 10 * score,
        "regions": (make_region(),) if decision == "reject" else (),
        "milliseconds": 4.0,
        "bundle_id": "0123456789abcdef",
        "image_hw": (24, 32),
        "anomaly_map": np.full((6, 8), score, dtype=np.float32),
    }
    return Verdict(**{**facts, **changes})


def make_evaluation(**changes: Any) -> Evaluation:
    rows = [("good", GOOD, number, score) for number, score in enumerate(GOOD_SCORES)]
    rows += [("crack" if n < 2 else "stain", DEFECTIVE, n, score) for n, score in enumerate(DEFECTIVE_SCORES)]
    random = np.random.default_rng(0)
    results, pictures = [], []
    for defect_type, label, number, score in rows:
        path = f"test/{defect_type}/{number:03}.png"
        verdict = make_verdict(path, score)
        mask = None
        if label == DEFECTIVE:
            mask = np.zeros((24, 32), dtype=np.bool_)
            mask[6:12, 4:12] = True
        item = ImageItem(Path(path), "test", label, defect_type)
        pictures.append(Picture(item, verdict, random.integers(0, 256, (24, 32, 3), dtype=np.uint8), mask))
        results.append(
            ImageResult(path, label, defect_type, score, verdict.decision, 10 * score, 0.25, 4.0, mask is not None)
        )
    labels, scores = [result.label for result in results], [result.score for result in results]
    ranked = image_metrics(labels, scores, resamples=50)
    judged = operating_point(
        labels, [score > THRESHOLD for score in scores], [result.defect_type for result in results], scores=scores
    )
    facts: dict[str, Any] = {
        "metrics": {
            **ranked,
            **judged,
            "intervals": {**ranked["intervals"], **judged["intervals"]},
            "milliseconds": 4.0,
            "aupro_30": 0.875,
            "num_pixel_images": 10,
            "num_without_mask": 0,
        },
        "model": {
            "detector": "template",
            "backbone": None,
            "input_hw": [64, 96],
            "bundle_id": "0123456789abcdef",
            "promise": ["At most 5 % of good parts are rejected, with 90 % confidence."],
        },
        "data": {"name": "tiles", "notes": ["2 masks are empty."]},
        "results": tuple(results),
        "pictures": tuple(pictures),
    }
    return Evaluation(**{**facts, **changes})


def make_calibration(**changes: Any) -> Calibration:
    scores = tuple(np.linspace(1.0, THRESHOLD, 99).tolist())
    facts: dict[str, Any] = {
        "graph_sha256": "0" * 64,
        "method": "cross",
        "good_scores": scores,
        "good_map_maxima": scores,
        "image_threshold": THRESHOLD,
        "pixel_threshold": THRESHOLD,
        "promise": make_promise(99, 0.01, 0.9),
        "regions": RegionSettings(grow_threshold=2.0),
        "display_spread": 1.0,
    }
    return Calibration(**{**facts, **changes})


@pytest.fixture
def region_of() -> Callable[..., Region]:
    return make_region


@pytest.fixture
def verdict_of() -> Callable[..., Verdict]:
    return make_verdict


@pytest.fixture
def evaluation_of() -> Callable[..., Evaluation]:
    return make_evaluation


@pytest.fixture
def calibration_of() -> Callable[..., Calibration]:
    return make_calibration


@pytest.fixture
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.fixture
def calibration() -> Calibration:
    return make_calibration()
