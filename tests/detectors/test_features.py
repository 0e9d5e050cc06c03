"""Features of all images: each core reads one image at a time, with the numbers of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from blemish.detectors import features
from blemish.detectors.features import embed
from blemish.errors import EngineError
from blemish.graph.embedding import build_embedding
from blemish.runtime.onnx_runner import GraphRunner
from blemish.schema import Backbone, silent
from blemish.testing.tiny import TINY_HW, TinyProduct


@pytest.fixture
def embedder(backbone: Backbone) -> bytes:
    return build_embedding(backbone, ("stride8",), TINY_HW, pooling=3)


def test_each_image_has_the_features_that_it_has_in_a_batch(product: TinyProduct, embedder: bytes) -> None:
    together = GraphRunner(embedder).run({"image": np.stack(product.good)})["embedding"]
    np.testing.assert_allclose(embed(product.good, embedder, silent), together, atol=1e-6)


def test_where_memory_runs_out_fewer_images_are_read_at_a_time(
    product: TinyProduct, embedder: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = embed(product.good, embedder, silent)

    class FullOnce(GraphRunner):
        """Finds no memory the first time."""

        left: ClassVar = [EngineError("ONNX Runtime cannot run the graph: Failed to allocate memory")]

        def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            if self.left:
                raise self.left.pop()
            return super().run(inputs)

    monkeypatch.setattr(features, "usable_cores", lambda: 4)
    monkeypatch.setattr(features, "GraphRunner", FullOnce)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(embed(product.good, embedder, silent), expected)
    assert [record.getMessage() for record in caplog.records] == ["memory ran out: reading 2 at a time from here on"]
