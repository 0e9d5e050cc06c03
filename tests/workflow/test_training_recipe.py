"""Good images to a bundle: what is read, how thresholds come about, and what the manifest says of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blemish
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.split import block_folds
from blemish.detectors import features
from blemish.detectors.base import FitRequest
from blemish.errors import CalibrationError, DataError, ImageError, SettingsError
from blemish.model import Model
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import ImageItem
from blemish.testing.tiny import TinyProduct, write_png, write_tiny_product
from blemish.workflow import timing
from blemish.workflow import train as train_recipe
from blemish.workflow.timing import PartTimes

Train = Callable[..., Model]


@pytest.fixture
def train(backbone_description: str) -> Train:
    """Trains `template` at 64 pixels, unless told otherwise."""

    def train_small(data: Any, **options: Any) -> Model:
        return blemish.train(data, **{"detector": "template", "backbone": backbone_description, "size": 64, **options})

    return train_small


def scores(model: Model, images: Any) -> list[float]:
    return [model.inspect(image).score for image in images]


def test_files_folder_and_arrays_give_the_same_graph(train: Train, product: TinyProduct, product_folder: Path) -> None:
    graphs = {
        train(data).bundle.graph_sha256
        for data in (
            product_folder,
            str(product_folder),
            product_folder / "train" / "good",
            open_dataset(product_folder),
            list(product.good),
        )
    }
    assert len(graphs) == 1


def test_test_images_are_never_read(train: Train, product_folder: Path, tmp_path: Path) -> None:
    """With every test image and mask damaged, the bundle decides just the same."""
    damaged = Path(shutil.copytree(product_folder, tmp_path / product_folder.name))
    for path in [*(damaged / "test").rglob("*.png"), *(damaged / "ground_truth").rglob("*.png")]:
        path.write_bytes(b"nothing")
    whole, blind = train(product_folder).bundle, train(damaged).bundle
    assert blind.graph == whole.graph
    assert dataclasses.replace(blind.calibration, created="") == dataclasses.replace(whole.calibration, created="")


def test_no_good_image_is_scored_by_a_model_that_saw_it(train: Train, product: TinyProduct) -> None:
    """The scores behind the thresholds are those of models fitted without the image's fold."""
    images = list(product.good)
    found = train(images, calibration="blocks").calibration
    module = load_detector("template")
    expected = []
    for fold in block_folds(len(images), 5):
        others = [image for place, image in enumerate(images) if place not in fold]
        fit = module.fit(FitRequest(images=others, settings=module.INFO.settings()))
        expected += [p.anomaly_score for p in Session(fit.graph).predict([images[place] for place in fold])]
    assert found.method == "cross"
    np.testing.assert_allclose(found.good_scores, sorted(expected), rtol=1e-4)
    assert found.image_threshold == pytest.approx(max(expected), rel=1e-4)


def test_a_split_keeps_a_part_out_of_the_fit(train: Train, product: TinyProduct) -> None:
    model = train(list(product.good), calibration="split")
    data = model.bundle.manifest.data
    assert (data.num_fit, data.num_calibration) == (12, 4)
    assert model.calibration.method == "split"
    every = sorted(scores(model, product.good))
    assert set(np.round(model.calibration.good_scores, 4)) <= set(np.round(every, 4))


def test_too_few_images_for_a_split_say_so(train: Train, product: TinyProduct) -> None:
    with pytest.raises(DataError, match="too few to keep a part"):
        train(list(product.good[:2]), calibration="split")


def test_a_looser_rate_gives_a_lower_threshold(train: Train, product: TinyProduct) -> None:
    strict = train(list(product.good)).calibration
    loose = train(list(product.good), false_reject=0.5).calibration
    assert loose.image_threshold < strict.image_threshold
    assert loose.good_scores == strict.good_scores


def test_review_lies_below_reject(train: Train, product: TinyProduct) -> None:
    made = train(list(product.good), review_rate=0.5).calibration
    assert made.review_threshold is not None
    assert made.review_threshold < made.image_threshold


def test_the_manifest_says_what_was_done(train: Train, product_folder: Path) -> None:
    manifest = train(product_folder, detector="patchcore", settings={"bank_size": "50"}, seed=3).bundle.manifest
    assert (manifest.detector, manifest.seed, manifest.input_hw) == ("patchcore", 3, (64, 64))
    assert manifest.settings["bank_size"] == 50
    assert max(manifest.facts["num_bank_entries"]) == 50
    assert manifest.facts["fit_seconds"] > 0
    assert manifest.backbone is not None
    assert manifest.backbone.name == "tiny"
    assert manifest.data.fingerprint == open_dataset(product_folder).fingerprint
    assert {"blemish", "numpy", "onnxruntime", "python"} <= set(manifest.versions)
    assert train(product_folder).bundle.manifest.backbone is None


def test_the_manifest_says_how_long_each_part_took(train: Train, product: TinyProduct) -> None:
    parts = train(list(product.good), detector="patchcore").bundle.manifest.facts["seconds_by_part"]
    assert list(parts) == [
        "comparing good images",
        "reading features",
        "choosing patches of each image",
        "choosing bank entries",
        "measuring usual distances",
        "scoring held-out good images",
        "calibrating",
    ]
    assert all(seconds >= 0 for seconds in parts.values())


def test_of_very_many_images_a_part_calibrates(
    train: Train, product: TinyProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list(product.good)
    monkeypatch.setattr(train_recipe, "MOST_CROSS_PIXELS", len(images) * 64 * 64)
    assert train(images).calibration.method == "cross"
    monkeypatch.setattr(train_recipe, "MOST_CROSS_PIXELS", len(images) * 64 * 64 - 1)
    assert train(images).calibration.method == "split"
    assert train(images, calibration="cross").calibration.method == "cross"


def test_the_manifest_and_a_note_say_when_only_a_part_was_learned_from(
    train: Train, product: TinyProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MOST_FEATURE_BYTES", 8 * 16 * 16 * 3 * 4)
    manifest = train(list(product.good), calibration="split", detector="template").bundle.manifest
    assert (manifest.data.num_fit, manifest.data.num_calibration) == (8, 4)
    assert manifest.facts["notes"][0].startswith("8 of 12 images, evenly spread, were learned from")


def test_time_belongs_to_the_work_that_reports_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    seen: list[str] = []
    times = PartTimes(lambda task, done, total: seen.append(task))
    for task in ("reading", "choosing", "reading, almost done"):
        times(task, 1, 1)
    assert times.seconds == {"reading": 3.0, "choosing": 3.0}
    assert seen == ["reading", "choosing", "reading, almost done"]


def test_the_longer_side_follows_the_images(train: Train, product: TinyProduct) -> None:
    wide = [np.concatenate([image, image], axis=1) for image in product.good[:4]]
    assert train(wide).bundle.manifest.input_hw == (64, 128)
    assert train(wide, size=(64, 96)).bundle.manifest.input_hw == (64, 96)


@pytest.mark.parametrize("size", [8, (64, 65), (0, 64), (-64, 64)])
def test_a_size_that_cannot_be_is_refused(train: Train, product: TinyProduct, size: Any) -> None:
    with pytest.raises(SettingsError, match="size"):
        train(list(product.good), size=size)


def test_arrays_may_be_gray_sixteen_bit_or_of_mixed_sizes(train: Train, product: TinyProduct) -> None:
    odd = [product.good[0][..., 0], product.good[1].astype(np.uint16) * 257, product.good[2][:50, :60]]
    train([*product.good, *odd])


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_and_one_image_are_too_few(train: Train, product: TinyProduct, count: int) -> None:
    with pytest.raises(DataError, match=rf"{count} good image.*at least 2"):
        train(list(product.good[:count]))


def test_copies_of_one_image_cannot_set_a_threshold(train: Train, product: TinyProduct) -> None:
    with pytest.raises(CalibrationError, match="copies of one image"):
        train([product.good[0]] * 8)


def test_an_unreadable_image_is_named_and_can_be_left_out(train: Train, product: TinyProduct, tmp_path: Path) -> None:
    for number, image in enumerate(product.good):
        write_png(tmp_path / f"{number:02}.png", image)
    (tmp_path / "03.png").write_bytes((tmp_path / "03.png").read_bytes()[:300])
    (tmp_path / "07.jpg").write_text("no image", encoding="utf-8")
    with pytest.raises(ImageError, match=r"2 of 17 training images cannot be read.*03\.png.*--skip-unreadable"):
        train(tmp_path)
    manifest = train(tmp_path, skip_unreadable=True).bundle.manifest
    assert manifest.facts["skipped"] == ["03.png", "07.jpg"]
    assert manifest.data.num_fit == 15


def test_a_defective_part_among_the_good_ones_is_pointed_at(train: Train, product: TinyProduct) -> None:
    images = [*product.good[:8], product.defects[0].image, *product.good[8:]]
    assert train(images).bundle.manifest.facts["suspicious"] == ["image 8"]
    assert train(list(product.good)).bundle.manifest.facts["suspicious"] == []


def test_defective_training_images_are_refused(train: Train, product: TinyProduct, tmp_path: Path) -> None:
    items = [
        ImageItem(write_png(tmp_path / f"{number}.png", image), "train", int(number == 2), "good")
        for number, image in enumerate(product.good)
    ]
    with pytest.raises(DataError, match=r"1 defective image.*2\.png"):
        train(DatasetIndex("mixed", tmp_path, "made", tuple(items)))


def test_an_unknown_detector_setting_or_backbone_is_refused(train: Train, product: TinyProduct) -> None:
    with pytest.raises(SettingsError, match="did you mean 'patchcore'"):
        train(list(product.good), detector="patchwork")
    with pytest.raises(SettingsError, match=r"no setting 'bank'.*bank_size"):
        train(list(product.good), detector="patchcore", settings={"bank": 10})
    with pytest.raises(blemish.BackboneError, match="resnet7"):
        train(list(product.good), detector="patchcore", backbone="resnet7")


def test_progress_counts_up_to_its_total(train: Train, product: TinyProduct) -> None:
    calls: list[tuple[str, int, int]] = []
    train(list(product.good), detector="patchcore", progress=lambda *call: calls.append(call))
    last = {task: (done, total) for task, done, total in calls}
    assert len(last) >= 2
    assert all(done == total for done, total in last.values())


def test_samples_are_good_images_at_the_input_size(train: Train, product: TinyProduct) -> None:
    import cv2

    samples = train(list(product.good)).bundle.samples
    assert len(samples) == 8
    first = cv2.imdecode(np.frombuffer(samples[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(first, product.good[0])


def test_two_trainings_of_one_folder_agree_in_every_byte_of_the_graph(
    train: Train, product: TinyProduct, tmp_path: Path
) -> None:
    first = train(write_tiny_product(tmp_path / "a", product), detector="patchcore").bundle
    second = train(write_tiny_product(tmp_path / "b", product), detector="patchcore").bundle
    assert first.graph == second.graph
    assert first.manifest.data.fingerprint == second.manifest.data.fingerprint
