"""Large images by tiles: every pixel is seen, seams are not, memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blemish.detectors.bank import LayerBank
from blemish.detectors.features import Head, _join, deepest_layers
from blemish.detectors.patchcore import distance_to_bank
from blemish.errors import BundleError
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_packed_embedding, packed_layers, unpack_layer
from blemish.graph.finish import finish_sum
from blemish.inspection import predict as tiles
from blemish.inspection.predict import Axis, TileGrid, predict_image
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.schema import Backbone, Image, Prediction, Reduction, Tiling
from blemish.testing.tiny import FakeSession
from blemish.weights import find_backbone

MAX = Reduction("max")
lengths = st.integers(16, 2000)
tilings = st.sampled_from([Tiling(64, 32), Tiling(100, 32), Tiling(192, 32), Tiling(150, 16)])


@settings(deadline=None)
@given(lengths, tilings)
def test_every_place_is_seen_and_weights_sum_to_one(length: int, tiling: Tiling) -> None:
    axis = Axis(length, tiling, 64)
    total = np.zeros(axis.starts[-1] + 64)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + 64] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert len(total) >= axis.map_px


@settings(deadline=None)
@given(lengths, tilings)
def test_tiles_lie_in_the_image_where_their_maps_lie(length: int, tiling: Tiling) -> None:
    axis = Axis(length, tiling, 64)
    for number, start in enumerate(axis.starts):
        begin = axis.image_start(number)
        assert begin == 0 or begin + tiling.tile_px <= length
        assert abs(begin - start * axis.scale) <= max(1.0, axis.scale)
    if length >= tiling.tile_px:
        assert axis.image_start(len(axis.starts) - 1) == pytest.approx(length - tiling.tile_px, abs=axis.scale)


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Blotches of several sizes, as of a rough surface."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    blotches = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1, 3, 9))
    gray = np.clip(128 + 40 * blotches / np.std(blotches), 0, 255).astype(np.uint8)
    return np.stack([gray] * 3, axis=2)


def blurred(image: Image) -> Prediction:
    """A map that looks up to 12 pixels around each place."""
    anomaly_map = cv2.GaussianBlur(image[..., 0].astype(np.float32), (25, 25), 4)
    return Prediction(float(anomaly_map.max()), np.asarray(anomaly_map, np.float32))


@pytest.mark.parametrize("hw", [(200, 300), (64, 300), (301, 64), (130, 131), (128, 512)])
def test_the_stitched_map_is_the_untiled_one(hw: tuple[int, int]) -> None:
    """Where no place looks further than the part of a tile that counts for nothing, no value differs."""
    image = picture(*hw)
    found, _ = predict_image(FakeSession((128, 128), blurred), image, MAX, Tiling(128, 64), num_threads=2)
    np.testing.assert_allclose(found.anomaly_map, blurred(image).anomaly_map, atol=1e-3)
    assert found.anomaly_score == found.anomaly_map.max()


class Bank:
    """A memory bank on a backbone, as a graph for images of any size."""

    def __init__(self, backbone: Backbone, good: Sequence[Image]) -> None:
        self.backbone = backbone
        self.layers = deepest_layers(backbone, (8, 16))
        hw = good[0].shape[:2]
        embedder = GraphRunner(build_packed_embedding(backbone, self.layers, hw, 3))
        embeddings = embedder.run({"image": np.stack(good)})["embedding"]
        self.banks = []
        for layer in packed_layers(backbone, self.layers, hw):
            patches = embeddings[:, layer.places].reshape(-1, layer.channels)
            patches = patches[np.random.default_rng(0).permutation(len(patches))[:500]]
            center = patches.mean(axis=0)
            nobody: NDArray[np.intp] = np.zeros(len(patches), np.intp)
            alike = np.ones(len(patches), np.float32)
            self.banks.append(
                LayerBank(center, np.eye(layer.channels, dtype=np.float32), patches - center, nobody, alike)
            )

    def session(self, hw: tuple[int, int]) -> Session:
        packed = packed_layers(self.backbone, self.layers, hw)

        def append(builder: GraphBuilder, embedding: str) -> None:
            maps = [
                (distance_to_bank(builder, unpack_layer(builder, embedding, layer), bank), layer.grid)
                for layer, bank in zip(packed, self.banks, strict=True)
            ]
            finish_sum(builder, maps, hw, sigma=4.0, reduction=MAX)

        embedder = build_packed_embedding(self.backbone, self.layers, hw, 3)
        return Session(_join(embedder, Head(append), hw))


def test_seams_of_a_network_cannot_be_seen() -> None:
    """With the shipped backbone, tiles of 512: beside what a defect adds to the map, the difference is next to none."""
    bank = Bank(find_backbone("efficientnet-lite0"), [picture(256, 256, seed) for seed in range(4)])
    image = picture(512, 896, seed=9)
    for x, y, radius in ((120, 200, 6), (440, 256, 9), (700, 100, 4), (830, 500, 8)):
        cv2.circle(image, (x, y), radius, (230, 40, 40), -1)
    [whole] = bank.session((512, 896)).predict([image])
    found, _ = predict_image(bank.session((512, 512)), image, MAX, Tiling(512, 128), num_threads=2)
    height = whole.anomaly_map.max() - np.median(whole.anomaly_map)
    differences = np.abs(found.anomaly_map - whole.anomaly_map) / height
    assert differences.max() < 0.03
    assert differences.mean() < 0.003
    assert found.anomaly_score == pytest.approx(whole.anomaly_score, rel=0.02)
    # A seam would be a step along the whole height of the image, at one column and not beside it.
    steps = np.abs(np.diff(found.anomaly_map - whole.anomaly_map, axis=1)).mean(axis=0) / height
    assert steps.max() < 0.002


def test_a_tile_may_be_scaled_to_the_input() -> None:
    """Tiles of 128 pixels at 64: the map has half the size of the image, and values lie where they belong."""
    image = np.zeros((300, 500, 3), np.uint8)
    image[200:212, 350:362] = 255
    found, _ = predict_image(FakeSession((64, 64)), image, MAX, Tiling(128, 16))
    assert found.anomaly_map.shape == (150, 250)
    rows, columns = np.nonzero(found.anomaly_map > 0.5)
    assert (rows.min(), rows.max() + 1) == (100, 106)
    assert (columns.min(), columns.max() + 1) == (175, 181)


def test_an_image_smaller_than_a_tile_goes_on_as_its_mirror_image() -> None:
    session = FakeSession((64, 64))
    image = picture(40, 200)
    found, _ = predict_image(session, image, MAX, Tiling(64, 16))
    assert found.anomaly_map.shape == (40, 200)
    np.testing.assert_array_equal(session.seen[0][40:60, :, 0], image[38:18:-1, :64, 0])


@settings(deadline=None, max_examples=30)
@given(st.integers(64, 400), st.integers(64, 400), st.integers(100, 20_000))
def test_a_large_map_keeps_the_largest_of_each_square(height: int, width: int, limit: int) -> None:
    image = picture(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "MAX_MAP_PIXELS", 10**9)
        full, _ = predict_image(FakeSession((64, 64)), image, MAX, Tiling(64, 32))
        patch.setattr(tiles, "MAX_MAP_PIXELS", limit)
        step = TileGrid.of((height, width), Tiling(64, 32), (64, 64)).divisor
        kept, reduction = predict_image(FakeSession((64, 64)), image, Reduction("max"), Tiling(64, 32))
    assert kept.anomaly_map.size <= limit + height + width
    assert reduction == MAX
    assert kept.anomaly_score == full.anomaly_score
    for row, column in ((0, 0), (kept.anomaly_map.shape[0] - 1, kept.anomaly_map.shape[1] - 1)):
        square = full.anomaly_map[row * step : (row + 1) * step, column * step : (column + 1) * step]
        assert kept.anomaly_map[row, column] == square.max()


def test_a_top_mean_takes_fewer_of_the_values_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "MAX_MAP_PIXELS", 128 * 128 // 4)
    image = np.zeros((128, 128, 3), np.uint8)
    image[:4, :4] = 255
    found, reduction = predict_image(FakeSession((64, 64)), image, Reduction("top_mean", 16), Tiling(64, 32))
    assert reduction == Reduction("top_mean", 4)
    assert found.anomaly_score == pytest.approx(1.0)


def test_a_score_of_features_is_the_largest_of_any_tile() -> None:
    session = FakeSession((64, 64), lambda tile: Prediction(float(tile.max()), np.zeros((64, 64), np.float32)))
    image = np.zeros((200, 200, 3), np.uint8)
    image[150, 150] = 77
    assert predict_image(session, image, Reduction("features"), Tiling(64, 16))[0].anomaly_score == 77


def test_without_tiles_an_image_is_resized() -> None:
    session = FakeSession((64, 64))
    found, reduction = predict_image(session, picture(100, 130), MAX, None)
    assert found.anomaly_map.shape == (64, 64)
    assert reduction is MAX
    assert len(session.seen) == 1


def test_tiles_are_square() -> None:
    with pytest.raises(BundleError, match="tiles are square"):
        TileGrid.of((500, 500), Tiling(64, 16), (64, 96))
