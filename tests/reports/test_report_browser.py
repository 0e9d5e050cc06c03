"""What the page does in a browser: the threshold moves, layers switch, nothing is wider than a phone.

Skipped where there is no Chromium.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from blemish.reports.report import evaluation_json, report_page
from blemish.reports.summary import summary_page
from blemish.schema import PaintedTrial, Sensitivity
from blemish.study.pages import Study, study_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
]


def run_in_page(page: str, script: str, folder: Path, *, width: int = 1280) -> dict[str, str]:
    """What the script's `say(name, value)` calls said, after the page was shown in a window of the given width."""
    said = (
        "const said = []; const say = (name, value) => said.push(`${name}=${value}`);"
        "addEventListener('error', (event) => say('error', event.message));"
        f"addEventListener('load', () => {{ {script}; document.title = 'said:' + said.join('|'); }});"
    )
    (folder / "page.html").write_text(page.replace("</head>", f"<script>{said}</script></head>"), encoding="utf-8")
    # An inner frame gives widths below the least a window may have.
    frame = f'<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
    listen = "<script>onload = () => setTimeout(() => {document.body.append(frames[0].document.title)}, 500)</script>"
    (folder / "frame.html").write_text(f"<!doctype html><body>{frame}{listen}</body>", encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *QUIET,
            "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,1000",
            "--dump-dom",
            (folder / "frame.html").as_uri(),
        ],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    found = re.search(r"said:(.*?)</body>", done.stdout, re.S)
    assert found, done.stdout[-400:] + done.stderr[-400:]
    return dict(part.split("=", 1) for part in found.group(1).replace("&nbsp;", " ").strip().split("|") if part)


MOVE = """
const text = (id) => document.getElementById(id).textContent;
const slider = document.getElementById("threshold"), facts = JSON.parse(document.getElementById("facts").textContent);
const move = (value) => {
  slider.value = Math.round((value - facts.low) / (facts.high - facts.low) * 2000);
  slider.dispatchEvent(new Event("input"));
};
"""


def test_the_page_starts_at_the_calibrated_threshold(tmp_path, evaluation, calibration):
    script = (
        MOVE
        + """
    for (const id of ["live-false-reject", "live-escape", "live-balanced", "cell-good-reject", "cell-defective-accept"])
      say(id, text(id));
    say("reset", document.getElementById("reset").disabled);
    """
    )
    said = run_in_page(report_page(evaluation, calibration), script, tmp_path)
    assert "error" not in said
    assert said["live-false-reject"] == "16.7 %"
    assert said["live-escape"] == "25.0 %"
    assert said["live-balanced"] == "79.2 %"
    assert said["cell-good-reject"].split() == ["1", "16.7", "%"]
    assert said["cell-defective-accept"].split() == ["1", "25.0", "%"]
    assert said["reset"] == "true"


def test_wrong_verdicts_are_shown_as_whole_cells_of_the_confusion_matrix(tmp_path, evaluation, calibration):
    script = """
    const cell = document.getElementById("cell-defective-accept");
    say("hidden", cell.scrollHeight > cell.clientHeight + 1);
    say("display", getComputedStyle(cell).display);
    """
    for width in (1280, 390):
        said = run_in_page(report_page(evaluation, calibration), script, tmp_path, width=width)
        assert said == {"hidden": "false", "display": "table-cell"}


def test_moving_the_threshold_computes_the_rates_anew(tmp_path, evaluation, calibration):
    script = (
        MOVE
        + """
    move(3.5);
    for (const id of ["live-escape", "live-escape-under", "live-promise", "cell-defective-reject"]) say(id, text(id));
    move(8.5);
    for (const id of ["live-false-reject", "live-escape"]) say(id + "-high", text(id));
    document.getElementById("reset").click();
    say("back", text("live-escape"));
    """
    )
    said = run_in_page(report_page(evaluation, calibration), script, tmp_path)
    assert "error" not in said
    assert said["live-escape"] == "0.0 %"
    assert said["live-escape-under"] == "0 of 4 defective images; 95 % interval 0.0 % to 60.2 %"
    num_over = sum(score > 3.5 for score in calibration.good_scores)
    supported = 100 * stats.beta.ppf(0.9, num_over + 1, 99 - num_over)
    assert f"with 90 % confidence at most {supported:.3g} %" in said["live-promise"]
    assert said["cell-defective-reject"].split() == ["4", "100.0", "%"]
    assert said["live-false-reject-high"] == "0.0 %"
    assert said["live-escape-high"] == "75.0 %"
    assert said["back"] == "25.0 %"


def test_review_takes_part_in_the_moving(tmp_path, evaluation, calibration_of):
    script = (
        MOVE
        + """
    say("before", text("cell-good-review"));
    const review = document.getElementById("review");
    review.value = Math.round((1.7 - facts.low) / (facts.high - facts.low) * 2000);
    review.dispatchEvent(new Event("input"));
    say("after", text("cell-good-review")); say("accepted", text("cell-good-accept"));
    say("escaped", text("live-escape")); say("balanced", text("live-balanced"));
    """
    )
    results = list(evaluation.results)
    results[4] = dataclasses.replace(results[4], decision="review")
    page = report_page(dataclasses.replace(evaluation, results=tuple(results)), calibration_of(review_threshold=2.8))
    said = run_in_page(page, script, tmp_path)
    assert "error" not in said
    assert said["before"].split()[0] == "1"
    assert said["after"].split()[0] == "3"
    assert said["accepted"].split()[0] == "2"
    assert said["escaped"] == "0.0 %", "a defective part put up for review has not escaped"
    assert said["balanced"] == "54.2 %", "2 of 6 good parts accepted, 3 of 4 defective ones rejected"


def test_costs_lead_to_a_least_cost(tmp_path, evaluation, calibration):
    script = (
        MOVE
        + """
    say("hidden", document.getElementById("cost-panel").hidden);
    for (const [id, value] of [["cost-escape", 10], ["cost-reject", 1], ["cost-defects", 10]]) {
      document.getElementById(id).value = value;
    }
    document.getElementById("cost-reject").dispatchEvent(new Event("input"));
    say("shown", !document.getElementById("cost-panel").hidden); say("cost", text("live-cost"));
    """
    )
    said = run_in_page(report_page(evaluation, calibration), script, tmp_path)
    assert "error" not in said
    assert said["hidden"] == "true"
    assert said["shown"] == "true"
    # 1000 * (0.9 * 1 * 1/6 + 0.1 * 10 * 1/4) = 400 at 5; at 3 no defect escapes: 1000 * 0.9 * 1/6 = 150.
    assert said["cost"].startswith(
        "400.0 per 1,000 parts at this threshold; least on these images is 150.0, from 3.000"
    )


def test_layers_switch_and_a_part_can_be_enlarged(tmp_path, evaluation, calibration):
    script = """
    const layer = document.querySelector("[data-layer=truth]"), drawn = document.querySelector(".layer-truth");
    say("drawn", getComputedStyle(drawn).display); layer.click();
    say("gone", getComputedStyle(drawn).display); say("pressed", layer.getAttribute("aria-pressed"));
    document.querySelector("[data-open]").click();
    const viewer = document.getElementById("viewer");
    say("open", viewer.open); say("name", document.getElementById("viewer-name").textContent);
    viewer.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    say("next", document.getElementById("viewer-name").textContent);
    """
    said = run_in_page(report_page(evaluation, calibration), script, tmp_path)
    assert "error" not in said
    assert said["drawn"] != "none"
    assert said["gone"] == "none"
    assert said["pressed"] == "false"
    assert said["open"] == "true"
    assert said["name"] == "crack/000.png, accept"
    assert said["next"] == "good/005.png, reject"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_window(tmp_path, evaluation, calibration_of, width):
    script = """
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    say("over", document.documentElement.scrollWidth - innerWidth);
    const wide = [...document.querySelectorAll("main *, header *")].find((node) =>
      node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll, .visually-hidden, svg, thead"));
    say("wide", wide ? wide.outerHTML.slice(0, 120) : "none");
    """
    page = report_page(evaluation, calibration_of(review_threshold=2.8))
    said = run_in_page(page, script, tmp_path, width=width)
    assert "error" not in said
    assert int(said["over"]) <= 0
    assert said["wide"] == "none"


@pytest.mark.parametrize("width", [320, 390])
def test_a_study_is_not_wider_than_the_window(tmp_path, evaluation, width):
    row = {"seed": 0, "bundle_bytes": 12_345_678, "fit_seconds": 123.4, **evaluation_json(evaluation)}
    rows = [
        {**row, "category": category, "detector": detector}
        for category in ("magnetic_tile", "a_category_with_a_rather_long_name")
        for detector in ("patchcore", "reverse_distillation", "student_teacher")
    ]
    script = 'say("over", document.documentElement.scrollWidth - innerWidth)'
    said = run_in_page(study_page(Study(tuple(rows))), script, tmp_path, width=width)
    assert "error" not in said
    assert int(said["over"]) <= 0


def test_the_theme_follows_the_button(tmp_path, evaluation):
    script = """
    const ground = () => getComputedStyle(document.body).backgroundColor;
    const before = ground(); document.getElementById("theme").click(); say("changed", ground() !== before);
    """
    assert run_in_page(report_page(evaluation), script, tmp_path)["changed"] == "true"


def test_painted_defects_are_counted_at_the_moved_threshold(tmp_path, evaluation, calibration):
    scores = np.linspace(0.5, 10.0, 20).tolist()
    trials = tuple(PaintedTrial("spot", 5.0, 2.0, (0.5, 0.5), score, score > 5.0) for score in scores)
    told = Sensitivity(trials, 3, 0, (24, 32), 5.0)
    script = MOVE + 'say("here", text("live-painted")); move(7.49); say("moved", text("live-painted"));'
    said = run_in_page(report_page(evaluation, calibration, sensitivity=told), script, tmp_path)
    assert said == {"here": "50.0 %", "moved": "30.0 %"}


def test_the_section_on_missed_defects_fits_a_phone(tmp_path, evaluation, calibration):
    trials = [
        PaintedTrial(kind, size, strength, (0.3, 0.7), 1.0, size > 9)
        for kind in ("spot", "scratch", "missing", "texture")
        for strength in (1.0, 2.0, 4.0)
        for size in np.geomspace(1, 40, 12).tolist()
    ]
    told = Sensitivity(tuple(trials), 3, 0, (24, 32), 5.0)
    page = report_page(evaluation, calibration, sensitivity=told)
    said = run_in_page(page, 'say("wide", document.documentElement.scrollWidth)', tmp_path, width=390)
    assert int(said["wide"]) <= 390


def test_the_table_of_images_is_filtered_sorted_and_opens_the_picture(tmp_path, evaluation, calibration):
    script = """
    const kind = document.getElementById("filter-kind");
    const rows = () => [...document.querySelectorAll("#image-table tbody tr")];
    const seen = () => rows().filter((row) => !row.hidden).map((row) => row.cells[0].dataset.value).join(" ");
    kind.value = "escape"; kind.dispatchEvent(new Event("change"));
    say("escapes", seen());
    kind.value = "mistake"; kind.dispatchEvent(new Event("change"));
    say("mistakes", seen());
    say("count", document.getElementById("filter-count").textContent);
    document.querySelector(".sort[data-column='3']").click();
    document.querySelector(".sort[data-column='3']").click();
    say("lowest", seen());
    rows().find((row) => !row.hidden).querySelector(".open-part").click();
    say("open", document.getElementById("viewer").open);
    say("shown", document.getElementById("viewer-name").textContent);
    """
    said = run_in_page(report_page(evaluation, calibration), script, tmp_path)
    assert "error" not in said
    assert said["escapes"] == "test/crack/000.png"
    assert said["mistakes"] == "test/good/005.png test/crack/000.png"
    assert said["count"] == "2 of 10 images"
    assert said["lowest"] == "test/crack/000.png test/good/005.png"
    assert said["open"] == "true"
    assert said["shown"].startswith("crack/000.png")


def test_the_summary_is_printed_on_one_page_and_fits_a_phone(tmp_path, evaluation, calibration):
    page = summary_page(evaluation, calibration)
    said = run_in_page(page, "say('width', document.documentElement.scrollWidth)", tmp_path, width=390)
    assert int(said["width"]) <= 390
    (tmp_path / "summary.html").write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    subprocess.run(
        [
            *(CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer"),
            *(f"--print-to-pdf={tmp_path / 'summary.pdf'}", (tmp_path / "summary.html").as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "summary.pdf").read_bytes())) == 1
