"""Draws the figures of the concept pages as SVG, from the functions they explain.

python tools/draw_figures.py docs/pictures
python tools/draw_figures.py docs/pictures --check    exit status 1 where one is out of date
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from blemish.decisions.promise import make_promise
from blemish.decisions.sensitivity import detection_curves
from blemish.decisions.zones import zone_from_polygons, zone_mask
from blemish.inspection.predict import Axis
from blemish.schema import Condition, PaintedTrial, Tiling
from blemish.watching.drift import DriftMonitor

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 64, 48, 40, 150
INK, MUTED, LINE = "#191c20", "#59616c", "#d5d8d3"
TEAL, RED, GRAY, AMBER = "#0b6b63", "#b83c15", "#748294", "#b07000"

Points = Sequence[tuple[float, float]]


def svg(body: str, label: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    font = "font-family='Inter, Segoe UI, Helvetica, Arial, sans-serif' font-size='13'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img' {font}>"
    return f"{head}\n<title>{label}</title>\n<rect width='{width}' height='{height}' fill='#fff'/>\n{body}\n</svg>\n"


def text(x: float, y: float, words: str, color: str = INK, anchor: str = "start", weight: int = 400) -> str:
    return f"<text x='{x:g}' y='{y:g}' fill='{color}' text-anchor='{anchor}' font-weight='{weight}'>{words}</text>"


def path(points: Points, color: str, width: float = 2, dash: str = "") -> str:
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = f" stroke-dasharray='{dash}'" if dash else ""
    return f"<path d='M{line}' fill='none' stroke='{color}' stroke-width='{width}'{dashes}/>"


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", opacity: float = 1) -> str:
    size = f"x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}'"
    return f"<rect {size} fill='{fill}' stroke='{stroke}' fill-opacity='{opacity:g}' stroke-width='1.5'/>"


class Chart:
    """Axes with labelled ticks; lines are named at their right end."""

    def __init__(
        self, title: str, x_name: str, xs: Sequence[float], ys: Sequence[float], *, is_log: bool = False
    ) -> None:
        self._scale = math.log if is_log else float
        self._x, self._y, self.parts = xs, ys, [text(LEFT, 22, title, weight=600)]
        for tick in ys:
            y = self.at(xs[0], tick)[1]
            self.parts += [
                path([(LEFT, y), (WIDTH - RIGHT, y)], LINE, 1),
                text(LEFT - 8, y + 4, f"{tick:g}", MUTED, "end"),
            ]
        for tick in xs:
            self.parts.append(text(self.at(tick, ys[0])[0], HEIGHT - BOTTOM + 18, f"{tick:g}", MUTED, "middle"))
        self.parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name, MUTED, "middle"))

    def at(self, x: float, y: float) -> tuple[float, float]:
        scale, low, high = self._scale, self._x[0], self._x[-1]
        across = (scale(x) - scale(low)) / (scale(high) - scale(low))
        up = (y - self._y[0]) / (self._y[-1] - self._y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    def line(self, points: Points, name: str, color: str, *, drop: float = 0) -> None:
        drawn = [self.at(x, y) for x, y in points]
        self.parts += [path(drawn, color, 2.2), text(drawn[-1][0] + 8, drawn[-1][1] + 4 + drop, name, color)]

    def svg(self, label: str) -> str:
        return svg("\n".join(self.parts), label)


def promise() -> str:
    """What a wanted rate of 5 % comes to for any number of good images."""
    chart = Chart(
        "Good parts rejected, in %, when 5 % are wanted",
        "good images",
        (20, 50, 100, 200, 500, 1000),
        (0, 5, 10, 15, 20),
        is_log=True,
    )
    counts = [int(count) for count in np.unique(np.geomspace(20, 1000, 160).astype(int))]
    made = [make_promise(num_good=count, wanted_rate=0.05) for count in counts]
    limits = [(count, 100 * found.limit) for count, found in zip(counts, made, strict=True) if 100 * found.limit <= 20]
    chart.line(limits, "95 % confidence", TEAL)
    chart.line(
        [(count, 100 * found.average_rate) for count, found in zip(counts, made, strict=True)], "on average", GRAY
    )
    return chart.svg("More good images bring the limit of the promise closer to its average")


def sensitivity() -> str:
    """A curve of detection from invented painted defects, with its band and a90."""
    rng, trials = np.random.default_rng(3), []
    for size in np.geomspace(2, 40, 160):
        chance = 1 / (1 + math.exp(-4 * (math.log(size) - math.log(9))))
        trials.append(PaintedTrial("spot", float(size), 2.0, (0.5, 0.5), 1.0, bool(rng.random() < chance)))
    [curve] = detection_curves(trials)
    chart = Chart(
        "Painted spots found, in %", "diameter in pixels", (2, 5, 10, 20, 40), (0, 25, 50, 75, 100), is_log=True
    )
    sizes = np.geomspace(2, 40, 80)
    low, high = zip(*(curve.bounds(float(size), 2.0) for size in sizes), strict=True)
    edge = [chart.at(float(s), 100 * h) for s, h in zip(sizes, high, strict=True)]
    edge += [chart.at(float(s), 100 * v) for s, v in zip(sizes[::-1], low[::-1], strict=True)]
    band = "L".join(f"{x:.1f} {y:.1f}" for x, y in edge)
    chart.parts.append(f"<path d='M{band}Z' fill='{TEAL}' fill-opacity='0.15'/>")
    chart.line([(float(size), 100 * curve.probability(float(size), 2.0)) for size in sizes], "probability", TEAL)
    found = curve.size_found(2.0)
    marks = ((found.size_px, "a90", INK, -4, "end"), (found.sure_px, "a90/95", AMBER, 4, "start"))
    for value, name, color, shift, anchor in marks:
        if value is not None:
            x, y = chart.at(value, 0)
            chart.parts += [
                path([(x, y), chart.at(value, 90)], color, 1.5, "4 3"),
                text(x + shift, y - 8, name, color, anchor),
            ]
    return chart.svg("The probability of finding a painted defect rises with its size")


def drift() -> str:
    """The evidence of the watch while parts grow darker from the 60th on."""
    rng = np.random.default_rng(0)
    monitor = DriftMonitor([Condition("brightness", tuple(sorted(rng.normal(137, 1.4, 200))))])
    points = []
    for number in range(1, 101):
        report = monitor.update([float(rng.normal(137 if number <= 60 else 133, 1.4))])
        points.append((float(number), 100 * min(1.0, max(report.evidence, 1e-4))))
        if report.is_void:
            break
    chart = Chart(
        "Evidence of drift, in % of an alarm",
        "parts; from part 61 on the light is dimmer",
        (1, 20, 40, 60, 80, 100),
        (0, 25, 50, 75, 100),
    )
    chart.line(points, "alarm" if points[-1][1] >= 100 else "evidence", RED)
    x = chart.at(60.5, 0)[0]
    chart.parts.append(path([(x, TOP), (x, HEIGHT - BOTTOM)], GRAY, 1.2, "4 3"))
    return chart.svg("Evidence of drift stays near zero, then grows to an alarm within a few parts of the change")


def tiles() -> str:
    """Weights of two neighboring tiles along a line, from the code that stitches maps."""
    axis = Axis(448, Tiling(tile_px=256, overlap_px=64), 256)
    parts = [text(24, 24, "Two tiles of 256 pixels that overlap by 64", weight=600)]
    left, scale, base, high = 24.0, 592 / 448, 210.0, 90.0
    parts += [
        box(left, 40, 256 * scale, 26, TEAL, TEAL, 0.12),
        box(left + 192 * scale, 70, 256 * scale, 26, AMBER, AMBER, 0.12),
    ]
    parts += [text(left + 8, 58, "tile 1", TEAL), text(left + 448 * scale - 8, 88, "tile 2", AMBER, "end")]

    first, second = (
        [(left + (start + x + 0.5) * scale, base - high * float(weight)) for x, weight in enumerate(weights)]
        for start, weights in zip(axis.starts, axis.weights, strict=True)
    )
    parts += [path(first, TEAL), path(second, AMBER), path([(left, base), (left + 448 * scale, base)], LINE, 1)]
    for x, words, y, anchor in (
        (206, "discarded", 232, "end"),
        (224, "cross-faded", 252, "middle"),
        (242, "discarded", 232, "start"),
    ):
        parts.append(text(left + x * scale, y, words, MUTED, anchor))
    for x in (192, 208, 240, 256):
        parts.append(path([(left + x * scale, 104), (left + x * scale, base)], LINE, 1, "3 3"))
    parts.append(text(left, 284, "Weight of each tile's map along the row", MUTED))
    return svg(
        "\n".join(parts),
        "Two overlapping tiles: the outer quarter of the overlap is discarded, the middle half is cross-faded",
    )


def part(x: float, y: float, angle: float = 0.0) -> str:
    """A plate with two holes and a notch, 120 x 70, turned about its center."""
    holes = "<circle cx='-35' cy='0' r='10' fill='#fff'/><circle cx='35' cy='0' r='10' fill='#fff'/>"
    plate = "<path d='M-60 -35H60V35H10L0 25L-10 35H-60Z' fill='#c9ced4' stroke='#748294'/>"
    return f"<g transform='translate({x:g} {y:g}) rotate({angle:g})'>{plate}{holes}</g>"


def alignment() -> str:
    shifts = ((110, 110, 0), (300, 116, 7), (500, 104, -6))
    parts = [text(24, 24, "Parts as the camera sees them", weight=600), *(part(*shift) for shift in shifts)]
    parts.append(text(24, 196, "The same parts aligned: each place is compared with the same place", weight=600))
    for x in (110, 300, 500):
        parts += [part(x, 250), box(x - 66, 209, 132, 82, "none", TEAL)]
    return svg(
        "\n".join(parts),
        "Parts that lie turned and shifted are moved into one frame before they are compared",
        WIDTH,
        310,
    )


def zones() -> str:
    """A zone as the code cuts it out of a map, and a rule about regions."""
    zone = zone_from_polygons(
        inspect=[[(0.12, 0.14), (0.88, 0.14), (0.88, 0.86), (0.12, 0.86)]],
        ignore=[[(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]],
    )
    mask, cell = zone_mask(zone, (14, 22)), 14
    parts = [text(24, 24, "Zone: only the white cells are judged", weight=600)]
    for row, column in np.ndindex(*mask.shape):
        fill = "#fff" if mask[row, column] else "#9aa3ad"
        parts.append(box(24 + column * cell, 40 + row * cell, cell, cell, fill, LINE))
    parts.append(text(360, 24, "Rules: judged by kind and size", weight=600))
    rows = (
        (
            "<path d='M366 80C390 70 430 96 470 82' stroke='#b83c15' stroke-width='4' fill='none'/>",
            86,
            "scratch, 3 mm: reject",
        ),
        ("<circle cx='384' cy='130' r='4' fill='#748294'/>", 134, "spot, 0.05 mm2: ignore"),
        ("<circle cx='384' cy='180' r='12' fill='#b07000'/>", 184, "spot, 0.8 mm2: review"),
    )
    for shape, y, words in rows:
        parts += [shape, text(484, y, words)]
    return svg("\n".join(parts), "A zone says where to look; rules say which regions count")


def promise_steps() -> str:
    """Sorted good scores, the threshold among them, and new parts."""
    scores = np.sort(np.random.default_rng(4).gamma(4, 1.0, 40))
    threshold = float(scores[-3])
    parts = [text(24, 24, "The threshold is one of the scores of good images", weight=600)]

    def at(score: float) -> float:
        return 24 + score / 14 * 590

    for score in scores:
        x = at(float(score))
        parts.append(path([(x, 60), (x, 90)], RED if score > threshold else GRAY, 2))
    x = at(threshold)
    parts += [path([(x, 44), (x, 94)], INK, 2), path([(x, 124), (x, 172)], INK, 2), text(x + 6, 54, "threshold")]
    parts += [text(24, 112, "40 good images, scored by models that did not see them; 2 lie above", MUTED)]
    for score, color in ((2.2, TEAL), (4.6, TEAL), (3.4, TEAL), (10.9, RED), (12.6, RED)):
        parts.append(f"<circle cx='{at(score):.1f}' cy='155' r='6' fill='{color}'/>")
    parts += [text(24, 186, "new parts: accepted", TEAL), text(at(10.4), 186, "rejected", RED)]
    return svg("\n".join(parts), "Good scores in order; the threshold leaves two of forty above it", WIDTH, 205)


FIGURES: dict[str, Callable[[], str]] = {
    "alignment": alignment,
    "drift": drift,
    "promise": promise,
    "sensitivity": sensitivity,
    "threshold": promise_steps,
    "tiles": tiles,
    "zones": zones,
}


def main() -> int:
    target = Path(sys.argv[1])
    made = {target / f"{name}.svg": draw() for name, draw in FIGURES.items()}
    if "--check" in sys.argv:
        stale = [file.name for file, content in made.items() if not file.exists() or file.read_text("utf-8") != content]
        print("\n".join(f"{name} is out of date: run `python tools/draw_figures.py docs/pictures`" for name in stale))
        return 1 if stale else 0
    for file, content in made.items():
        file.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
