"""Good images that look unlike the others are named before training; a clean folder raises no alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.datasets.index import open_dataset
from blemish.errors import DataError, SettingsError
from blemish.testing.tiny import make_tiny_product, write_png
from blemish.workflow.suspicious import RankedImage, rank_good_images

PRODUCT = make_tiny_product(num_good=38, num_held_out=0, num_defects=2)
DEFECTIVE_PLACES = (9, 27)


@pytest.fixture
def contaminated(tmp_path: Path) -> Path:
    """Forty images said to be good; a spot and a scratch stand among them."""
    images = list(PRODUCT.good)
    for place, defect in zip(DEFECTIVE_PLACES, PRODUCT.defects, strict=True):
        images.insert(place, defect.image)
    for number, image in enumerate(images):
        write_png(tmp_path / "part" / f"{number:02}.png", image)
    return tmp_path / "part"


@pytest.fixture
def rank(backbone_description: str) -> Any:
    def rank_small(folder: Path, **options: Any) -> tuple[RankedImage, ...]:
        items = open_dataset(folder).train_good
        return rank_good_images(items, **{"backbone": backbone_description, "size": 64, **options})

    return rank_small


def test_defective_parts_among_the_good_ones_come_first_and_are_suspicious(rank: Any, contaminated: Path) -> None:
    ranked = rank(contaminated)
    assert {image.item.path.stem for image in ranked[:2]} == {f"{place:02}" for place in DEFECTIVE_PLACES}
    assert [image.is_suspicious for image in ranked[:2]] == [True, True]
    assert sum(image.is_suspicious for image in ranked) <= 4


def test_a_size_that_cannot_be_is_refused(rank: Any, contaminated: Path) -> None:
    with pytest.raises(SettingsError, match="size 100 is not a multiple of 32; use 96 or 128"):
        rank(contaminated, size=100)


def test_every_good_image_is_ranked_by_its_score(rank: Any, contaminated: Path) -> None:
    ranked = rank(contaminated)
    assert len({image.item.path for image in ranked}) == len(ranked) == 40
    scores = [image.score for image in ranked]
    assert scores == sorted(scores, reverse=True)
    assert [image.p_value for image in ranked] == pytest.approx(np.arange(1, 41) / 40)


def test_the_scores_are_those_that_a_training_finds(rank: Any, contaminated: Path, backbone_description: str) -> None:
    import blemish

    model = blemish.train(contaminated, backbone=backbone_description, size=64)
    assert [image.score for image in reversed(rank(contaminated))] == pytest.approx(model.calibration.good_scores)
    named = model.bundle.manifest.facts["suspicious"]
    assert named == [image.item.path.name for image in rank(contaminated) if image.is_suspicious]


def test_one_image_has_no_others_to_be_unlike(rank: Any, tmp_path: Path) -> None:
    write_png(tmp_path / "0.png", PRODUCT.good[0])
    with pytest.raises(DataError, match="1 good image"):
        rank(tmp_path)
