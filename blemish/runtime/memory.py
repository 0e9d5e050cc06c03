"""Whether memory ran out: engines and decoders say it in words of their own, and less work at a time may fit."""

from __future__ import annotations

import re

from blemish.errors import EngineError, ImageError

_WORDS = re.compile(r"failed to allocate|bad_alloc|bad allocation|insufficient memory|out of memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the same work may succeed with less of it at a time.

    >>> is_out_of_memory(EngineError("ONNX Runtime cannot run the graph: Failed to allocate memory for 9 bytes"))
    True
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, (EngineError, ImageError)) and _WORDS.search(str(error)) is not None
    )
