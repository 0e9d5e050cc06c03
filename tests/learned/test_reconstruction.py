"""The four detectors that redraw an image: each learns the tiny product, and each of its settings does what it says."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnxruntime  # noqa: E402

from blemish.detectors.base import DetectorInfo, FitRequest  # noqa: E402
from blemish.errors import SettingsError  # noqa: E402
from blemish.learned import cae, ganomaly, unet_ae, vae  # noqa: E402
from blemish.learned.contract import Batch, pixels_of  # noqa: E402
from blemish.learned.losses import error_map  # noqa: E402
from blemish.schema import Backbone, Fit, Image  # noqa: E402
from blemish.testing.tiny import TINY_HW, TinyProduct  # noqa: E402

FAMILIES = (cae, unet_ae, vae, ganomaly)
SMALL: dict[str, Any] = {"width": 8, "batch_size": 4, "augmentation": "none", "validation_ratio": 0.125}
# So long until each draws more than the mean image does.
LEARNING: dict[str, dict[str, Any]] = {
    "cae": {"epochs": 35, "learning_rate": 5e-3},
    "unet_ae": {"epochs": 25, "learning_rate": 5e-3, "corruption": "none", "loss": "mse"},
    "vae": {"epochs": 25, "learning_rate": 5e-3},
    "ganomaly": {"epochs": 25, "learning_rate": 3e-3},
}


def fit(family: ModuleType, images: Any, backbone: Backbone | None = None, **settings: Any) -> Fit:
    made = family.Settings(**{**SMALL, **settings})
    return family.fit(FitRequest(images=images, settings=made, backbone=backbone))


def run(graph: bytes, images: list[Image]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(graph)
    return dict(
        zip(
            (output.name for output in session.get_outputs()),
            session.run(None, {"image": np.stack(images)}),
            strict=True,
        )
    )


@pytest.fixture(scope="module")
def fits(product: TinyProduct, backbone: Backbone) -> dict[str, Fit]:
    return {
        family.INFO.name: fit(family, product.good, backbone, schedule="none", **LEARNING[family.INFO.name])
        for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.INFO.name)
def test_info_says_what_it_is(family: ModuleType) -> None:
    info: DetectorInfo = family.INFO
    assert info.needs_torch
    assert info.reconstructs
    assert info.calibration == "split"
    assert not info.is_order_free


@pytest.mark.parametrize("name", LEARNING)
def test_it_draws_good_parts_better_than_the_mean_image_does(
    name: str, fits: dict[str, Fit], product: TinyProduct
) -> None:
    images = np.stack(product.held_out).astype(float)
    drawn = run(fits[name].graph, list(product.held_out))["reconstruction"].astype(float)
    mean_image = np.stack(product.good).astype(float).mean(0)
    assert ((drawn - images) ** 2).mean() < ((mean_image - images) ** 2).mean()


@pytest.mark.parametrize("name", LEARNING)
def test_defects_score_above_held_out_good_parts_and_lie_where_the_map_is_high(
    name: str, fits: dict[str, Fit], product: TinyProduct
) -> None:
    good = run(fits[name].graph, list(product.held_out))
    defective = run(fits[name].graph, [defect.image for defect in product.defects])
    assert defective["anomaly_score"].min() > good["anomaly_score"].max()
    for defect, anomaly_map in zip(product.defects, defective["anomaly_map"], strict=True):
        assert anomaly_map[defect.mask].mean() > anomaly_map[~defect.mask].mean() + 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.INFO.name)
def test_sizes_that_do_not_fit_the_network_are_refused(family: ModuleType, product: TinyProduct) -> None:
    with pytest.raises(SettingsError, match=f"{family.INFO.name} takes images whose sides are multiples of"):
        fit(family, [image[:60, :60] for image in product.good])


def test_a_tall_image_is_redrawn_tall(product: TinyProduct) -> None:
    tall = [np.concatenate([image, image[:32]]) for image in product.good[:4]]
    result = run(fit(cae, tall, epochs=1, latent=4).graph, tall)
    assert result["reconstruction"].shape == (4, 96, 64, 3)
    assert result["anomaly_map"].shape == (4, 96, 64)


class TestCae:
    def test_the_default_form_has_the_published_size(self) -> None:
        count = sum(parameter.numel() for parameter in cae.Cae(cae.Settings(), 256, 256).parameters())
        assert 1.3e6 < count < 1.6e6

    def test_the_bottleneck_is_a_sixteenth_of_the_image(self) -> None:
        network = cae.Cae(cae.Settings(), 256, 256).network
        assert network[0](torch.zeros(1, 3, 256, 256)).shape == (1, 256, 16, 16)

    def test_the_vector_form_has_its_own_defaults_which_can_be_changed(self) -> None:
        spatial, vector = cae.Settings(), cae.Settings(latent=64)
        assert (spatial.epochs, spatial.learning_rate) == (50, 1e-3)
        assert (vector.epochs, vector.learning_rate, vector.batch_size, vector.schedule) == (200, 2e-4, 32, "none")
        assert cae.Settings(latent=64, epochs=3).epochs == 3
        network = cae.Cae(vector, *TINY_HW).network
        codes = [layer.out_features for layer in network if isinstance(layer, torch.nn.Linear)]
        assert codes[0] == 64
        assert [layer.stride for layer in network if isinstance(layer, torch.nn.Conv2d)] == [(2, 2)] * 3

    @pytest.mark.parametrize("loss", ["ssim", "mse+ssim"])
    def test_every_loss_goes_down(self, product: TinyProduct, loss: str) -> None:
        history = fit(cae, product.good, epochs=6, loss=loss).facts["history"]
        assert history[-1]["train_loss"] < 0.9 * history[0]["train_loss"]


class TestUnetAe:
    def test_damage_is_painted_on_the_input_only_and_marked(self, product: TinyProduct) -> None:
        settings = unet_ae.Settings(augmentation="none")
        samples = [
            unet_ae.prepare_damaged(settings, 0, product.good[0], np.random.default_rng(seed)) for seed in range(20)
        ]
        assert all((sample.target == product.good[0]).all() for sample in samples)
        assert all(((sample.input != sample.target).any(2) <= sample.mask).all() for sample in samples)
        assert 10 <= sum(bool(sample.mask.any()) for sample in samples) < 20
        plain = unet_ae.prepare_damaged(
            unet_ae.Settings(augmentation="none", corruption="none"), 0, product.good[0], np.random.default_rng(1)
        )
        assert (plain.input == plain.target).all()
        assert not plain.mask.any()

    @pytest.mark.parametrize("loss", ["mse", "mse+ssim"])
    def test_what_is_left_of_a_small_damage_weighs_as_much_as_the_rest_of_the_image(self, loss: str) -> None:
        learner = unet_ae.UnetAe(unet_ae.Settings(width=8, loss=loss), None)
        target = torch.full((1, 3, 64, 64), 0.5)
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., 10:14, 10:14] = 1
        damaged = target + 0.4 * mask
        learner.network = torch.nn.Identity()  # copies what it is given
        copied = float(learner.loss(Batch(damaged, target, mask), 0))
        assert copied > 10 * float(error_map(target, damaged, loss).mean())
        assert float(learner.loss(Batch(target, target, mask), 0)) == pytest.approx(0, abs=1e-6)

    def test_gates_stand_on_every_skip_if_asked_for(self) -> None:
        plain, gated = (unet_ae.UNet(8, attention=attention) for attention in (False, True))
        assert not any(isinstance(module, unet_ae.Gate) for module in plain.modules())
        assert sum(isinstance(module, unet_ae.Gate) for module in gated.modules()) == 3

    def test_the_perceptual_term_teaches_but_is_not_exported(self, product: TinyProduct, backbone: Backbone) -> None:
        plain = fit(unet_ae, product.good, backbone, epochs=1)
        taught = fit(unet_ae, product.good, backbone, epochs=1, perceptual=1.0)
        assert taught.graph != plain.graph
        assert abs(len(taught.graph) - len(plain.graph)) < 1000
        assert taught.facts["history"][0]["train_loss"] > plain.facts["history"][0]["train_loss"]

    def test_errors_at_coarse_scales_ignore_fine_noise(self) -> None:
        image = torch.full((1, 3, 64, 64), 0.5)
        checker = 0.1 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1)
        maps = unet_ae.error_pyramid(image, image + checker, "mse", 3)
        assert [tuple(each.shape) for each in maps] == [(1, 64, 64)] * 3
        assert float(maps[0].mean()) == pytest.approx(0.01, rel=1e-3)
        assert float(maps[1].max()) < 1e-6


class TestVae:
    def test_the_divergence_is_that_of_the_distributions(self) -> None:
        mean, log_variance = torch.randn(2, 2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
        normal = torch.distributions.Normal
        expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(vae.divergence(mean, log_variance), expected, rtol=1e-4, atol=1e-5)

    def test_the_code_has_a_place_for_every_16_pixels(self, product: TinyProduct) -> None:
        mean, log_variance = vae.Vae(vae.Settings(width=8, latent=5)).encode(pixels_of(product.held_out[:2]))
        assert mean.shape == log_variance.shape == (2, 5, 4, 4)

    def test_the_score_can_leave_out_unlikely_codes(self, product: TinyProduct) -> None:
        both, error = (vae.Vae(vae.Settings(width=8, score=score)).eval() for score in ("elbo", "reconstruction"))
        images = pixels_of(product.held_out[:1])
        assert both.read(images)[0].shape == (1, 2, *TINY_HW)
        assert error.read(images)[0].shape == (1, *TINY_HW)


class TestGanomaly:
    def test_generator_and_discriminator_share_no_parameter_and_leave_none_out(self) -> None:
        learner = ganomaly.Ganomaly(ganomaly.Settings(width=8))
        generator, discriminator = ({id(each) for each in group} for group in learner.parameter_groups())
        assert not generator & discriminator
        assert generator | discriminator == {id(each) for each in learner.parameters()}

    @pytest.mark.parametrize(("score", "kinds"), [("both", 2), ("code", 1), ("reconstruction", 1)])
    def test_the_map_shows_what_was_asked_for(self, product: TinyProduct, score: str, kinds: int) -> None:
        learner = ganomaly.Ganomaly(ganomaly.Settings(width=8, score=score)).eval()
        assert learner.read(pixels_of(product.held_out[:1]))[0].shape == (1, kinds, *TINY_HW)
