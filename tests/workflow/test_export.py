"""What is exported gives the same verdicts without the package: in Python, and in C++ where there is a compiler."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.errors import EngineError
from blemish.images.resize import resize_image
from blemish.inspection.inspector import Inspector
from blemish.runtime.engines import what_lacks
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.schema import Rule
from blemish.testing.tiny import TinyProduct
from blemish.workflow import export as exporting
from blemish.workflow.export import Form, export

FORMS = [
    "onnx",
    pytest.param("openvino", marks=pytest.mark.skipif(bool(what_lacks("openvino")), reason=what_lacks("openvino"))),
]


@pytest.fixture(params=FORMS)
def folder(request: pytest.FixtureRequest, bundle: Bundle, tmp_path: Path) -> Path:
    """The bundle with a review threshold, exported."""
    form: Form = request.param
    export(with_review(bundle), tmp_path / "exported ä", to=form)
    return tmp_path / "exported ä"


def with_review(bundle: Bundle) -> Bundle:
    """Half of the good images are put up for review, so that all three decisions are met."""
    calibration = bundle.calibration
    middle = float(np.median(calibration.good_scores))
    return replace(bundle, calibration=replace(calibration, review_threshold=middle))


@pytest.fixture
def pictures(product: TinyProduct, tmp_path: Path) -> list[Path]:
    """Images of several sizes as binary PPM: as large as the input, twice that, odd, and smaller one way or both."""
    images = [*product.held_out[:3], *(defect.image for defect in product.defects[:3])]
    sizes = [(64, 64), (128, 128), (150, 97), (201, 64), (40, 130), (33, 50)]
    paths = []
    for number, (image, hw) in enumerate(zip(images, sizes, strict=True)):
        path = tmp_path / f"{number}.ppm"
        enlarged = cv2.resize(image, hw[::-1], interpolation=cv2.INTER_CUBIC)
        path.write_bytes(cv2.imencode(".ppm", enlarged[..., ::-1])[1].tobytes())
        paths.append(path)
    return paths


def expected(bundle: Bundle, paths: list[Path]) -> list[tuple[str, float]]:
    inspector = Inspector(with_review(bundle))
    verdicts = [inspector.inspect_image(cv2.imread(str(path))[..., ::-1].copy(), "") for path in paths]
    return [(verdict.decision, verdict.score) for verdict in verdicts]


def printed(command: list[str]) -> list[tuple[str, float]]:
    # Without the package on its way, as on another machine.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [(row[0], float(row[1])) for row in rows]


def assert_same(found: list[tuple[str, float]], wanted: list[tuple[str, float]], rel: float) -> None:
    assert [decision for decision, _ in found] == [decision for decision, _ in wanted]
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted], rel=rel)


def test_the_python_program_gives_the_same_verdicts(folder: Path, bundle: Bundle, pictures: list[Path]) -> None:
    found = printed([sys.executable, str(folder / "inspect_image.py"), str(folder), *map(str, pictures)])
    assert_same(found, expected(bundle, pictures), 1e-3)
    assert len({decision for decision, _ in found}) > 1


def test_the_programs_import_nothing_of_the_package(folder: Path) -> None:
    programs = sorted(folder.rglob("*.py"))
    assert {"inspect_image.py", "read_file.py", "tiff.py"} <= {path.name for path in programs}
    for path in programs:
        text = path.read_text(encoding="utf-8")
        assert "import blemish" not in text, path
        assert "from blemish" not in text, path


@pytest.fixture(scope="module")
def cpp_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ program, compiled against the OpenVINO that pip installed."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C++ compiler on this Linux machine" if sys.platform == "linux" else "built on Linux alone")
    spec = importlib.util.find_spec("openvino")
    if spec is None or spec.origin is None:
        pytest.skip("OpenVINO is not installed: its headers and library come with it")
    home = Path(spec.origin).parent
    libraries = sorted((home / "libs").glob("libopenvino.so*"))
    if not libraries or not (home / "include").is_dir():
        pytest.skip("this OpenVINO comes without headers or library")
    program = tmp_path_factory.mktemp("cpp") / "inspect_image"
    source = Path(exporting.__file__).parents[1] / "samples" / "inspect_image.cpp"
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", str(source), "-isystem"]
    command += [str(home / "include"), str(libraries[0]), f"-Wl,-rpath,{home / 'libs'}", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def test_the_cpp_program_gives_the_same_verdicts(
    cpp_program: Path, folder: Path, bundle: Bundle, pictures: list[Path]
) -> None:
    found = printed([str(cpp_program), str(folder), *map(str, pictures)])
    wanted = expected(bundle, pictures)
    # Where no side grows the pixels are the same ones; growing rounds otherwise by one level here and there.
    assert_same(found[:4], wanted[:4], 1e-3)
    assert_same(found, wanted, 3e-2)


def test_the_cpp_program_says_what_is_wrong(cpp_program: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(cpp_program), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "model.json has no score_decides"


def test_the_check_images_have_the_verdicts_that_are_written_beside_them(folder: Path) -> None:
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    paths = [str(folder / row["file"]) for row in facts["check"]]
    found = printed([sys.executable, str(folder / "inspect_image.py"), str(folder), *paths])
    wanted = [(row["decision"], max(row["score"], 0.1)) for row in facts["check"]]
    # Fit images lie at distance zero, where the square root makes the most of rounding.
    assert_same([(decision, max(score, 0.1)) for decision, score in found], wanted, 1e-3)


def test_the_facts_say_all_that_a_program_needs(folder: Path, bundle: Bundle) -> None:
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (facts["input_height"], facts["input_width"], facts["resize_rule"]) == (64, 64, "area")
    assert facts["image_threshold"] == bundle.calibration.image_threshold
    assert facts["graph"] in facts["files_sha256"]
    for name, digest in facts["files_sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert facts["bundle_id"] in page
    assert "{" not in page.replace("{margin}", "")


def test_a_bundle_with_rules_is_exported_with_a_warning_and_refused_by_the_program(
    bundle: Bundle, tmp_path: Path
) -> None:
    ruled = replace(bundle, calibration=replace(bundle.calibration, rules=(Rule("ignore", "spot"),)))
    assert not export(ruled, tmp_path, to="onnx").score_decides
    assert "has a zone or rules" in (tmp_path / "README.md").read_text(encoding="utf-8")
    program = [sys.executable, str(tmp_path / "inspect_image.py"), str(tmp_path), str(tmp_path / "check" / "0.ppm")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.strip().endswith("verdicts need the package")


def test_a_graph_that_says_otherwise_is_not_exported(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(GraphRunner):
        def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value + np.float32(10) for name, value in super().run(inputs).items()}

    monkeypatch.setattr(exporting, "_open", lambda graphs, to: Session(Off(graphs["graph.onnx"])))
    with pytest.raises(EngineError, match="nothing was exported: in the form onnx"):
        export(bundle, tmp_path / "exported", to="onnx")
    assert not (tmp_path / "exported").exists()


def test_the_rule_of_the_program_is_that_of_the_package(product: TinyProduct) -> None:
    """The Python program's own `resize`, on every kind of change of size."""
    spec = importlib.util.spec_from_file_location(
        "inspect_image", Path(exporting.__file__).parents[1] / "samples" / "inspect_image.py"
    )
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    for hw in [(64, 64), (32, 32), (20, 50), (90, 40), (40, 90), (128, 77)]:
        np.testing.assert_array_equal(
            program.resize(product.good[0], *hw), resize_image(product.good[0], hw), err_msg=str(hw)
        )


BAD_PPM = {
    "gone.ppm": None,
    "empty.ppm": b"",
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "gray.ppm": b"P5 20 20 255\n" + bytes(400),
    "wide.ppm": b"P6 20 20 65535\n" + bytes(2400),
    "cut.ppm": b"P6 20 20 255\n" + bytes(1199),
    "small.ppm": b"P6 15 20 255\n" + bytes(900),
    "huge.ppm": b"P6 4000000000 4000000000 255\n" + bytes(99),
    "negative.ppm": b"P6 -20 -20 255\n" + bytes(1200),
    "large.ppm": b"P6 30000 30000 255\n" + bytes(99),
}


def test_the_cpp_program_refuses_bad_files_in_one_line_and_judges_the_rest(
    cpp_program: Path, folder: Path, tmp_path: Path
) -> None:
    for name, content in BAD_PPM.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    bad = [str(tmp_path / name) for name in BAD_PPM]
    good = str(folder / "check" / "0.ppm")
    command = [str(cpp_program), str(folder), *bad, str(tmp_path), good]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 2
    assert [line.split(maxsplit=2)[2] for line in done.stdout.splitlines()] == [good]
    lines = done.stderr.splitlines()
    assert len(lines) == len(bad) + 1
    for line, path in zip(lines, [*bad, str(tmp_path)], strict=True):
        assert line.startswith(f"{path}: ")
