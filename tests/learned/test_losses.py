"""Error maps against independent references."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from blemish.learned.losses import error_map, reconstruction_loss, ssim_map  # noqa: E402


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.nn.functional.interpolate(
        torch.rand(2, 3, 12, 10, generator=generator), scale_factor=4, mode="bilinear"
    )
    return first, (first + 0.1 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


def test_ssim_equals_kornia_everywhere(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    kornia = pytest.importorskip("kornia")
    torch.testing.assert_close(ssim_map(*pair), kornia.metrics.ssim(*pair, window_size=11), rtol=0, atol=2e-4)


def test_ssim_equals_scikit_image_inside(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    found = ssim_map(*pair)[0].permute(1, 2, 0).numpy()
    first, second = (images[0].permute(1, 2, 0).numpy().astype(np.float64) for images in pair)
    _, expected = metrics.structural_similarity(
        first, second, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        full=True,
    )  # fmt: skip
    np.testing.assert_allclose(found[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-4)


def test_ssim_keeps_its_precision_under_bfloat16(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssim_map(*pair), ssim_map(*pair).float())
        inside = ssim_map(*pair)
    torch.testing.assert_close(inside, ssim_map(*pair))


@pytest.mark.parametrize("kind", ["mse", "ssim", "mse+ssim"])
def test_the_error_is_zero_for_equal_images_and_lies_where_they_differ(kind: str) -> None:
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    other = image.clone()
    other[..., 20:24, 10:14] = 1 - other[..., 20:24, 10:14]
    torch.testing.assert_close(error_map(image, image, kind), torch.zeros(1, 40, 40), rtol=0, atol=1e-5)
    error = error_map(image, other, kind)[0]
    row, column = divmod(int(error.argmax()), 40)
    assert 19 <= row <= 24
    assert 9 <= column <= 14
    assert float(reconstruction_loss(image, other, kind)) == pytest.approx(float(error.mean()), rel=1e-5)


def test_the_sum_of_errors_is_the_error_of_the_sum(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(
        error_map(*pair, "mse+ssim"), error_map(*pair, "mse") + error_map(*pair, "ssim"), rtol=1e-5, atol=1e-6
    )
    numpy_error = (pair[0].numpy() - pair[1].numpy()) ** 2
    np.testing.assert_allclose(error_map(*pair, "mse"), numpy_error.mean(1), rtol=1e-4, atol=1e-7)
