"""Each known layout is recognized by itself and gives every image its split, label, defect type and mask.

The trees are small copies of the official ones, with the official names.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.datasets.index import DatasetIndex, list_categories, open_dataset
from blemish.datasets.layouts import LAYOUTS
from blemish.errors import DataError
from blemish.images.mask import read_mask
from blemish.schema import ImageItem


def write_image(path: Path, value: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((20, 24, 3), value, np.uint8)
    pixels[3, 4] = (value + 50) % 256
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())


def write_mask(path: Path, *, is_empty: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((20, 24), np.uint8)
    if not is_empty:
        mask[5:9, 5:9] = 255
    path.write_bytes(cv2.imencode(path.suffix, mask)[1].tobytes())


def write_images(folder: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        write_image(folder / name, (10 * number + len(folder.name)) % 200)


def numbered(num: int, suffix: str = ".png", digits: int = 3) -> list[str]:
    return [f"{number:0{digits}}{suffix}" for number in range(num)]


def rows(index: DatasetIndex, items: Iterable[ImageItem] | None = None) -> list[tuple[str, str, int | None, str, str]]:
    return [
        (
            index.relative(item.path),
            item.split,
            item.label,
            item.defect_type,
            index.relative(item.mask_path) if item.mask_path else "",
        )
        for item in (index.items if items is None else items)
    ]


def make_mvtec_ad(root: Path) -> None:
    write_images(root / "train" / "good", numbered(3))
    write_images(root / "test" / "good", numbered(2))
    write_images(root / "test" / "broken_large", numbered(2))
    write_images(root / "test" / "contamination", numbered(1))
    for name in ("broken_large/000_mask.png", "broken_large/001_mask.png", "contamination/000_mask.png"):
        write_mask(root / "ground_truth" / name)
    (root / "license.txt").write_text("licence", encoding="utf-8")


def test_mvtec_ad(tmp_path: Path) -> None:
    make_mvtec_ad(tmp_path / "bottle")
    index = open_dataset(tmp_path / "bottle")
    assert (index.layout, index.name, index.notes) == ("mvtec_ad", "bottle", ())
    assert rows(index) == [
        ("train/good/000.png", "train", 0, "good", ""),
        ("train/good/001.png", "train", 0, "good", ""),
        ("train/good/002.png", "train", 0, "good", ""),
        ("test/broken_large/000.png", "test", 1, "broken_large", "ground_truth/broken_large/000_mask.png"),
        ("test/broken_large/001.png", "test", 1, "broken_large", "ground_truth/broken_large/001_mask.png"),
        ("test/contamination/000.png", "test", 1, "contamination", "ground_truth/contamination/000_mask.png"),
        ("test/good/000.png", "test", 0, "good", ""),
        ("test/good/001.png", "test", 0, "good", ""),
    ]
    assert len(index.train_good) == 3
    assert len(index.test) == 5
    assert index.defect_types == ("broken_large", "contamination")


def test_mpdd_lies_like_mvtec_ad(tmp_path: Path) -> None:
    root = tmp_path / "bracket_black"
    write_images(root / "train" / "good", numbered(2))
    write_images(root / "test" / "good", numbered(1))
    write_images(root / "test" / "hole", numbered(1))
    write_mask(root / "ground_truth" / "hole" / "000_mask.png")
    index = open_dataset(root)
    assert index.layout == "mvtec_ad"
    assert rows(index, index.test)[1] == ("test/hole/000.png", "test", 1, "hole", "ground_truth/hole/000_mask.png")


def test_mvtec_ad_2(tmp_path: Path) -> None:
    root = tmp_path / "sheet_metal"
    write_images(root / "train" / "good", ["000_regular.png", "001_regular.png"])
    write_images(root / "validation" / "good", ["000_regular.png"])
    write_images(root / "test_public" / "good", ["000_regular.png", "000_overexposed.png"])
    write_images(root / "test_public" / "bad", ["000_regular.png"])
    write_mask(root / "test_public" / "ground_truth" / "bad" / "000_regular_mask.png")
    write_images(root / "test_private", ["000_regular.png"])
    write_images(root / "test_private_mixed", ["000_mixed.png"])
    index = open_dataset(root)
    assert index.layout == "mvtec_ad_2"
    assert rows(index) == [
        ("train/good/000_regular.png", "train", 0, "good", ""),
        ("train/good/001_regular.png", "train", 0, "good", ""),
        ("validation/good/000_regular.png", "train", 0, "good", ""),
        (
            "test_public/bad/000_regular.png",
            "test",
            1,
            "bad",
            "test_public/ground_truth/bad/000_regular_mask.png",
        ),
        ("test_public/good/000_overexposed.png", "test", 0, "good", ""),
        ("test_public/good/000_regular.png", "test", 0, "good", ""),
        ("test_private/000_regular.png", "test", None, "unknown", ""),
        ("test_private_mixed/000_mixed.png", "test", None, "unknown", ""),
    ]
    assert len(index.test) == 3
    assert len(index.unlabeled) == 2
    assert any("1 good images of the validation folder" in note for note in index.notes)
    assert any("2 private test images have no labels" in note for note in index.notes)


def test_mvtec_loco_with_several_masks_for_an_image(tmp_path: Path) -> None:
    root = tmp_path / "pushpins"
    write_images(root / "train" / "good", numbered(2))
    write_images(root / "validation" / "good", numbered(1))
    write_images(root / "test" / "good", numbered(1))
    write_images(root / "test" / "logical_anomalies", numbered(1))
    write_images(root / "test" / "structural_anomalies", numbered(1))
    for name in ("logical_anomalies/000/000.png", "logical_anomalies/000/001.png", "structural_anomalies/000/000.png"):
        write_mask(root / "ground_truth" / name)
    (root / "defects_config.json").write_text("[]", encoding="utf-8")
    index = open_dataset(root)
    assert index.layout == "mvtec_loco"
    assert rows(index, index.test) == [
        ("test/good/000.png", "test", 0, "good", ""),
        ("test/logical_anomalies/000.png", "test", 1, "logical_anomalies", "ground_truth/logical_anomalies/000"),
        (
            "test/structural_anomalies/000.png",
            "test",
            1,
            "structural_anomalies",
            "ground_truth/structural_anomalies/000",
        ),
    ]
    assert [index.relative(item.path) for item in index.train_good] == [
        "train/good/000.png",
        "train/good/001.png",
        "validation/good/000.png",
    ]
    masked = next(item for item in index.test if item.mask_path)
    assert masked.mask_path is not None
    assert read_mask(masked.mask_path).sum() == 16


def test_btad(tmp_path: Path) -> None:
    root = tmp_path / "03"
    write_images(root / "train" / "ok", numbered(2, ".bmp", 4))
    write_images(root / "test" / "ok", numbered(1, ".bmp", 4))
    write_images(root / "test" / "ko", numbered(2, ".bmp", 4))
    write_mask(root / "ground_truth" / "ko" / "0000.png")
    write_mask(root / "ground_truth" / "ko" / "0001.png")
    index = open_dataset(root)
    assert index.layout == "btad"
    assert rows(index) == [
        ("train/ok/0000.bmp", "train", 0, "good", ""),
        ("train/ok/0001.bmp", "train", 0, "good", ""),
        ("test/ko/0000.bmp", "test", 1, "ko", "ground_truth/ko/0000.png"),
        ("test/ko/0001.bmp", "test", 1, "ko", "ground_truth/ko/0001.png"),
        ("test/ok/0000.bmp", "test", 0, "good", ""),
    ]


VISA_TABLE = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0002.JPG,
candle,train,normal,candle/Data/Images/Normal/0000.JPG,
candle,test,normal,candle/Data/Images/Normal/0001.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,
"""


def make_visa(root: Path) -> None:
    write_images(root / "candle" / "Data" / "Images" / "Normal", numbered(3, ".JPG", 4))
    write_images(root / "candle" / "Data" / "Images" / "Anomaly", numbered(1, ".JPG"))
    write_mask(root / "candle" / "Data" / "Masks" / "Anomaly" / "000.png")
    write_images(root / "pcb1" / "Data" / "Images" / "Normal", numbered(1, ".JPG", 4))
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text(VISA_TABLE, encoding="utf-8")


def test_visa_is_split_by_its_table(tmp_path: Path) -> None:
    make_visa(tmp_path)
    index = open_dataset(tmp_path / "candle")
    assert index.layout == "visa"
    assert rows(index) == [
        ("Data/Images/Normal/0000.JPG", "train", 0, "good", ""),
        ("Data/Images/Normal/0002.JPG", "train", 0, "good", ""),
        ("Data/Images/Anomaly/000.JPG", "test", 1, "bad", "Data/Masks/Anomaly/000.png"),
        ("Data/Images/Normal/0001.JPG", "test", 0, "good", ""),
    ]


def test_visa_without_its_table_says_what_to_copy(tmp_path: Path) -> None:
    make_visa(tmp_path)
    (tmp_path / "split_csv" / "1cls.csv").unlink()
    with pytest.raises(DataError, match=r"1cls\.csv is missing; copy the folder split_csv"):
        open_dataset(tmp_path / "candle")


@pytest.mark.parametrize(("table", "reason"), [("a,b\n1,2\n", "the columns object"), (VISA_TABLE[:30], "no row")])
def test_a_visa_table_that_does_not_fit_is_named(table: str, reason: str, tmp_path: Path) -> None:
    make_visa(tmp_path)
    (tmp_path / "split_csv" / "1cls.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        open_dataset(tmp_path / "candle")


def test_kolektor_sdd_2_is_labeled_by_its_masks(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD2"
    for split, name, is_good in (
        ("train", "10000", True),
        ("train", "10001", False),
        ("train", "10002", True),
        ("test", "20000", True),
        ("test", "20001", False),
    ):
        write_image(root / split / f"{name}.png", int(name) % 200)
        write_mask(root / split / f"{name}_GT.png", is_empty=is_good)
    index = open_dataset(root)
    assert index.layout == "kolektor_sdd_2"
    assert rows(index) == [
        ("train/10000.png", "train", 0, "good", ""),
        ("train/10002.png", "train", 0, "good", ""),
        ("test/20000.png", "test", 0, "good", ""),
        ("test/20001.png", "test", 1, "defect", "test/20001_GT.png"),
    ]
    assert index.notes == ("1 defective training images are left out: fitting takes good ones only",)


def test_an_image_of_kolektor_sdd_2_without_a_mask_has_no_label(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "1.png")
    write_mask(tmp_path / "train" / "1_GT.png", is_empty=True)
    write_image(tmp_path / "test" / "2.png")
    index = open_dataset(tmp_path)
    assert [item.label for item in index.items] == [0, None]


def test_good_and_bad_folders_keep_the_last_good_images_for_the_test(tmp_path: Path) -> None:
    write_images(tmp_path / "good", numbered(20))
    write_images(tmp_path / "bad", numbered(2))
    write_mask(tmp_path / "masks" / "bad" / "001.png")
    index = open_dataset(tmp_path)
    assert index.layout == "good_and_bad"
    assert [item.path.stem for item in index.train_good] == [f"{number:03}" for number in range(16)]
    assert rows(index, index.test) == [
        *((f"good/{number:03}.png", "test", 0, "good", "") for number in range(16, 20)),
        ("bad/000.png", "test", 1, "bad", ""),
        ("bad/001.png", "test", 1, "bad", "masks/bad/001.png"),
    ]
    assert index.notes == ("the last 4 of 20 good images are kept for the test, the others for training",)


def test_defective_images_may_lie_in_folders_named_after_their_defect(tmp_path: Path) -> None:
    write_images(tmp_path / "OK", numbered(4))
    write_images(tmp_path / "scratch", numbered(1))
    write_images(tmp_path / "dent", numbered(1))
    index = open_dataset(tmp_path)
    assert index.layout == "good_and_bad"
    assert index.defect_types == ("dent", "scratch")
    assert len(index.train_good) == 4  # too few to keep some for the test
    assert "all 4 good images are for training" in index.notes[0]


def test_a_good_folder_alone_is_all_for_training(tmp_path: Path) -> None:
    write_images(tmp_path / "good", numbered(30))
    index = open_dataset(tmp_path)
    assert len(index.train_good) == 30
    assert index.test == ()
    assert index.notes == ()


def test_a_plain_folder_is_good_images_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_images(
        tmp_path, ["part 10.png", "part 2.PNG", "part 1.jpg", "Teil ä.webp", "b.tif", "a.bmp", "c.jpeg", "d.tiff"]
    )
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    write_image(tmp_path / "old" / "x.png")
    index = open_dataset(tmp_path)
    assert index.layout == "plain"
    names = ["a.bmp", "b.tif", "c.jpeg", "d.tiff", "part 1.jpg", "part 2.PNG", "part 10.png", "Teil ä.webp"]
    assert sorted(item.path.name for item in index.train_good) == sorted(names)
    parts = [item.path.name for item in index.train_good if item.path.name.startswith("part")]
    assert parts == ["part 1.jpg", "part 2.PNG", "part 10.png"]
    assert index.notes == (
        "1 image in a deeper folder is not used: old/x.png; move up what belongs to the data, or give that folder by "
        "itself",
        "1 hidden image is left out: .hidden.png",
    )


def test_several_categories_are_listed_not_guessed(tmp_path: Path) -> None:
    for name in ("bottle", "cable", "pill"):
        make_mvtec_ad(tmp_path / name)
    with pytest.raises(DataError, match=r"holds 3 data sets \(bottle, cable, pill\); name one of them, for example"):
        open_dataset(tmp_path)
    assert list_categories(tmp_path) == (tmp_path / "bottle", tmp_path / "cable", tmp_path / "pill")


def test_a_preview_picture_beside_the_categories_is_not_taken_for_the_data(tmp_path: Path) -> None:
    make_mvtec_ad(tmp_path / "bottle")
    make_mvtec_ad(tmp_path / "pill")
    write_image(tmp_path / "preview.png")
    with pytest.raises(DataError, match=r"holds 2 data sets \(bottle, pill\)"):
        open_dataset(tmp_path)


def test_categories_of_several_data_sets_are_listed_with_their_folder(tmp_path: Path) -> None:
    make_mvtec_ad(tmp_path / "mvtec" / "bottle")
    make_visa(tmp_path / "visa")
    listed = [folder.relative_to(tmp_path).as_posix() for folder in list_categories(tmp_path)]
    assert listed == ["mvtec/bottle", "visa/candle", "visa/pcb1"]


def test_a_data_set_lists_itself(tmp_path: Path) -> None:
    make_mvtec_ad(tmp_path)
    assert list_categories(tmp_path) == (tmp_path,)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no PNG, JPEG, BMP, TIFF or WebP images here"):
        open_dataset(tmp_path)
    (tmp_path / "readings.txt").write_text("1 2 3", encoding="utf-8")
    with pytest.raises(DataError, match=r"only other files, such as readings\.txt"):
        open_dataset(tmp_path)
    assert list_categories(tmp_path) == ()


def test_missing_folders_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "nothing")
    write_image(tmp_path / "one.png")
    with pytest.raises(DataError, match="a file, not a folder"):
        open_dataset(tmp_path / "one.png")
    with pytest.raises(DataError, match="no such folder"):
        list_categories(tmp_path / "nothing")


def test_layout_names_are_unique() -> None:
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names)
