"""Training on tiles of large images: what is learned from, who is scored by whom, and that nobody is told again."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blemish
from blemish.bundle.read import read_bundle
from blemish.datasets import split
from blemish.datasets.split import block_folds
from blemish.decisions.zones import zone_from_polygons
from blemish.detectors.base import FitRequest
from blemish.errors import BundleError, DataError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.inspection.predict import TileGrid, predict_image
from blemish.model import Model
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import Image, Tiling, silent
from blemish.testing.tiny import make_tiny_product, write_png
from blemish.weights import find_backbone
from blemish.workflow import tiles
from blemish.workflow.calibrate import ProductFacts
from blemish.workflow.export import export
from blemish.workflow.tiles import cut_fit_tiles, make_tiling, spread_over

Train = Callable[..., Model]


def strips(count: int, seed: int, width: int = 5) -> list[Image]:
    """Images of several parts side by side: 64 x 320 pixels."""
    parts = make_tiny_product(count * width, 0, 0, seed=seed).good
    return [np.concatenate(parts[number * width : (number + 1) * width], axis=1) for number in range(count)]


@pytest.fixture(scope="module")
def good() -> list[Image]:
    return strips(8, seed=1)


@pytest.fixture(scope="module")
def scratched() -> Image:
    """A strip whose fourth part has a scratch."""
    [image] = strips(1, seed=5)
    image[:, 192:256] = make_tiny_product(0, 0, 2, seed=3).defects[1].image
    return image


@pytest.fixture(scope="module")
def train(backbone_description: str) -> Train:
    def train_tiled(data: Any, **options: Any) -> Model:
        return blemish.train(data, **{"backbone": backbone_description, "tile": 64, **options})

    return train_tiled


@pytest.fixture(scope="module")
def tiled(train: Train, good: list[Image]) -> Model:
    return train(good, calibration="blocks")


def test_the_bundle_knows_its_tiles(tiled: Model, tmp_path: Path, scratched: Image) -> None:
    manifest = tiled.bundle.manifest
    assert manifest.tiling == Tiling(64, 32)
    assert manifest.input_hw == (64, 64)
    assert manifest.facts["num_tiles"] == manifest.facts["num_possible_tiles"] == 8 * 9
    again = blemish.load(tiled.save(tmp_path / "strips.blemish"))
    assert again.bundle.manifest.tiling == manifest.tiling
    before, after = tiled.inspect(scratched), again.inspect(scratched)
    assert (after.score, after.decision) == (before.score, before.decision)
    np.testing.assert_array_equal(after.anomaly_map, before.anomaly_map)


def test_the_place_in_a_tile_does_not_count_unless_asked_for(train: Train, tiled: Model, good: list[Image]) -> None:
    assert tiled.bundle.manifest.settings["by_position"] is False
    asked = train(good, settings={"by_position": True})
    assert asked.bundle.manifest.settings["by_position"] is True
    assert asked.bundle.graph != tiled.bundle.graph


def test_a_small_defect_is_found_at_its_place(tiled: Model, scratched: Image) -> None:
    verdict = tiled.inspect(scratched)
    assert verdict.decision == "reject"
    assert verdict.anomaly_map.shape == (64, 320)
    assert verdict.score == verdict.anomaly_map.max()
    x, _ = verdict.regions[0].peak
    assert 192 <= x < 256


def test_images_of_any_size_are_taken(tiled: Model, good: list[Image], scratched: Image) -> None:
    high = np.concatenate([good[0], scratched, good[1]])
    verdict = tiled.inspect(high)
    assert verdict.anomaly_map.shape == high.shape[:2]
    assert verdict.anomaly_map[64:128, 192:256].max() > tiled.calibration.pixel_threshold


def test_whole_images_are_scored_by_models_that_saw_none_of_their_tiles(
    tiled: Model, good: list[Image], backbone_description: str
) -> None:
    module, backbone = load_detector("patchcore"), find_backbone(backbone_description)
    settings, tiling = module.INFO.settings(by_position=False), Tiling(64, 32)
    expected = []
    for fold in block_folds(8, 5):
        others = [image for place, image in enumerate(good) if place not in fold]
        cut = [TileGrid.of((64, 320), tiling, (64, 64)).cut(image, tile) for image in others for tile in range(9)]
        fit = module.fit(FitRequest(images=cut, settings=settings, backbone=backbone))
        session = Session(fit.graph)
        expected += [predict_image(session, good[place], fit.reduction, tiling)[0].anomaly_score for place in fold]
    np.testing.assert_allclose(tiled.calibration.good_scores, sorted(expected), rtol=1e-4)
    assert tiled.bundle.manifest.data.num_calibration == 8


def test_an_image_that_scores_far_above_the_rest_is_called_by_its_own_name(
    train: Train, good: list[Image], scratched: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds of several blocks each hold the images in another order than that of their names."""
    monkeypatch.setattr(split, "SHORTEST_BLOCK", 1)
    images = [*strips(14, seed=2), scratched, *strips(5, seed=3)]
    assert train(images, calibration="cross").bundle.manifest.facts["suspicious"] == ["image 14"]


def test_a_split_keeps_whole_images_out(train: Train, good: list[Image]) -> None:
    model = train(good, calibration="split")
    data = model.bundle.manifest.data
    assert (data.num_fit, data.num_calibration) == (6, 2)
    scores = [model.inspect(image).score for image in good]
    assert set(np.round(model.calibration.good_scores, 4)) <= set(np.round(scores, 4))


def test_calibrating_and_evaluating_cut_alike(
    tiled: Model, good: list[Image], scratched: Image, tmp_path: Path
) -> None:
    from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle

    new = [write_png(tmp_path / "new" / f"{number}.png", image) for number, image in enumerate(strips(4, seed=7))]
    bundle = calibrate_bundle(tiled.bundle, CalibrateRequest(good=new))
    scores = sorted(tiled.inspect(path).score for path in new)
    np.testing.assert_allclose(bundle.calibration.good_scores, scores, rtol=1e-5)

    for number, image in enumerate(good[:3]):
        write_png(tmp_path / "data" / "train" / "good" / f"{number}.png", image)
        write_png(tmp_path / "data" / "test" / "good" / f"{number}.png", strips(3, seed=11)[number])
    write_png(tmp_path / "data" / "test" / "scratch" / "0.png", scratched)
    evaluation = tiled.evaluate(tmp_path / "data", report=tmp_path / "report")
    assert evaluation.metrics["image_auroc"] == 1.0
    assert evaluation.results[-1].score == tiled.inspect(scratched).score
    assert (tmp_path / "report" / "index.html").exists()


def test_outside_a_zone_nothing_counts(train: Train, good: list[Image], scratched: Image) -> None:
    left = zone_from_polygons(inspect=[((0.0, 0.0), (0.55, 0.0), (0.55, 1.0), (0.0, 1.0))])
    verdict = train(good, product=ProductFacts(zone=left)).inspect(scratched)
    assert verdict.decision == "accept"
    assert verdict.score == verdict.anomaly_map[:, :176].max()


def test_a_folder_gives_the_same_verdicts(tiled: Model, good: list[Image], scratched: Image, tmp_path: Path) -> None:
    for number, image in enumerate([*good[:4], scratched]):
        write_png(tmp_path / "parts" / f"{number}.png", image)
    found = [outcome for _, outcome in tiled.inspect_files(tmp_path / "parts", output=tmp_path / "out")]
    alone = [tiled.inspect(image) for image in [*good[:4], scratched]]
    assert [verdict.score for verdict in found] == [verdict.score for verdict in alone]
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == 5


def test_the_drift_watch_looks_at_whole_pictures(tiled: Model, good: list[Image]) -> None:
    conditions = Inspector(tiled.bundle, watch_drift=True).inspect(good[0]).conditions
    for value, condition in zip(conditions[1:], tiled.calibration.conditions[1:], strict=True):
        assert condition.values[0] <= value <= condition.values[-1]


def test_the_same_training_gives_the_same_graph(train: Train, tiled: Model, good: list[Image]) -> None:
    assert train(good).bundle.graph == tiled.bundle.graph


def test_the_number_of_tiles_is_kept_in_check(good: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "MAX_FIT_PIXELS", 20 * 64**2)
    found = cut_fit_tiles(good, [(64, 320)] * 8, Tiling(64, 32), 64, silent)  # type: ignore[arg-type]
    assert found.num_possible == 72
    assert len(found.tiles) == 16
    assert np.bincount(found.owners).tolist() == [2] * 8
    monkeypatch.setattr(tiles, "MAX_FIT_PIXELS", 4 * 64**2)
    fewer = cut_fit_tiles(good, [(64, 320)] * 8, Tiling(64, 32), 64, silent)  # type: ignore[arg-type]
    assert fewer.owners.tolist() == [0, 2, 5, 7]


def test_few_tiles_of_many_images_cover_all_places() -> None:
    seen = {tile for number in range(40) for tile in spread_over(12, 2, number)}
    assert seen == set(range(12))
    assert spread_over(3, 10, 4) == [0, 1, 2]


@pytest.mark.parametrize(
    ("tile", "size", "expected"),
    [
        (512, None, (Tiling(512, 128), 512)),
        (500, None, (Tiling(500, 128), 512)),
        (512, 256, (Tiling(512, 64), 256)),
        (64, None, (Tiling(64, 32), 64)),
    ],
)
def test_the_input_is_as_large_as_a_tile_unless_asked(
    tile: int, size: int | None, expected: tuple[Tiling, int]
) -> None:
    assert make_tiling(tile, size, [(2000, 8000)]) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 20}, "64 to 8,192"),
        ({"tile": 400}, "no image is larger than a tile"),
        ({"size": 100}, "multiple of 32"),
        ({"size": (64, 64)}, "height and width and tiles"),
        ({"with_defects": True}, "learning from defects and tiles"),
        ({"detector": "padim"}, "padim learns what is usual at each place"),
        ({"detector": "template"}, "template learns what is usual at each place"),
    ],
)
def test_what_does_not_go_together_is_refused(train: Train, good: list[Image], options: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        train(good, **options)


def test_too_few_images_for_a_split_say_so(train: Train, good: list[Image]) -> None:
    with pytest.raises(DataError, match="too few to keep a part"):
        train(good[:2], calibration="split")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("options", [{}, {"tile": 96, "size": 64}], ids=["full size", "scaled"])
def test_an_exported_program_gives_the_verdicts_of_the_package(
    train: Train, good: list[Image], scratched: Image, tmp_path: Path, to: Any, options: dict[str, int]
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    model = train(good, **options)
    exported = export(model.bundle, tmp_path / "out", to=to)
    assert not list((tmp_path / "out").glob("inspect_image*"))
    tall = np.concatenate([scratched[:, 150:290], good[0][:, :140]])
    pictures = [good[1], scratched, tall, good[2][:, :40], np.repeat(np.repeat(scratched, 2, 0), 2, 1)]
    paths = [write_png(tmp_path / f"{number}.png", picture) for number, picture in enumerate(pictures)]
    facts = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert exported.score_decides
    paths += [tmp_path / "out" / check["file"] for check in facts["check"]]
    program = [sys.executable, str(tmp_path / "out" / "inspect_tiles.py"), str(tmp_path / "out")]
    done = subprocess.run([*program, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    verdicts = [model.inspect(path) for path in paths[: len(pictures)]]
    wanted = [(verdict.decision, verdict.score) for verdict in verdicts]
    wanted += [(check["decision"], check["score"]) for check in facts["check"]]
    assert [row[0] for row in rows] == [decision for decision, _ in wanted]
    near_zero = 0.01 * model.calibration.display_spread  # images that were learned from: a root of rounding
    assert [float(row[1]) for row in rows] == pytest.approx([score for _, score in wanted], rel=1e-3, abs=near_zero)
    assert {decision for decision, _ in wanted} >= {"accept", "reject"}


def test_an_older_version_refuses_tiles_and_takes_the_rest(tiled: Model, model: Model, tmp_path: Path) -> None:
    """Version 1 knows nothing of tiles: such a bundle says version 2, and any other does not hold the word."""
    for made, version in ((tiled, 2), (model, 1)):
        path = made.save(tmp_path / f"{version}.blemish")
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
        assert manifest["format_version"] == version
        assert ("tiling" in manifest) == (version == 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 1},
        {"tiling": {"tile_px": 64, "overlap_px": 63}},
        {"tiling": {"tile_px": 64, "overlap_px": 0}},
        {"tiling": {"tile_px": 1, "overlap_px": 32}},
        {"tiling": {"tile_px": 10**9, "overlap_px": 32}},
    ],
)
def test_a_reader_refuses_tiles_that_cannot_be(tiled: Model, tmp_path: Path, changes: dict[str, Any]) -> None:
    with zipfile.ZipFile(tiled.save(tmp_path / "good.blemish")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = {**json.loads(members["manifest.json"]), **changes}
    path = tmp_path / "bad.blemish"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(name, content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(path)
