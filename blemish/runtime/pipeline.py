"""Work on many items in threads: results in order, few in flight, and fewer at a time where memory runs out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Generic, TypeVar

from blemish.runtime.memory import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items begun or waiting for each thread; so many results at most are held for those before them."""


class InOrder(Generic[Item, Result]):
    """Work in threads, its results in the order in which the items were added; one thread adds, one takes.

    An error comes up at its item's turn. Where memory runs out, the item is done again by itself, with `alone` where
    that is given, and `num_threads` is halved from there on.
    """

    def __init__(
        self, work: Callable[[Item], Result], num_threads: int, *, alone: Callable[[Item], Result] | None = None
    ) -> None:
        self.num_threads = num_threads
        self._work, self._alone = work, alone or work
        self._begun: deque[tuple[Item, Future[Result], int]] = deque()
        self._pool = ThreadPoolExecutor(num_threads)
        self._changing = threading.Lock()

    def __len__(self) -> int:
        """How many results have not been taken yet."""
        return len(self._begun)

    def add(self, item: Item) -> None:
        with self._changing:
            self._begun.append((item, self._pool.submit(self._work, item), self.num_threads))

    def take(self) -> Result:
        """The next result, waited for; there must be one to come."""
        item, future, threads_then = self._begun.popleft()
        try:
            return future.result()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        with self._changing:
            wait([waiting for _, waiting, _ in self._begun])  # their memory is free again when this one is done anew
            if 1 < self.num_threads == threads_then:  # else it was begun before the last halving
                self.num_threads //= 2
                self._pool.shutdown()
                self._pool = ThreadPoolExecutor(self.num_threads)
            return self._alone(item)

    def close(self) -> None:
        """Ends when the work that is under way is done; what waits is dropped."""
        with self._changing:
            self._pool.shutdown(cancel_futures=True)


def map_in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    num_threads: int,
    *,
    on_fewer: Callable[[int], None] = lambda num_threads: None,
) -> Generator[Result, None, None]:
    """`work` of each item as by `InOrder`; items are taken no sooner than there is room for them.

    `on_fewer` is told the new number of threads where memory ran out.

    >>> list(map_in_order(str.upper, iter("abc"), 2))
    ['A', 'B', 'C']
    """
    if num_threads == 1:  # a second thread would take items, and use what comes of them, on a second core
        for item in items:
            yield _by_itself(work, item)
        return
    source = iter(items)
    begun = InOrder(work, num_threads)
    try:
        while True:
            for item in islice(source, max(0, AHEAD * begun.num_threads - len(begun))):
                begun.add(item)
            if not len(begun):
                return
            threads_then = begun.num_threads
            result = begun.take()
            if begun.num_threads < threads_then:
                on_fewer(begun.num_threads)
            yield result
    finally:
        begun.close()


def _by_itself(work: Callable[[Item], Result], item: Item) -> Result:
    try:
        return work(item)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return work(item)  # once more, when what the first try held is free again
