"""Examples in docstrings as code: without a fence, Markdown takes `>>>` for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe


class FencedExamples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Each example, from its first `>>>` to the next empty line, in a fence.

    >>> fenced("Doubles.\\n\\n>>> double(2)\\n4\\n").splitlines()
    ['Doubles.', '', '```pycon', '>>> double(2)', '4', '```']
    """
    return re.sub(r"(?m)^>>> (?:.+\n?)+", lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
