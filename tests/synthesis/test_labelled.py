"""The split of labelled defects: nothing on both sides, every type on both where it can be, always the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.datasets.labelled import split_defects
from blemish.errors import DataError, SettingsError
from blemish.schema import ImageItem


def item(number: int, defect_type: str = "scratch", sha256: str = "", label: int | None = 1) -> ImageItem:
    return ImageItem(Path(f"test/{defect_type}/{number:03d}.png"), "test", label, defect_type, sha256=sha256)


ITEMS = st.lists(
    st.tuples(st.sampled_from(["scratch", "dent", "stain"]), st.integers(0, 8)), min_size=2, max_size=40
).map(lambda drawn: [item(place, kind, f"hash{content}") for place, (kind, content) in enumerate(drawn)])


@settings(deadline=None, max_examples=60)
@given(items=ITEMS, share=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_no_content_is_on_both_sides_and_no_image_is_lost(items: list[ImageItem], share: float, seed: int) -> None:
    try:
        learn, judge = split_defects(items, share, seed)
    except DataError:  # each type shows one content only
        return
    assert not {one.sha256 for one in learn} & {one.sha256 for one in judge}
    assert Counter([*learn, *judge]) == Counter(items)
    assert split_defects(items, share, seed) == (learn, judge)
    assert split_defects(items[::-1], share, seed)[1] == judge[::-1]


def test_every_type_with_two_images_is_on_both_sides_in_the_asked_share() -> None:
    items = [item(number, kind) for kind in ("dent", "scratch") for number in range(10)] + [item(0, "stain")]
    learn, judge = split_defects(items, 0.3, seed=1)
    assert Counter(one.defect_type for one in judge) == {"dent": 3, "scratch": 3}
    assert Counter(one.defect_type for one in learn) == {"dent": 7, "scratch": 7, "stain": 1}


def test_images_of_one_part_stay_together() -> None:
    items = [item(number) for number in range(12)]
    learn, judge = split_defects(items, 0.5, seed=0, group=lambda one: str(int(one.path.stem) // 3))
    parts = [{int(one.path.stem) // 3 for one in side} for side in (learn, judge)]
    assert not parts[0] & parts[1]
    assert len(learn) == len(judge) == 6


def test_neighbors_stay_together() -> None:
    """Of images taken one after the other at most two pairs of neighbors are torn apart."""
    for seed in range(5):
        _, judge = split_defects([item(number) for number in range(20)], 0.4, seed)
        numbers = {int(one.path.stem) for one in judge}
        torn = sum((number in numbers) != ((number + 1) % 20 in numbers) for number in range(20))
        assert torn == 2


@pytest.mark.parametrize(("share", "error"), [(0.0, SettingsError), (1.0, SettingsError)])
def test_a_share_that_leaves_one_side_empty_is_refused(share: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="between 0 and 1"):
        split_defects([item(0), item(1)], share, 0)


def test_good_images_and_single_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"000\.png is not labelled as defective"):
        split_defects([item(0, label=0), item(1)], 0.5, 0)
    with pytest.raises(DataError, match="leave none to judge by"):
        split_defects([item(0, "dent"), item(1, "stain")], 0.5, 0)
