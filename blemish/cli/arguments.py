"""The command line as typed -> as Typer takes it: values of a config file, choices in any spelling, `--ray`."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import typer

from blemish.boundary import boundary, read_bytes
from blemish.errors import SettingsError
from blemish.spelling import did_you_mean, find_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_CONFIG_BYTES = 1_000_000
_FORM = "docs/python.md shows the form of a config file"


@dataclass(frozen=True)
class Option:
    """An option of a command: its long spelling, its choices where it has some, and how its value is given."""

    name: str
    spellings: tuple[str, ...]
    choices: tuple[str, ...]
    is_flag: bool
    is_list: bool


Command = Callable[..., Any]


@cache
def options_of(command: Command) -> Mapping[str, Option]:
    """The options of a command by the name of their parameter, from its annotations."""
    found = {}
    hints = typing.get_type_hints(command, include_extras=True)
    for name in inspect.signature(command).parameters:
        kind, *notes = typing.get_args(hints[name]) or (hints[name],)
        info = next((note for note in notes if isinstance(note, typer.models.OptionInfo)), None)
        if info is None:
            continue
        given = (info.default, *(info.param_decls or ()))
        spellings = tuple(
            part for each in given if isinstance(each, str) for part in each.split("/") if part.startswith("-")
        ) or (f"--{name.replace('_', '-')}",)
        parts = typing.get_args(kind)
        choices = parts if typing.get_origin(kind) is Literal else ()
        for part in parts:
            if typing.get_origin(part) is Literal:
                choices = typing.get_args(part)
        is_list = any(typing.get_origin(part) is list for part in (kind, *parts))
        long = next(spelling for spelling in spellings if spelling.startswith("--"))
        found[name] = Option(long, spellings, choices, kind is bool, is_list)
    return found


def complete(arguments: Sequence[str], app: typer.Typer) -> list[str]:
    """The arguments with the values of a config file before those typed, and with choices as the commands know them."""
    found = _command(arguments, app)
    if found is None:
        return with_ray_address(arguments)
    words, command = found
    options = options_of(command)
    typed = with_ray_address(arguments[len(words) :])
    return [*words, *_with_known_choices([*_from_config(typed, words[-1], options), *typed], options)]


def with_ray_address(arguments: Sequence[str]) -> list[str]:
    """The command line with `auto` after each `--ray` that no address follows: a value that may be left out.

    >>> with_ray_address(["compare", "data", "--ray", "--seeds", "3"]), with_ray_address([])
    (['compare', 'data', '--ray', 'auto', '--seeds', '3'], [])
    """
    complete = []
    for place, argument in enumerate(arguments):
        complete.append(argument)
        if argument == "--ray" and (place + 1 == len(arguments) or arguments[place + 1].startswith("-")):
            complete.append("auto")
    return complete


def read_config(path: Path, command: str, options: Mapping[str, Option]) -> list[str]:
    """The options that the table of a command in a TOML file gives, as arguments. Raises SettingsError."""
    with boundary(path, SettingsError, _FORM):
        tables = tomllib.loads(read_bytes(path, MAX_CONFIG_BYTES, SettingsError, _FORM).decode("utf-8"))
    table = tables.get(command, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: {command} is no table; write [{command}] and its options below")
    by_name = {option.name.removeprefix("--").replace("-", "_"): option for option in options.values()}
    arguments: list[str] = []
    for key, value in table.items():
        name = find_name(key, by_name)
        if name is None:
            hint = did_you_mean(key, by_name) or f"; see blemish {command} --help"
            raise SettingsError(f"{path}: {command} has no option '{key}'{hint}")
        arguments += _as_arguments(by_name[name], value, f"{path}: {command}.{key}")
    return arguments


def _as_arguments(option: Option, value: Any, place: str) -> list[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise SettingsError(f"{place}: give true or false, not {value!r}")
        negative = next((spelling for spelling in option.spellings if spelling.startswith("--no-")), None)
        return [option.name] if value else [negative] if negative else []
    if isinstance(value, dict) and option.is_list:  # [train.set]: one key=value each
        value = [f"{key}={_text(entry, place)}" for key, entry in value.items()]
    values = value if isinstance(value, list) and option.is_list else [value]
    return [part for each in values for part in (option.name, _text(each, place))]


def _text(value: Any, place: str) -> str:
    if isinstance(value, list):
        return ",".join(_text(each, place) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise SettingsError(f"{place}: a {type(value).__name__} cannot be the value of an option")


def _from_config(arguments: Sequence[str], command: str, options: Mapping[str, Option]) -> list[str]:
    if "config" not in options or options["config"].is_flag:
        return []
    path = None
    for place, argument in enumerate(arguments):
        if argument == "--config" and place + 1 < len(arguments):
            path = arguments[place + 1]
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
    return [] if path is None else read_config(Path(path), command, options)


def _with_known_choices(arguments: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    by_spelling = {spelling: option for option in options.values() for spelling in option.spellings}
    known: list[str] = []
    awaiting: Option | None = None
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if awaiting is not None:
            argument, awaiting = _choice(awaiting, argument), None
        elif separator and name in by_spelling and by_spelling[name].choices:
            argument = f"{name}={_choice(by_spelling[name], value)}"
        elif argument in by_spelling and by_spelling[argument].choices:
            awaiting = by_spelling[argument]
        known.append(argument)
    return known


def _choice(option: Option, value: str) -> str:
    found = find_name(value, option.choices)
    if found is None:
        hint = did_you_mean(value, option.choices) or f"; there are {', '.join(option.choices)}"
        raise SettingsError(f"{option.name} {value}: no such choice{hint}")
    return found


def _command(arguments: Sequence[str], app: typer.Typer) -> tuple[list[str], Command] | None:
    """The words that name the command, and its function; None where no command is named as it is spelled."""
    if not arguments:
        return None
    for info in app.registered_commands:
        name = info.name or (info.callback.__name__ if info.callback else "")
        if info.callback is not None and arguments[0] == name:
            return [arguments[0]], info.callback
    for group in app.registered_groups:
        if group.name == arguments[0] and group.typer_instance is not None:
            found = _command(arguments[1:], group.typer_instance)
            return None if found is None else ([arguments[0], *found[0]], found[1])
    return None
