"""What cannot be promised or grouped is refused in one line that says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from blemish.testing.tiny import TinyProduct, write_png

TINY = ("--detector", "template", "--size", "64", "--no-sensitivity")


@pytest.fixture
def good(tmp_path: Path, product: TinyProduct) -> Path:
    for number, image in enumerate(product.good[:12]):
        write_png(tmp_path / "good" / f"part{number // 2}_{number % 2}.png", image)
    return tmp_path / "good"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trust", "part9_9.png"), ["--trust part9_9.png", "no good image of this name", "part"]),
        (("--group-by", "^lot"), ["matches nothing in 12 of 12 names", "give a pattern"]),
        (("--group-by", "^part"), ["12 of 12 images are in the group 'part'", "at most half"]),
        (("--group-by", "("), ["not a regular expression"]),
        (("--max-ms", "0"), ["--max-ms 0", "over 0"]),
    ],
)
def test_a_wish_that_cannot_be_met(run, good: Path, tmp_path: Path, options: tuple[str, ...], words: list[str]) -> None:
    outcome = run("train", good, "-o", tmp_path / "part.blemish", *TINY, *options)
    assert outcome.status == 2
    assert outcome.stderr.count("\n") == 1
    assert all(word in outcome.stderr for word in words), outcome.stderr
    assert not (tmp_path / "part.blemish").exists()


def test_too_little_time_for_the_smallest_size(run, product: TinyProduct, tmp_path: Path) -> None:
    for number, image in enumerate([*product.good, *product.held_out, *product.good]):
        large = cv2.resize(image, (520, 520), interpolation=cv2.INTER_CUBIC)
        write_png(tmp_path / "good" / f"{number}.png", large)
    outcome = run("train", tmp_path / "good", "-o", tmp_path / "part.blemish", "--max-ms", "0.001")
    assert outcome.status == 2
    assert "--max-ms 0.001: the smallest input, 256 x 256, takes" in outcome.stderr
    assert "allow more, or give --size" in outcome.stderr


def test_good_images_that_are_all_one(run, good: Path, tmp_path: Path) -> None:
    first, *others = sorted(good.iterdir())
    for path in others:
        shutil.copy(first, path)
    outcome = run("train", good, "-o", tmp_path / "part.blemish", *TINY)
    assert outcome.status == 2
    [line] = outcome.stderr.splitlines()
    assert "all 12 good images score 0" in line
    assert "look for copies of one image" in line
