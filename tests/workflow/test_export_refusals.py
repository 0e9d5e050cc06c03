"""The exported programs refuse the files that the package refuses: one line each, and the others are judged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import tests.images.bmp_webp_rows
import tests.images.png_jpeg_rows
import tests.images.tiff_rows  # noqa: F401 (the three declare the rows)
from blemish.bundle.bundle import Bundle
from blemish.errors import ImageError
from blemish.images.decode import read_image
from blemish.inspection.inspector import Inspector
from blemish.model import Model, train
from blemish.schema import ReadSettings
from blemish.testing.tiny import TinyProduct
from blemish.workflow.export import export
from tests.images.rows import MADE
from tests.images.writers import picture, tiff_file, tiff_page

pytestmark = pytest.mark.filterwarnings("ignore::blemish.errors.PageWarning")


@dataclass(frozen=True)
class Ended:
    """What a program said: lines of verdicts, lines of refusals, exit status."""

    verdicts: list[str]
    refusals: list[str]
    status: int


def end_of(program: list[str], *arguments: object) -> Ended:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [*program, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, check=False, env=environment, encoding="utf-8", errors="replace"
    )
    assert "Traceback" not in done.stderr
    return Ended(done.stdout.splitlines(), done.stderr.splitlines(), done.returncode)


@pytest.fixture(scope="module")
def exported(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(bundle, folder, to="onnx")
    return folder


@pytest.fixture(scope="module")
def program(exported: Path) -> list[str]:
    return [sys.executable, str(exported / "inspect_image.py"), str(exported)]


@pytest.fixture(scope="module")
def some_of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of each row of the table of containers two files that are read and four that are refused, and no files at all."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / "gone.png", folder]
    for number, make in enumerate(MADE.values()):
        left = {True: 4, False: 2}
        for place, file in enumerate(make()):
            is_refused = isinstance(file.expected, str)
            if left[is_refused]:
                left[is_refused] -= 1
                paths.append(folder / f"{number:02} {place}.bin")
                paths[-1].write_bytes(file.data)
            if not any(left.values()) or place > 300:
                break
    for name, content in {"empty.png": b"", "text.jpg": b"Tuesday", "P6.ppm": b"P6 20 20 255 " + bytes(99)}.items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


def test_python_judges_what_the_package_reads_and_refuses_the_rest(
    program: list[str], bundle: Bundle, some_of_each_kind: list[Path]
) -> None:
    inspector = Inspector(bundle)
    verdicts, refused = {}, []
    for path in some_of_each_kind:
        try:
            verdicts[str(path)] = inspector.inspect_image(read_image(path), "")
        except ImageError:
            refused.append(str(path))
    assert min(len(verdicts), len(refused)) > 40
    ended = end_of(program, *some_of_each_kind)
    assert ended.status == 2
    rows = [line.split(maxsplit=2) for line in ended.verdicts]
    assert [path for _, _, path in rows] == list(verdicts)
    assert [decision for decision, _, _ in rows] == [verdict.decision for verdict in verdicts.values()]
    scores = [verdict.score for verdict in verdicts.values()]
    np.testing.assert_allclose([float(score) for _, score, _ in rows], scores, rtol=1e-4)
    assert len(ended.refusals) == len(refused)
    for line, path in zip(ended.refusals, refused, strict=True):
        assert line.startswith(f"{path}: ")


@pytest.mark.parametrize("damage", ["no model.json", "no JSON", "no threshold", "no graph", "nothing given"])
def test_python_says_in_one_line_why_it_cannot_begin(damage: str, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    shutil.copytree(exported, folder)
    facts = folder / "model.json"
    if damage == "no model.json":
        facts.unlink()
    elif damage == "no JSON":
        facts.write_text("{", encoding="utf-8")
    elif damage == "no threshold":
        facts.write_text(facts.read_text(encoding="utf-8").replace("image_threshold", "threshold"), encoding="utf-8")
    elif damage == "no graph":
        (folder / "graph.onnx").unlink()
    given = [] if damage == "nothing given" else [folder]
    ended = end_of([sys.executable, str(folder / "inspect_image.py")], *given)
    assert (ended.status, ended.verdicts, len(ended.refusals)) == (2, [], 1)


def test_python_follows_the_bits_and_the_page_of_the_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(5):
        pages = [picture(64, 64, seed=number + 10 * place).astype(np.uint16) * 16 for place in range(2)]
        (folder / f"{number}.tif").write_bytes(tiff_file([tiff_page(page, 16) for page in pages]))
    model = train(folder, detector="template", size=64, reading=ReadSettings(bits=12, page=2))
    export(model.bundle, tmp_path / "part", to="onnx")
    paths = sorted(folder.iterdir())
    ended = end_of([sys.executable, str(tmp_path / "part" / "inspect_image.py")], tmp_path / "part", *paths)
    assert ended.status == 0
    scores = [float(line.split()[1]) for line in ended.verdicts]
    np.testing.assert_allclose(scores, [model.inspect(path).score for path in paths], rtol=1e-4)
    assert "4095, rounded" in (tmp_path / "part" / "README.md").read_text(encoding="utf-8")


def test_the_program_for_tiles_refuses_alike(
    product: TinyProduct, backbone_description: str, some_of_each_kind: list[Path], tmp_path: Path
) -> None:
    images = [np.tile(image, (2, 2, 1)) for image in product.good]
    model: Model = train(images, backbone=backbone_description, tile=64, size=64)
    export(model.bundle, tmp_path / "part", to="onnx")
    good = tmp_path / "good.png"
    good.write_bytes(cv2.imencode(".png", images[0][..., ::-1])[1].tobytes())
    few = some_of_each_kind[:12]
    ended = end_of([sys.executable, str(tmp_path / "part" / "inspect_tiles.py")], tmp_path / "part", *few, good)
    assert ended.status == 2
    assert len(ended.verdicts) + len(ended.refusals) == 13
    assert float(ended.verdicts[-1].split()[1]) == pytest.approx(model.inspect(good).score, rel=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe that nobody reads is another matter there")
def test_python_ends_quietly_where_nobody_reads_on(program: list[str], exported: Path) -> None:
    with subprocess.Popen(
        [*program, *([str(exported / "check" / "0.ppm")] * 20)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
