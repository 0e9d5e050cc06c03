"""How a part is found in a picture and laid straight: the frame, and where a part lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from blemish.errors import SettingsError
from blemish.schema.meaning import check_choice, check_count, check_number, check_text

Align: TypeAlias = Literal["auto", "off", "part"]
"""What a training may be asked for."""
MAX_FRAME_SIDE = 32_768


@dataclass(frozen=True)
class Alignment:
    """How pictures are brought into the frame of the part; fitted on good images, the same wherever pictures go.

    `frame_hw` is the frame's height and width in pixels of a picture; the middle of the part lies at `anchor` (x, y) in
    it. With `kind` "part" a pixel belongs to the part where its color differs from the background by more than
    `contrast` gray levels. `turn` says what of the rotation can be known: "none" (a round part), its "axis" up to half
    a turn, or its "direction" too: then the end of more "weight" or "width" lies left, as `ends` says. `area_px` are
    the least and largest areas of a part, `least_ratio` the least ratio of its axes and `least_asymmetry` the least
    difference of its ends (a third moment in units of the deviations); what goes beyond is not taken for one whole
    part. With `usual_area_px` parts are scaled to that area; with `is_mirrored_too` they may lie on either face, and
    the mirror image is turned over.
    """

    kind: Literal["part"]
    frame_hw: tuple[int, int]
    anchor: tuple[float, float]
    contrast: float = 0.0
    turn: Literal["none", "axis", "direction"] = "none"
    area_px: tuple[float, float] = (1.0, 1e9)
    least_ratio: float = 1.0
    ends: Literal["weight", "width"] = "weight"
    least_asymmetry: float = 0.0
    usual_area_px: float | None = None
    is_mirrored_too: bool = False

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("part",), error=SettingsError)
        if len(self.frame_hw) != 2 or len(self.anchor) != 2 or len(self.area_px) != 2:
            raise SettingsError("frame_hw, anchor and area_px each hold two numbers")
        for side in self.frame_hw:
            check_count("frame_hw", side, 16, MAX_FRAME_SIDE, error=SettingsError)
        for name, place, side in zip("xy", self.anchor, self.frame_hw[::-1], strict=True):
            check_number(f"the anchor's {name}", place, 0, side, error=SettingsError)
        check_number("contrast", self.contrast, 0, 255, error=SettingsError)
        check_choice("turn", self.turn, ("none", "axis", "direction"), error=SettingsError)
        least, most = self.area_px
        check_number("the largest area_px", most, 1, 1e9, error=SettingsError)
        check_number("the least area_px", least, 1, most, error=SettingsError)
        check_number("least_ratio", self.least_ratio, 1, 1e6, error=SettingsError)
        check_choice("ends", self.ends, ("weight", "width"), error=SettingsError)
        check_number("least_asymmetry", self.least_asymmetry, 0, 1e6, error=SettingsError)
        if self.usual_area_px is not None:
            check_number("usual_area_px", self.usual_area_px, least, most, error=SettingsError)


@dataclass(frozen=True)
class Pose:
    """Where the part lies in a picture: its middle (x, y) in pixels, its `angle` and its `scale`.

    The angle is that of the frame's right side in the picture, in degrees, clockwise as people see it, from -180 to
    180. `corners` are those of the frame (x, y) in the picture: upper left, upper right, lower right, lower left.
    `fault` says why the pose is unsure, "" where it is sure; then a part is never accepted.
    """

    center: tuple[float, float]
    angle: float = 0.0
    scale: float = 1.0
    is_mirrored: bool = False
    corners: tuple[tuple[float, float], ...] = ()
    fault: str = ""

    def __post_init__(self) -> None:
        for value in (*self.center, self.angle):
            check_number("the pose", value, -1e6, 1e6, error=SettingsError)
        check_number("the scale of the pose", self.scale, 1e-3, 1e3, error=SettingsError)
        check_text("fault", self.fault, error=SettingsError)

    def to_dict(self) -> dict[str, Any]:
        """The pose as JSON names and plain values."""
        return {
            "center": list(self.center),
            "angle": self.angle,
            "scale": self.scale,
            "is_mirrored": self.is_mirrored,
            "corners": [list(corner) for corner in self.corners],
            "fault": self.fault,
        }
