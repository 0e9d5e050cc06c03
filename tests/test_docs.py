"""Pages that are complete and up to date, with examples that run on the tiny product."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import blemish
from blemish.registry import DETECTORS, load_detector
from blemish.testing.tiny import TinyProduct, write_png, write_tiny_product

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_made_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    for path, text in load_tool("update_docs").pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run `make docs`"


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "blemish.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^  (\w+) ", done.stdout.split("Commands:")[1], re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        assert f"## blemish {command}" in page


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_and_setting_is_described(name: str) -> None:
    pytest.importorskip("torch")
    info = load_detector(name).INFO
    assert f"`{name}`" in TEXT
    for setting in dataclasses.fields(info.settings):
        assert f"`{setting.name}" in TEXT, f"{name}: setting {setting.name} is on no page"


def test_every_metric_name_is_described() -> None:
    names = "image_auroc image_ap image_f1_max pixel_auroc pixel_ap pixel_f1_max aupro_30 aupro_05 accuracy "
    names += "balanced_accuracy false_reject_rate escape_rate confusion_matrix per_defect separation_ratio"
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in names.split():
        assert name in page, name


def test_every_public_name_is_described() -> None:
    for name in blemish.__all__:
        assert name in TEXT, name


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def bottle(product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `bottle` beside the working directory's files, as the README's reader has it."""
    write_tiny_product(tmp_path / "bottle", product)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_python_example_runs(bottle: Path, product: TinyProduct, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(bottle / "bottle" / "test" / "broken_large" / "000.png", product.defects[0].image)
    [example] = readme_blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert (bottle / "bottle.blemish").exists()
    assert "reject" in capsys.readouterr().out


def test_the_python_page_runs(bottle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(example, "python.md", "exec"), {})
    assert "reading features: 16 of 16" in capsys.readouterr().out


def test_the_readme_commands_run(bottle: Path, product: TinyProduct) -> None:
    for number, defect in enumerate(product.defects):
        write_png(bottle / "new-parts" / f"{number}.png", defect.image)
    [console] = readme_blocks("console")
    for line in console.splitlines():
        command = shlex.split(line.removeprefix("$ blemish"))
        done = subprocess.run(
            [sys.executable, "-m", "blemish.cli.main", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert len((bottle / "out" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()) == len(product.defects)


def test_the_detector_of_the_contributing_page_works(
    product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [source] = re.findall(r"```python file=my_detector.py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_detector.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DETECTORS, "envelope", "my_detector")
    model = blemish.train(list(product.good), detector="envelope", size=64)
    good = max(model.inspect(image).score for image in product.held_out)
    assert model.inspect(product.defects[1].image).score > good
    write_png(tmp_path / "scratch.png", product.defects[1].image)
    assert model.inspect(tmp_path / "scratch.png").decision == "reject"
