"""Reverse distillation, and what it shares with student and teacher: distances, fused maps, the common fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from blemish.detectors.base import FitRequest  # noqa: E402
from blemish.errors import SettingsError  # noqa: E402
from blemish.learned import distillation, reverse_distillation  # noqa: E402
from blemish.learned.contract import pixels_of  # noqa: E402
from blemish.learned.distillation import (  # noqa: E402
    Distance,
    DistillationLearner,
    Teacher,
    feature_distance,
    fuse,
)
from blemish.learned.export import export_graph  # noqa: E402
from blemish.learned.fitting import run_module  # noqa: E402
from blemish.learned.reading import MapReader, OneGraph, raw_maps  # noqa: E402
from blemish.learned.reverse_distillation import Decoder, Settings  # noqa: E402
from blemish.learned.student_teacher import Student  # noqa: E402
from blemish.schema import Backbone, Fit  # noqa: E402
from blemish.testing.tiny import TinyProduct, make_tiny_backbone, make_tiny_product  # noqa: E402

LAYERS = ("stride4", "stride8", "stride16")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def product() -> TinyProduct:
    return make_tiny_product(num_good=16)


def fit(product: TinyProduct, backbone: Backbone, folds: list[np.ndarray] | None = None, **settings: object) -> Fit:
    return reverse_distillation.fit(
        FitRequest(
            images=product.good,
            settings=Settings(**{"width": 32, "code_channels": 8, **settings}),
            backbone=backbone,
            folds=folds or [],
        )
    )


@pytest.fixture(scope="module")
def fitted(product: TinyProduct, backbone: Backbone) -> Fit:
    return fit(product, backbone, epochs=25)


def run(graph: bytes, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    maps, scores = ort.InferenceSession(graph).run(["anomaly_map", "anomaly_score"], {"image": np.stack(images)})
    return maps, scores


def test_defects_score_above_held_out_good_images_and_are_found_where_they_are(
    fitted: Fit, product: TinyProduct
) -> None:
    _, good = run(fitted.graph, list(product.held_out))
    maps, defective = run(fitted.graph, [defect.image for defect in product.defects])
    assert np.median(defective) > good.max()
    inside = [
        each[defect.mask].mean() - each[~defect.mask].mean() for each, defect in zip(maps, product.defects, strict=True)
    ]
    assert min(inside) > 0


def test_the_score_is_the_declared_reduction_of_the_map(fitted: Fit, product: TinyProduct) -> None:
    maps, scores = run(fitted.graph, list(product.held_out))
    assert fitted.reduction.kind == "max"
    np.testing.assert_array_equal(scores, maps.max(axis=(1, 2)))


def test_the_same_seed_gives_the_same_graph_and_folds_change_nothing_about_it(
    product: TinyProduct, backbone: Backbone
) -> None:
    folds = [np.arange(0, 8), np.arange(8, 16)]
    with_folds, without = fit(product, backbone, folds, epochs=1), fit(product, backbone, epochs=1)
    assert with_folds.graph == without.graph
    assert without.held_out is None
    assert with_folds.held_out is not None
    assert with_folds.held_out.anomaly_maps.shape == (16, 64, 64)
    assert np.isfinite(with_folds.held_out.anomaly_scores).all()
    assert with_folds.held_out.anomaly_scores.std() > 0


def test_the_decoder_sees_nothing_but_the_code(product: TinyProduct, backbone: Backbone) -> None:
    """With the code put out, all images decode to the same features."""
    teacher = Teacher(backbone, LAYERS, product.good)
    decoder = Decoder(teacher.channels, teacher.strides, width=32, code_channels=4).eval()
    torch.nn.init.zeros_(decoder.encode[-1].weight)
    features = teacher(pixels_of(product.good[:2]))
    for feature, decoded in zip(features, decoder(torch.zeros(2, 3, 64, 64), features), strict=True):
        assert decoded.shape == feature.shape
        assert torch.equal(decoded[0], decoded[1])
        assert not torch.equal(feature[0], feature[1])


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("kind", ["decoder", "student"])
def test_the_exported_graph_scores_as_pytorch_does(kind: str, distance: Distance, backbone: Backbone) -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (50, 70, 3)).astype(np.uint8) for seed in range(5)]
    teacher = Teacher(backbone, LAYERS, images)
    student = Student(backbone, LAYERS) if kind == "student" else Decoder(teacher.channels, teacher.strides, 32, 4)
    learner = DistillationLearner(teacher, student, distance, "product").eval()
    reader = MapReader(learner.grid, (50, 70), sigma=4.0, reduction=distillation.REDUCTION)
    reader.learn_usual(raw_maps(learner, images[:3]))
    graph = OneGraph(learner, reader)
    maps, scores = run_module(graph, images)
    exported_maps, exported_scores = run(export_graph(graph, 50, 70), images)
    np.testing.assert_allclose(exported_maps, maps, rtol=1e-4, atol=1e-4 * np.abs(maps).max())
    np.testing.assert_allclose(exported_scores, scores, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (72, 100), (33, 47)])
def test_images_of_any_size_are_taken(size: tuple[int, int], backbone: Backbone) -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8) for seed in range(3)]
    teacher = Teacher(backbone, LAYERS, images)
    learner = DistillationLearner(
        teacher, Decoder(teacher.channels, teacher.strides, 32, 4), "cosine", "product"
    ).eval()
    raw, reconstruction = learner.read(pixels_of(images))
    assert raw.shape == (3, -(-size[0] // 4), -(-size[1] // 4))
    assert reconstruction is None


def test_the_teachers_channels_are_standardized_on_good_images(product: TinyProduct, backbone: Backbone) -> None:
    teacher = Teacher(backbone, LAYERS, product.good)
    for feature in teacher(pixels_of(product.good)):
        values = feature.transpose(0, 1).flatten(1)
        torch.testing.assert_close(values.mean(1), torch.zeros(len(values)), rtol=0, atol=1e-3)
        varies = values.std(1) > 0.5  # a channel that is the same everywhere stays so
        assert varies.sum() >= len(values) - 1
        torch.testing.assert_close(values.std(1), varies.float(), rtol=0, atol=2e-2)


def test_distances_equal_their_formulas() -> None:
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.normal(size=(2, 5, 3, 4)).astype(np.float32)) for _ in range(2))
    a, b = first.numpy(), second.numpy()
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(feature_distance(first, second, "cosine")[:, 0], 1 - cosine, atol=1e-5)
    np.testing.assert_allclose(feature_distance(first, second, "l2")[:, 0], ((a - b) ** 2).mean(1), rtol=1e-5)
    assert float(feature_distance(first, 3 * first, "cosine").abs().max()) < 1e-5


def test_fused_maps_are_arithmetic_and_geometric_means() -> None:
    maps = [torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), 2.0)]
    torch.testing.assert_close(fuse(maps, "sum"), torch.full((2, 3, 3), 1.25))
    torch.testing.assert_close(fuse(maps, "product"), torch.full((2, 3, 3), 1.0))


def test_layers_are_the_asked_ones_and_unknown_ones_are_named(product: TinyProduct, backbone: Backbone) -> None:
    assert fit(product, backbone, epochs=1, layers=("stride8", "stride4")).facts["layers"] == ["stride4", "stride8"]
    with pytest.raises(SettingsError, match="backbone tiny has no layer 'stride5': choose of stride4"):
        fit(product, backbone, layers=("stride5",))


def test_settings_out_of_bounds_are_refused() -> None:
    for wrong in ({"epochs": 0}, {"width": 4}, {"distance": "taxi"}, {"depth": 3}):
        with pytest.raises(ValidationError):
            Settings(**wrong)


def test_without_backbone_or_with_tiny_images_one_line_says_what_to_do(
    product: TinyProduct, backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="reverse_distillation needs a backbone"):
        reverse_distillation.fit(FitRequest(images=product.good, settings=Settings()))
    small = [image[: distillation.MIN_SIDE - 1] for image in product.good]
    with pytest.raises(SettingsError, match="at least 32 px a side, found 64 x 31 px"):
        reverse_distillation.fit(FitRequest(images=small, settings=Settings(), backbone=backbone))
