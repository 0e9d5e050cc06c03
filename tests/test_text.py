"""Text that every reader takes, whatever stands in a name."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blemish.text import cut_name, json_text, one_line, readable, safe_lines, table_cell

NAMES = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")) | st.text(
    st.characters(codec=None, exclude_categories=()), max_size=40
)


@given(NAMES)
def test_readable_text_is_utf8_and_usual_text_stays(name: str) -> None:
    readable(name).encode("utf-8")
    assert readable(readable(name)) == readable(name)


@given(NAMES)
def test_one_line_is_one_line_for_every_reader(name: str) -> None:
    line = one_line(name)
    assert len(line.splitlines()) <= 1
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)


@given(NAMES)
def test_json_is_one_line_of_utf8_and_means_the_same(name: str) -> None:
    line = json_text({"path": name, name: [name]})
    line.encode("utf-8")
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"path": readable(name), readable(name): [readable(name)]}


@given(NAMES)
def test_a_cell_is_no_formula(name: str) -> None:
    assert not table_cell(name).lstrip().startswith(("=", "+", "-", "@"))


@given(NAMES, st.integers(1, 40))
def test_a_cut_name_keeps_its_beginning(name: str, max_bytes: int) -> None:
    raw = name.encode("utf-8", "surrogateescape") if _is_name(name) else b""
    if raw:
        assert len(cut_name(name, max_bytes).encode("utf-8", "surrogateescape")) <= max_bytes


def _is_name(name: str) -> bool:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def test_names_are_cut_by_bytes_between_characters() -> None:
    assert cut_name("部" * 100, 100) == "部" * 33
    assert cut_name("short.png", 100) == "short.png"


def test_what_a_person_sees_is_escaped() -> None:
    assert one_line("a\x1b[31m\nb\u202ec\x85\udcfc\t") == r"a\x1b[31m\nb\u202ec\x85\xfc\t"
    assert safe_lines("two\nlines\x1b[2J\n") == "two\nlines\\x1b[2J\n"
    assert [table_cell(text) for text in ("=1+1", " @x", "+a", "-b", "a=b", "a\nb")] == [
        "'=1+1", "' @x", "'+a", "'-b", "a=b", r"a\nb",
    ]  # fmt: skip


def test_json_has_plain_values_alone() -> None:
    value = {
        "array": np.arange(2),
        "number": np.float32(0.5),
        "none": float("nan"),
        "flag": np.bool_(True),
        "two": (1, 2),
    }
    assert json.loads(json_text(value)) == {"array": [0, 1], "number": 0.5, "none": None, "flag": True, "two": [1, 2]}
    assert json_text({"a": {"b": 1}}, indent=1) == '{\n "a": {\n  "b": 1\n }\n}'
