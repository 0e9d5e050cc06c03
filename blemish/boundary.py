"""The boundary at which files of users are read: what goes wrong behind it is an error of this package, on one line.

A reader of a format knows some of the exceptions that a damaged or hostile file leads to, and never all of them. So
each reader stands inside `boundary`, reads no more bytes than `read_bytes` allows, and JSON goes through `parse_json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from blemish.errors import BlemishError
from blemish.files import why_not_a_file
from blemish.text import one_line

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

MAX_JSON_VALUES = 2_000_000
"""Values in a JSON file: each takes some 40 bytes once it is read."""
MAX_JSON_NAMES = 100_000
"""Names in a JSON file: each that is not known is a fault to be kept, of more than a thousand bytes."""
_SHOWN = 200


@contextmanager
def boundary(place: str | Path, error: type[BlemishError], remedy: str) -> Iterator[None]:
    """Whatever is raised inside becomes `error`: "<place>: <what is wrong>; <remedy>". Errors of this package stay.

    >>> from blemish.errors import DataError
    >>> with boundary("part.csv", DataError, "save it again"):
    ...     float("1,5")
    Traceback (most recent call last):
    ...
    blemish.errors.DataError: part.csv: could not convert string to float: '1,5'; save it again
    """
    try:
        yield
    except BlemishError:
        raise
    except Exception as fault:
        raise error(f"{place}: {reason_of(fault)}; {remedy}") from fault


def read_bytes(path: Path, max_bytes: int, error: type[BlemishError], remedy: str) -> bytes:
    """The content of a file of at most `max_bytes`; pipes and devices, which may never end, are not opened."""
    obstacle = why_not_a_file(path)
    if obstacle:
        raise error(f"{path}: {obstacle}")
    with boundary(path, error, remedy), path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise error(f"{path}: has more than {max_bytes:,} bytes, the most that is read; {remedy}")
    return content


def parse_json(
    content: bytes,
    adapter: TypeAdapter[T],
    place: str | Path,
    error: type[BlemishError],
    remedy: str,
    *,
    unknown: Literal["forbid", "ignore"] = "forbid",
) -> T:
    """The value of a declared type in JSON text: no other types of values, not too many, no `unknown` names."""
    check_json(content, place, error, remedy)
    with boundary(place, error, remedy):
        return adapter.validate_json(content, strict=True, extra=unknown)


def check_json(content: bytes, place: str | Path, error: type[BlemishError], remedy: str) -> None:
    """Raises where JSON text holds more values than `parse_json` reads; for writers."""
    with boundary(place, error, remedy):
        num_values, num_names = content.count(b",") + content.count(b"[") + content.count(b"{"), content.count(b":")
        if num_values > MAX_JSON_VALUES or num_names > MAX_JSON_NAMES:
            raise ValueError(
                f"holds {num_values:,} values under {num_names:,} names, the most that is read is "
                f"{MAX_JSON_VALUES:,} under {MAX_JSON_NAMES:,}"
            )


def reason_of(fault: BaseException) -> str:
    """What an exception says, in a few words on one line."""
    from pydantic import ValidationError

    if isinstance(fault, ValidationError):
        return _fault_of(fault)
    if isinstance(fault, MemoryError):
        return "needs more memory than there is"
    if isinstance(fault, RecursionError):
        return "is nested too deeply"
    if isinstance(fault, UnicodeError):
        return f"holds bytes that are no {getattr(fault, 'encoding', None) or 'UTF-8'} text"
    if isinstance(fault, KeyError):
        return f"lacks {fault.args[0]!r}" if fault.args else "lacks a value"
    said = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    words = one_line(said.strip().split("\n")[0])
    return _short(words) or f"cannot be read ({type(fault).__name__})"


def _fault_of(fault: ValidationError) -> str:
    """The first thing that pydantic found: where, and what is wrong there."""
    first = fault.errors(include_url=False, include_input=False)[0]
    said = first.get("ctx", {}).get("error", first["msg"])
    if first["type"] == "json_invalid":
        said = f"not valid JSON ({said})"
    elif first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        said = "no known name"
    place = ".".join(map(str, first["loc"]))
    return _short(one_line(f"{place}: {said}" if place else str(said)))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
