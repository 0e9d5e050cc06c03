"""Pictures that are kept: as the rule says, beside the parts, and never at their cost."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from blemish.errors import SettingsError
from blemish.station.core.parts import Memory, Picture, Ticket
from blemish.station.core.pictures import picture_path, thumbnail
from blemish.station.core.save_rule import SaveRule
from blemish.station.lane.lane import Answer, Shown
from blemish.station.lane.pictures import PictureKeeper

from .conftest import noise


def shown(seq: int, decision: str) -> Shown:
    return Shown(
        Answer(seq, None, decision),  # type: ignore[arg-type]
        Ticket(seq, None, "", "", 1, 5),
        noise(seq),
        None,
        Memory(),
        1.0,
    )


def keep(folder: Path, rule: SaveRule, *parts: Shown) -> tuple[list[Picture], list[str]]:
    told: list[Picture] = []
    troubles: list[str] = []
    keeper = PictureKeeper(folder, rule=rule, form="png", now=lambda: 1, tell=told.append, trouble=troubles.append)
    for part in parts:
        keeper.take(part)
    keeper.close()
    return told, troubles


def test_the_rule_chooses_and_files_are_named_by_their_hash(tmp_path: Path) -> None:
    parts = [shown(seq, "accept") for seq in range(1, 5)] + [shown(9, "reject"), shown(11, "error")]
    told, _ = keep(tmp_path, SaveRule(accept="1 in 2"), *parts)
    assert [picture.seq for picture in told] == [2, 4, 9, 11]
    for picture in told:
        path = picture_path(tmp_path, picture.sha256, picture.format)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == picture.sha256
        assert (picture.height, picture.width) == (64, 64)


def test_a_picture_that_cannot_be_kept_is_a_trouble_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")
    told, troubles = keep(tmp_path / "images", SaveRule(), shown(1, "reject"))
    assert told == []
    assert "cannot be kept" in troubles[0]


def test_pictures_that_nobody_has_time_for_are_counted(tmp_path: Path) -> None:
    keeper = PictureKeeper(
        tmp_path,
        rule=SaveRule(),
        form="png",
        now=lambda: 1,
        tell=lambda picture: time.sleep(0.05),
        trouble=lambda text: None,
    )
    start = time.monotonic()
    for seq in range(100):
        keeper.take(shown(seq, "reject"))
    assert time.monotonic() - start < 2.0
    assert keeper.num_dropped > 0


def test_a_small_copy_of_a_picture(tmp_path: Path) -> None:
    [picture], _ = keep(tmp_path, SaveRule(), shown(1, "reject"))
    small = thumbnail(picture_path(tmp_path, picture.sha256, "png"), 16)
    assert small[:2] == b"\xff\xd8"
    (tmp_path / "noise.png").write_bytes(b"noise")
    assert thumbnail(tmp_path / "noise.png", 16) == b""


@pytest.mark.parametrize("text", ["some", "1 in 0", "1 in x", "", "all "])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no rule"):
        SaveRule(accept=text)
