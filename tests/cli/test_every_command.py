"""What holds for all commands: help, one JSON object and nothing else, and messages that stay off standard output."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import typer

from blemish.cli.main import app
from blemish.folders import BACKBONES_VARIABLE
from blemish.model import train
from blemish.schema import Backbone
from blemish.testing.tiny import make_tiny_product, write_png


def commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words it is called by."""
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from commands(command, (*prefix, name))
        if not getattr(command, "commands", None) or getattr(command, "invoke_without_command", False):
            yield (*prefix, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))
UNTIL_STOPPED = {("serve",), ("station",), ("zones", "edit")}
"""Commands that run until somebody ends them: they give no result, and have tests of their own."""
UNIT = ("station", "service")
"""Prints a file for another program."""


@pytest.fixture(scope="module")
def solar_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package `elpv_dataset` as the real one is laid out, with few small images."""
    folder = tmp_path_factory.mktemp("packages")
    data = folder / "elpv_dataset" / "data"
    product = make_tiny_product(num_good=18, num_held_out=0, num_defects=4, hw=(96, 96))
    lines = []
    for number, image in enumerate([*product.good, *(defect.image for defect in product.defects)]):
        name = f"images/cell{number:04}.png"
        write_png(data / name, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        lines.append(f"{name}  {float(number >= len(product.good))} mono")
    lines.append("images/doubtful.png  0.3333333333333333 mono")
    (data / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "elpv_dataset" / "__init__.py").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def arguments(
    bundle_path: Path,
    product_folder: Path,
    backbone: Backbone,
    solar_cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[tuple[str, ...], list[object]]:
    """What each command is called with to do its job on the tiny product."""
    monkeypatch.setenv(BACKBONES_VARIABLE, str(tmp_path / "backbones"))
    monkeypatch.syspath_prepend(solar_cells)
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    monkeypatch.chdir(tmp_path)
    # The tiny backbone's random weights bear rounding badly.
    monkeypatch.setattr("blemish.workflow.quantize._require_same", lambda check: None)
    tiny = ["--detector", "template", "--size", "64"]
    bundle = shutil.copy(bundle_path, tmp_path / "tiny.blemish")
    return {
        ("demo",): ["-o", tmp_path / "demo"],
        ("train",): [product_folder, "-o", tmp_path / "new.blemish", *tiny],
        ("evaluate",): [bundle, product_folder],
        ("inspect",): [bundle, product_folder / "test" / "good" / "000.png"],
        ("calibrate",): [bundle, "--false-reject", "0.2"],
        ("sensitivity",): [bundle, product_folder / "test" / "good", "--seconds", "0"],
        ("teach",): [bundle, "--defective", product_folder, "-o", tmp_path / "taught.blemish"],
        ("compare",): [product_folder, "--detectors", "template", "--size", "64", "-o", tmp_path / "study"],
        ("verify",): [bundle, "--engine", "onnxruntime"],
        ("bench",): [bundle, "--engine", "onnxruntime", "--seconds", "0.1"],
        ("quantize",): [bundle, product_folder / "train" / "good", "-o", tmp_path / "int8.blemish"],
        ("export",): [bundle, "-o", tmp_path / "exported"],
        ("info",): [bundle],
        ("detectors",): [],
        ("backbones",): [],
        ("backbones", "add"): [
            *(backbone.path, "--name", "mine", "--layer", "stride8:12:8", "--mean", "128,128,128"),
            *("--std", "64,64,64", "--licence", "Apache-2.0", "--source", "made here"),
        ],
        ("data", "check"): [product_folder],
        ("data", "list"): [product_folder],
        ("data", "fetch"): [],
        ("serve",): [],
    }


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words not in UNTIL_STOPPED and words[0] != "station"], ids=" ".join
)
def test_with_json_there_is_one_object_and_nothing_else(
    words: tuple[str, ...],
    run: Any,
    arguments: dict[tuple[str, ...], list[object]],
    backbone: Backbone,
    product_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert words in arguments, "a new command: say here how it is called"
    if words == ("teach",):  # needs the backbone and the training's files again
        monkeypatch.setenv(BACKBONES_VARIABLE, str(backbone.path.parent))
        description = str(backbone.path.with_suffix(".json"))
        train(product_folder, backbone=description, size=64).save(str(arguments[words][0]))
    if words == ("data", "fetch"):
        pytest.skip("needs a server; see the tests of fetching")
    if words == ("serve",):
        pytest.skip("does not end by itself; see its own tests")
    outcome = run(*words, *arguments[words], "--json")
    assert outcome.status == 0, outcome.stderr
    assert outcome.json
    assert "\x1b" not in outcome.stdout + outcome.stderr, "control characters where no person watches"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help
    options = {name for parameter in command.params for name in parameter.opts}
    assert "--json" in options or words in {*UNTIL_STOPPED, UNIT}
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(words)}: {parameter.name} is not explained"


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=lambda words: " ".join(words) or "blemish")
def test_help_is_shown_and_ends_well(words: tuple[str, ...], run: Any) -> None:
    outcome = run(*words, "--help")
    assert outcome.status == 0
    assert "Usage:" in outcome.stdout


def test_the_version_is_shown(run: Any) -> None:
    assert run("--version").stdout.startswith("blemish 0.")


@pytest.mark.parametrize("wrong", [("trian",), ("train", "--no-such-option"), ("info",)])
def test_a_misspelled_call_ends_with_status_2(wrong: tuple[str, ...], run: Any) -> None:
    outcome = run(*wrong)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert outcome.stderr


def damage(kind: str, content: bytes) -> bytes:
    if kind == "cut off":
        return content[: len(content) // 2]
    if kind == "altered":
        place = content.index(b"graph.onnx") + 200
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    return content.replace(b'"format_version": 1', b'"format_version": 9')


@pytest.mark.parametrize("kind", ["cut off", "altered", "newer"])
@pytest.mark.parametrize("words", [("info",), ("inspect",), ("evaluate",), ("calibrate",)], ids=" ".join)
def test_a_bundle_that_cannot_be_used_is_named_in_one_line(
    words: tuple[str, ...], kind: str, run: Any, arguments: dict[tuple[str, ...], list[object]]
) -> None:
    path = Path(str(arguments[words][0]))
    path.write_bytes(damage(kind, path.read_bytes()))
    outcome = run(*words, *arguments[words], "--json")
    assert outcome.status == 2
    assert outcome.stdout == ""
    [line] = outcome.stderr.strip().splitlines()
    assert "tiny.blemish" in line


def test_the_reader_of_the_output_may_go_away(product_folder: Path, bundle_path: Path) -> None:
    """`blemish inspect ... | head -1` ends without a word."""
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle_path), str(product_folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=60)
    assert "Traceback" not in errors
    assert "fault" not in errors


def test_all_commands_of_the_contract_are_there() -> None:
    wanted = "demo train evaluate inspect calibrate compare info detectors backbones"
    assert {(word,) for word in wanted.split()} <= set(COMMANDS)
    assert {("data", "check"), ("data", "list"), ("data", "fetch")} <= set(COMMANDS)


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)], ids=["bare", "-h", "--help"])
def test_the_bare_command_and_both_help_options_show_the_commands(words: tuple[str, ...]) -> None:
    code = "from blemish.cli.main import main; main()"
    finished = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "inspect" in finished.stdout
