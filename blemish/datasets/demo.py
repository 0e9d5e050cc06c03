"""The demo's real images: solar cells of the PyPI package `elpv-dataset`, read where the package lies.

2,624 electroluminescence images of cells, 300 x 300 pixels, gray, labelled by experts with a probability of being
defective (Deitsch et al., Solar Energy 185, 2019; CC BY-NC-SA 4.0: for measuring, not for products).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from blemish.boundary import boundary, read_bytes
from blemish.datasets.index import DatasetIndex
from blemish.errors import DataError
from blemish.schema import DEFECTIVE, GOOD, ImageItem

TEST_EVERY = 3


def open_solar_cells() -> DatasetIndex:
    """The fixed demo split, in the package's order.

    Mono-crystalline cells of probability 0 are good: every third is for the test, the others are for fitting. Those
    of probability 1 are defective, all for the test. Poly-crystalline cells and the two doubtful probabilities (1/3
    and 2/3) are left out. Raises DataError where the package is not installed.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DataError('the demo needs the images of the package elpv-dataset: pip install "blemish[demo]"')
    root = Path(spec.origin).parent / "data"
    table, remedy = root / "labels.csv", "install elpv-dataset again"
    with boundary(table, DataError, remedy):
        lines = read_bytes(table, 2**20, DataError, remedy).decode().splitlines()
        cells = [(name, float(share), kind) for name, share, kind in (line.split() for line in lines if line.strip())]
    items = []
    num_good = 0
    for name, probability, crystal in cells:
        if crystal != "mono" or probability not in (0.0, 1.0):
            continue
        is_good = probability == 0.0
        num_good += is_good
        is_test = not is_good or num_good % TEST_EVERY == 0
        items.append(
            ImageItem(
                root / name,
                "test" if is_test else "train",
                GOOD if is_good else DEFECTIVE,
                "good" if is_good else "defective cell",
            )
        )
    note = "Demo split: labels 0 and 1 of the mono-crystalline cells; every third good cell is held out for the test."
    return DatasetIndex("solar-cells", root, "elpv", tuple(items), (note,))
