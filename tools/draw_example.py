"""Draws the README's picture: a drawn part (no data set image), good, scratched, and as blemish shows it.

python tools/draw_example.py docs/example.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import blemish
from blemish.inspection.overlay import draw_overlay, map_scale, png_bytes
from blemish.testing.tiny import make_tiny_product

HW = (256, 256)
GAP = 16


def main() -> None:
    product = make_tiny_product(num_good=40, num_held_out=1, num_defects=2, hw=HW)
    model = blemish.train(list(product.good))
    scratched = next(defect.image for defect in product.defects if defect.kind == "scratch")
    shown = draw_overlay(scratched, model.inspect(scratched), map_scale(model.calibration))
    gap = np.full((HW[0], GAP, 3), 255, np.uint8)
    picture = np.concatenate([product.held_out[0], gap, scratched, gap, shown], axis=1)
    Path(sys.argv[1]).write_bytes(png_bytes(picture))


if __name__ == "__main__":
    main()
