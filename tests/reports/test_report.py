"""The report page: complete in itself, true to the numbers, safe against names, readable by machines and people."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.errors import OutputError
from blemish.reports.report import MAX_ROWS, evaluation_json, report_page, write_report
from blemish.schema import CostCurve, Costs

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Reader(HTMLParser):
    """Reads a page strictly: every element closed, in order; keeps elements, ids and the text a person sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text)).replace(" .", ".").replace(" ,", ",")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open, f"never closed: {reader.open}"
    return reader


def test_the_page_and_its_json_are_written(tmp_path: Path, evaluation, calibration):
    page = write_report(evaluation, tmp_path / "Bericht Ω", calibration)
    assert page == tmp_path / "Bericht Ω" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["evaluation.json", "index.html", "summary.html"]
    read(page.read_text(encoding="utf-8"))


def test_the_json_holds_the_metrics_flat_and_each_image(tmp_path: Path, evaluation):
    write_report(evaluation, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert found["image_auroc"] == evaluation.metrics["image_auroc"]
    assert found["confusion_matrix"] == evaluation.metrics["confusion_matrix"]
    assert found["model"]["detector"] == "template"
    assert [row["path"] for row in found["results"]] == [result.path for result in evaluation.results]


def test_json_values_are_plain(evaluation):
    metrics = {**evaluation.metrics, "pixel_ap": np.float32("nan"), "counts": np.arange(2), "path": Path("a")}
    found = evaluation_json(dataclasses.replace(evaluation, metrics=metrics))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["pixel_ap"] is None
    assert json.loads(text)["counts"] == [0, 1]


def test_the_page_loads_nothing(evaluation, calibration):
    reader = read(report_page(evaluation, calibration))
    for tag, attributes in reader.elements:
        assert tag not in {"link", "iframe", "object"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name)
            allowed = ("data:image/webp;base64,", "#", "summary.html")
            assert value is None or value.startswith(allowed), (tag, name)
    page = report_page(evaluation, calibration)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org)", page)
    assert "default-src 'none'" in page


def test_the_headline_numbers_stand_with_their_counts_and_intervals(evaluation, calibration):
    words = read(report_page(evaluation, calibration)).words.replace("\u00a0", " ")
    assert "Of 4 defective parts, 1 escaped. Of 6 good parts, 1 was rejected." in words
    assert "Escape rate 25.0 % 0.63 % to 80.6 % 4 defective images" in words
    assert "False reject rate 16.7 % 0.42 % to 64.1 % 6 good images" in words
    assert "Balanced accuracy 79.2 %" in words
    assert "AUPRO 0.30 0.875 pixels of 10 images" in words
    assert "At most 5 % of good parts are rejected, with 90 % confidence." in words
    assert "2 masks are empty." in words


def test_a_clean_result_is_said_plainly(evaluation):
    clean = [result for result in evaluation.results if (result.decision == "reject") == bool(result.label)]
    words = read(report_page(dataclasses.replace(evaluation, results=tuple(clean)))).words
    assert "Of 3 defective parts, none escaped. Of 5 good parts, none was rejected." in words


def test_parts_put_up_for_review_are_counted_apart(evaluation, calibration_of):
    results = tuple(
        dataclasses.replace(result, decision="review") if result.score in (3.0, 4.0) else result
        for result in evaluation.results
    )
    page = report_page(dataclasses.replace(evaluation, results=results), calibration_of(review_threshold=2.8))
    words = read(page).words
    assert "Of 4 defective parts, none escaped and 1 was put up for review." in words
    assert "Of 6 good parts, 1 was rejected and 1 was put up for review." in words
    assert 'id="review"' in page


def test_mistakes_come_first_and_worst_first(evaluation, calibration):
    words = read(report_page(evaluation, calibration)).words
    order = ["Escapes: defective parts accepted 1", "False rejects: good parts rejected 1"]
    order += ["Defective parts rejected 3, highest score first", "Good parts accepted 5"]
    places = [words.index(title) for title in order]
    assert places == sorted(places)
    hits = words[places[2] : places[3]]
    assert hits.index("stain/003.png") < hits.index("stain/002.png") < hits.index("crack/001.png")


def test_a_gallery_says_how_much_of_it_is_shown(evaluation, calibration):
    some = dataclasses.replace(evaluation, pictures=evaluation.pictures[:2])
    words = read(report_page(some, calibration)).words
    assert "Good parts accepted 2 of 5 kept to show" in words
    assert "Escapes: defective parts accepted 1, none kept to show" in words


def test_every_picture_says_what_it_shows(evaluation, calibration):
    reader = read(report_page(evaluation, calibration))
    pictures = [attributes for tag, attributes in reader.elements if tag == "svg" and attributes.get("class") == "part"]
    assert len(pictures) == 2 * len(evaluation.pictures)
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for attributes in pictures)
    labels = [attributes["aria-label"] for attributes in pictures if "aria-label" in attributes]
    assert "crack/001.png: part with defect crack, reject, score 70 of 100, 1 region marked" in labels


def test_regions_are_compared_with_the_true_defect(evaluation, calibration):
    words = read(report_page(evaluation, calibration)).words
    assert "1 of 1 marked defect found, overlap (IoU) 1.00." in words
    assert "None of 1 marked defect found; the largest map value lies elsewhere." in words


def test_ids_are_unique_and_links_lead_somewhere(evaluation, calibration):
    elements = read(report_page(evaluation, calibration)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for _, attributes in elements if (attributes.get("href") or "").startswith("#")}
    assert targets <= set(ids)


def test_names_cannot_break_out_of_the_page(evaluation, calibration):
    evil = '"><script>alert(1)</script>'
    results = tuple(dataclasses.replace(result, path=evil, defect_type=evil) for result in evaluation.results)
    pictures = tuple(
        dataclasses.replace(picture, verdict=dataclasses.replace(picture.verdict, path=evil))
        for picture in evaluation.pictures
    )
    changed = dataclasses.replace(
        evaluation,
        metrics={**evaluation.metrics, "per_defect": {evil: evaluation.metrics["per_defect"]["crack"]}},
        results=results,
        pictures=pictures,
        data={"name": evil, "notes": [evil]},
        model={"detector": evil, "promise": [evil]},
    )
    page = report_page(changed, calibration)
    assert "<script>alert" not in page
    assert evil in read(page).words


def test_the_page_works_without_calibration_pictures_and_pixel_metrics(evaluation):
    metrics = {name: value for name, value in evaluation.metrics.items() if "aupro" not in name and "pixel" not in name}
    bare = dataclasses.replace(evaluation, metrics=metrics, pictures=(), model={}, data={})
    words = read(report_page(bare)).words
    assert "no masks to judge pixels by" in words
    assert "The parts" not in words


def test_an_empty_mask_counts_as_none(evaluation, calibration):
    pictures = tuple(
        dataclasses.replace(picture, mask=np.zeros((24, 32), dtype=np.bool_)) for picture in evaluation.pictures
    )
    page = report_page(dataclasses.replace(evaluation, pictures=pictures), calibration)
    assert "layer-truth" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)


def test_a_cost_curve_is_drawn_and_fills_in_the_costs(evaluation, calibration_of):
    curve = CostCurve(
        Costs(50, 1, 0.02), (1.0, 5.0, 9.0), (1.0, 0.2, 0.6), (0.8, 0.1, 0.4), (1.2, 0.5, 0.9), 5.0, 0.2, 0.95, 4, None
    )
    page = report_page(evaluation, calibration_of(cost_curve=curve))
    assert "Cost curve of the calibration" in page
    assert 'id="cost-escape" min="0" step="any" inputmode="decimal" value="50"' in page


def test_long_lists_are_cut_on_the_page_but_not_in_the_json(tmp_path: Path, evaluation):
    many = tuple(
        dataclasses.replace(evaluation.results[n % 10], path=f"{n}.png", score=float(n)) for n in range(MAX_ROWS + 5)
    )
    large = dataclasses.replace(evaluation, results=many, pictures=())
    write_report(large, tmp_path)
    assert "The 2,000 highest scores of 2,005 images" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["results"]) == MAX_ROWS + 5


def test_pages_stay_small(evaluation, calibration):
    random = np.random.default_rng(0)
    noise = cv2.GaussianBlur(random.normal(0, 12, (512, 512, 3)), (0, 0), 1.5)
    photo = np.clip(np.linspace(30, 220, 512)[:, None, None] + noise, 0, 255).astype(np.uint8)
    first = evaluation.pictures[0]
    anomaly_map = cv2.GaussianBlur(random.normal(4, 40, (256, 256)), (0, 0), 4).astype(np.float32)
    picture = dataclasses.replace(
        first, image=photo, mask=None, verdict=dataclasses.replace(first.verdict, anomaly_map=anomaly_map)
    )
    bare, full = (report_page(dataclasses.replace(evaluation, pictures=(picture,) * n), calibration) for n in (0, 8))
    assert len(bare) + 83 * (len(full) - len(bare)) / 8 < 3_000_000, "83 photographs take less than 3 MB"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, evaluation):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(OutputError, match=r"report: cannot be made"):
        write_report(evaluation, tmp_path / "report")
