"""Work on many items in threads: results in order, few in flight, and fewer at a time where memory runs out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from blemish.runtime.memory import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items begun or waiting for each thread; so many results at most are held for those before them."""


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    num_threads: int,
    *,
    alone: Callable[[Item], Result] | None = None,
    on_fewer: Callable[[int], None] = lambda num_threads: None,
) -> Iterator[Result]:
    """`work` of each item, in the order of the items; these are taken no sooner than there is room for them.

    An error comes up at its item's turn. Where memory runs out, the item is done again by itself, with `alone` where
    that is given, and the number of threads is halved from there on (`on_fewer` is told the new number).

    >>> list(map_in_order(str.upper, iter("abc"), 2))
    ['A', 'B', 'C']
    """
    source = iter(items)
    begun: deque[tuple[Item, Future[Result], int]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        while True:
            for item in islice(source, max(0, AHEAD * num_threads - len(begun))):
                begun.append((item, pool.submit(work, item), num_threads))
            if not begun:
                return
            item, future, threads_then = begun.popleft()
            try:
                result = future.result()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                wait([waiting for _, waiting, _ in begun])  # their memory is free again when this one is done anew
                if 1 < num_threads == threads_then:  # else it was begun before the last halving
                    num_threads //= 2
                    on_fewer(num_threads)
                    pool.shutdown()
                    pool = ThreadPoolExecutor(num_threads)
                result = (alone or work)(item)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
