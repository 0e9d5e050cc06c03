"""Measuring sensitivity: defects painted on good images are judged as parts are, the same each time, within a time."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.decisions.wishes import CalibrationSettings
from blemish.decisions.zones import zone_from_polygons
from blemish.errors import CalibrationError, Cancelled, DataError, SettingsError
from blemish.model import Model, train
from blemish.schema import Image, Rule, Sensitivity
from blemish.testing.tiny import TinyProduct, make_tiny_product
from blemish.workflow.calibrate import CalibrateRequest, ProductFacts, calibrate_bundle, restore_bundle
from blemish.workflow.painting import BLOCK, SIZES, make_canvas, plan_defects, size_range
from blemish.workflow.sensitivity import NUM_PAINTED, SensitivityRequest, measure_sensitivity


def measured(bundle: Bundle, good: Sequence[Path | Image], **changes: Any) -> Sensitivity:
    return measure_sensitivity(bundle, SensitivityRequest(good=good, **changes)).sensitivity


def under(bundle: Bundle, **changes: Any) -> Bundle:
    return dataclasses.replace(bundle, calibration=dataclasses.replace(bundle.calibration, **changes))


@pytest.fixture(scope="module")
def told(bundle: Bundle, product: TinyProduct) -> Sensitivity:
    return measured(bundle, product.held_out, num_painted=10 * BLOCK)


def test_all_kinds_and_strengths_are_painted_alike(told: Sensitivity, product: TinyProduct) -> None:
    assert len(told.trials) == 10 * BLOCK
    assert set(Counter((trial.kind, trial.strength) for trial in told.trials).values()) == {10}
    assert told.image_hw == (64, 64)
    assert 1 <= told.num_images <= len(product.held_out)
    assert told.num_images + told.num_rejected == len(product.held_out)


def test_found_is_what_is_rejected(told: Sensitivity, bundle: Bundle) -> None:
    threshold = bundle.calibration.image_threshold
    assert told.image_threshold == threshold
    for trial in told.trials:
        assert trial.is_found == (trial.score > threshold)
    assert 0.05 < told.share_found < 0.95


def test_larger_and_stronger_defects_are_found_more_often(told: Sensitivity) -> None:
    strengths = {trial.strength for trial in told.trials}
    shares = [np.mean([t.is_found for t in told.trials if t.strength == strength]) for strength in sorted(strengths)]
    assert shares[0] < shares[-1]
    scratches = sorted((t for t in told.trials if t.kind == "scratch"), key=lambda trial: trial.size_px)
    half = len(scratches) // 2
    assert sum(t.is_found for t in scratches[:half]) < sum(t.is_found for t in scratches[half:])


def test_the_same_again_gives_the_same(told: Sensitivity, bundle: Bundle, product: TinyProduct) -> None:
    assert measured(bundle, product.held_out, num_painted=10 * BLOCK) == told
    assert measured(bundle, product.held_out, num_painted=BLOCK, seed=1).trials != told.trials[:BLOCK]


def test_a_shorter_time_cuts_the_same_plan_off_at_a_whole_block(
    told: Sensitivity, bundle: Bundle, product: TinyProduct
) -> None:
    cut = measured(bundle, product.held_out, num_painted=10 * BLOCK, most_seconds=0)
    assert len(cut.trials) % BLOCK == 0
    assert cut.trials == told.trials[: len(cut.trials)]
    assert len(cut.trials) < len(told.trials)


def test_files_and_arrays_are_alike(bundle: Bundle, product: TinyProduct, product_folder: Path) -> None:
    paths = sorted((product_folder / "test" / "good").iterdir())
    from_files = measured(bundle, paths, num_painted=BLOCK)
    assert from_files == measured(bundle, product.held_out, num_painted=BLOCK)


def test_images_that_are_rejected_as_they_are_are_not_painted_on(bundle: Bundle, product: TinyProduct) -> None:
    """Otherwise every defect on them would count as found."""
    damaged = [defect.image for defect in product.defects]
    mixed = measured(bundle, [*product.held_out, *damaged], num_painted=BLOCK)
    alone = measured(bundle, product.held_out, num_painted=BLOCK)
    assert mixed.num_images == alone.num_images
    assert mixed.num_rejected == alone.num_rejected + len(damaged)


def test_where_all_are_rejected_nothing_can_be_said(bundle: Bundle, product: TinyProduct) -> None:
    strict = under(bundle, image_threshold=-1.0)
    with pytest.raises(CalibrationError, match=r"all 6 good images looked at are rejected .* calibrate with these"):
        measured(strict, product.held_out)


def test_without_images_nothing_can_be_painted(bundle: Bundle) -> None:
    with pytest.raises(DataError, match="no good image"):
        measured(bundle, [])


@pytest.mark.parametrize("wrong", [{"num_painted": 0}, {"threads": 0}])
def test_a_request_for_nothing_is_refused(wrong: dict[str, int], product: TinyProduct) -> None:
    with pytest.raises(SettingsError, match="give 1 or more"):
        SensitivityRequest(good=product.held_out, **wrong)


def test_it_can_be_stopped(bundle: Bundle, product: TinyProduct) -> None:
    steps: list[int] = []
    with pytest.raises(Cancelled):
        measured(
            bundle,
            product.held_out,
            progress=lambda task, done, total: steps.append(done),
            cancel=lambda: len(steps) >= 5,
        )
    assert len(steps) <= 6


def test_rules_decide_as_on_parts(bundle: Bundle, product: TinyProduct) -> None:
    """A rule that ignores every region accepts every painted image."""
    lenient = under(bundle, rules=(Rule("ignore", "region"),))
    assert measured(lenient, product.held_out, num_painted=4 * BLOCK).share_found == 0.0


def test_review_is_no_find(bundle: Bundle, product: TinyProduct, told: Sensitivity) -> None:
    threshold = bundle.calibration.image_threshold
    reviewing = under(bundle, image_threshold=1e6, review_threshold=threshold)
    assert measured(reviewing, product.held_out, num_painted=4 * BLOCK).share_found == 0.0


def test_defects_are_painted_inside_the_zone_only(bundle: Bundle, product: TinyProduct) -> None:
    zone = zone_from_polygons(inspect=[[(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]])
    found = measured(under(bundle, zone=zone, image_threshold=1e6), product.held_out, num_painted=4 * BLOCK)
    assert all(trial.place[0] >= 0.5 for trial in found.trials)
    assert len({trial.place for trial in found.trials}) == 4 * BLOCK


def test_defects_are_painted_on_the_part(told: Sensitivity) -> None:
    """The tiny product is a disc of 52 pixels in images of 64."""
    far = [np.hypot(trial.place[0] - 0.5, trial.place[1] - 0.5) for trial in told.trials]
    assert max(far) < 0.47
    assert np.mean(np.array(far) > 0.28) > 0.3


def test_images_in_tiles_are_judged_whole(backbone_description: str) -> None:
    """Tiles without a defect are not run again; the verdicts are those of the inspector."""
    product = make_tiny_product(num_good=6, num_held_out=2, num_defects=0, hw=(160, 192))
    model = train(list(product.good), backbone=backbone_description, tile=64, size=64)
    lenient = under(model.bundle, image_threshold=2 * model.calibration.image_threshold)
    found = measured(lenient, product.held_out, num_painted=BLOCK)
    canvases = [make_canvas(image) for image in product.held_out]
    inspector = Model(lenient).inspector
    for planned, trial in zip(plan_defects(BLOCK, canvases, seed=0), found.trials, strict=True):
        painted, _ = planned.paint(canvases)
        assert inspector.inspect_image(painted, "").score == pytest.approx(trial.score, rel=1e-5)


def test_a_new_calibration_tells_again_what_is_found(told: Sensitivity, bundle: Bundle) -> None:
    """From the scores kept: no image is needed. Going back gives what was."""
    kept = dataclasses.replace(bundle, sensitivity=told)
    looser = calibrate_bundle(kept, CalibrateRequest(wishes=CalibrationSettings(false_reject=0.5)))
    assert looser.sensitivity is not None
    assert looser.sensitivity.image_threshold == looser.calibration.image_threshold < told.image_threshold
    assert looser.sensitivity.share_found > told.share_found
    assert restore_bundle(looser, 1).sensitivity == told
    ignoring = CalibrateRequest(product=ProductFacts(rules=(Rule("ignore"),)))
    with_rules = calibrate_bundle(kept, ignoring)
    assert with_rules.sensitivity is None


def test_the_plan_is_even_from_its_first_block_on() -> None:
    canvases = [make_canvas(np.full((200, 300, 3), 128, np.uint8)) for _ in range(5)]
    plan = list(plan_defects(NUM_PAINTED, canvases, seed=3))
    for end in (BLOCK, 10 * BLOCK, NUM_PAINTED):
        counts = Counter((one.defect.kind, one.defect.strength) for one in plan[:end])
        assert set(counts.values()) == {end // BLOCK}
        on_canvas = Counter(one.canvas for one in plan[:end])
        assert max(on_canvas.values()) - min(on_canvas.values()) <= 1
    spots = np.log([one.defect.size_px for one in plan if one.defect.kind == "spot" and one.defect.strength == 2])
    low, high = np.log(size_range(SIZES["spot"], 200.0))
    counts_by_size, _ = np.histogram(spots, bins=8, range=(low, high))
    assert counts_by_size.min() >= 3
    places = np.array([one.paint(canvases)[1] for one in plan])
    by_place, _, _ = np.histogram2d(places[:, 0], places[:, 1], bins=4, range=((0, 1), (0, 1)))
    assert by_place.min() > 0.5 * by_place.mean()


@pytest.mark.parametrize("extent", [20.0, 64.0, 500.0, 4000.0])
def test_sizes_begin_at_one_pixel_and_span_a_range(extent: float) -> None:
    for shares in SIZES.values():
        low, high = size_range(shares, extent)
        assert low >= 1
        assert high >= 4 * low


def test_a_part_outside_the_zone_leaves_the_zone_to_paint_on() -> None:
    image: Image = np.full((100, 100, 3), 250, np.uint8)
    image[10:40, 10:40] = 60
    zone = zone_from_polygons(inspect=[[(0.6, 0.6), (0.9, 0.6), (0.9, 0.9), (0.6, 0.9)]])
    canvas = make_canvas(image, zone)
    places = np.array([canvas.place(share, (0.5, 0.5)) for share in np.linspace(0, 0.999, 50)])
    assert places.min() > 59
    assert places.max() < 91
