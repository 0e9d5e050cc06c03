"""Batches that do not fit into memory are run in smaller parts, with the same outputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blemish.errors import EngineError
from blemish.runtime.memory import BatchRunner


class SmallMachine:
    """Runs `limit` images at a time; doubles them."""

    def __init__(self, limit: int, words: str = "Failed to allocate memory for requested buffer") -> None:
        self.limit, self.words = limit, words
        self.sizes: list[int] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        batch = inputs["image"]
        self.sizes.append(len(batch))
        if len(batch) > self.limit:
            raise EngineError(f"ONNX Runtime cannot run the graph: {self.words}")
        return {"twice": batch * 2, "sum": batch.sum(axis=1)}


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_the_outputs_are_those_of_the_whole_batch(limit: int) -> None:
    batch = np.arange(21.0).reshape(7, 3)
    found = BatchRunner(SmallMachine(limit)).run("image", batch)
    np.testing.assert_array_equal(found["twice"], batch * 2)
    np.testing.assert_array_equal(found["sum"], batch.sum(axis=1))


def test_the_smaller_size_is_kept_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = SmallMachine(2)
    runner = BatchRunner(machine)
    with caplog.at_level(logging.WARNING):
        runner.run("image", np.zeros((8, 1)))
        runner.run("image", np.zeros((8, 1)))
    assert machine.sizes == [8, 4, *[2] * 8]
    assert [record.getMessage() for record in caplog.records] == [
        "memory ran out: going on with 4 images at a time",
        "memory ran out: going on with 2 images at a time",
    ]


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(EngineError, match="Failed to allocate"):
        BatchRunner(SmallMachine(0)).run("image", np.zeros((4, 1)))


def test_other_errors_are_not_tried_again() -> None:
    machine = SmallMachine(0, "wrong shape")
    with pytest.raises(EngineError, match="wrong shape"):
        BatchRunner(machine).run("image", np.zeros((4, 1)))
    assert machine.sizes == [4]
