"""The page of a study: what leads, what could be chance, wrong verdicts, the same parts, trainings, and its files."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blemish.datasets.describe import summarize_category
from blemish.errors import OutputError
from blemish.reports.gallery import ComparedPart
from blemish.reports.report import evaluation_json
from blemish.reports.training import training_of
from blemish.schema import DEFECTIVE, GOOD, ImageItem
from blemish.study.page_parts import LABEL_PERCENT, like_the_best, ranks_section, spread_labels, verdicts_section
from blemish.study.pages import Study, choose_parts, study_page, write_study
from blemish.study.tables import category_tables

HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6, "separation_ratio": 1.1},
    {"epoch": 2, "train_loss": 0.2, "validation_loss": 0.3, "separation_ratio": 1.9},
]


@pytest.fixture
def row_of(evaluation):
    """A row of a study: the small evaluation under another name, some scores changed."""

    def make(category="tiles", detector="template", scores=(), *, history=(), **changes):
        results = list(evaluation.results)
        for place, score in scores:
            decision = "reject" if score > 5.0 else "accept"
            results[place] = dataclasses.replace(results[place], score=score, decision=decision)
        model = {**evaluation.model, "facts": {"history": list(history), "best_epoch": 2}, "image_threshold": 5.0}
        row = evaluation_json(dataclasses.replace(evaluation, results=tuple(results), model=model, pictures=()))
        return {**row, "category": category, "detector": detector, "seed": 0, "bundle_bytes": 10**6, **changes}

    return make


@pytest.fixture
def study(row_of, evaluation) -> Study:
    rows = [row_of(category, "template") for category in ("tiles", "nuts & bolts")]
    rows += [
        row_of(category, "cae", [(0, 8.0)], history=HISTORY, image_auroc=0.7) for category in ("tiles", "nuts & bolts")
    ]
    picture = evaluation.pictures[7]
    redrawn = np.full((24, 32, 3), 77, dtype=np.uint8)
    verdicts = {
        "template": picture.verdict,
        "cae": dataclasses.replace(picture.verdict, decision="accept", reconstruction=redrawn),
    }
    scales = dict.fromkeys(verdicts, (2.0, 5.0))
    parts = (ComparedPart("tiles", picture.item, picture.image, picture.mask, verdicts, scales),)
    summary = summarize_category("tiles", [(picture.item, picture.image, picture.mask)])
    return Study(tuple(rows), parts, (summary,), ("vae on tiles: out of memory",))


def words_of(page: str) -> str:
    bare = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare)).replace("&#39;", "'").replace("&amp;", "&")


def test_the_page_and_all_tables_are_written(tmp_path: Path, study):
    page = write_study(study, tmp_path / "out")
    assert page.name == "index.html"
    names = sorted(path.name for path in page.parent.iterdir())
    assert names == ["averages.csv", "data-tiles.html", "index.html", "study.csv", "study.json", "tables.tex"]
    found = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    assert [table["name"] for table in found["tables"]] == ["tiles", "nuts & bolts", "average"]
    assert len(found["rows"]) == 4
    assert (tmp_path / "out" / "tables.tex").read_text(encoding="utf-8").count(r"\begin{table}") == 3


def test_the_page_leads_with_what_is_best_and_what_failed(study):
    words = words_of(study_page(study))
    assert "let the fewest defects escape: 25.0 %." in words
    assert "2 detectors on 2 categories. template ranks best, mean image AUROC 0.958." in words
    assert "Rejecting every part reaches an accuracy of 40.0 % on these test images" in words
    assert "vae on tiles: out of memory" in words


def test_detectors_that_lead_together_are_named_together(row_of):
    study = Study((row_of(detector="a"), row_of(detector="b"), row_of(detector="c", image_auroc=0.5)))
    words = words_of(study_page(study))
    assert "a, b and c let the fewest defects escape: 25.0 %." in words
    assert "a and b rank best, image AUROC 0.958." in words


def test_the_fewest_escapes_lead_with_their_spread_over_seeds_and_the_good_parts_rejected(row_of):
    few = [row_of(detector="a", escape_rate=rate, image_auroc=0.9, seed=n) for n, rate in enumerate((0.1, 0.2))]
    page = study_page(Study((row_of(detector="b", escape_rate=0.41, image_auroc=0.99), *few)))
    words = words_of(page)
    assert "a lets the fewest defects escape: 15.0 % (seeds 10.0 % to 20.0 %), with" in words
    assert "b comes next with 41.0 %." in words
    assert "seeds 10.0 to 20.0 %" in words
    assert page.count('<table class="stacks study">') == 1, "one category has one table"


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=10))
def test_labels_of_one_side_never_overlap(places):
    labels = spread_labels(places)
    for side in (False, True):
        of_side = sorted(label for label, (across, _) in zip(labels, places, strict=True) if (across > 60) == side)
        assert all(low + LABEL_PERCENT <= high + 1e-9 for low, high in itertools.pairwise(of_side))


def test_the_page_loads_nothing_and_ids_are_unique(study):
    page = study_page(study, {"tiles": "data-tiles.html"})
    assert not re.search(r'(?:src|href)="(?!data:|#|study\.|averages\.|tables\.|data-)', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_same_part_stands_under_each_detector_with_its_reconstruction(study):
    words = words_of(study_page(study))
    assert "stain/007" not in words
    assert re.search(r"crack/001\.png crack image template reject cae accept redrawn by cae", words)


def test_trainings_are_drawn_for_detectors_that_have_one(study):
    page = study_page(study)
    assert page.count("held-out good images</span>") == 2, "once for each category"
    assert "2 epochs" in page


def test_one_category_is_not_ranked(row_of):
    study = Study((row_of(detector="template"), row_of(detector="padim")))
    assert "critical differences" not in words_of(study_page(study))


def test_ranks_come_with_letters_that_join_what_cannot_be_told_apart(row_of):
    names = ("a", "b", "c")
    rows = [
        row_of(f"set {number}", name, image_auroc=0.9 - 0.1 * place)
        for number in range(12)
        for place, name in enumerate(names)
    ]
    ranks = ranks_section(category_tables(rows))
    found = [(row["name"], row["rank"], row["letters"]) for row in ranks["rows"]]
    assert found == [("a", 1.0, "a"), ("b", 2.0, "b"), ("c", 3.0, "c")], "each a critical difference from the next"
    few = ranks_section(category_tables(rows[:6]))
    assert [row["letters"] for row in few["rows"]] == ["a", "a", "a"]
    assert ranks["critical_difference"] == pytest.approx(
        stats.studentized_range.ppf(0.95, 3, np.inf) / np.sqrt(2) * np.sqrt(3 * 4 / (6 * 12)), abs=1e-3
    )


def test_a_detector_is_compared_with_the_best_on_the_same_images(row_of):
    rows = [
        row_of(detector="best"),
        row_of(detector="same", image_auroc=0.9),
        row_of(detector="other", image_auroc=0.5),
    ]
    rows[2]["results"] = rows[2]["results"][:-1]
    assert like_the_best(rows) == {"same": 1.0}, "judged on other images, nothing can be said"


def test_wrong_verdicts_stand_at_the_place_of_their_image(row_of):
    found = verdicts_section([row_of(detector="template"), row_of(detector="cae", scores=[(0, 8.0)])])
    assert [(segment["name"], segment["count"]) for segment in found["segments"]] == [
        ("good", 6),
        ("crack", 2),
        ("stain", 2),
    ]
    assert [(row["name"], row["num_wrong"]) for row in found["rows"]] == [("template", 2), ("cae", 3)]
    # Good images 0 and 5, and the first crack at place 6 of 10.
    assert re.findall(r"M([\d.]+) 0", found["rows"][1]["path"]) == ["0.000", "50.000", "60.000"]
    assert found["always_wrong"] == ["test/good/005.png", "test/crack/000.png"]


def test_parts_to_show_do_not_depend_on_any_detector_and_cover_every_type():
    items = [ImageItem(Path(f"good/{n:03}.png"), "test", GOOD) for n in range(30)]
    for name in ("crack", "stain", "scratch"):
        items += [ImageItem(Path(f"{name}/{n:03}.png"), "test", DEFECTIVE, name) for n in range(20)]
    shuffled = [items[place] for place in np.random.default_rng(0).permutation(len(items))]
    chosen = choose_parts(items)
    assert [items[place].defect_type for place in chosen] == ["good"] * 2 + ["crack"] * 2 + ["scratch"] * 2 + [
        "stain"
    ] * 2
    assert {shuffled[place].path for place in choose_parts(shuffled)} == {items[place].path for place in chosen}


def test_many_types_of_defect_do_not_make_the_page_endless():
    items = [ImageItem(Path(f"{n}/0.png"), "test", DEFECTIVE, f"type {n}") for n in range(40)]
    assert len(choose_parts(items)) == 12


def test_a_study_without_results_is_refused(tmp_path: Path):
    with pytest.raises(OutputError, match="no result to write"):
        write_study(Study((), failures=("cae on tiles: failed",)), tmp_path)


def test_losses_are_drawn_on_a_logarithmic_scale_where_they_can_be():
    training = training_of({"history": HISTORY, "best_epoch": 2, "train_seconds": 75.0, "num_train": 40})
    assert [curve.name for curve in training.curves] == ["Loss", "Separation ratio"]
    assert training.curves[0].y.is_logarithm
    assert training.words == "2 epochs, 1 min 15 s, 40 images trained on"
    below_zero = [{**entry, "train_loss": -entry["train_loss"]} for entry in HISTORY]
    assert not training_of({"history": below_zero}).curves[0].y.is_logarithm


@pytest.mark.parametrize("losses", [(0.044, 0.027), (0.0301, 0.0299), (3e-5, 0.7), (1.0, 1.0), (999.0, 2.0)])
def test_an_axis_of_losses_has_numbers_whatever_their_range(losses):
    history = [
        {"epoch": epoch, "train_loss": loss, "validation_loss": loss} for epoch, loss in enumerate(losses, start=1)
    ]
    axis = training_of({"history": history}).curves[0].y
    assert 2 <= len(axis.ticks) <= 6
    assert len({axis.label(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_a_training_that_broke_off_is_drawn_as_far_as_it_went():
    broken = [*HISTORY, {"epoch": 3, "train_loss": float("nan"), "validation_loss": None, "separation_ratio": None}]
    assert training_of({"history": broken}).words == "2 epochs"
    assert training_of({"history": [{"epoch": 1, "train_loss": 0.1, "validation_loss": 0.2, "separation_ratio": None}]})
    assert training_of({}) is None
