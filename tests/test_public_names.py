"""The public names are those listed, each with a docstring and an example, and none is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import blemish


def test_the_list_is_sorted_and_each_name_is_there() -> None:
    assert list(blemish.__all__) == sorted(blemish.__all__)
    assert 20 <= len(blemish.__all__) <= 30
    for name in blemish.__all__:
        assert ">>> " in getattr(blemish, name).__doc__, f"{name} has no example"


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert blemish.__version__ == version("blemish")


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import blemish; took = time.perf_counter() - start\n"
        "heavy = {'numpy', 'cv2', 'onnx', 'onnxruntime', 'matplotlib', 'pydantic', 'torch'} & set(sys.modules)\n"
        "print(took, sorted(heavy))"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        took, heavy = done.stdout.split(maxsplit=1)
        assert heavy.strip() == "[]"
        seconds.append(float(took))
    assert min(seconds) < 0.3
