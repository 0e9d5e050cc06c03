"""Data sets as their authors publish them, with masks beside the images or one folder deeper."""

from __future__ import annotations

from pathlib import Path

import pytest

from blemish.datasets.check import check_dataset
from blemish.datasets.index import list_categories, open_dataset
from blemish.errors import DataError
from blemish.model import train
from tests.datasets.test_layouts import rows, write_mask
from tests.datasets.test_left_out import write_image


def test_magnetic_tile(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / "MT_Free" / "Imgs" / f"exp1_num_{number}.jpg")
        write_mask(tmp_path / "MT_Free" / "Imgs" / f"exp1_num_{number}.png", is_empty=True)
    for number in range(2):
        write_image(tmp_path / "MT_Blowhole" / "Imgs" / f"exp1_num_{number}.jpg")
        write_mask(tmp_path / "MT_Blowhole" / "Imgs" / f"exp1_num_{number}.png")
    index = open_dataset(tmp_path)
    assert index.layout == "magnetic_tile"
    assert [item.path.name for item in index.train_good] == [f"exp1_num_{number}.jpg" for number in range(16)]
    assert rows(index, index.test)[-3:] == [
        ("MT_Free/Imgs/exp1_num_19.jpg", "test", 0, "good", ""),
        ("MT_Blowhole/Imgs/exp1_num_0.jpg", "test", 1, "blowhole", "MT_Blowhole/Imgs/exp1_num_0.png"),
        ("MT_Blowhole/Imgs/exp1_num_1.jpg", "test", 1, "blowhole", "MT_Blowhole/Imgs/exp1_num_1.png"),
    ]
    assert index.left_out == ()
    assert index.notes == ("the last 4 of 20 good images are kept for the test, the others for training",)
    assert list_categories(tmp_path) == (tmp_path,)


def test_kolektor_sdd_holds_out_whole_items(tmp_path: Path) -> None:
    for item in range(1, 11):
        for part in range(3):
            write_image(tmp_path / f"kos{item:02}" / f"Part{part}.jpg")
            write_mask(tmp_path / f"kos{item:02}" / f"Part{part}_label.bmp", is_empty=(item, part) != (2, 1))
    index = open_dataset(tmp_path)
    assert index.layout == "kolektor_sdd"
    assert len(index.train_good) == 23
    assert {item.path.parent.name for item in index.test if item.is_good} == {"kos09", "kos10"}
    [defective] = [item for item in index.test if not item.is_good]
    assert rows(index, [defective]) == [("kos02/Part1.jpg", "test", 1, "defect", "kos02/Part1_label.bmp")]
    assert index.left_out == ()
    assert index.notes == ("the good images of the last 2 of 10 items are kept for the test",)


def test_mvtec_3d_ad_keeps_its_pictures_one_folder_deeper(tmp_path: Path) -> None:
    for place in ("train/good", "validation/good", "test/good", "test/hole"):
        write_image(tmp_path / place / "rgb" / "000.png")
        write_image(tmp_path / place / "xyz" / "000.tiff")
    write_mask(tmp_path / "test" / "good" / "gt" / "000.png", is_empty=True)
    write_mask(tmp_path / "test" / "hole" / "gt" / "000.png")
    index = open_dataset(tmp_path)
    assert index.layout == "mvtec_3d_ad"
    assert rows(index) == [
        ("train/good/rgb/000.png", "train", 0, "good", ""),
        ("validation/good/rgb/000.png", "train", 0, "good", ""),
        ("test/good/rgb/000.png", "test", 0, "good", ""),
        ("test/hole/rgb/000.png", "test", 1, "hole", "test/hole/gt/000.png"),
    ]
    assert index.left_out == ()
    assert index.notes == (
        "the 1 good images of the validation folder are used for training",
        "the 4 depth scans (xyz) are not used",
    )


def test_one_folder_of_images_and_masks_is_labelled_by_the_masks(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / f"{number}.jpg")
        write_mask(tmp_path / f"{number}.png", is_empty=number % 10 != 0)
    write_image(tmp_path / "new.jpg")
    index = open_dataset(tmp_path)
    assert index.layout == "masks_beside"
    assert [item.path.name for item in index.test if not item.is_good] == ["0.jpg", "10.jpg"]
    assert (len(index.train_good), index.count("test", 0)) == (14, 4)
    assert [item.path.name for item in index.unlabeled] == ["new.jpg"]
    assert index.notes[0] == (
        "20 masks lie beside their images: 2 mark a defect, 18 are empty; "
        "1 images have no mask, so no label, and are not used"
    )


def test_where_only_defects_have_masks_an_image_without_one_is_good(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / f"{number}.png")
    write_mask(tmp_path / "3_GT.png")
    index = open_dataset(tmp_path)
    assert [item.path.name for item in index.test if not item.is_good] == ["3.png"]
    assert len(index.train_good) + index.count("test", 0) == 19


def test_empty_masks_beside_good_parts_are_not_learned(tmp_path: Path) -> None:
    for number in range(24):
        write_image(tmp_path / f"exp1_num_{number}.jpg")
        write_mask(tmp_path / f"exp1_num_{number}.png", is_empty=True)
    index = open_dataset(tmp_path)
    assert [item.path.suffix for item in index.train_good] == [".jpg"] * 24
    assert index.test == ()
    assert check_dataset(tmp_path) == ()


def test_a_folder_that_cannot_be_told_says_so(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "good" / "cam1" / "000.png")
    for root, name in ((tmp_path, "train/good/cam1/000.png"), (tmp_path / "train", "good/cam1/000.png")):
        index = open_dataset(root)
        assert index.items == ()
        assert name in index.notes[0]
        with pytest.raises(DataError, match=f"0 good images, .* {name}"):
            train(root, detector="template")
