"""Rows and files chained by their hashes: one that is changed, taken out or put in breaks the chain behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

START = "0" * 64
"""What stands before the first link."""


def link_hash(previous: str, content: Mapping[str, Any]) -> str:
    """The hash of a link: of the hash before it and of its content as canonical JSON.

    >>> link_hash(START, {"b": 1, "a": 2}) == link_hash(START, {"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()
