"""Names are taken in any spelling; where none matches, the message names the one that was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.images.resize import check_side
from blemish.registry import DETECTORS, SINKS, detector_name
from blemish.spelling import did_you_mean, find_name

TINY = ("--detector", "template", "--size", "64")


@pytest.mark.parametrize("name", ["Template", "TEMPLATE", "tem-plate"])
def test_a_detector_is_found_in_any_spelling(run: Any, product_folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "part.blemish"
    found = run("train", product_folder, "-o", path, "--detector", name, "--size", "64", "--set", "Cell=8", "--json")
    assert found.json["detector"] == "template"
    assert run("info", path, "--json").json["settings"]["cell"] == 8


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("--detector", "patchcor"), "patchcore"),
        (("--detector", "student-techer"), "student_teacher"),
        (("--preset", "fats"), "fast"),
        (("--set", "bank_siz=5"), "bank_size"),
        (("--backbone", "efficientnet-lite"), "efficientnet-lite0"),
        (("--device", "cudaa"), "cuda"),
        (("--device=cudaa",), "cuda"),
        (("--calibration", "spit"), "split"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_nearly_right_is_guessed(
    run: Any, product_folder: Path, tmp_path: Path, arguments: tuple[str, ...], meant: str
) -> None:
    outcome = run("train", product_folder, "-o", tmp_path / "part.blemish", *arguments)
    assert outcome.status == 2
    assert f"did you mean '{meant}'?" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("inspect", "BUNDLE", "GOOD", "--engine", "onnx-runtime2"), "onnxruntime"),
        (("verify", "BUNDLE", "--engine", "openvin"), "openvino"),
        (("inspect", "BUNDLE", "GOOD", "--sink", "overlay:x"), "overlays"),
        (("inspect", "BUNDLE", "camra:0"), "camera"),
        (("compare", "DATA", "--detectors", "template,padmi"), "padim"),
        (("export", "BUNDLE", "-o", "x", "--to", "openvin"), "openvino"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else words,
)
def test_so_it_is_with_engines_sinks_sources_and_choices(
    run: Any, bundle_path: Path, product_folder: Path, words: tuple[str, ...], meant: str
) -> None:
    places = {"BUNDLE": bundle_path, "GOOD": product_folder / "test" / "good", "DATA": product_folder}
    outcome = run(*(places.get(word, word) for word in words))
    assert outcome.status == 2
    assert f"did you mean '{meant}'?" in outcome.stderr


def test_a_folder_that_is_not_there_is_guessed_from_its_neighbors(
    run: Any, bundle_path: Path, product_folder: Path
) -> None:
    test = product_folder / "test"
    assert f"did you mean {test / 'scratch'}?" in run("inspect", bundle_path, test / "Scratchs").stderr
    missing = product_folder.parent / "tiny produkt"
    assert f"did you mean {product_folder}?" in run("train", missing, "-o", "x.blemish").stderr
    assert f"did you mean {bundle_path}?" in run("info", bundle_path.with_name("tinny.blemish")).stderr
    wrong = ("calibrate", bundle_path, "--cost-escape", "5", "--defective", test / "sratch")
    assert f"did you mean {test / 'scratch'}?" in run(*wrong).stderr


@pytest.mark.parametrize("size", ["250", "65", "33"])
def test_a_size_is_never_rounded(run: Any, product_folder: Path, tmp_path: Path, size: str) -> None:
    outcome = run("train", product_folder, "-o", tmp_path / "x", "--detector", "template", "--size", size)
    assert outcome.status == 2
    assert f"size {size} is not a multiple of 32; use " in outcome.stderr
    outcome = run("compare", product_folder, "--detectors", "template", "--size", size, "-o", tmp_path / "study")
    assert outcome.status == 2
    assert "use " in outcome.stderr


@given(st.integers(32, 10_000))
def test_the_sizes_proposed_are_the_nearest(size: int) -> None:
    if size % 32 == 0:
        assert check_side(size) == size
        return
    with pytest.raises(ValueError, match=r"use (\d+)") as error:
        check_side(size)
    first = int(str(error.value).partition("use ")[2].split()[0])
    assert first % 32 == 0
    assert abs(first - size) <= 16


@given(st.sampled_from([*DETECTORS]), st.data())
def test_case_and_hyphens_never_matter(name: str, data: st.DataObject) -> None:
    letters = [
        data.draw(st.sampled_from([letter, letter.upper()])) if letter != "_" else data.draw(st.sampled_from("_- "))
        for letter in name
    ]
    assert detector_name("".join(letters)) == name


@given(st.text(), st.lists(st.text(), max_size=5))
def test_only_known_names_are_found_or_guessed(name: str, known: list[str]) -> None:
    found = find_name(name, known)
    assert found is None or found in known
    guess = did_you_mean(name, known)
    assert guess == "" or any(guess == f"; did you mean '{each}'?" for each in known)


def test_two_names_that_differ_in_signs_alone_are_not_confused() -> None:
    assert find_name("AB", ["a_b", "ab"]) is None
    assert find_name("ab", ["a_b", "ab"]) == "ab"
    assert find_name("overlays", SINKS) == "overlays"
