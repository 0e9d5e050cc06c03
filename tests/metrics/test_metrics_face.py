"""The island's public face: every name is there, stands in the documentation, and needs NumPy alone."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from blemish import metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
MODULES = [f"blemish.metrics.{module.name}" for module in pkgutil.iter_modules(metrics.__path__)]


def test_every_public_name_is_found_where_the_table_says():
    assert sorted(metrics.__all__) == metrics.__all__ == dir(metrics)
    assert set(metrics._HOMES) == set(metrics.__all__)
    for name in metrics.__all__:
        assert getattr(metrics, name).__module__.startswith("blemish.metrics.")
        assert getattr(metrics, name).__doc__
    with pytest.raises(AttributeError, match="accuracy_of_everything"):
        metrics.accuracy_of_everything  # noqa: B018


def test_no_function_is_hidden_by_a_module_of_its_name():
    assert not {module.rpartition(".")[2] for module in MODULES} & set(metrics.__all__)


def test_only_numpy_is_loaded():
    code = f"""
import sys
import {", ".join(MODULES)}
unwanted = {{"scipy", "cv2", "sklearn", "onnx", "onnxruntime", "torch", "matplotlib", "pydantic"}}
print(sorted(unwanted & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_examples_on_the_page_run():
    failures, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failures == 0
    assert tried >= 10


def test_the_page_names_every_metric():
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in metrics.__all__ if f"`{name}" not in text and f"{name}(" not in text]
    assert missing == []
