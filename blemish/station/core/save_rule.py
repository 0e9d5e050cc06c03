"""Which pictures are kept, and which go first when they take more room than they may."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from blemish.errors import SettingsError

_ONE_IN = re.compile(r"1 in ([1-9]\d{0,8})")


@dataclass(frozen=True)
class SaveRule:
    """How many of the pictures of each decision are kept: "all", "none" or "1 in n".

    Pictures of parts without a verdict are kept as those of rejected ones.

    >>> rule = SaveRule(accept="1 in 3")
    >>> [rule.keeps("accept", seq) for seq in range(4)], rule.keeps("error", 1)
    ([True, False, False, True], True)
    """

    accept: str = "all"
    review: str = "all"
    reject: str = "all"

    def __post_init__(self) -> None:
        for name in ("accept", "review", "reject"):
            _every(name, getattr(self, name))

    def keeps(self, decision: str, seq: int) -> bool:
        name = decision if decision in ("accept", "review") else "reject"
        every = _every(name, getattr(self, name))
        return every > 0 and seq % every == 0


def _every(name: str, text: str) -> int:
    """Of how many pictures one is kept, 0 for none. Raises SettingsError."""
    if text in ("all", "none"):
        return int(text == "all")
    match = _ONE_IN.fullmatch(text)
    if match is None:
        raise SettingsError(f"{name}: '{text}' is no rule; allowed are all, none, and 1 in N such as 1 in 100")
    return int(match[1])


def pictures_to_drop(kept: Iterable[tuple[str, int]], num_bytes: int, limit: int) -> list[str]:
    """The names of the pictures to delete so that `num_bytes` come under `limit`, from (name, bytes) first to go first.

    >>> pictures_to_drop([("a", 5), ("b", 5), ("c", 5)], 15, 7)
    ['a', 'b']
    """
    dropped = []
    for name, size in kept:
        if num_bytes <= limit:
            break
        dropped.append(name)
        num_bytes -= size
    return dropped
