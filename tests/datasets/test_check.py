"""`check_dataset` tells what is wrong with a data set, and whether training on it would be meaningless."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.datasets.check import Finding, blocks_training, check_dataset
from blemish.errors import DataError

REAL_TILES = Path(os.environ.get("BLEMISH_TEST_DATA", "no folder")) / "magnetic_tile"
"""Real images are not part of the project: set the variable to the folder that holds them."""


def write_image(path: Path, seed: int, hw: tuple[int, int] = (40, 48), channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = hw if channels == 1 else (*hw, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def write_mask(path: Path, hw: tuple[int, int] = (40, 48), value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(hw, np.uint8)
    mask[4:9, 4:9] = value
    path.write_bytes(cv2.imencode(path.suffix, mask)[1].tobytes())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with nothing wrong."""
    root = tmp_path / "part"
    for number in range(20):
        write_image(root / "train" / "good" / f"{number:03}.png", number)
    for number in range(3):
        write_image(root / "test" / "good" / f"{number:03}.png", 100 + number)
        write_image(root / "test" / "dent" / f"{number:03}.png", 200 + number)
        write_mask(root / "ground_truth" / "dent" / f"{number:03}_mask.png")
    return root


def found(root: Path) -> dict[str, Finding]:
    findings = check_dataset(root)
    assert len({finding.code for finding in findings}) == len(findings), "one of each kind is enough here"
    for finding in findings:
        assert "\n" not in finding.message
    return {finding.code: finding for finding in findings}


def test_a_sound_data_set_gives_no_findings(root: Path) -> None:
    assert check_dataset(root) == ()
    assert not blocks_training(())


def test_progress_counts_the_images(root: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    check_dataset(root, lambda *step: steps.append(step))
    assert [done for _, done, _ in steps] == list(range(1, 27))


@pytest.mark.parametrize(("num_good", "code", "blocks"), [(1, "too_few_good", True), (2, "few_good", False)])
def test_too_few_good_images(num_good: int, code: str, blocks: bool, root: Path) -> None:
    for number in range(num_good, 20):
        (root / "train" / "good" / f"{number:03}.png").unlink()
    findings = found(root)
    assert list(findings) == [code]
    assert findings[code].blocks_training is blocks
    assert blocks_training(findings.values()) is blocks
    assert f"{num_good} " in findings[code].message


def test_a_test_set_without_training_images_cannot_be_trained_on(root: Path) -> None:
    for path in (root / "train" / "good").iterdir():
        path.unlink()
    assert found(root)["too_few_good"].blocks_training


def test_copies_of_one_image_are_one_image(tmp_path: Path) -> None:
    content = write_image(tmp_path / "0.png", 0).read_bytes()
    for number in range(1, 5):
        (tmp_path / f"{number}.png").write_bytes(content)
    findings = found(tmp_path)
    assert "1 good images for training (5 files with the same picture)" in findings["too_few_good"].message
    assert "4 images are copies" in findings["copies"].message


def test_an_unreadable_training_image_stops_training_and_is_named(root: Path) -> None:
    path = root / "train" / "good" / "004.png"
    path.write_bytes(path.read_bytes()[:200])
    finding = found(root)["unreadable_image"]
    assert (finding.severity, finding.paths, finding.blocks_training) == ("error", (path,), True)
    assert "004.png: the file is cut off" in finding.message
    assert "--skip-unreadable" in finding.message


def test_an_unreadable_test_image_does_not_stop_training(root: Path) -> None:
    path = root / "test" / "dent" / "001.png"
    path.write_bytes(b"text")
    finding = found(root)["unreadable_image"]
    assert finding.severity == "error"
    assert not finding.blocks_training


def test_the_same_image_in_training_and_test(root: Path) -> None:
    original = root / "train" / "good" / "003.png"
    (root / "test" / "good" / "copy.png").write_bytes(original.read_bytes())
    finding = found(root)["in_two_splits"]
    assert finding.severity == "error"
    assert set(finding.paths) == {original, root / "test" / "good" / "copy.png"}
    assert "train/good/003.png" in finding.message
    assert not finding.blocks_training


def test_the_same_picture_in_another_file_format_is_still_the_same(root: Path) -> None:
    pixels = cv2.imread(str(root / "train" / "good" / "003.png"))
    (root / "test" / "good" / "copy.bmp").write_bytes(cv2.imencode(".bmp", pixels)[1].tobytes())
    assert "in_two_splits" in found(root)


def test_a_training_image_that_also_counts_as_defective_makes_training_meaningless(root: Path) -> None:
    write_mask(root / "ground_truth" / "dent" / "copy_mask.png")
    (root / "test" / "dent" / "copy.png").write_bytes((root / "train" / "good" / "003.png").read_bytes())
    finding = found(root)["good_and_defective"]
    assert finding.severity == "error"
    assert finding.blocks_training


def test_defective_images_in_the_training_part(root: Path) -> None:
    write_image(root / "train" / "scratch" / "000.png", 999)
    finding = found(root)["defective_in_training"]
    assert finding.blocks_training
    assert "train/scratch/000.png" in finding.message


def test_masks_of_another_size_than_their_image(root: Path) -> None:
    write_mask(root / "ground_truth" / "dent" / "001_mask.png", (48, 40))
    finding = found(root)["mask_size"]
    assert finding.severity == "error"
    assert "the mask is 40 x 48 pixels, its image 48 x 40" in finding.message


def test_empty_and_unreadable_masks(root: Path) -> None:
    empty = write_mask(root / "ground_truth" / "dent" / "001_mask.png", value=0)
    broken = root / "ground_truth" / "dent" / "002_mask.png"
    broken.write_bytes(broken.read_bytes()[:40])
    findings = found(root)
    assert findings["mask_empty"].paths == (empty,)
    assert findings["mask_empty"].severity == "warning"
    assert findings["unreadable_mask"].paths == (broken,)
    assert findings["unreadable_mask"].severity == "error"


def test_defective_images_without_a_mask_and_masks_without_an_image(root: Path) -> None:
    mask = root / "ground_truth" / "dent" / "001_mask.png"
    mask.rename(mask.with_name("dent-001.png"))
    findings = found(root)
    assert findings["mask_missing"].paths == (root / "test" / "dent" / "001.png",)
    assert "left out at pixel level" in findings["mask_missing"].message
    assert findings["mask_without_image"].paths == (mask.with_name("dent-001.png"),)


def test_images_of_several_sizes_and_one_of_an_odd_shape(root: Path) -> None:
    write_image(root / "train" / "good" / "000.png", 0, (42, 48))
    odd = write_image(root / "train" / "good" / "001.png", 1, (40, 160))
    findings = found(root)
    assert "3 different sizes, 48 to 160 wide and 40 to 42 high (24 are 48 x 40)" in findings["mixed_sizes"].message
    assert findings["odd_shape"].paths == (odd,)


def test_where_no_shape_is_usual_none_is_odd(root: Path) -> None:
    for number in range(0, 20, 2):
        write_image(root / "train" / "good" / f"{number:03}.png", number, (40, 160))
    assert list(found(root)) == ["mixed_sizes"]


def test_pictures_that_show_nothing(root: Path) -> None:
    flat, dark = root / "train" / "good" / "000.png", root / "train" / "good" / "001.png"
    flat.write_bytes(cv2.imencode(".png", np.full((40, 48, 3), 90, np.uint8))[1].tobytes())
    twelve_bit = np.random.default_rng(0).integers(0, 4096, (40, 48, 3)).astype(np.uint16)
    dark.write_bytes(cv2.imencode(".png", twelve_bit)[1].tobytes())
    findings = found(root)
    assert findings["one_color"].paths == (flat,)
    assert findings["nearly_black"].paths == (dark,)
    assert "12-bit values" in findings["nearly_black"].message


def test_gray_images_among_colored_ones(root: Path) -> None:
    gray = write_image(root / "test" / "good" / "000.png", 5, channels=1)
    finding = found(root)["gray_and_color"]
    assert finding.paths == (gray,)
    assert "1 images are gray, the other 25 in color" in finding.message


def test_files_of_another_kind_beside_the_images(root: Path) -> None:
    (root / "train" / "good" / "list.csv").write_text("a,b", encoding="utf-8")
    (root / "train" / "good" / "Thumbs.db").write_bytes(b"")
    (root / "train" / "good" / ".DS_Store").write_bytes(b"")
    assert found(root)["other_files"].paths == (root / "train" / "good" / "list.csv",)


@pytest.mark.parametrize(("folder", "code"), [("good", "no_good_test"), ("dent", "no_defective_test")])
def test_a_test_part_of_one_kind_cannot_measure_everything(folder: str, code: str, root: Path) -> None:
    for path in (root / "test" / folder).iterdir():
        path.unlink()
    assert code in found(root)


def test_errors_come_before_warnings_and_what_stops_training_first(root: Path) -> None:
    write_image(root / "train" / "good" / "000.png", 0, (42, 48))
    write_mask(root / "ground_truth" / "dent" / "001_mask.png", (48, 40))
    write_image(root / "train" / "scratch" / "000.png", 999)
    assert list(found(root)) == ["defective_in_training", "mask_size", "mixed_sizes"]


def test_a_folder_of_text_files_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match=r"only other files, such as a\.txt"):
        check_dataset(tmp_path)


@pytest.mark.skipif(not REAL_TILES.is_dir(), reason="the real images are not here")
def test_the_real_magnetic_tiles_have_four_empty_masks_and_mixed_sizes() -> None:
    findings = found(REAL_TILES)
    assert len(findings["mask_empty"].paths) == 4
    assert "mixed_sizes" in findings
    assert not blocks_training(findings.values())
