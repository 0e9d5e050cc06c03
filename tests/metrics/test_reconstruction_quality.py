"""MSE, PSNR and SSIM against scikit-image."""

import math

import numpy as np
import pytest
import skimage.metrics

from blemish.errors import MetricError
from blemish.metrics import mse, psnr, ssim


def pair(shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, shape).astype(np.float64)
    image = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3
    other = np.clip(image + 20 * rng.normal(size=shape), 0, 255)
    return image.astype(dtype), other.astype(dtype)


@pytest.mark.parametrize("shape", [(11, 11), (40, 57), (40, 57, 3), (31, 64, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_values_equal_scikit_image(shape, dtype):
    image, other = pair(shape, dtype)
    assert mse(image, other) == pytest.approx(skimage.metrics.mean_squared_error(image, other), rel=1e-12)
    expected = skimage.metrics.peak_signal_noise_ratio(image, other, data_range=255)
    assert psnr(image, other) == pytest.approx(expected, rel=1e-12)
    expected = skimage.metrics.structural_similarity(
        image,
        other,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if len(shape) == 3 else None,
    )
    assert ssim(image, other) == pytest.approx(expected, abs=1e-9)


def test_the_range_of_pixel_values_can_be_another():
    image, other = pair((20, 20), np.float64)
    assert psnr(image / 255, other / 255, peak=1.0) == pytest.approx(psnr(image, other))
    assert ssim(image / 255, other / 255, peak=1.0) == pytest.approx(ssim(image, other))


def test_equal_images():
    image, _ = pair((20, 20, 3))
    assert (mse(image, image), psnr(image, image)) == (0.0, math.inf)
    assert ssim(image, image) == pytest.approx(1.0)


def test_dark_differences_of_unsigned_pixels_do_not_wrap():
    assert mse(np.zeros((2, 2), np.uint8), np.full((2, 2), 3, np.uint8)) == 9.0


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_shapes_must_agree(metric):
    with pytest.raises(MetricError, match=r"\(20, 20\) and \(20, 21\)"):
        metric(np.zeros((20, 20)), np.zeros((20, 21)))


def test_ssim_needs_room_for_its_window():
    with pytest.raises(MetricError, match=r"11 x 11 pixels; found shape \(10, 30\)"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))
