"""What a verdict needs to draw itself: the image it is about, and what the colors of its map mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blemish.images.taken import load_image
from blemish.inspection.look import zone_of
from blemish.inspection.overlay import draw_overlay, map_scale, png_bytes
from blemish.schema import Calibration, Image, ReadSettings, Verdict


@dataclass(frozen=True, eq=False)
class PartDrawing:
    """Draws overlays of one image; a file is read again when it is asked for, so that many verdicts take no memory."""

    content: Path | bytes | Image = field(repr=False)
    calibration: Calibration = field(repr=False)
    reading: ReadSettings

    def draw(self, verdict: Verdict) -> Image:
        """The overlay, uint8 RGB."""
        image = load_image(self.content, self.reading, name=verdict.path)
        zone = zone_of(self.calibration.zone, verdict)
        return draw_overlay(image, verdict, map_scale(self.calibration), zone=zone)

    def png(self, verdict: Verdict) -> bytes:
        """The overlay as a PNG file."""
        return png_bytes(self.draw(verdict))
