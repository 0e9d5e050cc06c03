"""The index names a data set's content by one fingerprint that any change alters."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.datasets.index import DatasetIndex, hash_files, open_dataset
from blemish.errors import DataError


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((20, 20), value, np.uint8))[1].tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "part"
    for number in range(3):
        write(root / "train" / "good" / f"{number}.png", number)
    write(root / "test" / "good" / "0.png", 10)
    write(root / "test" / "dent" / "0.png", 20)
    write(root / "ground_truth" / "dent" / "0_mask.png", 255)
    return root


def fingerprint(root: Path) -> str:
    return open_dataset(root).fingerprint


def test_the_same_files_give_the_same_fingerprint_in_any_place(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "elsewhere" / "other name")
    assert fingerprint(root) == fingerprint(tmp_path / "elsewhere" / "other name")
    assert len(fingerprint(root)) == 64


@pytest.mark.parametrize("changed", ["train/good/1.png", "test/dent/0.png", "ground_truth/dent/0_mask.png"])
def test_a_changed_image_or_mask_gives_another_fingerprint(changed: str, root: Path) -> None:
    before = fingerprint(root)
    write(root / changed, 99)
    assert fingerprint(root) != before


def test_a_renamed_added_removed_or_relabeled_image_gives_another_fingerprint(root: Path) -> None:
    seen = {fingerprint(root)}
    (root / "train" / "good" / "1.png").rename(root / "train" / "good" / "9.png")
    seen.add(fingerprint(root))
    write(root / "train" / "good" / "4.png", 4)
    seen.add(fingerprint(root))
    (root / "train" / "good" / "4.png").unlink()
    (root / "train" / "good" / "0.png").unlink()
    seen.add(fingerprint(root))
    (root / "test" / "dent").rename(root / "test" / "crack")
    seen.add(fingerprint(root))
    assert len(seen) == 5


def test_a_folder_of_masks_counts_for_the_fingerprint(root: Path) -> None:
    (root / "ground_truth" / "dent" / "0_mask.png").unlink()
    write(root / "ground_truth" / "dent" / "0" / "000.png", 255)
    before = fingerprint(root)
    write(root / "ground_truth" / "dent" / "0" / "001.png", 254)
    assert fingerprint(root) != before


def test_hashes_are_those_of_the_files(root: Path) -> None:
    index = open_dataset(root)
    assert {item.sha256 for item in index.items} == {""}
    hashed = index.with_hashes()
    for item in hashed.items:
        assert item.sha256 == hashlib.sha256(item.path.read_bytes()).hexdigest()
    assert hashed.fingerprint == index.fingerprint


def test_a_file_that_cannot_be_read_has_no_hash_and_is_named(root: Path) -> None:
    whole, path = fingerprint(root), root / "train" / "good" / "1.png"
    path.unlink()
    path.symlink_to("/mnt/nas/gone/1.png")
    index = open_dataset(root)
    assert [item.path.name for item in index.with_hashes().items if not item.sha256] == ["1.png"]
    assert index.fingerprint == open_dataset(root).fingerprint != whole
    with pytest.raises(DataError, match=r"1\.png: this link leads nowhere \(to /mnt/nas/gone/1\.png\)"):
        hash_files([path])
    assert hash_files([]) == ()


def test_an_index_without_some_images(root: Path) -> None:
    index = open_dataset(root)
    path = root / "train" / "good" / "1.png"
    smaller = index.without([path])
    assert [item.path.name for item in smaller.train_good] == ["0.png", "2.png"]
    assert len(index.train_good) == 3
    assert smaller.fingerprint != index.fingerprint


def test_counts_and_relative_paths(root: Path) -> None:
    index: DatasetIndex = open_dataset(root)
    assert index.count("train", 0) == 3
    assert index.count("test", 1) == 1
    assert index.count("test", None) == 0
    assert index.relative(root / "test" / "dent" / "0.png") == "test/dent/0.png"
    assert index.relative(root.parent / "outside.png") == "../outside.png"


def test_a_relative_root_has_the_name_of_its_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert open_dataset(Path(".")).name == "part"
