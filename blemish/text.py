"""Text that every reader takes: JSON, lines on a terminal, cells of a table, names of files.

A file name is any bytes. In text, bytes that are not UTF-8 show as `\\xfc`; where a person reads, line breaks and other
control characters show as `\\n` or `\\x1b`, so that a name can neither add a line nor talk to the terminal.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NO_TEXT = re.compile("[\ud800-\udfff]")
# Control characters, line and paragraph separators, and marks that turn the direction of writing around.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile(r"\s*[=+\-@]")


def readable(text: str | Path) -> str:
    """The text as UTF-8 can hold it.

    >>> readable(b"Pr\\xfcfling.png".decode("utf-8", "surrogateescape"))
    'Pr\\\\xfcfling.png'
    """
    return _NO_TEXT.sub(_escaped, str(text))


def one_line(text: str | Path) -> str:
    """The text on one line, safe to show on a terminal.

    >>> one_line("two\\nlines.png")
    'two\\\\nlines.png'
    """
    return _CONTROL.sub(_escaped, readable(text))


def safe_lines(text: str) -> str:
    """Text of several lines, safe to show on a terminal."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in "\n\t" else _escaped(match), readable(text))


def table_cell(text: str | Path) -> str:
    """The text as a cell of a table: on one line, and never a formula to a spreadsheet program.

    >>> table_cell("=1+1.png")
    "'=1+1.png"
    """
    line = one_line(text)
    return f"'{line}" if _FORMULA.match(line) else line


def json_value(value: Any) -> Any:
    """A value as plain JSON: text that UTF-8 can hold, no NumPy types, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {readable(str(name)): json_value(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(entry) for entry in value]
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return json_value(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else readable(str(value))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON text; without `indent` on one line, whatever a reader takes for the end of a line."""
    text = json.dumps(json_value(value), indent=indent, ensure_ascii=False, allow_nan=False)
    # Control characters below 32 are escaped already; the line breaks left are those of `indent`.
    return _CONTROL.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def cut_name(name: str, max_bytes: int) -> str:
    """The beginning of a file name that has at most so many bytes on disk; no character is cut in two."""
    content = os.fsencode(name)
    if len(content) <= max_bytes:
        return name
    return content[:max_bytes].decode("utf-8", errors="ignore")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(match[0])
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def score_text(display_score: float) -> str:
    """A display score as people read it; near the limit with a digit more, so that none reads 50 by rounding.

    >>> score_text(83.6), score_text(49.6)
    ('84', '49.6')
    """
    if not 49.0 < display_score < 51.0 or display_score == 50.0:
        return f"{display_score:.0f}"
    return f"{min(display_score, 49.9) if display_score < 50.0 else max(display_score, 50.1):.1f}"
