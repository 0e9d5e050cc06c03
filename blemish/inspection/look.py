"""Picture + graph -> what the graph says of it: of the whole, of its tiles, or of the frame of its part."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from blemish.alignment.frame import map_in_picture, mask_between, region_in_picture, straighten
from blemish.bundle.manifest import Manifest
from blemish.decisions.zones import zone_from_mask, zone_mask
from blemish.images.resize import resize_image
from blemish.inspection.predict import Predicts, predict_image
from blemish.schema import Alignment, AnomalyMap, Image, Pose, Prediction, Reduction, Region, Verdict, Zone

PART_NOT_FOUND = "part not found"


@dataclass(frozen=True, eq=False)
class Looked:
    """What a graph says of `image`: the picture, or the frame of its part, at the input size; whole for tiles."""

    image: Image
    prediction: Prediction
    reduction: Reduction
    placed: Placed | None = None


@dataclass(frozen=True)
class Placed:
    """Where the part lies in a picture of `image_hw`, and how it was laid straight."""

    pose: Pose
    alignment: Alignment
    image_hw: tuple[int, int]

    def regions(self, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        """Regions of the frame as regions of the picture."""
        return tuple(region_in_picture(region, self.pose, self.alignment, self.image_hw) for region in regions)

    def anomaly_map(self, anomaly_map: AnomalyMap) -> AnomalyMap:
        """A map of the frame as one of the picture."""
        return map_in_picture(anomaly_map, self.pose, self.alignment, self.image_hw)

    def verdict(self, verdict: Verdict) -> Verdict:
        """The verdict with its pose; review, whatever the score, where the pose is unsure: the graph saw no part."""
        verdict = dataclasses.replace(verdict, pose=self.pose)
        if not self.pose.fault:
            return verdict
        reasons = (f"{PART_NOT_FOUND}: {self.pose.fault}", *verdict.reasons)
        return dataclasses.replace(verdict, decision="review", reasons=reasons)


def placed_in(verdict: Verdict, manifest: Manifest) -> Placed | None:
    """Where the part lies in the picture of a verdict by a bundle of the same alignment."""
    if manifest.alignment is None or verdict.pose is None:
        return None
    return Placed(verdict.pose, manifest.alignment, verdict.image_hw)


def zone_of(zone: Zone | None, verdict: Verdict) -> Zone | None:
    """The zone as it lies on the picture of a verdict: where parts are laid straight, it moves with the part."""
    if zone is None or verdict.pose is None:
        return zone
    inside = mask_between(zone_mask(zone, frame_hw_of(zone, verdict.pose)), verdict.pose, verdict.image_hw)
    return zone_from_mask(inside, verdict.image_hw) if inside.any() else None


def frame_hw_of(zone: Zone, pose: Pose) -> tuple[int, int]:
    """The size of the frame that a zone is about: that of its mask, or what lies between the corners."""
    if zone.mask is not None:
        return zone.mask.image_hw
    first, second, third = pose.corners[:3]
    return max(1, round(math.dist(second, third))), max(1, round(math.dist(first, second)))


def look(session: Predicts, manifest: Manifest, image: Image, *, num_threads: int = 1) -> Looked:
    """What the graph of a bundle says of a picture of any size; see `predict_image`."""
    placed = None
    if manifest.alignment is not None:
        straight = straighten(image, manifest.alignment)
        placed = Placed(straight.pose, manifest.alignment, (image.shape[0], image.shape[1]))
        image = straight.image
    if manifest.tiling is None:
        image = resize_image(image, session.input_hw)
    prediction, reduction = predict_image(session, image, manifest.reduction, manifest.tiling, num_threads=num_threads)
    return Looked(image, prediction, reduction, placed)
