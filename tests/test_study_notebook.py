"""The notebook of the study: stored clean, and it runs from top to bottom, again after a disconnect."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "study.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
BUDGET = {
    "DETECTORS": ["template", "cae"],
    "EPOCHS": 3,
    "SETTINGS": {"cae": {"width": 4}},
    "SIZE": 64,
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the notebook displays; stands in for the display of the program that runs notebooks."""
    found: list[str] = []
    fake = ModuleType("IPython.display")
    fake.HTML = str  # type: ignore[attr-defined]
    fake.display = found.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return found


def run_notebook(choices: dict[str, Any], say: Callable[..., None] = print) -> dict[str, Any]:
    """The names that the notebook leaves behind, run with other values for its parameters."""
    names: dict[str, Any] = {"print": say}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"study.ipynb, cell {cell['id']}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                unknown = choices.keys() - names.keys()
                assert not unknown, f"no parameters of the notebook: {unknown}"
                names.update(choices)
    return names


def test_no_outputs_are_stored_and_every_cell_has_a_name_of_its_own() -> None:
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    names = [cell["id"] for cell in CELLS]
    assert len(set(names)) == len(names)
    assert sum("parameters" in cell["metadata"].get("tags", ()) for cell in CELLS) == 1


def test_it_goes_on_after_a_disconnect_and_does_nothing_twice(
    shown: list[str], product_folder: Path, tmp_path: Path
) -> None:
    choices = {"DATA": product_folder, "STUDY": tmp_path / "drive" / "study", **BUDGET}
    said: list[str] = []

    def disconnect(*words: object, **_: Any) -> None:
        if "training cae" in str(words[0]) and "2 of 3" in str(words[0]):
            raise KeyboardInterrupt

    def listen(*words: object, **_: Any) -> None:
        said.append(str(words[0]).strip())

    with pytest.raises(KeyboardInterrupt):
        run_notebook(choices, disconnect)
    assert list((choices["STUDY"] / "checkpoints").rglob("last.ckpt")), "checkpoints lie on the drive"

    names = run_notebook(choices, listen)
    trained = [line for line in said if line.startswith("training cae")]
    assert "0 of 3" not in trained[0], "the training went on where it was cut off"
    assert "1 new of 2 results" in said
    assert {row["detector"] for row in names["outcome"].rows} == {"template", "cae"}
    assert names["outcome"].rows[1]["model"]["settings"]["epochs"] == 3
    for file in ("index.html", "study.csv", "averages.csv", "study.json", "tables.tex"):
        assert (choices["STUDY"] / file).exists()
    assert any("<table>" in content and "reject all" in content for content in shown)

    said.clear()
    run_notebook(choices, listen)
    assert "0 new of 2 results" in said


def test_without_data_it_draws_some(shown: list[str], tmp_path: Path) -> None:
    names = run_notebook({"STUDY": tmp_path, **BUDGET, "DETECTORS": ["template"]}, lambda *_, **__: None)
    [row] = names["outcome"].rows
    assert row["category"] == "drawn part"
    assert (row["num_good"], row["num_defective"]) == (20, 20)
