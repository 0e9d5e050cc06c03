"""What the report says of ranking: curves over all thresholds, metrics with their meaning, a row per defect type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blemish.metrics.ranking import precision_recall_curve, roc_curve
from blemish.reports import words
from blemish.reports.charts import axis_of, line_path, step_path, stroke_path
from blemish.schema import DEFECTIVE, GOOD, ImageResult

UNIT_AXIS = axis_of([0.0, 1.0], count=5)


def curves_section(metrics: Mapping[str, Any], results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    """ROC and precision-recall curve with the operating point; empty unless both classes are there."""
    labels = [result.label for result in results]
    if len(set(labels)) < 2:
        return []
    scores = [result.score for result in results]
    roc, ranking = roc_curve(labels, scores), precision_recall_curve(labels, scores)
    auroc, precision = words.metric(metrics.get("image_auroc")), words.metric(metrics.get("image_ap"))
    counts = metrics["confusion_matrix"]
    hits, wrong = counts["rejected_defective"], counts["rejected_good"]
    false_reject, caught = metrics["false_reject_rate"], hits / labels.count(DEFECTIVE)
    return [
        {
            "name": "ROC curve",
            "summary": f"image AUROC {auroc}",
            "label": f"ROC curve with an area of {auroc}",
            "x": UNIT_AXIS,
            "y": UNIT_AXIS,
            "x_name": "False reject rate",
            "y_name": "Share of defective parts rejected",
            "path": line_path(UNIT_AXIS, UNIT_AXIS, roc.fpr, roc.tpr),
            "chance": "M0 100L100 0",
            "dot": {"name": "roc", "x": false_reject, "y": caught},
        },
        {
            "name": "Precision and recall",
            "summary": f"image AP {precision}",
            "label": f"Precision-recall curve with an average precision of {precision}",
            "x": UNIT_AXIS,
            "y": UNIT_AXIS,
            "x_name": "Recall: share of defective parts rejected",
            "y_name": "Precision: share of rejects that are defective",
            "path": step_path(UNIT_AXIS, UNIT_AXIS, ranking.recall, ranking.precision),
            "chance": f"M0 {100 * (1 - float(np.mean(labels))):.2f}H100",
            "dot": {"name": "pr", "x": caught, "y": hits / (hits + wrong)} if hits + wrong else None,
        },
    ]


def measures_section(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each metric with its value, interval and meaning."""
    intervals = metrics.get("intervals", {})
    return [
        {
            "name": name,
            "value": words.score(metrics[key]) if key.startswith("reconstruction") else words.metric(metrics[key]),
            "interval": words.interval(intervals.get(key)),
            "meaning": meaning,
        }
        for key, (name, meaning) in words.METRICS.items()
        if metrics.get(key) is not None
    ]


def measures_note(metrics: Mapping[str, Any], results: Sequence[ImageResult]) -> str:
    """How many images and pixels the metrics rest on."""
    num_good = sum(result.label == GOOD for result in results)
    note = f"Image-level metrics: {num_good:,} good and {len(results) - num_good:,} defective images."
    count = metrics.get("num_pixel_images")
    if not count:
        return note
    left_out = metrics.get("num_without_mask", 0)
    without = f", without {words.plural(left_out, 'defective image')} that no mask marks" if left_out else ""
    return f"{note} Pixel-level metrics: all pixels of {words.plural(count, 'image')}{without}."


def defects_section(
    metrics: Mapping[str, Any], results: Sequence[ImageResult], threshold: float | None
) -> list[dict[str, Any]]:
    """A row for good images, then one for each defect type, the most escapes first."""
    if not results:
        return []
    x = axis_of([result.score for result in results], margin=0.02)
    intervals = metrics.get("intervals", {})
    rows = []
    good = [result for result in results if result.label == GOOD]
    if good:
        limits = intervals.get("false_reject_rate")
        rows.append({"name": "good", "is_good": True, **_row(good, x, metrics.get("false_reject_rate"), limits)})
    per_defect = metrics.get("per_defect", {})
    for name in sorted(per_defect, key=lambda name: (-per_defect[name]["escape_rate"], name)):
        found = [result for result in results if result.label == DEFECTIVE and result.defect_type == name]
        facts = per_defect[name]
        rows.append({"name": name, "is_good": False, **_row(found, x, facts["escape_rate"], facts.get("interval"))})
    cut = None if threshold is None else x.percent(threshold)
    return [{**row, "cut": cut} for row in rows]


def _row(results: Sequence[ImageResult], x: Any, rate: float | None, limits: Sequence[float] | None) -> dict[str, Any]:
    scores = [result.score for result in results]
    low, high = limits if limits is not None else (0.0, 1.0)
    return {
        "num": len(results),
        "num_rejected": sum(result.decision == "reject" for result in results),
        "num_review": sum(result.decision == "review" for result in results),
        "rate": words.rate(rate),
        "at": 100 * (rate or 0.0),
        "interval": words.interval(limits, as_rate=True),
        "low": 100 * low,
        "high": 100 * high,
        "mean_score": words.score(float(np.mean(scores))),
        "lowest": words.score(min(scores)),
        "highest": words.score(max(scores)),
        "strokes": stroke_path(x, scores),
    }
