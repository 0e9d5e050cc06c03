"""What belongs to a user lies where the system keeps such things, or where the user said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blemish.errors import OutputError
from blemish.folders import BACKBONES_VARIABLE, CACHE_VARIABLE, backbones_folder, cache_folder
from blemish.weights import find_backbone

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the places of Linux")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who has set nothing."""
    for variable in (BACKBONES_VARIABLE, CACHE_VARIABLE, "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@ON_LINUX
def test_the_usual_folders_are_those_of_the_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backbones_folder() == home / ".local" / "share" / "blemish" / "backbones"
    assert cache_folder() == home / ".cache" / "blemish"
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert backbones_folder() == home / "data" / "blemish" / "backbones"
    assert cache_folder() == home / "cache" / "blemish"


@pytest.mark.parametrize(
    ("variable", "folder"), [(BACKBONES_VARIABLE, backbones_folder), (CACHE_VARIABLE, cache_folder)]
)
def test_a_folder_that_was_named_is_taken_and_an_empty_name_is_none(
    variable: str, folder: Callable[[], Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = folder()
    assert usual.is_absolute()
    monkeypatch.setenv(variable, "there")
    assert folder() == Path("there")
    monkeypatch.setenv(variable, "")
    assert folder() == usual


def test_an_account_without_a_home_has_what_the_package_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*args: object, **options: object) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr("platformdirs.user_data_path", no_home)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *args, **options: Path("~/.cache/blemish"))
    for folder in (backbones_folder, cache_folder):
        with pytest.raises(OutputError, match="no home folder; name a folder in the environment variable BLEMISH_"):
            folder()
    assert find_backbone("efficientnet-lite0").licence == "Apache-2.0"
