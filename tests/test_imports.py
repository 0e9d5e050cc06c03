"""Who may import whom: read from the source with `ast`, imports inside functions included.

Imports under `if TYPE_CHECKING:` say a type's name and load nothing; they are left out.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import blemish

PACKAGE = Path(blemish.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

EVERYONE = {"schema", "errors", "files", "text", "boundary", "spelling"}
"""What each part may import besides its own files."""
FOUNDATION = {
    "images",
    "alignment",
    "datasets",
    "synthesis",
    "graph",
    "runtime",
    "bundle",
    "metrics",
    "registry",
    "folders",
    "weights",
}
METHODS = {"detectors", "learned", "decisions", "watching"}
BELOW = {*FOUNDATION, *METHODS, "inspection", "line"}
"""Everything under the recipes."""
MAY_IMPORT: dict[str, set[str]] = {
    "schema": set(),
    "errors": set(),
    "boundary": set(),
    "files": set(),
    "text": set(),
    "spelling": set(),
    "registry": set(),
    "folders": set(),
    "weights": {"folders"},
    "images": set(),
    "alignment": set(),
    "datasets": {"images", "alignment"},
    "synthesis": set(),
    "graph": set(),
    "metrics": set(),
    "runtime": set(),
    "bundle": set(),
    "detectors": {"graph", "runtime"},
    "learned": {"detectors.base", "graph", "synthesis"},
    "decisions": {"metrics.intervals"},
    "watching": {"decisions", "metrics.intervals"},
    "inspection": {"images", "alignment", "bundle", "runtime", "decisions", "watching"},
    "line": {"images", "datasets", "runtime", "decisions", "inspection", "watching", "registry"},
    "workflow": {*BELOW},
    "reports": {"metrics", "decisions", "inspection"},
    "editor": {"images", "datasets"},
    "study": {*BELOW, "workflow", "reports"},
    "cluster": {*BELOW, "workflow", "study"},
    "sklearn": {"model", "registry"},
    "model": {*BELOW, "workflow", "reports"},
    "cli": {*BELOW, "workflow", "reports", "study", "cluster", "model", "station", "editor", "serve"},
    "samples": {"images", "alignment"},
    "serve": {*BELOW, "model"},
    "station": {*BELOW, "model", "workflow", "reports", "testing.tiny"},
    "testing": {*BELOW, "model", "workflow", "station"},
}
"""Part -> the parts, or single modules, that it may import; nobody imports cli, only the station's demo testing."""

THIRD_PARTY: dict[str, set[str]] = {
    "numpy": {"*"},
    "onnx": {"graph", "learned/export.py", "testing"},
    "onnxruntime": {"runtime", "samples"},
    "openvino": {"runtime", "samples"},
    "torch": {"learned"},
    "lightning": {"learned"},
    "safetensors": {"learned"},
    "timm": {"learned"},
    "cv2": {
        "line",
        "runtime/threads.py",
        "images",
        "alignment",
        "editor",
        "datasets",
        "synthesis",
        "decisions",
        "watching",
        "inspection",
        "reports",
        "workflow",
        "study",
        "station/lane/look.py",
        "station/core/pictures.py",
        "testing",
        "samples",
    },
    "matplotlib": {"inspection"},
    "jinja2": {"reports", "station/web/pages.py"},
    "fastapi": {"station", "serve"},
    "starlette": {"station", "serve"},
    "uvicorn": {"station", "serve"},
    "sqlalchemy": {"station", "testing/station.py"},
    "argon2": {"station"},
    "ray": {"cluster", "learned/ray_workers.py"},
    "pyarrow": {"cluster", "line/parquet.py"},
    "sklearn": {"sklearn.py"},
    "pandas": {"study"},
    "polars": {"study"},
    "typer": {"cli"},
    "tomllib": {"cli"},
    "tomli": {"cli", "station"},
    "rich": {"cli"},
    "pydantic": {
        "boundary.py",
        "bundle",
        "datasets",
        "synthesis",
        "detectors",
        "learned",
        "watching",
        "weights",
        "workflow",
        "study",
        "serve",
        "cluster",
        "station/settings.py",
        "station/core/lane_file.py",
    },
    "platformdirs": {"folders"},
    "threadpoolctl": {"runtime"},
    "pydantic_core": {"learned"},
}
"""Package -> the parts or files that may import it; "*" is every one. What is not listed may be imported nowhere."""

NEEDS_EXTRA = {
    "runtime/openvino_runner.py": "openvino",
    "learned/ray_workers.py": "ray",
    "line/parquet.py": "pyarrow",
    "cluster/archive.py": "pyarrow",
    "cluster/table.py": "pyarrow",
    "cluster/pieces.py": "pyarrow",
}
"""File -> the package of an extra that it imports at once; nobody imports the file where that is missing."""
NEEDS_EXTRA |= {path.relative_to(PACKAGE).as_posix(): "fastapi" for path in (PACKAGE / "station").rglob("*.py")}
NEEDS_EXTRA |= {f"serve/{name}.py": "fastapi" for name in ("app", "run")}
NEEDS_EXTRA |= {"testing/station.py": "fastapi"}


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of what a file imports: `a.b` for `import a.b` and `from a import b` alike where b is a module."""
    package = ["blemish", *path.relative_to(PACKAGE).parts[:-1]]
    for node in _nodes_that_run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                is_module = module.startswith("blemish") and _is_module(f"{module}.{alias.name}")
                yield f"{module}.{alias.name}" if is_module else module


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _nodes_that_run(child)


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def path_id(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_each_part_imports_only_what_lies_below_it() -> None:
    found = []
    for path in FILES:
        part = part_of(path)
        if part in ("__init__", "__main__"):
            continue
        assert part in MAY_IMPORT, f"{part} is new: write here what it may import"
        allowed = EVERYONE | MAY_IMPORT[part] | {part}
        for name in imported_names(path):
            outer, *inner = name.split(".")
            if outer == "blemish" and inner and not {inner[0], ".".join(inner[:2])} & allowed:
                found.append(f"{path_id(path)} imports {name}")
    assert found == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions included: they hide a circle, they do not cut it."""
    names = {module_name(path): path for path in FILES}
    imported = {name: {other for other in imported_names(path) if other in names} for name, path in names.items()}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_each_package_is_imported_only_where_it_belongs() -> None:
    found = []
    for path in FILES:
        for name in imported_names(path):
            package = name.split(".")[0]
            if package == "blemish" or package in sys.stdlib_module_names:
                continue
            if not THIRD_PARTY.get(package, set()) & {"*", part_of(path), path_id(path)}:
                found.append(f"{path_id(path)} imports {package}")
    assert found == []


def test_the_rules_speak_of_parts_that_exist() -> None:
    parts = {part_of(path) for path in FILES} | {"station"}
    named = {name.split(".")[0] for names in MAY_IMPORT.values() for name in names} | set(MAY_IMPORT)
    assert named <= parts


@pytest.mark.parametrize("is_learned", [False, True], ids=["core", "learned"])
def test_every_module_imports(is_learned: bool) -> None:
    if is_learned:
        pytest.importorskip("torch")
    for path in FILES:
        extra = NEEDS_EXTRA.get(path_id(path))
        if extra and importlib.util.find_spec(extra) is None:
            continue
        if path.name != "__main__.py" and (part_of(path) == "learned") is is_learned:
            importlib.import_module(module_name(path))


def test_importing_the_package_is_fast_and_loads_no_engine() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import blemish; print(time.perf_counter() - start);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    seconds = []
    for _ in range(3):
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        taken, loaded = output.splitlines()
        seconds.append(float(taken))
        heavy = {"onnxruntime", "openvino", "onnx", "cv2", "matplotlib", "pydantic", "torch", "typer", "rich", "jinja2"}
        heavy |= {"ray", "pyarrow"}
        assert not heavy & set(loaded.split())
    assert min(seconds) < 0.3


def test_the_command_line_shows_its_help_without_an_engine() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from blemish.cli.main import app;"
        "assert CliRunner().invoke(app, ['train', '--help']).exit_code == 0;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"onnxruntime", "onnx", "cv2", "matplotlib", "torch"} & set(loaded.split())


def test_a_core_detector_never_loads_torch(backbone_description: str, product_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, blemish;"
        f"model = blemish.train({str(product_folder)!r}, backbone={backbone_description!r}, size=(64, 64));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_imports_in_functions_count_and_imports_for_types_do_not() -> None:
    tree = ast.parse("def f():\n    import torch\nif TYPE_CHECKING:\n    import onnx\n")
    names = [alias.name for node in _nodes_that_run(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert names == ["torch"]
