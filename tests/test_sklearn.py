"""The detectors behave as scikit-learn's outlier detectors do; its own checks take tables, so the laws stand here."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from blemish.sklearn import Detector
from blemish.testing.tiny import TinyProduct


@pytest.fixture(scope="module")
def fitted(product: TinyProduct) -> Detector:
    return Detector("template", size=64).fit(np.stack(product.good))


@pytest.fixture(scope="module")
def images(product: TinyProduct) -> list[np.ndarray]:
    return [*product.held_out, *(defect.image for defect in product.defects)]


def test_scores_decisions_and_predictions_agree(fitted: Detector, images: list[np.ndarray]) -> None:
    scores, decisions, predicted = (
        method(images) for method in (fitted.score_samples, fitted.decision_function, fitted.predict)
    )
    np.testing.assert_allclose(decisions, scores - fitted.offset_)
    np.testing.assert_array_equal(predicted, np.where(decisions >= 0, 1, -1))
    verdicts = [fitted.model_.inspect(image).decision for image in images]
    assert [decision == "accept" for decision in verdicts] == (predicted == 1).tolist()


def test_few_good_images_are_outliers_and_defects_are(fitted: Detector, product: TinyProduct) -> None:
    assert (fitted.predict([defect.image for defect in product.defects]) == -1).all()
    assert (fitted.predict(product.held_out) == 1).mean() > 0.7


def test_it_is_an_estimator(fitted: Detector, product: TinyProduct, images: list[np.ndarray]) -> None:
    assert is_outlier_detector(fitted)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(images)
    again = copied.set_params(seed=0).fit(list(product.good))
    np.testing.assert_array_equal(again.score_samples(images), fitted.score_samples(images))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(images), fitted.predict(images))


def test_it_stands_at_the_end_of_a_pipeline(product: TinyProduct, images: list[np.ndarray]) -> None:
    dark = FunctionTransformer(lambda each: [(image // 2).astype(np.uint8) for image in each])
    pipeline = make_pipeline(dark, Detector("template", size=64)).fit(list(product.good))
    assert set(pipeline.predict(images).tolist()) == {1, -1}
