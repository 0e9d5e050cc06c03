"""What bad input gets: one line that names the file and the remedy, exit status 2, nothing half written."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from blemish.testing.tiny import TinyProduct, write_png

TINY = ("--detector", "template", "--size", "64")


def one_line(outcome, *words: str) -> None:
    assert outcome.status == 2
    assert outcome.stdout == ""
    [line] = outcome.stderr.strip().splitlines()
    for word in words:
        assert word in line


@pytest.fixture
def good(tmp_path: Path, product: TinyProduct) -> Path:
    folder = tmp_path / "good parts ö"
    for number, image in enumerate(product.good[:8]):
        write_png(folder / f"{number}.png", image)
    return folder


@pytest.fixture
def bundle_file(tmp_path: Path) -> Path:
    return tmp_path / "part.blemish"


def test_no_folder(run, tmp_path: Path, bundle_file: Path) -> None:
    one_line(run("train", tmp_path / "none", "-o", bundle_file, *TINY), "no such folder")


def test_an_empty_folder(run, tmp_path: Path, bundle_file: Path) -> None:
    (tmp_path / "empty").mkdir()
    one_line(run("train", tmp_path / "empty", "-o", bundle_file, *TINY), "empty")
    assert not bundle_file.exists()


def test_one_good_image(run, tmp_path: Path, bundle_file: Path, product: TinyProduct) -> None:
    write_png(tmp_path / "one" / "0.png", product.good[0])
    one_line(run("train", tmp_path / "one", "-o", bundle_file, *TINY), "1 good image", "at least 2")


def test_a_folder_of_text_files(run, tmp_path: Path, bundle_file: Path) -> None:
    (tmp_path / "text").mkdir()
    for number in range(5):
        (tmp_path / "text" / f"{number}.txt").write_text("not an image", encoding="utf-8")
    one_line(run("train", tmp_path / "text", "-o", bundle_file, *TINY), "text")


def test_unreadable_images_are_counted_and_named(run, good: Path, bundle_file: Path) -> None:
    (good / "2.png").write_bytes((good / "2.png").read_bytes()[:100])
    (good / "5.png").write_bytes(b"not an image")
    one_line(
        run("train", good, "-o", bundle_file, *TINY),
        "2 of 8 training images cannot be read",
        "2.png",
        "--skip-unreadable",
    )
    assert not bundle_file.exists()
    outcome = run("train", good, "-o", bundle_file, *TINY, "--skip-unreadable")
    assert outcome.status == 0
    assert "2.png" in outcome.stderr
    assert "5.png" in outcome.stderr


def test_images_of_mixed_sizes_are_taken(run, good: Path, bundle_file: Path) -> None:
    write_png(good / "large.png", np.full((100, 90, 3), 120, np.uint8))
    assert run("train", good, "-o", bundle_file, *TINY).status == 0


def test_an_image_of_one_pixel(run, good: Path, bundle_file: Path) -> None:
    write_png(good / "dot.png", np.zeros((1, 1, 3), np.uint8))
    one_line(run("train", good, "-o", bundle_file, *TINY), "dot.png", "1 x 1")


def test_an_image_beyond_the_limit_is_refused_by_its_header(run, good: Path, bundle_file: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (good / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    one_line(run("train", good, "-o", bundle_file, *TINY), "huge.png", "30000")


def test_a_bundle_that_is_none(run, tmp_path: Path, good: Path) -> None:
    path = tmp_path / "no.blemish"
    path.write_bytes(b"PK nothing")
    for command in (("info", path), ("inspect", path, good), ("calibrate", path)):
        one_line(run(*command), "no.blemish", "not a whole bundle file")


def test_an_unknown_detector_names_the_likely_one_or_all(run, good: Path, bundle_file: Path) -> None:
    one_line(run("train", good, "-o", bundle_file, "--detector", "patchcoer"), "patchcoer", "did you mean 'patchcore'?")
    one_line(run("train", good, "-o", bundle_file, "--detector", "yolo"), "yolo", "patchcore, padim")


@pytest.mark.parametrize(
    ("setting", "words"),
    [("cel=4", "no setting 'cel'"), ("cell", "key=value"), ("cell=0", "cell"), ("cell=many", "cell")],
)
def test_a_wrong_setting_is_named(run, good: Path, bundle_file: Path, setting: str, words: str) -> None:
    one_line(run("train", good, "-o", bundle_file, *TINY, "--set", setting), words)


@pytest.mark.parametrize("size", ["big", "100x", "33x64", "8"])
def test_a_wrong_size_is_explained(run, good: Path, bundle_file: Path, size: str) -> None:
    one_line(run("train", good, "-o", bundle_file, "--detector", "template", "--size", size), size)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user without all rights")
def test_an_output_that_cannot_be_written(run, good: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    one_line(run("train", good, "-o", locked / "part.blemish", *TINY), "cannot be written")


def test_an_output_below_a_file(run, good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    one_line(run("train", good, "-o", tmp_path / "file" / "part.blemish", *TINY), "file")


def test_a_failed_training_leaves_the_old_bundle(run, good: Path, bundle_file: Path) -> None:
    run("train", good, "-o", bundle_file, *TINY)
    before = bundle_file.read_bytes()
    (good / "0.png").write_bytes(b"")
    assert run("train", good, "-o", bundle_file, *TINY).status == 2
    assert bundle_file.read_bytes() == before


def test_inspecting_nothing(run, tmp_path: Path, good: Path, bundle_file: Path) -> None:
    run("train", good, "-o", bundle_file, *TINY)
    one_line(run("inspect", bundle_file, tmp_path / "nowhere"), "nowhere", "no such file")


def test_an_evaluation_needs_both_kinds(run, good: Path, bundle_file: Path) -> None:
    run("train", good, "-o", bundle_file, *TINY)
    one_line(run("evaluate", bundle_file, good), "needs good and defective")


def test_defects_among_the_training_images_are_refused(
    run, tmp_path: Path, product_folder: Path, bundle_file: Path
) -> None:
    root = Path(shutil.copytree(product_folder, tmp_path / "part"))
    shutil.copytree(root / "test" / "spot", root / "train" / "spot")
    one_line(run("train", root, "-o", bundle_file, *TINY), "train/spot")


def test_training_options_need_a_training(run, good: Path, bundle_file: Path) -> None:
    one_line(run("train", good, "-o", bundle_file, *TINY, "--device", "cuda"), "no training")


def test_a_fault_of_ours_ends_with_status_3(
    run, good: Path, bundle_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blemish.model.write_bundle", lambda bundle, path: 1 // 0)
    outcome = run("train", good, "-o", bundle_file, *TINY)
    assert outcome.status == 3
    assert "a fault in the program: ZeroDivisionError" in outcome.stderr


def test_a_mirror_needs_an_address_of_the_web(run, tmp_path: Path) -> None:
    fetch = ("data", "fetch", "mvtec-ad", "--accept-license", "-o", tmp_path)
    one_line(run(*fetch, "--base-url", "shelf/two"), "shelf/two: give an address that begins with https://")


def test_an_unknown_preset(run, good: Path, bundle_file: Path) -> None:
    one_line(run("train", good, "-o", bundle_file, "--preset", "quick"), "no preset 'quick'", "it has fast, balanced")
    one_line(run("train", good, "-o", bundle_file, *TINY, "--preset", "fast"), "template", "it has none")
    assert not bundle_file.exists()
