"""What a fit request accepts, and that detectors keep to it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from blemish.detectors import padim, template
from blemish.detectors.base import Defects, FitRequest
from blemish.errors import BlemishError, Cancelled, DataError, SettingsError
from blemish.schema import Backbone
from blemish.testing.tiny import TinyProduct

BLANK = np.zeros((32, 64, 3), np.uint8)


def request(**options: Any) -> FitRequest[Any]:
    return FitRequest(**{"images": [BLANK] * 4, "settings": template.Settings(), **options})


@pytest.mark.parametrize(
    "folds",
    [
        [np.array([0, 1])],
        [np.array([0, 1]), np.array([1, 2, 3])],
        [np.array([0, 1]), np.array([2, 4])],
    ],
    ids=["images in no fold", "an image in two folds", "an image that is not there"],
)
def test_folds_hold_every_image_once(folds: list[np.ndarray]) -> None:
    with pytest.raises(SettingsError, match="folds of 4 images: each image belongs to exactly one fold"):
        request(folds=folds)


def test_there_is_something_to_fit_on_and_a_thread_to_do_it() -> None:
    with pytest.raises(DataError, match="no images to fit on"):
        request(images=[])
    with pytest.raises(SettingsError, match="threads is 0: give 1 or more"):
        request(threads=0)


def test_defects_are_of_the_size_of_the_good_images() -> None:
    with pytest.raises(DataError, match=r"defective image 0 is of \(32, 32\) pixels, the good ones of \(32, 64\)"):
        request(defects=Defects([BLANK[:, :32]], [None]))


def test_a_cancelled_fit_is_an_error_of_ours_that_says_how_far_it_came() -> None:
    with pytest.raises(Cancelled, match=r"cancelled while reading features \(1 of 4 done\)") as caught:
        template.fit(request(cancel=lambda: True))
    assert isinstance(caught.value, BlemishError)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_images_are_read_at_once_than_there_are_threads(
    threads: int, product: TinyProduct, backbone: Backbone
) -> None:
    """Also where held-out images are scored; the number of threads makes no difference to the graph."""

    class Watched(list[np.ndarray]):
        readers: set[int] = set()  # noqa: RUF012

        def __getitem__(self, index: Any) -> Any:
            self.readers.add(threading.get_ident())
            return super().__getitem__(index)

    images = Watched(product.good)
    folds = [np.arange(8), np.arange(8, 16)]

    def fit(**options: Any) -> bytes:
        settings = padim.Settings(channels=8)
        return padim.fit(
            FitRequest(settings=settings, backbone=backbone, folds=folds, **options)  # type: ignore[arg-type]
        ).graph

    Watched.readers.clear()
    graph = fit(images=images, threads=threads)
    assert len(Watched.readers - {threading.get_ident()}) <= threads
    assert graph == fit(images=product.good)
