"""What `blemish station --demo` shows: solar cells where their package is installed, else made-up parts."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from blemish.files import make_folder
from blemish.model import train
from blemish.schema import Progress
from blemish.station.core.lane_file import LaneSource
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import open_database
from blemish.station.store.plant import (
    activate,
    add_lane,
    add_product,
    add_recipe,
    change_lane,
    list_lanes,
    name_station,
)

NUM_GOOD, NUM_SHOWN = 60, 60
DEFECTIVE_EVERY = 6
SIZE = (224, 224)
PLC_RATE = 1.0
_ACTOR = Actor("demo", "console")


def prepare_demo(settings: Settings, progress: Progress) -> None:
    """Makes a product, trains it, and makes a live lane with a simulated camera and PLC; once."""
    engine = open_database(settings.data, settings.database)
    name_station(engine, settings.name)
    if list_lanes(engine):
        return
    folder = settings.data / "demo"
    name, size = _write_images(folder)
    model = train(folder / "good", size=size, false_reject=0.02, progress=progress)
    path = model.save(folder / "demo.blemish")
    product_id = add_product(engine, _ACTOR, name)
    recipe_id = add_recipe(engine, settings.data, _ACTOR, product_id, path)
    source = LaneSource("replay", str(folder / "line"), trigger="plc")
    lane_id = add_lane(engine, settings, _ACTOR, "Lane 1", source, plc_rate=PLC_RATE)
    activate(engine, settings, _ACTOR, lane_id, recipe_id, "demo")
    change_lane(engine, settings, _ACTOR, lane_id, is_live=True)
    engine.dispose()


def _write_images(folder: Path) -> tuple[str, tuple[int, int]]:
    """The name of the product and the input size; images to train on lie in `good`, those of the line in `line`."""
    good, line = make_folder(folder / "good"), make_folder(folder / "line")
    if find_spec("elpv_dataset") is not None:
        from blemish.datasets.demo import open_solar_cells
        from blemish.schema import DEFECTIVE

        items = open_solar_cells().items
        fit = [item.path for item in items if item.split == "train"][:NUM_GOOD]
        test = [item for item in items if item.split == "test"]
        shown_good = [item.path for item in test if item.label != DEFECTIVE]
        shown_bad = [item.path for item in test if item.label == DEFECTIVE]
        for path in fit:
            shutil.copyfile(path, good / path.name)
        for number in range(NUM_SHOWN):
            is_bad = number % DEFECTIVE_EVERY == DEFECTIVE_EVERY - 1
            path = shown_bad[number // DEFECTIVE_EVERY] if is_bad else shown_good[number]
            shutil.copyfile(path, line / f"{number:03}{path.suffix}")
        return "Solar cell", SIZE
    from blemish.testing.tiny import make_tiny_product, write_png

    product = make_tiny_product(num_good=32, num_held_out=50, num_defects=10, hw=(256, 256))
    for number, image in enumerate(product.good):
        write_png(good / f"{number:03}.png", image)
    shown = list(product.held_out)
    for number, defect in enumerate(product.defects):
        shown.insert(5 + 6 * number, defect.image)
    for number, image in enumerate(shown):
        write_png(line / f"{number:03}.png", image)
    return "Tiny part", (128, 128)
