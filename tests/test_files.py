"""Files are whole or not there; the place that cannot be written to is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blemish.errors import OutputError
from blemish.files import make_folder, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a" / "b ä" / "file.txt", b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file.txt"]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"a long first content")
    write_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_breaks_in_the_middle_leaves_the_old_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "file", b"old")

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_file(tmp_path / "file", b"new content")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OutputError, match="place: cannot be written"):
        write_file(tmp_path / "place", b"content")
    assert names(tmp_path) == ["place"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be made"):
        make_folder(tmp_path / "file" / "folder")


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * (255 if os.name != "nt" else 100)
    assert write_file(tmp_path / name, b"content").read_bytes() == b"content"
