"""What a network learns of shown defects: on paper as in the graph, calibrated so that unknown defects are not lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blemish.detectors import patchcore
from blemish.detectors.base import Defects, FitRequest
from blemish.detectors.patch_network import PatchNetwork, Scaling, Seen, finest_grid, patches_of, train_network
from blemish.detectors.taught import defective_positions, equal_rarity
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import PackedLayer
from blemish.graph.grid import Grid
from blemish.runtime.onnx_runner import GraphRunner
from blemish.schema import Backbone, Fit
from blemish.testing.tiny import TinyProduct, make_tiny_product

LAYERS = (
    PackedLayer(slice(0, 8 * 6 * 5), Grid((8, 6), 4, 2.0), 5),
    PackedLayer(slice(240, 240 + 4 * 3 * 7), Grid((4, 3), 8, 4.0), 7),
)


def seen(seed: int) -> Seen:
    rng = np.random.default_rng(seed)
    return Seen(rng.normal(size=324).astype(np.float32), rng.normal(size=(8, 6)).astype(np.float32))


def network(seed: int = 0) -> PatchNetwork:
    rng = np.random.default_rng(seed)
    good, bad = (rng.normal(mean, 1, (200, 13)).astype(np.float32) for mean in (0, 2))
    return train_network(good, bad, np.ones(200), Scaling.of(good), LAYERS, seed)


def test_the_graph_gives_the_evidence_that_numpy_gives() -> None:
    made = network()
    builder = GraphBuilder("evidence")
    embedding = builder.input("embedding", np.float32, ["batch", 324])
    unsupervised = builder.input("unsupervised", np.float32, ["batch", 8, 6])
    builder.output(made.append(builder, embedding, unsupervised, LAYERS), "evidence", np.float32, ["batch", 8, 6])
    images = [seen(1), seen(2)]
    values = {
        "embedding": np.stack([image.embedding for image in images]),
        "unsupervised": np.stack([image.unsupervised for image in images]),
    }
    found = GraphRunner(builder.build(), threads=1).run(values)["evidence"]
    np.testing.assert_allclose(found, [made.evidence(image, LAYERS) for image in images], rtol=1e-4, atol=1e-4)


def test_evidence_is_what_the_network_says_of_each_patch() -> None:
    made, image = network(), seen(3)
    patches = patches_of(image, LAYERS, np.arange(48))
    hidden = np.maximum(patches @ np.concatenate([*made.weights, made.odd[None]]) + made.bias, 0)
    expected = (hidden @ made.out + made.offset).reshape(finest_grid(LAYERS).hw)
    np.testing.assert_allclose(made.evidence(image, LAYERS), expected, rtol=1e-4, atol=1e-4)


def test_the_network_tells_shown_patches_from_good_ones() -> None:
    rng = np.random.default_rng(5)
    good = rng.normal(0, 1, (500, 13)).astype(np.float32)
    made = train_network(good, good[:20] + 4, np.ones(20), Scaling.of(good), LAYERS, 0)

    def logits(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        hidden = np.maximum(patches @ np.concatenate([*made.weights, made.odd[None]]) + made.bias, 0)
        return np.asarray(hidden @ made.out)

    fresh = rng.normal(0, 1, (200, 13)).astype(np.float32)
    assert logits(fresh + 4).min() > np.quantile(logits(fresh), 0.99)


@pytest.mark.parametrize("num_good", [40, 400, 4000])
def test_evidence_counts_on_few_good_parts_and_as_much_as_the_other_map_does(num_good: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.gumbel(3, 2, num_good).astype(np.float32), rng.gumbel(-7, 0.5, num_good).astype(np.float32)
    added = equal_rarity(first, second).scale(second)
    assert (added > 0).mean() == pytest.approx(0.1, abs=0.05)
    largest = np.sort(first)[-(max(num_good // 10, 5) + 1) :]
    assert added[added > 0].mean() == pytest.approx((largest[1:] - largest[0]).mean(), rel=0.01)


def test_a_mask_names_the_positions_that_it_covers() -> None:
    small, large = np.zeros((16, 16), np.bool_), np.zeros((16, 16), np.bool_)
    small[5, 9] = True  # one pixel of the cell in row 1, column 2
    large[4:12, 0:8] = True
    places = defective_positions(
        Defects([np.zeros((16, 16, 3), np.uint8)] * 2, [small, large]), [small.astype(np.float32)] * 2, (4, 4)
    )
    assert [one.tolist() for one in places] == [[6], [4, 5, 8, 9]]


def test_without_a_mask_the_highest_place_of_the_map_counts() -> None:
    anomaly_map = np.zeros((16, 16), np.float32)
    anomaly_map[13, 2:7] = 3
    places = defective_positions(Defects([np.zeros((16, 16, 3), np.uint8)], [None]), [anomaly_map], (4, 4))
    assert places[0].tolist() == [12, 13]


@pytest.fixture(scope="module")
def parts() -> TinyProduct:
    return make_tiny_product(20, 4, 6, seed=7)


@pytest.fixture(scope="module")
def plain(parts: TinyProduct, backbone: Backbone) -> tuple[FitRequest[patchcore.Settings], Fit]:
    folds = tuple(np.array_split(np.arange(20), 10))
    settings = patchcore.Settings(layers=("stride4", "stride8"), bank_size=100)
    request = FitRequest(images=parts.good, settings=settings, backbone=backbone, folds=folds)
    return request, patchcore.fit(request)


@pytest.mark.parametrize("num_shown", [1, 4])
@pytest.mark.parametrize("with_folds", [True, False])
def test_a_taught_detector_keeps_its_unsupervised_map(
    plain: tuple[FitRequest[patchcore.Settings], Fit], parts: TinyProduct, num_shown: int, with_folds: bool
) -> None:
    request, before = plain
    shown = Defects([one.image for one in parts.defects[:num_shown]], [one.mask for one in parts.defects[:num_shown]])
    taught = patchcore.fit(replace(request, defects=shown, folds=request.folds if with_folds else ()))
    old, new = GraphRunner(before.graph, threads=1), GraphRunner(taught.graph, threads=1)
    for image in (*parts.held_out, *(one.image for one in parts.defects)):
        first, second = old.run({"image": image[None]}), new.run({"image": image[None]})
        assert (second["anomaly_map"] >= first["anomaly_map"] - 1e-5).all()
        assert second["anomaly_score"][0] == second["anomaly_map"].max()
    assert taught.shown is not None
    assert taught.shown.anomaly_scores.shape == (num_shown,)
    assert (taught.held_out is not None) == with_folds
    if taught.held_out is not None and before.held_out is not None:
        assert (taught.held_out.anomaly_scores >= before.held_out.anomaly_scores - 1e-5).all()
