"""The detectors on frozen features give the values that their papers' formulas give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis, pdist

from blemish.detectors import padim, patchcore, template
from blemish.detectors.base import FitRequest
from blemish.detectors.features import deepest_layers
from blemish.detectors.padim import fit_gaussians
from blemish.detectors.scaling import fit_scaling
from blemish.errors import BackboneError
from blemish.registry import load_detector
from blemish.runtime.session import Session
from blemish.schema import Backbone, Fit
from blemish.testing.tiny import TinyProduct


def fit(name: str, images: Any, backbone: Backbone, **settings: Any) -> Fit:
    module = load_detector(name)
    chosen = module.INFO.settings(**settings)
    return module.fit(FitRequest(images=images, settings=chosen, backbone=backbone))


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("covariance", ["position", "shared"])
def test_padim_gaussians_give_the_mahalanobis_distance(covariance: Any) -> None:
    embeddings = normal(30, 3, 4) * np.array([1, 2, 3, 4], np.float32) + 5
    means, whiteners = fit_gaussians(embeddings, covariance, 0.01)
    part = embeddings[4, 1]
    centered = embeddings.astype(np.float64) - embeddings.mean(axis=0)
    if covariance == "shared":
        flat = centered.reshape(-1, 4)
        covariances = np.repeat((flat.T @ flat / len(flat))[None], 3, axis=0)
    else:
        covariances = np.stack([np.cov(embeddings[:, place].T) for place in range(3)])
    noise = 0.01 * np.trace(covariances, axis1=1, axis2=2).mean() / 4
    inverse = np.linalg.inv(covariances[1] + noise * np.eye(4))
    whitener = whiteners if covariance == "shared" else whiteners[1]
    found = np.linalg.norm((part - means[1]) @ whitener)
    assert found == pytest.approx(mahalanobis(part, embeddings[:, 1].mean(axis=0), inverse), rel=1e-3)


def test_a_shared_covariance_makes_a_smaller_graph(product: TinyProduct, backbone: Backbone) -> None:
    by_position = fit("padim", product.good, backbone)
    shared = fit("padim", product.good, backbone, covariance="shared")
    assert len(shared.graph) < len(by_position.graph) - 30_000


def test_patchcore_keeps_at_most_the_entries_asked_for(product: TinyProduct, backbone: Backbone) -> None:
    made = fit("patchcore", product.good, backbone, layers=("stride4", "stride8"), bank_size=37)
    assert made.facts["num_bank_entries"] == [37, 37]


def test_patchcore_knows_its_own_good_images(product: TinyProduct, backbone: Backbone) -> None:
    session = Session(fit("patchcore", product.good, backbone, bank_size=200_000).graph)
    good = [prediction.anomaly_score for prediction in session.predict(product.good)]
    defects = [prediction.anomaly_score for prediction in session.predict([each.image for each in product.defects])]
    assert max(good) < 0.1 * min(defects)


def test_template_counts_deviations_from_the_mean(product: TinyProduct, backbone: Backbone) -> None:
    """With cells of one pixel and no smoothing, the map is the length of the deviations of the three channels."""
    made = fit("template", product.good, backbone, cell=1, sigma=0, noise=3.0)
    good = np.stack(product.good).astype(np.float64)
    image = product.defects[0].image
    expected = np.linalg.norm((image - good.mean(axis=0)) / (good.std(axis=0) + 3.0), axis=2)
    [prediction] = Session(made.graph).predict([image])
    np.testing.assert_allclose(prediction.anomaly_map, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("hw", [(50, 70), (64, 33)])
@pytest.mark.parametrize("name", ["patchcore", "padim", "template"])
def test_images_of_any_size_can_be_fitted(name: str, hw: tuple[int, int], backbone: Backbone) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *hw, 3)).astype(np.uint8)
    [prediction] = Session(fit(name, images, backbone).graph).predict([images[0]])
    assert prediction.anomaly_map.shape == hw


def test_the_deepest_layer_of_each_stride_is_taken(backbone: Backbone) -> None:
    assert deepest_layers(backbone, (16, 4)) == ("stride16", "stride4")
    with pytest.raises(BackboneError, match=r"no layer of stride 32.*stride4"):
        deepest_layers(backbone, (8, 32))


@pytest.mark.parametrize("module", [patchcore, padim, template])
def test_a_detector_module_names_its_paper_or_says_that_there_is_none(module: Any) -> None:
    assert module.INFO.paper or module.INFO.name == "template"


def test_fully_whitened_channels_vary_alike_and_are_not_correlated() -> None:
    points = normal(2000, 4) @ normal(4, 4, seed=1) + 7
    center, projection = fit_scaling(points, 1.0)
    covariance = np.cov(((points - center) @ projection).T)
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.3)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.01


def test_without_whitening_distances_are_kept() -> None:
    points = normal(50, 4) * np.array([1, 5, 2, 9], np.float32)
    center, projection = fit_scaling(points, 0.0)
    scaled = (points - center) @ projection
    np.testing.assert_allclose(pdist(scaled), pdist(points), rtol=1e-3)


@settings(deadline=None, max_examples=20)
@given(whitening=st.floats(0, 1), dead=st.integers(0, 3))
def test_a_channel_that_never_moved_does_not_drown_the_others(whitening: float, dead: int) -> None:
    """A channel at rest in the good images may wake on the next part: it counts, but not a million times over."""
    points = normal(300, 4)
    points[:, dead] = 0
    center, projection = fit_scaling(points, whitening)
    woken = np.zeros(4, np.float32)
    woken[dead] = 1
    assert np.linalg.norm((woken - center) @ projection) < 20
