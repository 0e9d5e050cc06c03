"""Features of all images: each core reads one image at a time, and of too many images a part is learned from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from blemish.detectors import features
from blemish.detectors.base import FitRequest
from blemish.detectors.features import Embeddings, Head, fit_on_places
from blemish.detectors.symmetry import symmetric_copies
from blemish.errors import EngineError
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_embedding
from blemish.graph.finish import finish
from blemish.graph.grid import cell_grid
from blemish.registry import load_detector
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.schema import Backbone, Fit, Image, Reduction
from blemish.testing.tiny import TINY_HW, TinyProduct

POSITIONS, CHANNELS = 64, 12
"""Of the tiny backbone's layer of stride 8."""


@pytest.fixture
def embedder(backbone: Backbone) -> bytes:
    return build_embedding(backbone, ("stride8",), TINY_HW, pooling=3)


def fit_mean(
    images: Sequence[Image],
    embedder: bytes,
    *,
    folds: Sequence[Any] = (),
    symmetries: Sequence[Any] = (),
    threads: int = 2,
) -> tuple[Fit, list[Embeddings]]:
    """A fit whose map is the distance from the mean of what is learned from, and what that was each time."""
    seen: list[Embeddings] = []

    def learn(embeddings: Embeddings, places: NDArray[np.intp]) -> Head:
        copies = embeddings[len(embeddings) // (1 + len(symmetries)) :] if symmetries else embeddings[:0]
        seen.append(np.concatenate([embeddings[places], copies]))
        mean = seen[-1].mean(axis=0)

        def append(builder: GraphBuilder, embedding: str) -> None:
            difference = builder.op("Sub", embedding, builder.constant(mean))
            axis = builder.constant(np.array([2], np.int64))
            distance = builder.op("ReduceL2", difference, axis, keepdims=0)
            finish(builder, distance, cell_grid(TINY_HW, 8), TINY_HW, sigma=0, reduction=Reduction())

        return Head(append)

    copies = symmetric_copies(images, symmetries)
    fit = fit_on_places(
        FitRequest(images=images, settings=None, folds=folds, threads=threads),
        embedder,
        learn,
        copies=copies,
        reduction=Reduction(),
    )
    return fit, seen


def test_each_image_has_the_features_that_it_has_in_a_batch(product: TinyProduct, embedder: bytes) -> None:
    together = GraphRunner(embedder).run({"image": np.stack(product.good)})["embedding"]
    np.testing.assert_allclose(fit_mean(product.good, embedder)[1][0], together, atol=1e-6)


def test_turned_copies_come_behind_the_images(product: TinyProduct, embedder: bytes) -> None:
    turned = [image[::-1, ::-1] for image in product.good]
    together = GraphRunner(embedder).run({"image": np.stack([*product.good, *turned])})["embedding"]
    _, seen = fit_mean(product.good, embedder, symmetries=("half_turn",))
    np.testing.assert_allclose(seen[0], together, atol=1e-6)


def test_where_memory_runs_out_fewer_images_are_read_at_a_time(
    product: TinyProduct, embedder: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [expected] = fit_mean(product.good, embedder)[1]

    class FullOnce(GraphRunner):
        """Finds no memory once, after the first image."""

        left: ClassVar = [None, EngineError("ONNX Runtime cannot run the graph: Failed to allocate memory")]

        def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            if self.left:
                error = self.left.pop(0)
                if error is not None:
                    raise error
            return super().run(inputs)

    monkeypatch.setattr(features, "GraphRunner", FullOnce)
    with caplog.at_level(logging.WARNING):
        [found] = fit_mean(product.good, embedder, threads=4)[1]
    np.testing.assert_array_equal(found, expected)
    assert [record.getMessage() for record in caplog.records] == ["memory ran out: reading 2 at a time from here on"]


class TestMoreImagesThanMemory:
    """The features of five images may be kept."""

    @pytest.fixture(autouse=True)
    def small_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(features, "MOST_FEATURE_BYTES", 5 * 4 * POSITIONS * CHANNELS + 100)

    def test_evenly_spread_ones_are_learned_from_and_the_facts_say_so(
        self, product: TinyProduct, embedder: bytes
    ) -> None:
        fit, [seen] = fit_mean(product.good, embedder)
        part = [product.good[place] for place in (0, 4, 8, 11, 15)]
        expected = GraphRunner(embedder).run({"image": np.stack(part)})["embedding"]
        np.testing.assert_allclose(seen, expected, atol=1e-6)
        assert fit.facts["num_learned"] == 5
        assert fit.facts["notes"][0].startswith("5 of 16 images, evenly spread, were learned from")

    def test_all_images_are_scored_by_a_fit_that_did_not_see_them(self, product: TinyProduct, embedder: bytes) -> None:
        folds = [np.arange(8), np.arange(8, 16)]
        fit, seen = fit_mean(product.good, embedder, folds=folds)
        assert [len(part) for part in seen] == [5, 3, 2]
        assert fit.held_out is not None
        for fold, others in zip(folds, ((8, 11, 15), (0, 4)), strict=True):
            alone, _ = fit_mean([product.good[place] for place in others], embedder)
            expected = Session(alone.graph).predict([product.good[place] for place in fold])
            np.testing.assert_allclose(
                fit.held_out.anomaly_scores[fold], [one.anomaly_score for one in expected], rtol=1e-4
            )
            np.testing.assert_allclose(
                fit.held_out.anomaly_maps[fold], [one.anomaly_map for one in expected], atol=1e-4
            )

    def test_copies_take_their_share(self, product: TinyProduct, embedder: bytes) -> None:
        fit, [seen] = fit_mean(product.good, embedder, symmetries=("half_turn",))
        assert len(seen) == 4
        assert fit.facts["num_learned"] == 2

    @pytest.mark.parametrize("name", ["patchcore", "padim", "template"])
    def test_every_detector_on_frozen_features_keeps_to_it(
        self, name: str, product: TinyProduct, backbone: Backbone
    ) -> None:
        module = load_detector(name)
        settings = module.INFO.settings()
        fit = module.fit(FitRequest(images=product.good, settings=settings, backbone=backbone))
        assert 1 <= fit.facts["num_learned"] < 16
