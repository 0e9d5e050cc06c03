"""A bundle learns the defects and good parts that people show it, and is refused where it would be worse."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.errors import BlemishError, DataError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.model import train
from blemish.testing.tiny import TINY_HW, TinyProduct, make_tiny_product, write_png, write_tiny_product
from blemish.workflow.regression import Change, TeachingRefusedError, compare_verdicts
from blemish.workflow.shown import Mark, odd_part, parse_mark
from blemish.workflow.teach import Taught, TeachRequest, restore_ancestor, teach


@pytest.fixture(scope="module")
def shown() -> TinyProduct:
    return make_tiny_product(24, 6, 6, seed=3)


@pytest.fixture(scope="module")
def folder(shown: TinyProduct, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_product(tmp_path_factory.mktemp("teach") / "part", shown)


@pytest.fixture(scope="module")
def before(folder: Path, backbone_description: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = train(folder, backbone=backbone_description, size=TINY_HW, settings={"bank_size": 200})
    return read_bundle(model.save(tmp_path_factory.mktemp("bundle") / "part.blemish"))


def request(backbone: str, **changes: Any) -> TeachRequest:
    return TeachRequest(backbone=backbone, with_sensitivity=False, **changes)


@pytest.fixture(scope="module")
def taught(before: Bundle, folder: Path, backbone_description: str) -> Taught:
    return teach(before, request(backbone_description, defective=[folder], by="Ada", reason="escapes of week 12"))


@pytest.fixture
def lone_defects(shown: TinyProduct, tmp_path: Path) -> Path:
    """A plain folder of two defective images, without masks."""
    for number, defect in enumerate(shown.defects[:2]):
        write_png(tmp_path / "dents" / f"{number}.png", defect.image)
    return tmp_path / "dents"


def test_good_parts_get_no_lower_score_than_before(taught: Taught, before: Bundle, shown: TinyProduct) -> None:
    old, new = Inspector(before), Inspector(taught.bundle)
    for image in (*shown.good, *shown.held_out, *(defect.image for defect in shown.defects)):
        assert new.inspect(image).score >= old.inspect(image).score - 1e-4  # the unsupervised map is still in it


def test_a_taught_bundle_is_written_read_and_finds_what_was_shown(
    taught: Taught, shown: TinyProduct, tmp_path: Path
) -> None:
    again = read_bundle(write_bundle(taught.bundle, tmp_path / "taught.blemish"))
    inspector = Inspector(again)
    assert {inspector.inspect(defect.image).decision for defect in shown.defects} == {"reject"}


def test_the_comparison_names_every_picture(taught: Taught, folder: Path) -> None:
    rows = {row["group"]: row for row in taught.regression.counts()}
    assert rows["good"]["pictures"] == 24
    assert rows["shown defect"]["pictures"] == 6
    assert taught.regression.broken == ()
    assert {change.kind for change in taught.regression.changes} == {"good", "spot", "scratch"}


def test_the_lineage_says_what_was_shown_by_whom_and_why(taught: Taught, before: Bundle) -> None:
    [row] = taught.bundle.manifest.facts["lineage"]
    assert row["parent"] == before.bundle_id
    assert (row["by"], row["reason"]) == ("Ada", "escapes of week 12")
    assert len(row["shown"]) == 6
    assert row["kinds"] == ["scratch", "spot"]
    assert taught.bundle.history == (*before.history, before.calibration)
    assert set(row["shown"]) <= set(taught.bundle.manifest.data.image_sha256)


def test_an_ancestor_can_be_restored(taught: Taught, before: Bundle, tmp_path: Path) -> None:
    again = read_bundle(write_bundle(taught.bundle, tmp_path / "taught.blemish"))
    assert again.manifest.format_version == 5
    restored = restore_ancestor(again, before.bundle_id[:6])
    assert restored.bundle_id == before.bundle_id
    assert (restored.graph, restored.calibration, restored.ancestors) == (before.graph, before.calibration, ())
    for wanted in ("", "x"):
        with pytest.raises(SettingsError, match=f"it has: {before.bundle_id}"):
            restore_ancestor(again, wanted)
    with pytest.raises(SettingsError, match="never taught"):
        restore_ancestor(restored, "3")


def test_the_same_teaching_gives_the_same_bundle(
    taught: Taught, before: Bundle, folder: Path, backbone_description: str
) -> None:
    again = teach(before, request(backbone_description, defective=[folder]))
    assert again.bundle.graph_sha256 == taught.bundle.graph_sha256
    assert again.bundle.bundle_id == taught.bundle.bundle_id


def test_images_without_masks_and_confirmed_good_parts_are_taken(
    before: Bundle, folder: Path, lone_defects: Path, shown: TinyProduct, tmp_path: Path, backbone_description: str
) -> None:
    write_png(tmp_path / "rejected" / "a.png", shown.held_out[0])
    made = teach(
        before,
        request(
            backbone_description,
            defective=[lone_defects],
            good=[folder / "train" / "good", tmp_path / "rejected" / "a.png"],
            marks={"0.png": Mark(10, 10)},
            golden=[folder / "test" / "good" / "003.png"],
        ),
    )
    [row] = made.bundle.manifest.facts["lineage"]
    assert (len(row["shown"]), len(row["confirmed_good"]), row["kinds"]) == (2, 1, ["dents"])
    assert made.bundle.manifest.data.num_calibration == 25
    shares = made.bundle.calibration.good_shares  # the training had one image over the threshold
    assert sorted(shares) == [0.5] + [1.0] * 24
    assert made.bundle.manifest.facts["num_shown_without_mask"] == 1
    groups = [row["group"] for row in made.regression.counts()]
    assert groups == ["good", "confirmed good", "shown defect", "golden good"]


def test_copies_of_a_shown_image_count_once(
    before: Bundle, folder: Path, lone_defects: Path, backbone_description: str
) -> None:
    for number in range(9):
        shutil.copy(lone_defects / "0.png", lone_defects / f"copy{number}.png")
    wanted = request(backbone_description, defective=[lone_defects], good=[folder / "train" / "good"])
    made = teach(before, wanted)
    assert made.notes == ("9 of 11 shown images are copies of others: each image counts once",)
    assert made.bundle.manifest.facts["num_shown"] == 2


def test_bad_input_is_one_line_that_names_the_picture(
    before: Bundle, folder: Path, lone_defects: Path, tmp_path: Path, backbone_description: str
) -> None:
    good = folder / "train" / "good"
    same = Path(shutil.copy(lone_defects / "0.png", tmp_path / "same.png"))
    other = write_tiny_product(tmp_path / "other", make_tiny_product(4, 2, 2, seed=9))
    bent = write_tiny_product(tmp_path / "bent", make_tiny_product(1, 1, 2, seed=4))
    write_png(bent / "ground_truth" / "spot" / "000_mask.png", np.full((9, 9), 255, np.uint8))
    cases: list[tuple[dict[str, Any], type[BlemishError], str]] = [
        ({"defective": [good / "003.png"], "good": [good]}, DataError, r"003\.png: shown as defective, but .* trained"),
        ({"defective": [lone_defects], "good": [good, same]}, DataError, r"same\.png: shown as good and, as .*0\.png"),
        ({"defective": [lone_defects]}, DataError, r"none of the 24 images .* another product\?"),
        ({"defective": [lone_defects], "good": [other]}, DataError, r"none of the 24 images .* another product\?"),
        ({"defective": [lone_defects], "good": [good / "000.png"]}, DataError, r"23 of the 24 images .* --good"),
        (
            {"defective": [bent], "good": [good]},
            DataError,
            r"000_mask\.png: the mask is 9 x 9 pixels, its image 64 x 64",
        ),
        ({"defective": [tmp_path / "other" / "train"]}, DataError, r"without labelled defects|none of the 24"),
        ({"defective": [tmp_path / "nowhere"]}, DataError, r"nowhere"),
        ({"defective": [folder], "golden": [good / "000.png"]}, DataError, r"000\.png: golden, but learned from"),
        (
            {"defective": [lone_defects], "good": [good], "marks": {"7.png": Mark(1, 1)}},
            SettingsError,
            r"no shown image",
        ),
        ({"defective": [lone_defects], "good": [good], "marks": {"0.png": Mark(64, 1)}}, SettingsError, r"outside"),
    ]
    for changes, kind, line in cases:
        with pytest.raises(kind, match=line) as caught:
            teach(before, request(backbone_description, **changes))
        assert "\n" not in str(caught.value)


def test_bundles_that_cannot_be_taught_say_why(before: Bundle, folder: Path, backbone_description: str) -> None:
    def with_facts(**facts: Any) -> Bundle:
        return replace(before, manifest=before.manifest.model_copy(update=facts))

    cases = [
        (with_facts(detector="template", settings={}, backbone=None), "template cannot learn from defects"),
        (with_facts(facts={**before.manifest.facts, "int8": {}}), "its graph is in int8"),
        (with_facts(data=before.manifest.data.model_copy(update={"image_sha256": ()})), "trained on arrays"),
    ]
    for bundle, line in cases:
        with pytest.raises(BlemishError, match=line):
            teach(bundle, request(backbone_description, defective=[folder]))


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing to learn"):
        TeachRequest()


def test_a_teaching_that_makes_golden_parts_wrong_is_refused_with_the_table(
    before: Bundle, folder: Path, lone_defects: Path, shown: TinyProduct, tmp_path: Path, backbone_description: str
) -> None:
    write_png(tmp_path / "golden" / "odd.png", np.full_like(shown.good[0], 255))  # a good part that looks like none
    wanted = request(
        backbone_description,
        defective=[lone_defects],
        good=[folder / "train" / "good"],
        golden=[tmp_path / "golden"],
    )
    with pytest.raises(
        TeachingRefusedError, match=r"1 golden picture \(.*odd\.png\) would be judged wrongly"
    ) as caught:
        teach(before, wanted)
    assert caught.value.regression.counts()[-1]["group"] == "golden good"
    made = teach(before, replace(wanted, accept_regression="the camera was off"))
    assert made.bundle.manifest.facts["lineage"][0]["accepted_regression"] == "the camera was off"


def change(group: Any, before: Any, after: Any) -> Change:
    return Change("a.png", group, "dent", before, 40.0, after, 60.0)


@pytest.mark.parametrize(
    ("row", "is_broken"),
    [
        (change("golden good", "reject", "reject"), True),
        (change("golden good", "accept", "review"), False),
        (change("golden defect", "reject", "accept"), True),
        (change("shown defect", "reject", "accept"), True),
        (change("shown defect", "review", "accept"), True),
        (change("shown defect", "accept", "accept"), False),
        (change("good", "accept", "reject"), False),
    ],
)
def test_gates(row: Change, is_broken: bool, before: Bundle) -> None:
    assert bool(compare_verdicts([row], before.calibration, before.calibration).broken) == is_broken


def test_a_promise_that_gets_worse_is_a_broken_gate(before: Bundle) -> None:
    promise = replace(before.calibration.promise, num_over=9, parts_over=9.0)
    worse = replace(before.calibration, promise=promise)
    [line] = compare_verdicts([], before.calibration, worse).broken
    assert line.startswith("the promise would be 40.00%")


def test_marks_are_read_from_text() -> None:
    assert parse_mark("a:b.png:3,4") == ("a:b.png", Mark(3, 4))
    assert parse_mark("a.png:3,4,5,6") == ("a.png", Mark(3, 4, 5, 6))
    for text in ("a.png", "a.png:1", "a.png:1,2,3", "a.png:-1,2", ":1,2"):
        with pytest.raises(SettingsError, match="give IMAGE:x,y"):
            parse_mark(text)


def test_a_mark_finds_what_is_odd_around_it() -> None:
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[10:13, 20:24] = 2
    clicked = odd_part(anomaly_map, Mark(21, 11), (32, 32))
    assert clicked.any()
    assert not clicked[anomaly_map == 0].any()
    boxed = odd_part(anomaly_map, Mark(15, 5, 12, 12), (32, 32))
    np.testing.assert_array_equal(boxed, anomaly_map > 0)
    assert odd_part(anomaly_map, Mark(0, 0), (32, 32)).any()  # a person knows better than the map
