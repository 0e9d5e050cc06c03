"""A data set uses each image below its folder, knows it as a mask, or counts and names it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.datasets.check import check_dataset
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.errors import DataError
from blemish.images.decode import IMAGE_SUFFIXES

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
_SEEDS = iter(range(100_000))


def write_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(next(_SEEDS)).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def write_mask(path: Path, *, is_empty: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((20, 24), np.uint8)
    mask[5:9, 5:9] = 0 if is_empty else 255
    path.write_bytes(cv2.imencode(path.suffix, mask)[1].tobytes())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "part"
    for number in range(20):
        write_image(root / "train" / "good" / f"{number:03}.png")
    for number in range(3):
        write_image(root / "test" / "good" / f"{number:03}.png")
        write_image(root / "test" / "dent" / f"{number:03}.png")
        write_mask(root / "ground_truth" / "dent" / f"{number:03}_mask.png")
    return root


def told(index: DatasetIndex) -> set[tuple[str, str]]:
    return {(index.relative(item.path), item.reason) for item in index.left_out}


def codes(root: Path) -> set[str]:
    return {finding.code for finding in check_dataset(root)}


def test_a_tidy_data_set_leaves_nothing_out(root: Path) -> None:
    index = open_dataset(root)
    assert (index.notes, index.left_out, index.questions) == ((), (), ())


def test_images_in_deeper_folders_are_counted_and_named(root: Path) -> None:
    write_image(root / "train" / "good" / "cam2" / "000.png")
    write_image(root / "train" / "good" / "cam2" / "deep" / "000.png")
    write_image(root / "test" / "dent" / "late" / "000.png")
    index = open_dataset(root)
    assert len(index.items) == 26
    assert told(index) == {
        ("train/good/cam2/000.png", "deeper_folder"),
        ("train/good/cam2/deep/000.png", "deeper_folder"),
        ("test/dent/late/000.png", "deeper_folder"),
    }
    assert index.notes[0].startswith("3 images in deeper folders are not used, the first test/dent/late/000.png; move")
    assert "deeper_folder" in codes(root)


def test_images_where_no_layout_looks_are_counted_and_named(root: Path) -> None:
    for name in ("preview.png", "train/000.png", "test/000.png", "validation/good/0.png"):
        write_image(root / name)
    assert {reason for _, reason in told(open_dataset(root))} == {"outside_layout"}
    assert "outside_layout" in codes(root)


def test_tools_hidden_files_and_other_kinds_are_told_of_a_data_set_too(root: Path) -> None:
    write_image(root / "train" / "good" / ".ipynb_checkpoints" / "000-checkpoint.png")
    write_image(root / "test" / "@eaDir" / "good" / "000.png")
    write_image(root / "train" / "good" / "._000.png")
    write_image(root / "train" / "good" / "001.jpg").rename(root / "train" / "good" / "001.jfif")
    index = open_dataset(root)
    assert {reason for _, reason in told(index)} == {"tool_folder", "hidden", "other_suffix"}
    assert len(index.notes) == 3
    findings = {finding.code: finding for finding in check_dataset(root)}
    assert set(findings) == {"tool_folder", "hidden", "other_suffix"}
    assert findings["other_suffix"].paths == (root / "train" / "good" / "001.jfif",)


@needs_links
def test_folders_of_a_layout_may_be_links_and_others_are_told(root: Path, tmp_path: Path) -> None:
    (root / "test" / "good").rename(tmp_path / "good")
    (root / "test" / "good").symlink_to(tmp_path / "good")
    (root / "ground_truth").rename(tmp_path / "masks")
    (root / "ground_truth").symlink_to(tmp_path / "masks")
    (root / "train" / "good" / "more").symlink_to(tmp_path / "good")
    write_image(tmp_path / "good" / "night" / "0.png")
    index = open_dataset(root)
    assert len(index.test) == 6
    assert told(index) == {("train/good/more", "folder_link"), ("test/good/night/0.png", "deeper_folder")}


@needs_links
def test_links_that_lead_nowhere_are_unreadable_images(root: Path) -> None:
    dead = root / "train" / "good" / "004.png"
    dead.unlink()
    dead.symlink_to("/mnt/nas/gone/004.png")
    index = open_dataset(root)
    assert len(index.train_good) == 20
    finding = next(finding for finding in check_dataset(root) if finding.code == "unreadable_image")
    assert (finding.code, finding.paths, finding.blocks_training) == ("unreadable_image", (dead,), True)
    assert "leads nowhere" in finding.message


@needs_links
@pytest.mark.parametrize("name", ["test/hole", "train/good/cam2"])
def test_a_dead_link_that_may_have_been_a_folder_of_parts_is_refused(name: str, root: Path) -> None:
    (root / name).symlink_to("/mnt/nas/gone")
    with pytest.raises(DataError, match=f"part: 1 link leads nowhere: {name}; mend or remove"):
        open_dataset(root)


@pytest.mark.parametrize("name", ["train/good", "test/dent", "test/dent/late", "ground_truth/dent"])
def test_a_folder_without_rights_is_refused_by_name(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / name).mkdir(exist_ok=True)
    scandir = os.scandir

    def without_rights(place: Path) -> object:
        if Path(place) == root / name:
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr("blemish.datasets.listing.os.scandir", without_rights)
    with pytest.raises(DataError, match=f"(1 folder cannot be listed: {name}|check the rights)"):
        open_dataset(root)


@pytest.mark.parametrize("name", ["OK_cam1", "pass", "gut", "i.O.", "good_2026", "Normal"])
def test_folders_of_good_parts_are_known_under_many_names(name: str, root: Path) -> None:
    (root / "test" / "good").rename(root / "test" / name)
    index = open_dataset(root)
    assert (index.count("test", 0), index.count("test", 1)) == (3, 3)
    assert index.questions == ()


@pytest.mark.parametrize("name", ["not_good", "NOK", "n.i.O.", "no-good", "ng"])
def test_folders_that_deny_good_hold_defects(name: str, root: Path) -> None:
    write_image(root / "test" / name / "0.png")
    index = open_dataset(root)
    assert index.defect_types == ("dent", name) or index.defect_types == (name, "dent")
    assert index.questions == ()


@pytest.mark.parametrize("name", ["cam2", "2026-11-03", "unlabeled", "old_overlays", "batch 7"])
def test_a_folder_whose_name_says_nothing_is_not_evaluated_and_asked_about(name: str, root: Path) -> None:
    write_image(root / "test" / name / "0.png")
    index = open_dataset(root)
    assert len(index.test) == 6
    assert [item.path.parent.name for item in index.unlabeled] == [name]
    expected = f"1 images in test/{name} are not used, because the name of the folder says neither good nor defective"
    assert index.notes[0].startswith(expected)
    assert f"for example to good_{name} or defect_{name}" in index.notes[0]
    assert "unclear_folder" in codes(root)


def test_a_folder_of_an_unknown_word_counts_as_a_defect_and_is_asked_about(root: Path) -> None:
    write_image(root / "test" / "bra" / "0.png")
    write_image(root / "test" / "fin" / "0.png")
    index = open_dataset(root)
    assert index.defect_types == ("bra", "dent", "fin")
    assert index.notes[0].startswith("test/bra, test/fin count as kinds of defects, because their names do not say")
    assert "unclear_folder" in codes(root)
    write_mask(root / "ground_truth" / "bra" / "0_mask.png")
    write_mask(root / "ground_truth" / "fin" / "0.png")
    assert open_dataset(root).questions == ()  # masks say that these are defects


def test_a_numbered_folder_with_masks_is_a_kind_of_defect(root: Path) -> None:
    write_image(root / "test" / "001" / "0.png")
    write_mask(root / "ground_truth" / "001" / "0_mask.png")
    assert open_dataset(root).defect_types == ("001", "dent")


def test_masks_beside_images_are_left_out_of_good_folders_and_used_for_defects(root: Path) -> None:
    write_mask(root / "train" / "good" / "000_mask.png", is_empty=True)
    write_mask(root / "test" / "good" / "000.bmp", is_empty=True)
    write_image(root / "test" / "chip" / "0.jpg")
    write_mask(root / "test" / "chip" / "0.png")
    index = open_dataset(root)
    assert told(index) == {("train/good/000_mask.png", "mask"), ("test/good/000.bmp", "mask")}
    assert len(index.train_good) == 20
    [chip] = [item for item in index.test if item.defect_type == "chip"]
    assert (chip.path.name, chip.mask_path) == ("0.jpg", root / "test" / "chip" / "0.png")


@pytest.mark.parametrize("name", ["labels", "GT", "gt_masks", "annotations", "Masks", "ground-truth", "label"])
def test_folders_of_masks_are_known_by_name_and_look(name: str, tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / "good" / f"{number}.png")
        write_image(tmp_path / "scratch" / f"{number}.png")
        write_mask(tmp_path / name / "scratch" / f"{number}.png")
        write_mask(tmp_path / "scratch" / name / f"{number}.png")
    index = open_dataset(tmp_path)
    assert index.defect_types == ("scratch",)
    assert {item.mask_path.parent for item in index.items if item.mask_path} == {tmp_path / name / "scratch"}
    assert index.left_out == ()


def test_photographs_in_a_folder_named_after_masks_are_images(root: Path) -> None:
    for name in ("label", "masks"):
        write_image(root / "test" / name / "0.png")
    index = open_dataset(root)
    assert index.defect_types == ("dent", "label", "masks")
    assert {question.folder.name for question in index.questions} == {"label", "masks"}


def test_masks_without_a_folder_for_each_kind(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "good" / f"{number}.png")
        write_image(tmp_path / "bad" / f"b{number}.jpg")
    write_mask(tmp_path / "masks" / "b1_mask.png")
    (tmp_path / "masks" / "b2.png").write_bytes(b"broken")
    index = open_dataset(tmp_path)
    masks = [item.mask_path and item.mask_path.name for item in index.test]
    assert masks == [None, "b1_mask.png", "b2.png"]


PLACES = (
    *("", "train", "train/good", "train/good/a", "test", "test/OK", "test/dent", "test/dent/b", "test/cam1"),
    *("ground_truth/dent", "validation/good", "@eaDir", "train/good/.x"),
)
FILES = st.sets(
    st.tuples(
        st.sampled_from(PLACES),
        st.sampled_from(["0.png", "1.jpg", "0_mask.png", ".2.png", "3.gif", "4.txt"]),
    ),
    max_size=20,
)


@given(FILES)
@settings(deadline=None, max_examples=60)
def test_every_image_is_an_item_a_mask_or_left_out(files: set[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_image(root / "train" / "good" / "first.png")
        for folder, name in files:
            make = write_mask if "mask" in name or "ground_truth" in folder else write_image
            path = root / folder / name
            make(path.with_suffix(".png")).rename(path)
        index = open_dataset(root)
        items = {item.path for item in index.items}
        left_out = {item.path for item in index.left_out}
        masks = {item.mask_path for item in index.items}
        assert len(left_out) == len(index.left_out)
        assert not items & left_out
        for path in root.rglob("*"):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and "ground_truth" not in path.parts:
                assert (path in items) + (path in left_out) + (path in masks) == 1
