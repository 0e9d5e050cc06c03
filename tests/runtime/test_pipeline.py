"""Work in threads: order kept, few items in flight, fewer threads where memory runs out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import EngineError, ImageError
from blemish.runtime.memory import is_out_of_memory
from blemish.runtime.pipeline import AHEAD, InOrder, map_in_order


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 0.002), max_size=20), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(delays: list[float], num_threads: int) -> None:
    def work(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        return item[0]

    assert list(map_in_order(work, enumerate(delays), num_threads)) == list(range(len(delays)))


def test_items_are_taken_only_as_results_are() -> None:
    """However long the folder: a slow reader of results holds back the work."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_order(lambda item: item, items(), 3)
    for number in range(50):
        assert next(results) == number
        assert len(taken) <= number + AHEAD * 3
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 60


def test_threads_work_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=60)
    assert len(list(map_in_order(lambda item: both.wait(), range(8), 2))) == 8


def test_an_error_comes_up_at_its_turn() -> None:
    results = map_in_order(lambda item: 12 // item, [3, 2, 0, 1], 4)
    assert (next(results), next(results)) == (4, 6)
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("error", [MemoryError(), EngineError("cannot run the graph: std::bad_alloc")])
def test_out_of_memory_halves_the_threads_and_loses_nothing(error: Exception) -> None:
    """Work that needs a share of the memory each: three at a time do not fit, one does."""
    lock, now = threading.Lock(), [0]
    told: list[int] = []

    def work(item: int) -> int:
        with lock:
            now[0] += 1
            running = now[0]
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        if running > 2:
            raise error
        return item * item

    assert list(map_in_order(work, range(60), 8, on_fewer=told.append)) == [item * item for item in range(60)]
    assert told == [4, 2]


def test_what_never_fits_is_left_to_the_caller() -> None:
    def work(item: int) -> str:
        if item == 2:
            raise MemoryError
        return "done"

    begun = InOrder(work, 2, alone=lambda item: "too large")
    for item in range(5):
        begun.add(item)
    assert [begun.take() for _ in range(5)] == ["done", "done", "too large", "done", "done"]
    begun.close()


def test_one_thread_adds_while_another_takes() -> None:
    begun: InOrder[int, int] = InOrder(lambda item: item * item, 3)
    room = threading.Semaphore(6)

    def add() -> None:
        for item in range(200):
            room.acquire()
            begun.add(item)

    adding = threading.Thread(target=add)
    adding.start()
    found = []
    while len(found) < 200:
        if len(begun):
            found.append(begun.take())
            room.release()
    adding.join()
    begun.close()
    assert found == [item * item for item in range(200)]


def test_the_words_of_engines_and_decoders_are_known() -> None:
    assert is_out_of_memory(
        ImageError("a.png: cannot be decoded (error: (-4:Insufficient memory) Failed to allocate 9)")
    )
    assert not is_out_of_memory(ImageError("a.png: no such file"))
    assert not is_out_of_memory(ValueError("out of memory"))
