"""Evaluation -> one self-contained page, and the same as JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from blemish.files import write_text
from blemish.reports import words
from blemish.reports.decision import (
    PromiseCheck,
    check_badge,
    check_promise,
    check_words,
    decision_section,
    outcome_words,
    threshold_of,
)
from blemish.reports.gallery import NUM_OPEN, color_scale, frame_of, groups_of, photo_uri
from blemish.reports.page import render
from blemish.reports.sensitivity import sensitivity_section
from blemish.reports.separation import curves_section, defects_section, measures_note, measures_section
from blemish.reports.summary import summary_page
from blemish.reports.training import training_of
from blemish.schema import DEFECTIVE, GOOD, Calibration, Evaluation, Image, ImageResult, Sensitivity
from blemish.text import json_text, json_value

MAX_ROWS = 2000
"""The most images listed on the page; the JSON beside it lists all."""


AUGMENTED_SIDE = 224


def write_report(
    evaluation: Evaluation,
    folder: Path,
    calibration: Calibration | None = None,
    *,
    augmented: Sequence[Sequence[tuple[str, Image]]] = (),
    odd: Sequence[tuple[str, Image]] = (),
    sensitivity: Sensitivity | None = None,
    part: Image | None = None,
) -> Path:
    """The page `index.html`, written into `folder` with `summary.html` and `evaluation.json` beside it.

    The summary is one printed page for those who decide. The pages load nothing: pictures, style and script are inside.
    With the `calibration` that gave the verdicts they also show what the threshold promises and whether the test images
    bear it out. `augmented` has rows of named images: a training image, then augmented forms of it; `odd` has good
    images that lift the threshold, with a sentence about each. `sensitivity` is what is found of painted defects, and
    `part` a good image to show blind places on.
    """
    folder = Path(folder)
    page = report_page(evaluation, calibration, augmented=augmented, odd=odd, sensitivity=sensitivity, part=part)
    write_text(folder / "evaluation.json", json_text(evaluation_json(evaluation), indent=1))
    write_text(folder / "summary.html", summary_page(evaluation, calibration, sensitivity))
    return write_text(folder / "index.html", page)


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON values: metrics flat at the top, then `model`, `data` and one result per image."""
    found: dict[str, Any] = json_value(
        {
            **evaluation.metrics,
            "model": evaluation.model,
            "data": evaluation.data,
            "results": [asdict(result) for result in evaluation.results],
        }
    )
    return found


def report_page(
    evaluation: Evaluation,
    calibration: Calibration | None = None,
    *,
    augmented: Sequence[Sequence[tuple[str, Image]]] = (),
    odd: Sequence[tuple[str, Image]] = (),
    sensitivity: Sensitivity | None = None,
    part: Image | None = None,
) -> str:
    """The report as HTML text; see `write_report`."""
    metrics, results = evaluation.metrics, evaluation.results
    threshold = threshold_of(evaluation, calibration)
    check = check_promise(calibration, results) if calibration is not None else None
    shown = sorted(results, key=lambda result: -result.score)[:MAX_ROWS]
    return render(
        "report.html",
        page={
            "title": evaluation.data.get("name") or "Evaluation",
            "outcome": outcome_words(check, results),
            "lead": _lead(results, check),
            "facts": _facts(evaluation),
            "version": metadata.version("blemish"),
            "written": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        },
        headlines=_headlines(metrics, results),
        promise={
            "sentences": list(evaluation.model.get("promise", ())),
            "check": check,
            "badge": check_badge(check) if check else "",
            "kind": _promise_kind(check, results),
            "test_words": check_words(check) if check else "",
        },
        notes=_notes(evaluation, check),
        decision=None if threshold is None else decision_section(evaluation, calibration, threshold, sensitivity),
        sensitivity=None if sensitivity is None else _sensitivity(sensitivity, calibration, part),
        curves=curves_section(metrics, results),
        measures=measures_section(metrics),
        measures_note=measures_note(metrics, results),
        defects=defects_section(metrics, results, threshold),
        has_review=any(result.decision == "review" for result in results),
        frame=frame_of(evaluation.pictures),
        num_open=NUM_OPEN,
        has_zone=calibration is not None and calibration.zone is not None,
        groups=groups_of(
            evaluation.pictures,
            results,
            color_scale(evaluation, calibration),
            None if calibration is None else calibration.zone,
        ),
        opened={picture.verdict.path for picture in evaluation.pictures},
        training=training_of(evaluation.model.get("facts") or {}),
        odd=[(sentence, photo_uri(image, AUGMENTED_SIDE)) for sentence, image in odd],
        augmented=[[(name, photo_uri(image, AUGMENTED_SIDE)) for name, image in row] for row in augmented],
        method=_method(evaluation, calibration),
        images=shown,
        images_title=(
            f"{words.plural(len(results), 'image')}, highest score first"
            if len(shown) == len(results)
            else f"The {len(shown):,} highest scores of {len(results):,} images"
        ),
    )


def _promise_kind(check: PromiseCheck | None, results: Sequence[ImageResult]) -> str:
    """How the promise is marked: one that holds is no green light while defects escape."""
    if check is None:
        return "open"
    escapes = any(result.label == DEFECTIVE and result.decision == "accept" for result in results)
    return "open" if check.outcome == "confirmed" and escapes else check.outcome


def _sensitivity(sensitivity: Sensitivity, calibration: Calibration | None, part: Image | None) -> dict[str, Any]:
    return sensitivity_section(sensitivity, None if calibration is None else calibration.mm_per_px, part)


def _lead(results: Sequence[ImageResult], check: PromiseCheck | None) -> list[dict[str, Any]]:
    """What happened to defective and to good parts, a sentence each: its beginning, the outcome, its end."""
    defective = [result.decision for result in results if result.label == DEFECTIVE]
    good = [result.decision for result in results if result.label == GOOD]
    escaped, rejected = defective.count("accept"), good.count("reject")
    found = [
        (defective, "defective part", escaped, f"{escaped:,} escaped" if escaped else "none escaped"),
        (good, "good part", rejected, f"{rejected:,} {_were(rejected)} rejected" if rejected else "none was rejected"),
    ]
    return [
        {
            "start": f"Of {words.plural(len(decisions), noun)},",
            "outcome": outcome,
            "is_bad": num_wrong > 0 and (decisions is defective or check is None or check.outcome == "broken"),
            "end": f"{_review_words(decisions.count('review'))}.",
        }
        for decisions, noun, num_wrong, outcome in found
        if decisions
    ]


def _review_words(count: int) -> str:
    return f" and {count:,} {_were(count)} put up for review" if count else ""


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    model = evaluation.model
    hw = model.get("input_hw")
    facts = [
        ("Detector", model.get("detector")),
        ("Backbone", model.get("backbone")),
        ("Input", f"{hw[1]} × {hw[0]} px" if hw else None),
        ("Bundle", model.get("bundle_id")),
        ("Trained", str(model.get("created") or "")[:10]),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _headlines(metrics: Mapping[str, Any], results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    intervals = metrics.get("intervals", {})
    num_good = sum(result.label == GOOD for result in results)
    num_defective = len(results) - num_good
    both = f"{num_good:,} good, {num_defective:,} defective"

    def of(name: str, key: str, count: str, *, as_rate: bool = False) -> dict[str, Any]:
        limits = intervals.get(key)
        shown = words.rate if as_rate else words.metric
        under = [words.interval(limits, as_rate=as_rate)] if limits else []
        return {"name": name, "value": shown(metrics.get(key)), "unit": "", "under": [*under, count]}

    return [
        of("Escape rate", "escape_rate", words.plural(num_defective, "defective image"), as_rate=True),
        of("False reject rate", "false_reject_rate", words.plural(num_good, "good image"), as_rate=True),
        of("Balanced accuracy", "balanced_accuracy", both, as_rate=True),
        of("Image AUROC", "image_auroc", both),
        of("AUPRO 0.30", "aupro_30", _pixel_images(metrics)),
        {
            "name": "Time per image",
            "value": words.milliseconds(metrics.get("milliseconds")),
            "unit": "ms" if metrics.get("milliseconds") is not None else "",
            "under": [f"median of {words.plural(len(results), 'image')}"],
        },
    ]


def _pixel_images(metrics: Mapping[str, Any]) -> str:
    count = metrics.get("num_pixel_images")
    return "no masks to judge pixels by" if not count else f"pixels of {words.plural(count, 'image')}"


def _notes(evaluation: Evaluation, check: PromiseCheck | None) -> list[str]:
    notes = [str(note) for note in evaluation.data.get("notes", ())]
    if check is not None and check.outcome == "broken":
        notes.insert(0, "The false reject promise was not kept on these images; see above.")
    bounds = evaluation.metrics.get("pixel_error_bounds", {})
    if any(bounds.values()):
        widest = max(bounds.values())
        notes.append(f"Pixel-level metrics come from fine histograms; they are exact to {widest:.1e}.")
    return notes


def _method(evaluation: Evaluation, calibration: Calibration | None) -> list[dict[str, Any]]:
    model, data = evaluation.model, evaluation.data
    hw = model.get("input_hw")
    bundle: list[tuple[str, Any]] = [
        ("Detector", model.get("detector")),
        ("Backbone", model.get("backbone")),
        ("Input size", f"{hw[1]} × {hw[0]} px" if hw else None),
        ("Settings", model.get("settings")),
        ("Seed", model.get("seed")),
        ("Good images fitted on", model.get("num_fit")),
        ("Fit time", f"{model['fit_seconds']:.1f} s" if model.get("fit_seconds") is not None else None),
        ("Time by part", model.get("seconds_by_part")),
        ("Bundle", model.get("bundle_id")),
        ("Made", model.get("created")),
        ("Versions", model.get("versions")),
    ]
    tested: list[tuple[str, Any]] = [
        ("Data set", data.get("name")),
        ("Layout", data.get("layout")),
        ("Good test images", data.get("num_good")),
        ("Defective test images", data.get("num_defective")),
        ("Defective without mask", data.get("num_without_mask")),
        ("Fingerprint", data.get("fingerprint")),
    ]
    boxes = [("What was judged", bundle), ("What it was tested on", tested)]
    if calibration is not None:
        promise = calibration.promise
        limits: list[tuple[str, Any]] = [
            ("Method", calibration.method),
            ("Good scores", len(calibration.good_scores)),
            ("Image threshold", calibration.image_threshold),
            ("Review threshold", calibration.review_threshold),
            ("Pixel threshold", calibration.pixel_threshold),
            ("Wanted false reject rate", words.promised(promise.wanted_rate)),
            ("Rejected on average", f"at most {words.promised(promise.average_rate)}"),
            ("Limit", f"{words.promised(promise.limit)} with {words.promised(promise.confidence)} confidence"),
            ("Scale", f"{calibration.mm_per_px:g} mm per pixel" if calibration.mm_per_px else None),
            ("Set", " ".join(part for part in (calibration.created, calibration.by, calibration.reason) if part)),
        ]
        boxes.append(("How the thresholds were set", limits))
    told = [(name, [(fact, words.plain(value)) for fact, value in pairs]) for name, pairs in boxes]
    return [{"name": name, "pairs": [pair for pair in pairs if pair[1] != "–"]} for name, pairs in told]
