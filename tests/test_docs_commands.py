"""Every command line shown on a page names a command and options that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from blemish.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    if path.name != "command-line.md"
]


def shown_commands(text: str) -> Iterator[str]:
    """Lines of code blocks, and code within sentences, that call `blemish`; continued lines are joined."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?(?:\S*/)?blemish (.*)", line):
                yield match[1]
    yield from re.findall(r"`blemish ([a-z][^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words call, and what is left of them."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in shown_commands(page.read_text(encoding="utf-8")):
        words = shlex.split(re.sub(r"\s{2,}.*|[\[\]]|\.\.\.|[|>].*|#.*", " ", line))
        command, rest = find_command(words)
        assert command.name != "blemish" or not words or words[0].startswith("-"), f"{page.name}: blemish {line}"
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in rest:
            if word.startswith("-"):
                assert word.split("=")[0] in options, f"{page.name}: blemish {line}: no option {word}"


def test_commands_are_found_in_blocks_and_sentences() -> None:
    page = "Say `blemish info a.blemish`.\n\n```console\n$ blemish train x \\\n  -o y\n.venv/bin/blemish demo\n```\n"
    assert [shlex.split(line) for line in shown_commands(page)] == [
        ["train", "x", "-o", "y"],
        ["demo"],
        ["info", "a.blemish"],
    ]
