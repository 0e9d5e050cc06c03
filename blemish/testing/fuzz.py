"""Damaged and odd copies of what a file holds, for tests of readers: see `benchmarks/fuzz.py` for those of blemish.

Both take a `random.Random`, so that the same one gives the same copy and that Hypothesis can drive it.
"""

from __future__ import annotations

import copy
import json
import math
from random import Random
from typing import Any

PIECES = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"\r\n",
        b"\n" * 50,
        b"x" * 200_000,
    ),
    *(b'"', b'"' * 999, b",", b";", b"'", b"\\", b"%s", b"..", b"/" * 9, b"{", b"}", b"[" * 999, b"null", b"true"),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 400, b"0x10", "\u202e".encode(), "Straße,ä".encode()),
)
"""Text and bytes that readers stumble over."""
NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
"""Whole numbers at the edges of their types."""


def damaged(content: bytes, random: Random) -> bytes:
    """The bytes changed in one to four places: flipped, cut, doubled, moved, or overwritten with odd pieces.

    >>> damaged(b"a whole file", Random(0)) == damaged(b"a whole file", Random(0))
    True
    """
    found = bytearray(content)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(found))
        length = random.choice((1, 1, 2, 4, 8, 64, len(found)))
        part = found[start : start + length]
        what = random.randint(0, 7)
        if what == 0 and start < len(found):
            found[start] ^= 1 << random.randint(0, 7)
        elif what == 1:
            found[start : start + length] = bytes(random.choice((0, 1, 127, 128, 255)) for _ in range(min(length, 64)))
        elif what == 2:
            del found[start : start + length]
        elif what == 3:
            found[start:start] = part * random.choice((1, 2, 9))
        elif what == 4:
            del found[start:]
        elif what == 5:
            found[start : start + random.choice((0, 1, 8))] = random.choice(PIECES)
        elif what == 6:
            size = random.choice((1, 2, 4, 8))
            number = random.choice(NUMBERS) % 256**size
            found[start : start + size] = number.to_bytes(size, random.choice(("little", "big")))
        else:
            del found[start : start + length]
            place = random.randint(0, len(found))
            found[place:place] = part
    return bytes(found)


def odd_json(value: Any, random: Random) -> bytes:
    """JSON text of the value with one to three parts replaced, removed, repeated, renamed or nested.

    >>> odd_json({"side": 64}, Random(1)) == odd_json({"side": 64}, Random(1))
    True
    """
    changed = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        changed = _changed(changed, random)
    try:
        return json.dumps(changed).encode()
    except RecursionError:  # nested more deeply than it can be written, not than it can be read
        return b"[" * 5000 + b"]" * 5000


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, 10**400, -(10**400)),
    *(0.5, -0.0, 1e-320, 1e-9, 1e39, 1e308, math.nan, math.inf, -math.inf),
    *(
        "",
        " ",
        "x",
        "0.5",
        "\0",
        "\x1b[31m",
        "two\nlines",
        "\ud800",
        "../../etc/passwd",
        "/dev/zero",
        "é" * 300,
        "x" * 100_000,
    ),
    *([], {}, [[]], [None], {"": 1}, [0] * 1000, ["a", 1, None], {"a": {"b": []}}),
)
"""Values that are of another type, or of the right one and mean nothing."""


def _changed(value: Any, random: Random) -> Any:
    """The value with one odd part, at a random depth."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        what = random.randint(0, 9)
        if what == 0:
            del value[key]
        elif what == 1:
            value[random.choice(("", "unknown", key.upper(), "__class__", "ä"))] = value.pop(key)
        elif what == 2:
            value["unknown"] = copy.deepcopy(random.choice(ODD))
        else:
            value[key] = _changed(value[key], random)
        return value
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        what = random.randint(0, 9)
        if what == 0:
            del value[place]
        elif what == 1:
            value[place:place] = [value[place]] * random.choice((1, 2, 1000))
        elif what == 2:
            random.shuffle(value)
        else:
            value[place] = _changed(value[place], random)
        return value
    if random.random() < 0.05:
        for _ in range(random.choice((5, 50, 500))):
            value = [value]
        return value
    if isinstance(value, float) and random.random() < 0.5:
        return value * random.choice((-1.0, 0.0, 1e-30, 1e30, 1.5))
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.5:
        return value + random.choice((-1, 1, 2, *NUMBERS))
    return copy.deepcopy(random.choice(ODD))
