"""From an image to a verdict: with a session whose answers are known, then with a real graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.decisions.promise import make_promise
from blemish.decisions.zones import zone_from_mask, zone_from_polygons
from blemish.errors import BundleError, CalibrationError, ImageError
from blemish.inspection.inspector import Inspector
from blemish.schema import Calibration, Image, Prediction, Reduction, RegionSettings, Rule
from blemish.testing.tiny import FakeSession, TinyProduct, brightness, write_png

Make = Callable[..., Inspector]


@pytest.fixture
def fake(bundle: Bundle) -> Make:
    """An inspector of 32 x 32 pixels whose anomaly map is the image's brightness and whose threshold is 0.5."""

    def make(reduction: Reduction | None = None, **calibration: object) -> Inspector:
        facts = {
            "image_threshold": 0.5,
            "pixel_threshold": 0.5,
            "good_scores": (0.1, 0.2, 0.3, 0.5),
            "good_map_maxima": (0.1, 0.2, 0.3, 0.5),
            "regions": RegionSettings(grow_threshold=0.4, closing_px=0, join_px=0),
            "display_spread": 0.25,
            "promise": make_promise(4, 0.05),
            **calibration,
        }
        thresholds: Calibration = dataclasses.replace(bundle.calibration, **facts)
        manifest = bundle.manifest.model_copy(update={"reduction": reduction or Reduction("max")})
        inspector = Inspector(dataclasses.replace(bundle, calibration=thresholds, manifest=manifest))
        inspector.session = FakeSession((32, 32))  # type: ignore[assignment]
        return inspector

    return make


def dark(*spots: tuple[slice, slice], hw: tuple[int, int] = (32, 32), level: int = 255) -> Image:
    """A dark image with bright spots."""
    image = np.full((*hw, 3), 26, np.uint8)
    for spot in spots:
        image[spot] = level
    return image


SPOT = (slice(8, 12), slice(20, 26))


def test_a_dark_image_is_accepted(fake: Make) -> None:
    verdict = fake().inspect(dark())
    assert verdict.decision == "accept"
    assert verdict.regions == ()
    assert verdict.score == pytest.approx(26 / 255)
    assert verdict.display_score < 25


def test_a_bright_spot_is_rejected_and_outlined(fake: Make) -> None:
    verdict = fake().inspect(dark(SPOT), "part 7")
    assert verdict.decision == "reject"
    assert (verdict.path, verdict.score, verdict.threshold) == ("part 7", 1.0, 0.5)
    assert verdict.p_value == 1 / 5
    assert verdict.display_score > 50
    [region] = verdict.regions
    assert region.box == (20, 8, 6, 4)
    assert region.peak_score == 1.0


def test_a_score_at_the_threshold_is_not_over_it(fake: Make) -> None:
    inspector = fake(image_threshold=1.0)
    assert inspector.inspect(dark(SPOT)).decision == "accept"


def test_between_the_thresholds_is_review(fake: Make) -> None:
    inspector = fake(review_threshold=0.05)
    assert inspector.inspect(dark()).decision == "review"
    assert inspector.inspect(dark(SPOT)).decision == "reject"
    assert inspector.inspect(np.zeros((32, 32, 3), np.uint8)).decision == "accept"


def test_regions_are_in_pixels_of_the_image_that_was_given(fake: Make) -> None:
    large = dark((slice(32, 48), slice(80, 104)), hw=(128, 128))
    verdict = fake().inspect(large)
    assert verdict.image_hw == (128, 128)
    assert verdict.anomaly_map.shape == (32, 32)
    [region] = verdict.regions
    np.testing.assert_allclose(region.box, (80, 32, 24, 16), atol=4)


def test_the_scale_gives_millimetres(fake: Make) -> None:
    [region] = fake(mm_per_px=0.5).inspect(dark(SPOT)).regions
    assert region.area_mm2 == pytest.approx(region.area_px / 4)
    assert fake().inspect(dark(SPOT)).regions[0].area_mm2 is None


def test_outside_the_zone_nothing_counts(fake: Make) -> None:
    ignored = zone_from_polygons(ignore=[((0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5))])
    verdict = fake(zone=ignored).inspect(dark(SPOT))
    assert verdict.decision == "accept"
    assert verdict.score == pytest.approx(26 / 255)
    assert verdict.regions == ()


def test_a_zone_mask_must_fit_the_image(fake: Make) -> None:
    zone = zone_from_mask(np.ones((64, 64), np.uint8), (64, 64))
    with pytest.raises(ImageError, match="64 x 64"):
        fake(zone=zone).inspect(dark())


def test_a_zone_and_a_score_of_top_values_go_together(fake: Make) -> None:
    ignored = zone_from_polygons(ignore=[((0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5))])
    spot = (slice(20, 22), slice(4, 6))
    verdict = fake(Reduction("top_mean", 8), zone=ignored).inspect(dark(SPOT, spot))
    assert verdict.score == pytest.approx((4 * 1.0 + 4 * 26 / 255) / 8, rel=1e-3)


def test_a_rule_can_let_a_region_pass_and_says_so(fake: Make) -> None:
    rule = Rule("ignore", "region", "area", "under", 100.0, "px2")
    verdict = fake(rules=(rule,)).inspect(dark(SPOT))
    assert verdict.decision == "accept"
    assert verdict.score > verdict.threshold
    assert verdict.reasons


@pytest.mark.parametrize(
    "form",
    [
        lambda image: image[..., 0],
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image / 255,
        lambda image: np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
    ],
    ids=["gray", "uint16", "float", "rgba"],
)
def test_arrays_of_any_usual_form_are_the_same_image(fake: Make, form: Callable[[Image], np.ndarray]) -> None:
    assert fake().inspect(form(dark(SPOT))).score == pytest.approx(1.0)


def test_a_file_and_its_array_have_the_same_score(fake: Make, tmp_path: Path) -> None:
    path = write_png(tmp_path / "part ä.png", dark(SPOT))
    verdict = fake().inspect(path)
    assert verdict.path == str(path)
    assert verdict.score == fake().inspect(dark(SPOT)).score
    assert fake().inspect(str(path), "camera 1").path == "camera 1"


def test_what_is_no_image_is_refused(fake: Make, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png"):
        fake().inspect(tmp_path / "none.png")
    with pytest.raises(ImageError, match="shape"):
        fake().inspect(np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(ImageError, match="8 x 8"):
        fake().inspect(np.zeros((8, 8, 3), np.uint8))


def test_a_score_that_is_no_number_decides_nothing(fake: Make) -> None:
    inspector = fake()
    nothing = Prediction(float("nan"), np.zeros((32, 32), np.float32))
    inspector.session = FakeSession((32, 32), lambda image: nothing)  # type: ignore[assignment]
    with pytest.raises(CalibrationError, match="not a number"):
        inspector.inspect(dark())


def test_a_reconstruction_is_handed_on(fake: Make) -> None:
    inspector = fake()
    inspector.session = FakeSession(  # type: ignore[assignment]
        (32, 32), lambda image: dataclasses.replace(brightness(image), reconstruction=255 - image)
    )
    found = inspector.inspect(dark(SPOT)).reconstruction
    np.testing.assert_array_equal(found, 255 - dark(SPOT))


def test_a_bundle_of_another_resize_rule_is_refused(bundle: Bundle) -> None:
    other = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"resize_rule": "cubic"}))
    with pytest.raises(BundleError, match=r"'cubic'.*'area'"):
        Inspector(other)


def test_a_real_bundle_tells_defects_from_good_parts(bundle: Bundle, product: TinyProduct) -> None:
    inspector = Inspector(bundle)
    assert [inspector.inspect(defect.image).decision for defect in product.defects] == ["reject"] * 6
    for defect in product.defects:
        verdict = inspector.inspect(defect.image)
        ys, xs = np.nonzero(defect.mask)
        boxes = [region.box for region in verdict.regions]
        assert any(x < xs.max() and xs.min() < x + w and y < ys.max() and ys.min() < y + h for x, y, w, h in boxes)
        assert verdict.bundle_id == bundle.bundle_id
        assert verdict.milliseconds > 0


def test_threads_can_share_an_inspector(bundle: Bundle, product: TinyProduct) -> None:
    inspector = Inspector(bundle, threads=1)
    images = [*product.good, *(defect.image for defect in product.defects)]
    alone = [inspector.inspect(image).score for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: inspector.inspect(image).score, images)) == alone


def test_a_watched_verdict_carries_its_numbers(bundle: Bundle, product: TinyProduct) -> None:
    watched = Inspector(bundle, watch_drift=True).inspect(product.held_out[0])
    assert len(watched.conditions) == len(bundle.calibration.conditions) > 0
    assert Inspector(bundle).inspect(product.held_out[0]).conditions == ()
