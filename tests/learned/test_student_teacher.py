"""Student and teacher: the student learns the teacher's features on good parts, from pixels alone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from blemish.detectors.base import FitRequest  # noqa: E402
from blemish.errors import SettingsError  # noqa: E402
from blemish.learned import student_teacher  # noqa: E402
from blemish.learned.contract import pixels_of  # noqa: E402
from blemish.learned.distillation import DistillationLearner, Teacher  # noqa: E402
from blemish.learned.student_teacher import Settings, Student  # noqa: E402
from blemish.schema import Backbone, Fit  # noqa: E402
from blemish.testing.tiny import TinyProduct, make_tiny_backbone, make_tiny_product  # noqa: E402

LAYERS = ("stride4", "stride8", "stride16")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def product() -> TinyProduct:
    return make_tiny_product(num_good=16)


def fit(product: TinyProduct, backbone: Backbone, **settings: object) -> Fit:
    return student_teacher.fit(
        FitRequest(images=product.good, settings=Settings(**settings), backbone=backbone, seed=0)
    )


@pytest.fixture(scope="module")
def fitted(product: TinyProduct, backbone: Backbone) -> Fit:
    return fit(product, backbone, epochs=25)


def scores(graph: bytes, images: list[np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(graph).run(["anomaly_score"], {"image": np.stack(images)})[0]


def test_defects_score_above_held_out_good_images(fitted: Fit, product: TinyProduct) -> None:
    defective = scores(fitted.graph, [defect.image for defect in product.defects])
    assert np.median(defective) > scores(fitted.graph, list(product.held_out)).max()


def test_training_brings_the_student_closer_to_the_teacher(fitted: Fit) -> None:
    losses = [entry["train_loss"] for entry in fitted.facts["history"]]
    assert losses[-1] < 0.6 * losses[0]


def test_the_same_seed_gives_the_same_graph_and_another_one_another(product: TinyProduct, backbone: Backbone) -> None:
    first, again = fit(product, backbone, epochs=1), fit(product, backbone, epochs=1)
    assert first.graph == again.graph
    other = student_teacher.fit(FitRequest(images=product.good, settings=Settings(epochs=1), backbone=backbone, seed=1))
    assert first.graph != other.graph


def test_the_teacher_keeps_its_weights_while_the_student_learns(product: TinyProduct, backbone: Backbone) -> None:
    learner = DistillationLearner(
        Teacher(backbone, LAYERS, product.good), Student(backbone, LAYERS), "cosine", "sum"
    ).train()
    assert not any(parameter.requires_grad for parameter in learner.teacher.parameters())
    assert all(parameter.requires_grad for parameter in learner.student.parameters())
    torch.stack([each.mean() for each in learner.distances(pixels_of(product.good[:4]))]).sum().backward()
    assert all(parameter.grad is None for parameter in learner.teacher.parameters())
    assert any(float(parameter.grad.abs().max()) > 0 for parameter in learner.student.parameters())


def test_the_student_is_given_no_features(product: TinyProduct, backbone: Backbone) -> None:
    student = Student(backbone, LAYERS).eval()
    pixels = pixels_of(product.good[:2])
    for one, other in zip(student(pixels, []), student(pixels, [torch.ones(1)]), strict=True):
        assert torch.equal(one, other)


def test_a_backbone_is_needed(product: TinyProduct) -> None:
    with pytest.raises(SettingsError, match="student_teacher needs a backbone"):
        student_teacher.fit(FitRequest(images=product.good, settings=Settings(), backbone=None, seed=0))
