"""A bundle judged on labelled images: the numbers are those of an independent library on the same scores and maps."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from blemish.datasets.index import open_dataset
from blemish.errors import DataError
from blemish.images.decode import read_image
from blemish.images.mask import read_mask
from blemish.images.resize import resize_map
from blemish.model import Model, train
from blemish.schema import Evaluation
from blemish.testing.tiny import TinyProduct, write_png


@pytest.fixture(scope="module")
def evaluation(model: Model, product_folder: Path) -> Evaluation:
    return model.evaluate(product_folder)


@pytest.fixture(scope="module")
def loose(product: TinyProduct) -> Model:
    """A model that makes mistakes of both kinds: gray values alone, coarse cells, half of the good parts rejected."""
    return train(list(product.good), detector="template", size=64, settings={"cell": 32, "noise": 50}, false_reject=0.6)


def test_what_is_put_up_for_review_has_not_escaped(product: TinyProduct, product_folder: Path) -> None:
    settings = {"cell": 32, "noise": 50}
    careful = train(list(product.good), detector="template", size=64, settings=settings, review_rate=0.9)
    found = careful.evaluate(product_folder)
    decisions = [result.decision for result in found.results if result.label]
    assert decisions.count("review") > 0
    assert found.metrics["escape_rate"] == decisions.count("accept") / len(decisions)
    assert found.metrics["confusion_matrix"]["review_defective"] == decisions.count("review")
    escaped = sum(of["num_escaped"] for of in found.metrics["per_defect"].values())
    assert escaped == decisions.count("accept")


def test_image_metrics_are_those_of_scikit_learn(loose: Model, product_folder: Path) -> None:
    found = loose.evaluate(product_folder)
    labels = [result.label for result in found.results]
    scores = [result.score for result in found.results]
    rejected = [result.decision == "reject" for result in found.results]
    assert found.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found.metrics["image_ap"] == pytest.approx(average_precision_score(labels, scores))
    assert found.metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, rejected))
    assert found.metrics["accuracy"] == pytest.approx(np.mean(np.equal(labels, rejected)))
    good = [is_rejected for is_rejected, label in zip(rejected, labels, strict=True) if label == 0]
    assert found.metrics["false_reject_rate"] == pytest.approx(np.mean(good))


def test_pixel_metrics_are_those_of_scikit_learn(model: Model, evaluation: Evaluation, product_folder: Path) -> None:
    truths, values = [], []
    for item in open_dataset(product_folder).test:
        anomaly_map = model.inspect(item.path).anomaly_map
        mask = read_mask(item.mask_path) if item.mask_path else np.zeros(read_image(item.path).shape[:2], bool)
        truths.append(mask.ravel())
        values.append(resize_map(anomaly_map, mask.shape).ravel())
    truth, value = np.concatenate(truths), np.concatenate(values)
    assert evaluation.metrics["pixel_auroc"] == pytest.approx(roc_auc_score(truth, value), abs=1e-6)
    assert evaluation.metrics["pixel_ap"] == pytest.approx(average_precision_score(truth, value), abs=1e-6)


def test_every_number_of_the_contract_is_there(evaluation: Evaluation) -> None:
    names = {
        *("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro_30", "aupro_05"),
        *("accuracy", "balanced_accuracy", "false_reject_rate", "escape_rate", "confusion_matrix", "per_defect"),
        *("intervals", "num_good", "num_defective", "milliseconds"),
    }
    assert names <= set(evaluation.metrics)
    assert (evaluation.metrics["num_good"], evaluation.metrics["num_defective"]) == (6, 6)
    assert set(evaluation.metrics["per_defect"]) == {"spot", "scratch"}


def test_the_tiny_product_is_solved(evaluation: Evaluation) -> None:
    assert evaluation.metrics["image_auroc"] == 1
    assert evaluation.metrics["escape_rate"] == 0
    assert evaluation.metrics["pixel_auroc"] > 0.95


def test_regions_are_counted_against_the_masks(model: Model, product_folder: Path, evaluation: Evaluation) -> None:
    found = evaluation.metrics
    defective = [result for result in evaluation.results if result.label]
    assert found["num_defects"] >= len(defective)
    regions = [model.inspect(product_folder / result.path).regions for result in evaluation.results]
    assert found["num_regions"] == sum(map(len, regions))
    assert found["num_defects_found"] >= 0.8 * found["num_defects"]
    assert found["num_regions_on_defects"] <= found["num_regions"]


def test_each_image_is_a_row_in_the_order_of_the_data(evaluation: Evaluation, product_folder: Path) -> None:
    index = open_dataset(product_folder)
    assert [row.path for row in evaluation.results] == [index.relative(item.path) for item in index.test]
    assert [row.has_mask for row in evaluation.results] == [not item.is_good for item in index.test]


def test_images_that_were_trained_on_do_not_count(model: Model, product_folder: Path, tmp_path: Path) -> None:
    trained = train(product_folder, detector="template", size=64)
    leaky = Path(shutil.copytree(product_folder, tmp_path / "leaky"))
    shutil.copy(leaky / "train" / "good" / "000.png", leaky / "test" / "good" / "again.png")
    found = trained.evaluate(leaky)
    assert found.metrics["num_good"] == 6
    assert any("1 " in note for note in found.data["notes"])


@pytest.mark.parametrize("kept", ["good", "spot"])
def test_one_kind_of_image_is_not_enough(model: Model, product_folder: Path, tmp_path: Path, kept: str) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    for folder in (part / "test").iterdir():
        if folder.name != kept:
            shutil.rmtree(folder)
    with pytest.raises(DataError, match="needs good and defective"):
        model.evaluate(part)


def test_without_masks_there_are_no_pixel_metrics(model: Model, product_folder: Path, tmp_path: Path) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    shutil.rmtree(part / "ground_truth")
    found = model.evaluate(part)
    assert "pixel_auroc" not in found.metrics
    assert found.metrics["image_auroc"] == 1
    assert any("6 defective images have no mask" in note for note in found.data["notes"])


def test_an_empty_mask_counts_at_image_level_only(model: Model, product_folder: Path, tmp_path: Path) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    [first, *_] = sorted((part / "ground_truth").rglob("*.png"))
    write_png(first, np.zeros((64, 64), np.uint8))
    found = model.evaluate(part)
    assert found.metrics["num_defective"] == 6
    assert found.data["num_without_mask"] == 1


def masks_of(part: Path) -> list[Path]:
    return sorted((part / "ground_truth").rglob("*.png"))


def test_inverted_masks_are_told(model: Model, product_folder: Path, tmp_path: Path) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    for path in masks_of(part):
        write_png(path, np.where(read_mask(path), np.uint8(0), np.uint8(255)))
    notes = model.evaluate(part).data["notes"]
    assert any("6 masks cover more than half of their images, the first" in note for note in notes)


def test_a_mask_one_pixel_off_is_cut_and_told(
    model: Model, evaluation: Evaluation, product_folder: Path, tmp_path: Path
) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    first, second, *_ = masks_of(part)
    write_png(first, np.pad(read_mask(first), ((0, 1), (0, 1))).astype(np.uint8) * 255)
    write_png(second, read_mask(second)[:-1].astype(np.uint8) * 255)
    found = model.evaluate(part)
    assert found.metrics["pixel_ap"] == evaluation.metrics["pixel_ap"]
    assert any("2 masks are one pixel larger or smaller than their images" in note for note in found.data["notes"])


@pytest.mark.parametrize("scale", [(2, 2), (1, 2)])
def test_a_mask_of_another_size_is_an_error_that_names_both_files(
    scale: tuple[int, int], model: Model, product_folder: Path, tmp_path: Path
) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    path = masks_of(part)[2]
    write_png(path, np.kron(read_mask(path), np.ones(scale)).astype(np.uint8) * 255)
    with pytest.raises(DataError, match=rf"{path.name}: the mask is .* pixels, its image .*\.png"):
        model.evaluate(part)


def test_two_images_never_share_one_mask_in_silence(model: Model, product_folder: Path, tmp_path: Path) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    image = next((part / "test" / "spot").glob("*.png"))
    pixels = read_image(image)[::-1]
    image.with_suffix(".bmp").write_bytes(cv2.imencode(".bmp", pixels)[1].tobytes())
    with pytest.raises(DataError, match=rf"is the mask of 2 images, .*{image.stem}\.bmp and .*{image.stem}\.png"):
        model.evaluate(part)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_test_images_that_are_no_files_are_counted_before_anything_is_judged(
    model: Model, product_folder: Path, tmp_path: Path
) -> None:
    part = Path(shutil.copytree(product_folder, tmp_path / "part"))
    for path in sorted((part / "test" / "spot").iterdir())[:2]:
        path.unlink()
        path.symlink_to("/mnt/nas/gone.png")
    with pytest.raises(DataError, match=r"2 of 12 test images cannot be read, the first .*leads nowhere \(to /mnt/nas"):
        model.evaluate(part)


def test_a_report_is_written_beside_its_numbers(model: Model, product_folder: Path, tmp_path: Path) -> None:
    evaluation = model.evaluate(product_folder, report=tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(evaluation.pictures) > 0


def test_pictures_show_the_worst_mistakes_first(loose: Model, product_folder: Path) -> None:
    found = loose.evaluate(product_folder)
    kinds = [(picture.item.label, picture.verdict.decision) for picture in found.pictures]
    order = [(1, "accept"), (0, "reject"), (1, "reject"), (0, "accept")]
    assert kinds == sorted(kinds, key=order.index)


def test_the_threshold_does_not_move_with_the_test_images(model: Model, product_folder: Path) -> None:
    before = dataclasses.asdict(model.calibration)
    model.evaluate(product_folder)
    assert dataclasses.asdict(model.calibration) == before
