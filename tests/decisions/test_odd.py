"""Good images that lift the threshold are named, with the threshold without them."""

import numpy as np
import pytest

from blemish.decisions.odd import odd_images
from blemish.decisions.wishes import CalibrationSettings
from blemish.schema import Costs

USUAL = np.random.default_rng(0).normal(1.2, 0.08, 50)


def test_an_even_row_of_scores_has_no_odd_image() -> None:
    assert odd_images(np.linspace(0, 1, 100), CalibrationSettings()) == ()


@pytest.mark.parametrize("num_odd", [1, 2, 3])
def test_each_odd_image_is_named_with_the_threshold_without_it(num_odd: int) -> None:
    scores = np.concatenate([USUAL[:14], 2 + 0.5 * np.arange(num_odd)])
    found = odd_images(scores, CalibrationSettings())
    assert [odd.place for odd in found] == [14 + place for place in reversed(range(num_odd))]
    assert found[-1].threshold_without == USUAL[:14].max()


def test_one_odd_image_of_many_lifts_nothing_since_it_may_lie_over_the_threshold() -> None:
    assert odd_images([*USUAL, 3.0], CalibrationSettings()) == ()
    assert [odd.place for odd in odd_images([*USUAL, 3.0], CalibrationSettings(confidence=0.95))] == [50]


def test_where_costs_choose_none_is_named() -> None:
    assert odd_images([*USUAL[:14], 3.0], CalibrationSettings(costs=Costs(50, 1, 0.01))) == ()
