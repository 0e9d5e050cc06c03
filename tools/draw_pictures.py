"""Draws the README's pictures: good parts, an overlay, and the report page, of a photographed surface.

python tools/draw_pictures.py docs/pictures

The surface is the photograph of clinker paving that scikit-image ships (CC0). Good images are cut from it at random;
the defects are painted, and the README says so. The report is drawn only where Chromium is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import skimage

import blemish
from blemish.inspection.overlay import draw_overlay, map_scale
from blemish.schema import Image
from blemish.synthesis.painted import make_defect
from blemish.testing.tiny import write_png

CUT, SIDE, GAP = 200, 400, 8
DEFECTS = ("scratch", "missing", "spot", "perlin", "shifted")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def surface_images(count: int, rng: np.random.Generator) -> list[Image]:
    """Cut-outs of the photograph, each under a little more or less light and noise."""
    photo = cv2.imread(str(Path(skimage.__file__).parent / "data" / "brick.png"), cv2.IMREAD_GRAYSCALE)
    found = []
    for _ in range(count):
        y, x = (int(rng.integers(0, side - CUT)) for side in photo.shape)
        cut = photo[y : y + CUT, x : x + CUT] * rng.uniform(0.95, 1.05) + rng.normal(0, 1.5, (CUT, CUT))
        large = cv2.resize(np.clip(cut, 0, 255).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        found.append(np.repeat(large[..., np.newaxis], 3, axis=2))
    return found


def contact_sheet(images: list[Image], columns: int, side: int) -> Image:
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (side + GAP) - GAP, columns * (side + GAP) - GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        y, x = (side + GAP) * (number // columns), (side + GAP) * (number % columns)
        sheet[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return sheet


def write_data(folder: Path, rng: np.random.Generator) -> list[Image]:
    """A data set of the surface in `folder`, and its good training images."""
    good = surface_images(100, rng)
    for number, image in enumerate(good):
        write_png(folder / ("train" if number < 80 else "test") / "good" / f"{number:03}.png", image)
    for number, image in enumerate(surface_images(40, rng)):
        kind = DEFECTS[number % len(DEFECTS)]
        damaged, mask = make_defect(image, rng, kind)
        write_png(folder / "test" / kind / f"{number:03}.png", damaged)
        write_png(folder / "ground_truth" / kind / f"{number:03}_mask.png", mask.astype(np.uint8) * 255)
    return good[:80]


def draw_report(model: blemish.Model, data: Path, picture: Path) -> None:
    assert CHROMIUM is not None
    model.evaluate(data, report=data / "report")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1100"]
    options += [
        f"--user-data-dir={data / 'profile'}",
        f"--screenshot={data / 'page.png'}",
        "--virtual-time-budget=3000",
    ]
    page = (data / "report" / "index.html").as_uri()
    subprocess.run([CHROMIUM, *options, f"{page}#light"], check=True, capture_output=True)
    pixels = cv2.cvtColor(cv2.imread(str(data / "page.png")), cv2.COLOR_BGR2RGB)
    write_webp(picture, np.asarray(pixels[:1000], np.uint8))


def write_webp(path: Path, image: Image) -> None:
    pixels = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 85])[1].tobytes())


def main() -> None:
    target, rng = Path(sys.argv[1]), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "paving"
        good = write_data(data, rng)
        write_webp(target / "good-parts.webp", contact_sheet(good[:12], 4, 124))
        model = blemish.train(data, size=256)
        damaged, _ = make_defect(surface_images(1, np.random.default_rng(5))[0], np.random.default_rng(4), "shifted")
        verdict = model.inspect(damaged)
        write_webp(target / "overlay.webp", draw_overlay(damaged, verdict, map_scale(model.calibration)))
        if CHROMIUM is not None:
            draw_report(model, data, target / "report.webp")


if __name__ == "__main__":
    main()
