"""MVTec LOCO data brings its own metric, saturated overlap, which an evaluation then reports."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from blemish.datasets.index import open_dataset
from blemish.workflow.evaluate import evaluate_maps


def write_category(root: Path) -> None:
    """Two good images and one with two defect pixels, of which one suffices."""
    image = np.full((32, 32, 3), 90, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:6, 4] = 255
    for place in ("train/good/000", "train/good/001", "test/good/000", "test/logical_anomalies/000"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"{place}.png"), image)
    (root / "validation" / "good").mkdir(parents=True)
    cv2.imwrite(str(root / "validation/good/000.png"), image)
    (root / "ground_truth/logical_anomalies/000").mkdir(parents=True)
    cv2.imwrite(str(root / "ground_truth/logical_anomalies/000/000.png"), mask)
    config = [{"defect_name": "dots", "pixel_value": 255, "saturation_threshold": 1, "relative_saturation": False}]
    (root / "defects_config.json").write_text(json.dumps(config), encoding="utf-8")


def test_half_a_defect_found_is_enough_where_it_saturates(tmp_path: Path) -> None:
    root = tmp_path / "breakfast_box"
    write_category(root)
    index = open_dataset(root)
    assert index.layout == "mvtec_loco"
    half = np.zeros((32, 32), np.float32)
    half[4, 4] = 1.0
    for item in index.test:
        path = tmp_path / "maps" / Path(index.relative(item.path)).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, half if not item.is_good else np.zeros((32, 32), np.float32))
    metrics = evaluate_maps(tmp_path / "maps", index).metrics
    assert metrics["auspro_05"] == 1.0
    assert metrics["aupro_05"] < 0.6
