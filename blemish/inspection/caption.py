"""The strip below an overlay: decision, score and limit, the scale of colors, file name and time."""

from __future__ import annotations

from pathlib import PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.schema import Decision, Image, Verdict
from blemish.text import one_line, score_text

_GROUND = (16, 18, 22)
_INK = (255, 255, 255)
_MUTED = (176, 184, 194)
_COLORS: dict[Decision, tuple[int, int, int]] = {
    "accept": (15, 107, 99),
    "review": (146, 84, 8),
    "reject": (176, 42, 26),
}
_FONT = cv2.FONT_HERSHEY_DUPLEX
_LETTER_SHARE = 0.032
"""Height of letters by the width of the picture: still read when the picture is shown 256 pixels wide."""


def draw_caption(width: int, verdict: Verdict, bar: NDArray[np.uint8], time: str) -> Image:
    """A strip of the given width, at least 16 pixels. `bar` holds the RGB colors from a usual good part on, the limit
    in its middle.
    """
    letter = max(5.0, min(_LETTER_SHARE * width, 64.0))
    pad, row = round(0.9 * letter), round(1.9 * letter)
    rows = 4 if verdict.path or time else 3
    strip: Image = np.full((pad + rows * row + pad // 2, width, 3), _GROUND, dtype=np.uint8)
    _draw_decision(strip, verdict, letter, (pad, pad, row))
    top = pad + row + round(0.5 * letter)
    left, right = pad, width - pad
    if right - left >= 8:
        high = max(2, round(0.8 * letter))
        strip[top : top + high, left:right] = cv2.resize(bar[np.newaxis], (right - left, 1))
        middle = (left + right) // 2
        strip[top - round(0.35 * letter) : top + high + round(0.35 * letter), middle : middle + max(1, high // 5)] = (
            _INK
        )
        base = top + high + round(1.45 * letter)
        _put(strip, "usual good part", (left, base), 0.8 * letter, _MUTED, right - left, share=0.42)
        _put(strip, "limit", (middle, base), 0.8 * letter, _INK, right - left, align="center")
    if rows == 4:
        _draw_name(strip, verdict, time, letter, (left, right, pad + rows * row - round(0.35 * letter)))
    return strip


def _draw_decision(strip: Image, verdict: Verdict, letter: float, place: tuple[int, int, int]) -> None:
    """The decision on a plate with its sign, and the score beside it."""
    left, top, row = place
    color, words = _COLORS[verdict.decision], verdict.decision.upper()
    width = strip.shape[1]
    plate = round(1.5 * letter)
    text_width = _width(words, letter)
    right = left + plate + text_width + round(0.6 * letter)
    if right > width - left:
        cv2.rectangle(strip, (0, 0), (width - 1, top + row - 2), color, cv2.FILLED)
        return
    cv2.rectangle(strip, (left, top - round(0.3 * letter)), (right, top + round(1.35 * letter)), color, cv2.FILLED)
    _draw_sign(strip, verdict.decision, (left + plate // 2, top + round(0.5 * letter)), letter * 0.36, letter)
    _put(strip, words, (left + plate, top + round(letter)), letter, _INK, text_width)
    score = f"{score_text(verdict.display_score)} of 100, limit 50"
    _put(strip, score, (width - left, top + round(letter)), letter, _INK, width - left - right, align="right")


def _draw_name(strip: Image, verdict: Verdict, time: str, letter: float, place: tuple[int, int, int]) -> None:
    left, right, base = place
    name = one_line(PurePath(verdict.path).name).encode("ascii", "replace").decode("ascii")
    taken = _width(time, 0.8 * letter) + round(letter) if time else 0
    _put(strip, name, (left, base), 0.8 * letter, _MUTED, right - left - taken)
    if time:
        _put(strip, time, (right, base), 0.8 * letter, _MUTED, right - left, align="right")


def _put(
    strip: Image,
    words: str,
    place: tuple[int, int],
    letter: float,
    color: tuple[int, int, int],
    space: int,
    *,
    align: str = "left",
    share: float = 1.0,
) -> None:
    """Words on a base line, shortened in the middle to fit into `share` of the space; none where not three fit."""
    space = int(space * share)
    fitting = words
    while fitting and _width(fitting, letter) > space:
        words = words[: len(words) // 2] + words[len(words) // 2 + 1 :]
        fitting = f"{words[: len(words) // 2]}..{words[len(words) // 2 :]}" if len(words) > 3 else ""
    if not fitting:
        return
    shift = {"left": 0, "center": _width(fitting, letter) // 2, "right": _width(fitting, letter)}[align]
    thickness = max(1, round(letter / 11))
    cv2.putText(strip, fitting, (place[0] - shift, place[1]), _FONT, letter / 22, color, thickness, cv2.LINE_AA)


def _width(words: str, letter: float) -> int:
    return int(cv2.getTextSize(words, _FONT, letter / 22, max(1, round(letter / 11)))[0][0])


def _draw_sign(strip: Image, decision: Decision, center: tuple[int, int], radius: float, letter: float) -> None:
    """A tick, a bar or a cross: the decision without its color."""
    strokes: dict[Decision, list[list[tuple[float, float]]]] = {
        "accept": [[(-1.0, 0.1), (-0.3, 0.8), (1.0, -0.7)]],
        "review": [[(-0.9, 0.0), (0.9, 0.0)]],
        "reject": [[(-0.8, -0.8), (0.8, 0.8)], [(-0.8, 0.8), (0.8, -0.8)]],
    }
    for stroke in strokes[decision]:
        points = np.rint(np.asarray(stroke) * radius + center).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(strip, [points], False, _INK, max(1, round(letter / 7)), cv2.LINE_AA)
