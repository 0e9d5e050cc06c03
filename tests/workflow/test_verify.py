"""Comparing engines: what is compared, on which images, and what counts as equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.bundle.bundle import Bundle
from blemish.datasets.listing import list_images
from blemish.errors import BundleError, EngineError
from blemish.inspection.inspector import judge_prediction
from blemish.runtime import engines
from blemish.runtime.engines import ENGINES, Engine, available_engines
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.schema import Prediction, Reduction, Tiling, Verdict, Zone, ZoneMask
from blemish.testing.tiny import TinyProduct, write_png
from blemish.workflow.verify import TOLERANCE, EngineCheck, check_images, compare, judge_images, random_images, verify


class Off(GraphRunner):
    """Every value of the map and every score is larger by `by`."""

    by = 0.0

    def run(self, inputs: Any) -> dict[str, Any]:
        outputs = super().run(inputs)
        return {name: value + np.float32(self.by) for name, value in outputs.items()}


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts an engine "other" into the table that is off by so much."""

    def install(by: float) -> None:
        runner = type("OffBy", (Off,), {"by": by})
        table = {
            "onnxruntime": ENGINES["onnxruntime"],
            "other": Engine("", lambda graph, _: runner(graph), lambda: ""),
        }
        monkeypatch.setattr(engines, "ENGINES", table)

    return install


def test_the_bundles_own_images_are_taken_with_painted_copies(bundle: Bundle) -> None:
    checked = check_images(bundle)
    half = len(bundle.samples)
    assert len(checked.images) == 2 * half
    for good, painted in zip(checked.images[:half], checked.images[half:], strict=True):
        assert good.shape == painted.shape == (64, 64, 3)
        assert 0 < (good != painted).any(axis=2).mean() < 0.5
    assert checked.images[0].tobytes() == check_images(bundle).images[0].tobytes()
    assert "kept in the bundle" in checked.source


def test_a_bundle_without_images_is_checked_on_random_ones_and_that_is_said(bundle: Bundle) -> None:
    checked = check_images(replace(bundle, samples=()))
    assert "random" in checked.source
    assert len({image.tobytes() for image in checked.images}) == len(checked.images)
    np.testing.assert_array_equal(checked.images[0], random_images((64, 64), 1)[0])


def test_images_given_are_taken_alone_and_a_large_folder_evenly(
    bundle: Bundle, product_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = list_images([product_folder / "test"]).images
    assert len(check_images(bundle, paths).images) == len(paths)
    monkeypatch.setattr("blemish.workflow.verify.MAX_IMAGES", 5)
    assert len(check_images(bundle, paths).images) <= 5


def test_of_images_that_are_cut_into_tiles_the_middle_one_is_taken(
    bundle: Bundle, product: TinyProduct, tmp_path: Path
) -> None:
    tiled = replace(bundle, manifest=bundle.manifest.model_copy(update={"tiling": Tiling(64, 32)}))
    image = np.tile(product.good[0], (3, 3, 1))
    checked = check_images(tiled, [write_png(tmp_path / "large.png", image)])
    np.testing.assert_array_equal(checked.images[0], image[64:128, 64:128])
    assert "tile in the middle" in checked.source


def test_a_kept_image_that_is_damaged_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="not a PNG"):
        check_images(replace(bundle, samples=(b"nothing",)))


def test_the_differences_are_the_largest_and_verdicts_are_counted(
    bundle: Bundle, other: Callable[[float], None]
) -> None:
    checked = check_images(bundle)
    other(10.0)
    default, off = verify(bundle, checked)
    assert (default.engine, default.map_difference, default.score_difference, default.num_flips) == (
        *("onnxruntime", 0.0, 0.0),
        0,
    )
    assert default.is_equal
    assert off.map_difference == pytest.approx(10.0, rel=1e-5)
    assert off.score_difference == pytest.approx(10.0, rel=1e-5)
    accepted = [verdict for _, verdict in judge_images(bundle, Session(bundle.graph), checked.images)]
    assert off.num_flips == sum(verdict.decision != "reject" for verdict in accepted) >= len(bundle.samples)
    assert off.num_images == len(checked.images)
    assert not off.is_equal
    assert off.milliseconds > 0


@pytest.mark.parametrize(("share", "is_equal"), [(0.5, True), (2.0, False)])
def test_scores_may_differ_by_the_tolerance(
    share: float, is_equal: bool, bundle: Bundle, other: Callable[[float], None]
) -> None:
    other(share * TOLERANCE * bundle.calibration.display_spread)
    _, off = verify(bundle, check_images(bundle))
    assert off.relative_difference == pytest.approx(share * TOLERANCE, rel=1e-2)
    assert off.is_equal is is_equal


def judged(bundle: Bundle, value: float) -> tuple[Prediction, Verdict]:
    """What would be decided about a map that is the same everywhere."""
    found = Prediction(value, np.full((64, 64), value, np.float32))
    return found, judge_prediction(*(found, bundle.calibration, Reduction()), image_hw=(64, 64), name="", bundle_id="")


def test_scores_below_those_of_all_good_parts_may_differ(bundle: Bundle) -> None:
    """No decision and no p-value depends on them."""
    lowest = bundle.calibration.good_scores[0]
    row = compare("other", [judged(bundle, 0.0)], [judged(bundle, lowest)], bundle.calibration)
    assert row.score_difference == pytest.approx(lowest)
    assert row.relative_difference == 0
    assert (
        compare("other", [judged(bundle, lowest + 1)], [judged(bundle, lowest)], bundle.calibration).relative_difference
        > 0
    )


def test_scores_and_map_values_far_over_the_thresholds_may_differ(bundle: Bundle) -> None:
    calibration = bundle.calibration
    far = max(calibration.image_threshold, calibration.pixel_threshold) + 2 * calibration.display_spread
    row = compare("other", [judged(bundle, far + 100)], [judged(bundle, far)], calibration)
    assert row.score_difference == pytest.approx(100)
    assert row.map_difference == pytest.approx(100)
    assert row.relative_difference == row.relative_map_difference == 0
    half = calibration.display_spread / 2
    over = compare(
        "other",
        [judged(bundle, calibration.pixel_threshold + half)],
        [judged(bundle, calibration.pixel_threshold)],
        calibration,
    )
    assert over.relative_map_difference == pytest.approx(0.5, rel=1e-3)


def test_an_engine_that_cannot_run_has_a_row_that_says_so(bundle: Bundle) -> None:
    rows = {row.engine: row for row in verify(bundle, check_images(bundle))}
    assert set(rows) == set(ENGINES)
    for name, row in rows.items():
        assert bool(row.error) is (name not in available_engines())
        assert row.is_equal or row.error or name == "openvino-bf16"


def test_without_the_default_engine_there_is_nothing_to_compare_with(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="cannot load the graph"):
        verify(replace(bundle, graph=b"no graph"), check_images(bundle))


def test_a_zone_drawn_as_a_mask_holds_at_the_input_size_too(bundle: Bundle) -> None:
    """The mask was drawn on images of 20 x 10 pixels; the images kept are of the input size."""
    zone = Zone(mask=ZoneMask((20, 10), (100, 100)))
    zoned = replace(bundle, calibration=replace(bundle.calibration, zone=zone))
    [row] = verify(zoned, check_images(zoned), engines=["onnxruntime"])
    assert isinstance(row, EngineCheck)
    assert row.is_equal
