"""One lister for every command: nothing with the name of an image is passed over, what is left out is counted."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.datasets.index import list_categories, open_dataset
from blemish.datasets.left_out import FAULTS, LeftOut, left_out_json, left_out_notes
from blemish.datasets.listing import TOOL_FOLDERS, Listing, images_in, list_images, natural_key, walk_images
from blemish.errors import DataError, ImageError
from blemish.images.decode import IMAGE_SUFFIXES, read_image, read_image_hw

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


def make(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names(found: Listing, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.images]


def reasons(found: Listing, root: Path) -> set[tuple[str, str]]:
    return {(item.path.relative_to(root).as_posix(), item.reason) for item in found.left_out}


def test_images_come_in_natural_order_each_folder_before_those_below_it(tmp_path: Path) -> None:
    make(tmp_path, "10.png", "9.PNG", "2.jpeg", "cam10/1.bmp", "cam2/20.tif", "cam2/3.webp", "cam2/deep/0.png")
    expected = ["2.jpeg", "9.PNG", "10.png", "cam2/3.webp", "cam2/20.tif", "cam2/deep/0.png", "cam10/1.bmp"]
    found = list_images([tmp_path])
    assert names(found, tmp_path) == expected
    assert found.left_out == ()


def test_what_tools_and_storage_put_beside_parts_is_left_out_and_told(tmp_path: Path) -> None:
    make(tmp_path, "0.png", "._0.png", ".ipynb_checkpoints/0-checkpoint.png", "@eaDir/0.png/SYNO_THUMB_S.png")
    make(tmp_path, "__MACOSX/0.png", ".later/0.png", "Thumbs.db", ".DS_Store", "desktop.ini", ".git/config")
    found = list_images([tmp_path])
    assert names(found, tmp_path) == ["0.png"]
    assert reasons(found, tmp_path) == {
        ("._0.png", "hidden"),
        (".later/0.png", "hidden"),
        (".ipynb_checkpoints/0-checkpoint.png", "tool_folder"),
        ("@eaDir/0.png/SYNO_THUMB_S.png", "tool_folder"),
        ("__MACOSX/0.png", "tool_folder"),
    }
    assert found.faults == ()
    assert left_out_notes(found.left_out, tmp_path) == (
        "2 hidden images are left out, the first ._0.png",
        "3 images in folders of tools are left out, the first .ipynb_checkpoints/0-checkpoint.png",
    )
    assert {"reason": "hidden", "count": 2, "first": str(tmp_path / "._0.png")} in left_out_json(found.left_out)


@pytest.mark.parametrize("name", sorted(TOOL_FOLDERS))
def test_every_folder_of_a_tool_is_known_in_any_case(name: str, tmp_path: Path) -> None:
    make(tmp_path, "0.png", f"{name.upper()}/thumb.png")
    found = list_images([tmp_path])
    assert names(found, tmp_path) == ["0.png"]
    assert reasons(found, tmp_path) == {(f"{name.upper()}/thumb.png", "tool_folder")}


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".ppm", ".heic", ".JP2", ".dcm"])
def test_images_of_another_kind_are_named(suffix: str, tmp_path: Path) -> None:
    make(tmp_path, "a.png", f"b{suffix}")
    assert reasons(list_images([tmp_path]), tmp_path) == {(f"b{suffix}", "other_suffix")}


@pytest.mark.parametrize("name", ["part", "part.0001", "part.png.bak", "part.img"])
@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_an_image_under_any_other_ending_is_found_by_its_first_bytes(kind: str, name: str, tmp_path: Path) -> None:
    make(tmp_path, "a.png", name, content=cv2.imencode(kind, np.zeros((20, 20, 3), np.uint8))[1].tobytes())
    assert reasons(list_images([tmp_path]), tmp_path) == {(name, "other_suffix")}


def test_other_files_are_no_images(tmp_path: Path) -> None:
    make(
        tmp_path, "a.png", "readings", "list.csv", "notes.txt", "BM", content=b"BMW 320, BM and other text, long enough"
    )
    make(tmp_path, "empty", content=b"")
    assert list_images([tmp_path]).left_out == ()


def test_a_folder_of_odd_files_is_not_read_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.png", *(f"{number}.reading" for number in range(500)))
    opened: Counter[str] = Counter()
    real_open = Path.open

    def count_open(self: Path, *arguments: object, **named: object) -> object:
        opened[self.suffix] += 1
        return real_open(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", count_open)
    list_images([tmp_path])
    assert opened[".reading"] <= 16
    assert opened[".png"] == 0


@needs_links
def test_links_to_files_are_followed_and_links_to_folders_are_told(tmp_path: Path) -> None:
    make(tmp_path, "in/0.png", "elsewhere/1.png", "elsewhere/more/2.png")
    (tmp_path / "in" / "1.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")  # a loop, if it were followed
    found = list_images([tmp_path / "in"])
    assert names(found, tmp_path / "in") == ["0.png", "1.png"]
    assert reasons(found, tmp_path / "in") == {("more", "folder_link"), ("up", "folder_link")}
    assert names(list_images([tmp_path / "in" / "more"]), tmp_path / "in" / "more") == ["2.png"]


@needs_links
def test_what_has_the_name_of_an_image_and_cannot_be_read_is_listed_and_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "dead.png").symlink_to("/mnt/nas/gone/0.png")
    (tmp_path / "loop.png").symlink_to("pool.png")
    (tmp_path / "pool.png").symlink_to("loop.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    make(tmp_path, "empty.png", content=b"")
    expected = {
        "dead.png": r"leads nowhere \(to /mnt/nas/gone/0\.png\)",
        "loop.png": "part of a loop",
        "pool.png": "part of a loop",
        "device.png": "this is a device",
        "pipe.png": "this is a pipe",
        "empty.png": "the file is empty",
    }
    found = list_images([tmp_path])
    assert names(found, tmp_path) == sorted(expected)
    for path in found.images:
        for read in (read_image, read_image_hw):
            with pytest.raises(ImageError, match=expected[path.name]):
                read(path)  # a pipe would wait for ever, the device would fill the memory


def test_a_socket_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no sockets in the file system here")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("camera.png")
        [path] = list_images([tmp_path]).images
        with pytest.raises(ImageError, match="this is a socket, not a file"):
            read_image(path)


@needs_links
@pytest.mark.parametrize(("name", "is_told"), [("cam2", True), ("0.gif", True), ("notes.txt", False), (".x", False)])
def test_a_dead_link_that_may_have_led_to_images_is_a_fault(name: str, is_told: bool, tmp_path: Path) -> None:
    make(tmp_path, "0.png")
    (tmp_path / name).symlink_to("/mnt/nas/gone")
    found = list_images([tmp_path])
    assert found.faults == ((LeftOut(tmp_path / name, "dead_link"),) if is_told else ())


def test_a_folder_that_cannot_be_listed_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "0.png", "crack/0.png")
    forbid(tmp_path / "crack", monkeypatch)
    found = list_images([tmp_path])
    assert names(found, tmp_path) == ["0.png"]
    assert found.faults == found.left_out == (LeftOut(tmp_path / "crack", "unlistable_folder"),)
    assert left_out_notes(found.left_out, tmp_path)[0].startswith("1 folder cannot be listed: crack; change")
    with pytest.raises(DataError, match="crack: the folder cannot be listed"):
        list_images([tmp_path / "crack"])


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, whom no rights keep out."""
    real = os.scandir

    def scandir(place: Path) -> object:
        if Path(place) == folder:
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr("blemish.datasets.listing.os.scandir", scandir)


def test_overlays_of_earlier_runs_are_left_out_wherever_they_lie(tmp_path: Path) -> None:
    make(
        tmp_path, "0.png", "out1/verdicts.jsonl", "out1/overlays/0.png", "out2/verdicts.jsonl", "out2/overlays/a/0.png"
    )
    make(tmp_path, "overlays/1.png")  # without verdicts beside it the name alone says nothing
    found = list_images([tmp_path])
    assert names(found, tmp_path) == ["0.png", "overlays/1.png"]
    assert {reason for _, reason in reasons(found, tmp_path)} == {"overlay"}
    assert len(found.left_out) == 2


def test_named_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.png", "part.gif", "@eaDir/t.png")
    places = [tmp_path / ".hidden.png", tmp_path / "part.gif", tmp_path / "@eaDir" / "t.png"]
    assert list_images(places) == Listing(tuple(places))
    assert list_images([tmp_path / "@eaDir"]).images == (tmp_path / "@eaDir" / "t.png",)
    assert list_images([]) == Listing()


def test_an_image_that_is_given_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/0.png", "a/1.png")
    monkeypatch.chdir(tmp_path)
    found = list_images([tmp_path / "a", Path("a/0.png"), Path("a") / ".." / "a" / "1.png"])
    assert names(found, tmp_path) == ["a/0.png", "a/1.png"]
    assert [item.reason for item in found.left_out] == ["given_twice", "given_twice"]


@needs_links
def test_places_that_do_not_exist_are_refused_and_dead_links_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder; check the path"):
        list_images([tmp_path / "nothing"])
    (tmp_path / "dead.png").symlink_to("gone.png")
    assert list_images([tmp_path / "dead.png"]).images == (tmp_path / "dead.png",)


def test_a_place_that_cannot_be_looked_at_is_refused_by_name(tmp_path: Path) -> None:
    for function in (lambda path: list_images([path]), open_dataset, list_categories):
        with pytest.raises(DataError, match=r"cannot be looked at \(file name too long\)|no such folder"):
            function(tmp_path / ("long" * 100))


def test_a_folder_without_images_says_what_was_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image in this folder; images end in \.bmp"):
        list_images([tmp_path])
    make(tmp_path, "b.gif", ".c.png")
    with pytest.raises(DataError, match=r"kind is left out: b\.gif; convert.* hidden image is left out: \.c"):
        list_images([tmp_path])


def test_images_right_in_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "a/2.png")
    assert names(images_in(tmp_path), tmp_path) == ["1.png"]
    assert images_in(tmp_path / "nothing") == Listing()


NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", ".", "._"]),
        st.text("ab09 ä", min_size=1, max_size=4).map("f".__add__),
        st.sampled_from(["", ".png", ".PNG", ".jpg", ".gif", ".txt", ".tif"]),
    ),
)
FOLDERS = st.lists(st.sampled_from(["a", "b1", "b10", ".x", "@eaDir", "__MACOSX", "overlays"]), max_size=3)


@given(files=st.sets(st.tuples(FOLDERS.map(tuple), NAMES), max_size=25))
@settings(deadline=None, max_examples=60)
def test_every_name_of_an_image_is_listed_or_counted_and_never_both(files: set[tuple[tuple[str, ...], str]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make(root, "always.png", *("/".join((*folders, name)) for folders, name in files))
        found = list_images([root])
        left_out = [item.path for item in found.left_out]
        assert len(set(left_out)) == len(left_out)
        assert not set(found.images) & set(left_out)
        for path in root.rglob("*"):
            if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
                assert (path in found.images) != (path in left_out)
        assert not {item.reason for item in found.left_out} & FAULTS
        assert sum(int(row["count"]) for row in left_out_json(found.left_out)) == len(left_out)
        below = [path for _, part in walk_images(root) for path in part.images]
        assert below == list(found.images)


@given(st.lists(st.text("019ab²．/", min_size=1, max_size=8), unique=True))
def test_natural_order_is_total_and_takes_numbers_by_their_value(texts: list[str]) -> None:
    paths = list({Path(text) for text in texts})
    backwards = paths[::-1]
    assert sorted(paths, key=natural_key) == sorted(backwards, key=natural_key)
    assert natural_key(Path("a2b")) < natural_key(Path("a10b")) < natural_key(Path("a10c"))
