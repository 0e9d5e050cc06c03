"""Image + bundle -> verdict."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.decisions.judge import judge
from blemish.decisions.reduction import reduce_map
from blemish.decisions.rules import apply_rules
from blemish.decisions.zones import check_zone, zone_mask
from blemish.errors import BundleError, CalibrationError, EngineError
from blemish.images.decode import read_image
from blemish.images.resize import RESIZE_RULE, resize_image
from blemish.images.taken import Channels, load_image
from blemish.inspection.drawing import PartDrawing
from blemish.inspection.look import Placed, look
from blemish.inspection.regions import find_regions
from blemish.runtime.engines import DEFAULT_ENGINE
from blemish.runtime.session import open_session
from blemish.runtime.threads import budget
from blemish.schema import AS_THEY_ARE, Calibration, Image, Prediction, ReadSettings, Reduction, Verdict
from blemish.watching.conditions import CONDITIONS, measure_conditions


class Inspector:
    """Turns images into verdicts with one bundle; safe to use from several threads.

    Where the bundle was trained on tiles, images are cut into tiles; `milliseconds` and the rest are of whole images.
    `engine` runs the graph (where it fails to load, the default one does: see `open_session`); `threads` 0 lets it use
    all physical cores. With `watch_drift` each verdict carries the numbers that a `DriftMonitor` takes.

    Raises BundleError for a bundle of another resize rule, EngineError where no engine runs its graph.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> product = make_tiny_product()
    >>> inspector = blemish.train(list(product.good), detector="template", size=64).inspector
    >>> inspector.inspect(product.defects[1].image).decision
    'reject'
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str = DEFAULT_ENGINE,
        threads: int = 0,
        watch_drift: bool = False,
        reading: ReadSettings = AS_THEY_ARE,
    ) -> None:
        if bundle.manifest.resize_rule != RESIZE_RULE:
            raise BundleError(
                f"{bundle.place}: resizes by the rule '{bundle.manifest.resize_rule}', this version knows "
                f"'{RESIZE_RULE}'; use the version that made the bundle, or train anew"
            )
        self.bundle = bundle
        self.reading = bundle.manifest.reading(reading)
        self.watch_drift = watch_drift and bool(bundle.calibration.conditions)
        self.tiling, self.alignment = bundle.manifest.tiling, bundle.manifest.alignment
        self.threads = budget(threads)
        # Tiles share the cores best when each is run by one of them.
        try:
            self.session = open_session(bundle.graph, engine=engine, threads=threads if self.tiling is None else 1)
            _check_usable(bundle, self.session.tried)
        except (CalibrationError, EngineError) as error:
            raise type(error)(f"{bundle.place}: {error}") from error

    def inspect(self, image: Any, name: str = "", *, channels: Channels = "rgb") -> Verdict:
        """The verdict on one image: a path, bytes, an open file, an array or a PIL image (see `load_image`).

        `channels` is "bgr" for color arrays of OpenCV. `milliseconds` counts from the decoded array to the verdict.
        Raises ImageError.
        """
        if isinstance(image, (str, Path)):
            content: Path | Image = Path(image)
            decoded, name = read_image(Path(image), self.reading), name or str(image)
        else:
            decoded = load_image(image, self.reading, channels=channels, name=name or "image")
            is_shared = isinstance(image, np.ndarray) and np.may_share_memory(image, decoded)
            content = decoded.copy() if is_shared else decoded  # the program may use its buffer again
        return self.with_drawing(self.inspect_image(decoded, name), content)

    def with_drawing(self, verdict: Verdict, content: Path | bytes | Image) -> Verdict:
        """The verdict, which can draw itself on the image it is about."""
        return replace(verdict, drawing=PartDrawing(content, self.bundle.calibration, self.reading))

    def inspect_image(self, image: Image, name: str) -> Verdict:
        """The verdict on a decoded image, uint8 RGB."""
        start = time.perf_counter()
        looked = look(self.session, self.bundle.manifest, image, num_threads=self.threads)
        verdict = judge_prediction(
            looked.prediction,
            self.bundle.calibration,
            looked.reduction,
            image_hw=(image.shape[0], image.shape[1]),
            name=name,
            bundle_id=self.bundle.bundle_id,
            placed=looked.placed,
        )
        resized = resize_image(looked.image, self.session.input_hw) if self.watch_drift else looked.image
        conditions = measure_conditions(resized, verdict.score) if self.watch_drift else ()
        return replace(verdict, conditions=conditions, milliseconds=(time.perf_counter() - start) * 1000)


def _check_usable(bundle: Bundle, tried: Prediction) -> None:
    """Raises EngineError or CalibrationError where no image could be judged; at the first one it would be too late."""
    calibration, manifest, map_hw = bundle.calibration, bundle.manifest, tried.anomaly_map.shape
    if not (np.isfinite(tried.anomaly_map).all() and np.isfinite(tried.anomaly_score)):
        raise EngineError("the graph gives values that are no numbers for a gray image; train anew")
    names = tuple(condition.name for condition in calibration.conditions)
    if names and names != tuple(name for name, _ in CONDITIONS):
        raise CalibrationError("its conditions are not those that this version takes of images; calibrate anew")
    if calibration.zone is not None:
        if manifest.alignment is not None:
            check_zone(calibration.zone, manifest.alignment.frame_hw, "the frame of the part")
        inside = zone_mask(calibration.zone, (map_hw[0], map_hw[1])) if manifest.tiling is None else None
        reduce_map(tried.anomaly_map, manifest.reduction, inside)


def judge_prediction(
    prediction: Prediction,
    calibration: Calibration,
    reduction: Reduction,
    *,
    image_hw: tuple[int, int],
    name: str,
    bundle_id: str,
    placed: Placed | None = None,
) -> Verdict:
    """The verdict that a calibration gives on what the graph said; it took no time yet.

    With `placed` the graph saw the frame of a part; zones are those of the frame, all else is told in the picture's
    pixels.
    """
    anomaly_map = prediction.anomaly_map
    seen_hw = image_hw if placed is None else placed.alignment.frame_hw
    score = prediction.anomaly_score
    if calibration.zone is not None:
        check_zone(calibration.zone, seen_hw, name)
        inside = zone_mask(calibration.zone, (anomaly_map.shape[0], anomaly_map.shape[1]))
        score = reduce_map(anomaly_map, reduction, inside)
    judgement = judge(score, calibration)
    found = find_regions(anomaly_map, calibration, seen_hw)
    regions = found.regions if placed is None else placed.regions(found.regions)
    ruling = apply_rules(judgement.decision, regions, calibration.rules, num_more=found.num_more)
    verdict = Verdict(
        path=name,
        decision=ruling.decision,
        score=score,
        threshold=calibration.image_threshold,
        p_value=judgement.p_value,
        display_score=judgement.display_score,
        regions=ruling.regions,
        num_more_regions=found.num_more,
        milliseconds=0.0,
        bundle_id=bundle_id,
        image_hw=image_hw,
        anomaly_map=anomaly_map if placed is None else placed.anomaly_map(anomaly_map),
        reasons=ruling.reasons,
        reconstruction=prediction.reconstruction,
    )
    return verdict if placed is None else placed.verdict(verdict)
