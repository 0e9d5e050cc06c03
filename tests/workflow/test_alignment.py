"""Parts in any pose: trained, judged, zoned, exported and put up for review where there is no part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import blemish
from blemish.alignment.frame import locate
from blemish.bundle.read import read_bundle
from blemish.decisions.zones import zone_from_mask, zone_from_polygons
from blemish.errors import BundleError, CalibrationError, DataError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.model import Model
from blemish.schema import Image, Rule
from blemish.testing.members import pack, unpack, with_json
from blemish.testing.screws import ScrewPose, draw_screw, write_screws
from blemish.testing.tiny import TinyProduct, write_png
from blemish.workflow.calibrate import ProductFacts
from blemish.workflow.export import export

SIDE = 160
Run = Callable[..., Any]


def screws(count: int, seed: int = 0) -> list[Image]:
    rng = np.random.default_rng(seed)
    return [draw_screw(SIDE, rng).image for _ in range(count)]


@pytest.fixture(scope="module")
def train(backbone_description: str) -> Callable[..., Model]:
    def train_small(data: Any, **options: Any) -> Model:
        return blemish.train(data, **{"backbone": backbone_description, "size": 64, "threads": 1, **options})

    return train_small


@pytest.fixture(scope="module")
def aligned(train: Callable[..., Model]) -> Model:
    """Of good screws in any pose; nobody asked for it."""
    return train(screws(24))


def stained(pose: ScrewPose) -> tuple[Image, tuple[float, float]]:
    """A screw with a bright spot on its shank, and where that is in the picture (x, y)."""
    image = draw_screw(SIDE, np.random.default_rng(5), pose=pose).image.copy()
    turn = np.radians(pose.angle)
    place = np.array(pose.center) * SIDE - 0.12 * SIDE * np.array([np.cos(turn), np.sin(turn)])
    cv2.circle(image, np.rint(place).astype(int).tolist(), 4, (250, 250, 245), -1)
    return image, (float(place[0]), float(place[1]))


def test_screws_in_any_pose_are_laid_straight_without_being_asked(aligned: Model) -> None:
    manifest = aligned.bundle.manifest
    assert manifest.alignment is not None
    assert manifest.alignment.turn == "direction"
    assert manifest.facts["alignment"].startswith("part: it turns by")
    assert manifest.version_needed == 5


@pytest.mark.parametrize(
    "pose", [ScrewPose((0.5, 0.5), 0.0), ScrewPose((0.42, 0.55), 130.0), ScrewPose((0.55, 0.45), -75.0)]
)
def test_a_defect_is_shown_where_it_is_in_the_picture(aligned: Model, pose: ScrewPose) -> None:
    image, (x, y) = stained(pose)
    verdict = aligned.inspect(image)
    assert verdict.decision == "reject"
    assert verdict.image_hw == (SIDE, SIDE)
    region = verdict.regions[0]
    assert np.hypot(region.centroid[0] - x, region.centroid[1] - y) < 7
    left, top, width, height = region.box
    assert left <= x <= left + width
    assert top <= y <= top + height
    rows, columns = verdict.anomaly_map.shape
    peak_row, peak_column = divmod(int(verdict.anomaly_map.argmax()), columns)
    at = (peak_column + 0.5) * SIDE / columns, (peak_row + 0.5) * SIDE / rows
    assert np.hypot(at[0] - x, at[1] - y) < 9
    assert verdict.pose is not None
    assert len(verdict.pose.corners) == 4


def test_good_screws_pass_in_any_pose(aligned: Model) -> None:
    decisions = [aligned.inspect(image).decision for image in screws(12, seed=4)]
    assert decisions.count("accept") >= 10


def nothing() -> Image:
    return np.full((SIDE, SIDE, 3), 205, np.uint8)


def two() -> Image:
    rng = np.random.default_rng(0)
    poses = [ScrewPose((0.5, y), 5.0) for y in (0.3, 0.7)]
    return np.minimum(*(draw_screw(SIDE, rng, pose=pose).image for pose in poses))


def cut_off() -> Image:
    return draw_screw(SIDE, np.random.default_rng(0), pose=ScrewPose((0.1, 0.5), 20.0)).image


@pytest.mark.parametrize("make", [nothing, two, cut_off])
def test_no_single_whole_part_is_put_up_for_review(aligned: Model, make: Callable[[], Image]) -> None:
    verdict = aligned.inspect(make())
    assert verdict.decision == "review"
    assert verdict.reasons[0].startswith("part not found: ")


def test_rules_do_not_overrule_that_the_part_was_not_found(aligned: Model) -> None:
    calibration = replace(aligned.calibration, rules=(Rule("ignore", "region"),), image_threshold=1e9)
    ruled = Model(replace(aligned.bundle, calibration=calibration))
    assert ruled.inspect(nothing()).decision == "review"


def test_a_bundle_keeps_it(aligned: Model, tmp_path: Path) -> None:
    path = aligned.save(tmp_path / "screws.blemish")
    again = blemish.load(path)
    assert again.bundle.manifest.alignment == aligned.bundle.manifest.alignment
    image, _ = stained(ScrewPose((0.5, 0.5), 40.0))
    assert again.inspect(image).score == aligned.inspect(image).score


def test_the_bundle_id_covers_it(aligned: Model) -> None:
    manifest = aligned.bundle.manifest
    assert manifest.alignment is not None
    other = replace(manifest.alignment, contrast=manifest.alignment.contrast + 1)
    changed = replace(aligned.bundle, manifest=manifest.model_copy(update={"alignment": other}))
    assert changed.bundle_id != aligned.bundle.bundle_id


def test_parts_that_lie_alike_are_left_as_they_are(product: TinyProduct, train: Callable[..., Model]) -> None:
    made, off = (train(list(product.good), align=align).bundle for align in ("auto", "off"))
    assert made.manifest.alignment is None
    assert made.manifest.facts["alignment"].startswith("off: ")
    assert made.graph == off.graph
    assert made.bundle_id == off.bundle_id


def test_tiles_and_parts_do_not_go_together(train: Callable[..., Model]) -> None:
    with pytest.raises(SettingsError, match="--align part and --tile do not go together"):
        train(screws(6), align="part", tile=64)


def test_good_images_without_the_part_are_told_of(train: Callable[..., Model]) -> None:
    with pytest.raises(DataError, match="of 18 good images show no single whole part"):
        train([*screws(6), *[nothing()] * 12], align="part")
    made = train([*screws(30), nothing()], align="part")
    assert made.bundle.manifest.data.num_fit == 30
    assert any("not found on 1 of 31 good images" in note for note in made.bundle.manifest.facts["notes"])


def test_one_odd_picture_among_many_is_no_reason_to_leave_parts_as_they_lie(train: Callable[..., Model]) -> None:
    made = train([*screws(10), nothing(), *screws(50, seed=1)], detector="template", settings={"cell": 8})
    assert made.bundle.manifest.alignment is not None
    left = train([*screws(10), *[nothing()] * 3, *screws(20, seed=1)], detector="template", settings={"cell": 8})
    assert left.bundle.manifest.alignment is None


def head_of(image: Image, model: Model) -> tuple[float, float]:
    """A place on the screw's head (x, y)."""
    alignment = model.bundle.manifest.alignment
    assert alignment is not None
    pose = locate(image, alignment)
    turn = np.radians(pose.angle)
    return pose.center[0] - 0.2 * SIDE * np.cos(turn), pose.center[1] - 0.2 * SIDE * np.sin(turn)


def test_a_zone_moves_with_the_part(train: Callable[..., Model], aligned: Model, tmp_path: Path) -> None:
    """The head is not looked at: a zone drawn on one picture ignores it in every other one."""
    drawn_on = draw_screw(SIDE, np.random.default_rng(8), pose=ScrewPose((0.5, 0.5), 90.0)).image
    path = write_png(tmp_path / "drawn on.png", drawn_on)
    x, y = head_of(drawn_on, aligned)
    around = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(around, (round(x), round(y)), 22, 1, -1)
    product = ProductFacts(zone=zone_from_mask(1 - around, (SIDE, SIDE)), zone_on=path)
    model = train(screws(24), align="part", product=product)
    for angle in (0.0, 200.0):
        image = draw_screw(SIDE, np.random.default_rng(9), pose=ScrewPose((0.5, 0.5), angle)).image.copy()
        spotted = image.copy()
        center = np.rint(head_of(image, model)).astype(int).tolist()
        cv2.circle(spotted, center, 4, (250, 250, 245), -1)
        assert aligned.inspect(spotted).decision == "reject"
        assert model.inspect(spotted).decision == "accept"
        assert model.inspect(stained(ScrewPose((0.5, 0.5), angle))[0]).decision == "reject"


def test_a_zone_without_its_picture(train: Callable[..., Model], tmp_path: Path) -> None:
    zone = zone_from_polygons(ignore=[[(0, 0), (0.5, 0), (0.5, 0.5)]])
    with pytest.raises(SettingsError, match="--zone-on"):
        train(screws(20), align="part", product=ProductFacts(zone=zone))
    left = train(screws(20), product=ProductFacts(zone=zone))
    assert left.bundle.manifest.alignment is None
    assert "--zone-on" in left.bundle.manifest.facts["alignment"]
    empty = write_png(tmp_path / "empty.png", nothing())
    with pytest.raises(blemish.ImageError, match=r"empty\.png: part not found"):
        train(screws(20), align="part", product=ProductFacts(zone=zone, zone_on=empty))


def test_new_good_images_calibrate_it(aligned: Model, tmp_path: Path) -> None:
    for number, image in enumerate([*screws(10, seed=11), nothing()]):
        write_png(tmp_path / f"{number:02}.png", image)
    again = aligned.calibrate(tmp_path)
    assert again.calibration.promise.num_good == 10
    for path in sorted(tmp_path.glob("*.png"))[:8]:
        write_png(path, nothing())
    with pytest.raises(CalibrationError, match="the part is found on 2 of 11 good images only"):
        aligned.calibrate(tmp_path)


def test_evaluation_and_sensitivity_see_the_picture(
    train: Callable[..., Model], aligned: Model, tmp_path: Path
) -> None:
    data = write_screws(tmp_path / "screws", side=SIDE, num_good=2, num_test_good=6, num_of_each=2)
    evaluation = aligned.evaluate(data, report=tmp_path / "report")
    assert evaluation.metrics["pixel_auroc"] > 0.8
    assert 'class="layer-regions frame"' in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    measured = aligned.sensitivity(screws(4, seed=6), most_seconds=1.0)
    assert measured.image_hw == (SIDE, SIDE)


def test_learned_with_defects(train: Callable[..., Model], tmp_path: Path) -> None:
    """Masks of the defects that are learned from go into the frame with their images."""
    pytest.importorskip("torch")
    data = write_screws(tmp_path / "screws", side=SIDE, num_good=20, num_test_good=2, num_of_each=2)
    model = train(data, detector="classifier", with_defects=True, settings={"epochs": 1})
    assert model.bundle.manifest.alignment is not None


def printed(folder: Path, paths: list[Path]) -> list[tuple[str, float]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(folder / "inspect_image.py"), str(folder), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [(row[0], float(row[1])) for row in rows]


def test_the_exported_program_lays_parts_straight(aligned: Model, tmp_path: Path) -> None:
    export(aligned.bundle, tmp_path, to="onnx")
    pictures = [*screws(3, seed=7), stained(ScrewPose((0.45, 0.5), 70.0))[0], nothing(), two(), cut_off()]
    paths = [write_png(tmp_path / "pictures" / f"{number}.png", image) for number, image in enumerate(pictures)]
    verdicts = [aligned.inspect(path) for path in paths]
    found = printed(tmp_path, paths)
    assert [decision for decision, _ in found] == [verdict.decision for verdict in verdicts]
    assert [score for _, score in found] == pytest.approx([verdict.score for verdict in verdicts], rel=1e-3)
    facts = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    checked = printed(tmp_path, [tmp_path / row["file"] for row in facts["check"]])
    assert [decision for decision, _ in checked] == [row["decision"] for row in facts["check"]]
    assert facts["resize_rule"] == "part, then area"  # what programs in other languages refuse


def test_a_bundle_with_an_alignment_that_means_nothing(aligned: Model, tmp_path: Path) -> None:
    manifest = aligned.bundle.manifest
    assert manifest.alignment is not None
    with pytest.raises(SettingsError, match="frame_hw"):
        replace(manifest.alignment, frame_hw=(0, 10))
    with pytest.raises(SettingsError, match="usual_area_px"):
        replace(manifest.alignment, usual_area_px=1e12)
    members = unpack(aligned.save(tmp_path / "screws.blemish"))
    alignment = json.loads(members["manifest.json"])["alignment"]
    for name, value in [("turn", "sideways"), ("frame_hw", [0, 10]), ("contrast", 1e9), ("kind", "reference")]:
        odd = with_json(members, "manifest.json", alignment={**alignment, name: value})
        with pytest.raises(BundleError, match=name):
            read_bundle(pack(tmp_path / "odd.blemish", odd))
    old = with_json(members, "manifest.json", format_version=4)
    with pytest.raises(BundleError, match=r"an alignment.*of format version 4"):
        read_bundle(pack(tmp_path / "old.blemish", old))


def test_a_zone_of_another_frame_is_refused_at_once(aligned: Model) -> None:
    zone = zone_from_mask(np.ones((20, 20)), (20, 20))
    bundle = replace(aligned.bundle, calibration=replace(aligned.calibration, zone=zone))
    with pytest.raises(blemish.BlemishError, match="the frame of the part"):
        Inspector(bundle)


def test_a_verdict_can_be_pickled_and_told(aligned: Model, run: Run, tmp_path: Path) -> None:
    path = aligned.save(tmp_path / "screws.blemish")
    image, _ = stained(ScrewPose((0.5, 0.5), 30.0))
    write_png(tmp_path / "in" / "a.png", image)
    write_png(tmp_path / "in" / "b.png", nothing())
    done = run("inspect", str(path), str(tmp_path / "in"), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [row for row in rows if "decision" in row]
    assert rows[0]["pose"]["fault"] == ""
    assert len(rows[0]["pose"]["corners"]) == 4
    assert abs(rows[0]["pose"]["angle"] - 30) < 2
    assert rows[1]["decision"] == "review"
    assert rows[1]["pose"]["fault"] == "nothing lies on the background"


def test_the_command_says_what_was_decided(run: Run, tmp_path: Path, backbone_description: str) -> None:
    for number, image in enumerate(screws(20)):
        write_png(tmp_path / "good" / f"{number}.png", image)
    common = ["train", str(tmp_path / "good"), "--backbone", backbone_description, "--size", "64", "--no-sensitivity"]
    done = run(*common, "-o", str(tmp_path / "a.blemish"))
    assert done.status == 0, done.stderr
    assert "alignment: part: it turns by" in done.stderr + done.stdout
    off = run(*common, "--align", "off", "--json", "-o", str(tmp_path / "b.blemish"))
    assert off.json["alignment"] == ""


def test_teaching_keeps_the_alignment(
    train: Callable[..., Model], run: Run, tmp_path: Path, backbone_description: str
) -> None:
    data = write_screws(tmp_path / "screws", side=SIDE, num_good=20, num_test_good=2, num_of_each=1)
    path = train(data, settings={"bank_size": 200}).save(tmp_path / "screws.blemish")
    given = ["teach", path, "--defective", data, "-o", tmp_path / "taught.blemish", "--backbone", backbone_description]
    done = run(*given, "--accept-regression", "a test", "--no-sensitivity")
    assert done.status == 0, done.stderr
    before, after = read_bundle(path).manifest, read_bundle(tmp_path / "taught.blemish").manifest
    assert after.alignment == before.alignment is not None
    assert after.facts["alignment"] == before.facts["alignment"]
