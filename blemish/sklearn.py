"""The detectors in the shape of scikit-learn's outlier detectors, for pipelines and searches; needs scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from blemish.model import Model, train
from blemish.registry import DEFAULT_DETECTOR

Images = Sequence[Any] | NDArray[Any]
"""Images as `blemish.train` takes them; an array of uint8 has the shape (n, height, width, 3) or (n, height, width)."""


class Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns good parts from images, then tells which others are unlike them: 1 for accepted, -1 for the rest.

    `detector`, `size`, `false_reject`, `settings` and `seed` are those of `blemish.train`; nothing is checked before
    `fit`. After it, `model_` is the `Model`, and `offset_` minus its threshold. By scikit-learn's convention larger
    scores are more normal.

    >>> from blemish.testing.tiny import make_tiny_product
    >>> product = make_tiny_product()
    >>> detector = Detector("template", size=64).fit(list(product.good))
    >>> detector.predict([product.held_out[0], product.defects[0].image]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        detector: str = DEFAULT_DETECTOR,
        *,
        size: int | tuple[int, int] | None = None,
        false_reject: float = 0.05,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.detector = detector
        self.size = size
        self.false_reject = false_reject
        self.settings = settings
        self.seed = seed

    def fit(self, X: Images, y: object = None) -> Detector:  # noqa: N803 (scikit-learn's name)
        """Learns from good images; `y` is not looked at. Raises as `blemish.train` does."""
        self.model_: Model = train(
            list(X),
            detector=self.detector,
            size=self.size,
            false_reject=self.false_reject,
            settings=self.settings,
            seed=self.seed,
        )
        self.offset_ = -self.model_.calibration.image_threshold
        return self

    def score_samples(self, X: Images) -> NDArray[np.float64]:  # noqa: N803
        """Minus the anomaly score of each image (n,)."""
        check_is_fitted(self, "model_")
        return np.array([-verdict.score for verdict in self.model_.inspect(list(X))], np.float64)

    def decision_function(self, X: Images) -> NDArray[np.float64]:  # noqa: N803
        """How far each score lies on the good side of the threshold (n,): below 0 is an outlier."""
        check_is_fitted(self, "model_")
        return np.asarray(self.score_samples(X) - self.offset_)

    def predict(self, X: Images) -> NDArray[np.int64]:  # noqa: N803
        """1 for each image at or below the threshold, -1 for one over it (n,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)
