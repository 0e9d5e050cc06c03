"""The numbers that show how pictures were taken."""

import cv2
import numpy as np
import pytest

from blemish.schema import Image
from blemish.watching.conditions import CONDITIONS, good_conditions, measure_conditions

NAMES = [name for name, _ in CONDITIONS]


def picture() -> Image:
    """A bright disc left of the middle on a dark ground, with some texture."""
    y, x = np.mgrid[:64, :96]
    disc = (((x - 40) ** 2 + (y - 32) ** 2) < 400) * 120.0
    texture = np.random.default_rng(0).normal(0, 8, (64, 96))
    return np.repeat(np.clip(60 + disc + texture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def measured(image: Image) -> dict[str, float]:
    return dict(zip(NAMES, measure_conditions(image, 1.5), strict=True))


def test_the_score_comes_first() -> None:
    assert measure_conditions(picture(), 1.5)[NAMES.index("score")] == 1.5


def test_brightness_and_highlights_agree_with_numpy() -> None:
    image = picture()
    found = measured(image)
    assert found["brightness"] == pytest.approx(image.mean())
    assert found["highlights"] == pytest.approx(np.quantile(image, 0.95), abs=1)


def test_colors_weigh_green_twice() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[...] = (40, 80, 200)
    assert measured(image)["brightness"] == (40 + 2 * 80 + 200) / 4


def test_blur_lowers_sharpness_and_light_does_not() -> None:
    image = picture()
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8)
    darker = (image * 0.5).astype(np.uint8)
    assert measured(blurred)["sharpness"] < 0.8 * measured(image)["sharpness"]
    assert measured(darker)["sharpness"] == pytest.approx(measured(image)["sharpness"], rel=0.05)


def test_position_follows_the_part() -> None:
    image = picture()
    moved = np.roll(image, (5, 10), axis=(0, 1))
    assert measured(moved)["position_x"] > measured(image)["position_x"] + 0.01
    assert measured(moved)["position_y"] > measured(image)["position_y"] + 0.01
    assert measured(np.full((10, 20, 3), 99, np.uint8))["position_x"] == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3)])
def test_flat_and_tiny_images_give_finite_numbers(value: int, shape: tuple[int, int, int]) -> None:
    assert np.isfinite(measure_conditions(np.full(shape, value, np.uint8), 0.0)).all()


def test_the_reference_is_sorted_and_may_hold_more_pictures_than_scores() -> None:
    pictures = [tuple(float(number * factor) for factor in range(1, len(NAMES))) for number in (3, 1, 2)]
    conditions = good_conditions([5.0, 4.0], pictures)
    assert [condition.name for condition in conditions] == NAMES
    assert conditions[0].values == (4.0, 5.0)
    assert conditions[2].values == (2.0, 4.0, 6.0)
