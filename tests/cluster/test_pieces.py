"""How an archive is cut into pieces, without a cluster: what is finished never changes how the rest is cut."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from pyarrow import fs

from blemish.bundle.bundle import Bundle
from blemish.cluster import archive, pieces
from blemish.cluster.archive import judge_piece
from blemish.cluster.pieces import Piece, keep_one_row_each, part_name, plan_pieces
from blemish.cluster.place import Place, alone, image_folders, list_files, open_place, read_bytes, write_bytes
from blemish.cluster.table import error_row, read_paths, table_bytes
from blemish.datasets.left_out import Tally
from blemish.errors import DataError, EngineError, ImageError, OutputError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.testing.tiny import write_png


def make_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def finish(output: Place, source: Place, piece: Piece) -> None:
    place = source.below(piece.folder) if piece.folder else source
    write_bytes(
        output.below(piece.file), table_bytes([error_row(f"{place.shown}/{name}", "", "") for name in piece.names])
    )


@given(num_images=st.integers(1, 20), data=st.data())
@settings(deadline=None, max_examples=30)
def test_the_rest_is_cut_as_if_nothing_were_finished(num_images: int, data: Any) -> None:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_IMAGES", 3)
        source, output = open_place(f"{temporary}/in"), open_place(f"{temporary}/out")
        make_images(Path(temporary, "in"), *(f"{number % 2}/{number:02}.png" for number in range(num_images)))
        whole = plan_pieces([source], output, "folder")
        assert whole.num_images == num_images
        done = data.draw(st.sets(st.sampled_from(whole.pieces)))
        for piece in done:
            finish(output, source, piece)
        rest = plan_pieces([source], output, "folder")
        assert rest.pieces == tuple(piece for piece in whole.pieces if piece not in done)
        assert rest.num_finished == num_images - rest.num_images


def paths_in(output: Place) -> list[str]:
    return [
        path
        for file in list_files(output, ".parquet")
        for path in read_paths(f"{output.path}/{file}", output.filesystem)
    ]


@pytest.mark.parametrize("filesystem", [None, fs.LocalFileSystem()], ids=["folder", "store"])
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_two_runs_at_once_over_a_growing_archive_leave_one_row_an_image(filesystem: Any, data: Any) -> None:
    """Each run has planned before the other one was finished; they end, and clean up, in any order."""
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_IMAGES", 3)
        source, output = open_place(f"{temporary}/in"), Place(f"{temporary}/out", "out", filesystem)
        folders = [data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))]
        make_images(
            Path(temporary, "in"), "a/0.png", *(f"{at}/{n}.png" for at, m in enumerate(folders) for n in range(m))
        )
        plans = [plan_pieces([source], output, "folder")]
        grown = data.draw(st.lists(st.sampled_from(["1/00.png", "1/5x.png", "2/zz.png", "3/1.png"]), unique=True))
        make_images(Path(temporary, "in"), *grown)
        plans.append(plan_pieces([source], output, "folder"))
        everything = sorted(path.as_posix() for path in Path(temporary).resolve().rglob("*.png"))
        for plan in data.draw(st.permutations(plans)):
            for piece in plan.pieces:
                Path(output.below(piece.file).path).parent.mkdir(parents=True, exist_ok=True)  # a store needs none
                finish(output, source, piece)
            keep_one_row_each(output, [piece.file for piece in plan.pieces])
        assert sorted(paths_in(output)) == everything
        last = plan_pieces([source], output, "folder")
        assert (last.pieces, last.num_finished, last.repeated) == ((), len(everything), ())


def test_rows_that_a_killed_run_left_twice_are_found_by_the_next_one(tmp_path: Path) -> None:
    source, output = open_place(str(tmp_path / "in")), open_place(str(tmp_path / "out"))
    make_images(tmp_path / "in", "a/1.png", "a/2.png", "b/1.png")
    first = plan_pieces([source], output, "folder")
    make_images(tmp_path / "in", "a/3.png")
    for piece in (*first.pieces, *plan_pieces([source], output, "folder").pieces):
        finish(output, source, piece)
    assert len(paths_in(output)) == 6
    plan = plan_pieces([source], output, "folder")
    assert (plan.pieces, plan.num_finished, len(plan.repeated)) == ((), 4, 1)
    assert keep_one_row_each(output, plan.repeated) == 2
    assert len(set(paths_in(output))) == len(paths_in(output)) == 4


def test_a_second_run_waits_for_the_first_one_in_a_folder(tmp_path: Path) -> None:
    place = open_place(str(tmp_path / "out" / "_run.json"))
    order = []
    inside = threading.Event()

    def hold() -> None:
        with alone(place, lambda: None):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with alone(place, lambda: order.append("waiting")):
        order.append("second")
    thread.join()
    assert order == ["waiting", "first", "second"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_folder_has_a_name_that_reads_back(value: str) -> None:
    name = part_name(value)
    assert not set(name) & set('/\\:*?"<>|=\n')
    assert len(name.encode()) <= 200
    if len(value.encode()) < 60:
        assert unquote(name) == value


def test_long_folders_that_begin_alike_stay_apart() -> None:
    one, other = part_name("a/" * 200 + "1"), part_name("a/" * 200 + "2")
    assert one != other
    assert len(one.encode()) <= 200


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    output = open_place(str(tmp_path / "out"))
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=path.name):
            plan_pieces([open_place(str(path))], output, "folder")
    make_images(tmp_path / "in", "a/1.png")
    with pytest.raises(SettingsError, match="give each image once"):
        plan_pieces([open_place(str(tmp_path / "in")), open_place(str(tmp_path / "in" / "a"))], output, "folder")
    [piece] = plan_pieces([open_place(str(tmp_path / "in"))], output, "folder").pieces
    write_bytes(output.below(piece.file), b"no table")
    with pytest.raises(OutputError, match="not a table of verdicts"):
        plan_pieces([open_place(str(tmp_path / "in"))], output, "folder")


@pytest.mark.parametrize("uri", ["{}", "s3://plant/line?region=us-east-1"])
def test_two_stars_at_the_end_stand_for_all_below_the_folder(uri: str, tmp_path: Path) -> None:
    base, mark, query = uri.format(tmp_path).partition("?")
    with_stars, without = open_place(f"{base}/**{mark}{query}"), open_place(uri.format(tmp_path))
    assert (with_stars.path, with_stars.shown) == (without.path, without.shown)


def test_the_archive_is_listed_by_the_rule_of_all_commands(tmp_path: Path) -> None:
    make_images(tmp_path, "10.png", "9.png", "._9.png", "b.gif", "cam2/1.png", "cam10/1.png", "@eaDir/9.png/thumb.png")
    make_images(tmp_path, "out/verdicts.jsonl", "out/overlays/9.png")
    plan = plan_pieces([open_place(str(tmp_path))], open_place(str(tmp_path / "table")), "folder")
    assert [(piece.folder, piece.names) for piece in plan.pieces] == [
        ("", ("9.png", "10.png")),
        ("cam2", ("1.png",)),
        ("cam10", ("1.png",)),
    ]
    tally = plan.left_out[tmp_path.as_posix()]
    assert tally.counts == {"hidden": 1, "other_suffix": 1, "tool_folder": 1, "overlay": 1}
    assert "1 image of another kind is left out: b.gif" in tally.notes()[0]
    assert tally.num_faults == 0


def test_a_store_is_listed_by_the_same_rule(tmp_path: Path) -> None:
    make_images(
        tmp_path, "._9.png", "b.gif", "notes", "@eaDir/9.png/thumb.png", "@eaDir/9.png/index.txt", "cam2/.x.png"
    )
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3)).astype(np.uint8)
        write_png(tmp_path / "cam2" / f"{number}.png", pixels)
        write_png(tmp_path / "cam2" / f"{number}_GT.png", np.uint8(255) * (pixels > 300))
        write_png(tmp_path / "cam2" / f"{number}_label.png", pixels)  # a photograph of a label
    here = list(image_folders(open_place(str(tmp_path))))
    there = list(image_folders(Place(str(tmp_path), "s3://parts", fs.LocalFileSystem())))
    assert [folder.relative for folder in there] == [folder.relative for folder in here] == ["", "cam2"]
    for mine, theirs in zip(here, there, strict=True):
        assert [image.name for image in theirs.images] == [image.name for image in mine.images]
        assert set(theirs.left_out) == set(mine.left_out)
    assert [image.name for image in there[1].images[:2]] == ["0.png", "0_label.png"]
    assert Tally().add(there[1].left_out).counts == {"hidden": 1, "mask": 3}


def test_a_folder_of_an_archive_that_cannot_be_listed_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path, "a/1.png", "b/1.png")
    scandir = os.scandir

    def without_rights(place: Path) -> object:
        if Path(place) == tmp_path / "a":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr("blemish.datasets.listing.os.scandir", without_rights)
    plan = plan_pieces([open_place(str(tmp_path))], open_place(str(tmp_path / "table")), "folder")
    assert [piece.folder for piece in plan.pieces] == ["b"]
    assert plan.left_out[tmp_path.as_posix()].num_faults == 1


def test_nothing_waits_at_a_pipe_of_an_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="this is a pipe"):
        read_bytes(open_place(str(tmp_path)), "pipe.png")


def test_a_single_file_is_no_archive(tmp_path: Path) -> None:
    make_images(tmp_path, "1.png")
    with pytest.raises(DataError, match=r"1\.png: a file, where a folder is needed"):
        plan_pieces([open_place(str(tmp_path / "1.png"))], open_place(str(tmp_path / "out")), "folder")


def test_a_store_that_has_stopped_to_answer_is_no_fault_of_its_images(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        def open_input_file(self, path: str) -> None:
            raise OSError("connection reset")

    monkeypatch.setattr("blemish.cluster.place.READ_WAITS", ())
    place = Place("parts", "s3://parts", Silent())
    names = tuple(f"{number:02}.png" for number in range(archive.STORE_FAULTS))
    inspector = Inspector(bundle, threads=1)
    with pytest.raises(EngineError, match=r"the store has stopped to answer \(connection reset\)"):
        judge_piece(inspector, place, Piece(0, "", names, "x"))
    few = judge_piece(inspector, place, Piece(0, "", names[1:], "x"))
    assert [row["error"] for row in few] == [
        f"s3://parts/{name}: cannot be read (connection reset)" for name in names[1:]
    ]


def test_a_key_in_a_uri_is_shown_to_nobody() -> None:
    place = open_place("s3://who:secret@parts/line%203?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1")
    assert isinstance(place.filesystem, fs.S3FileSystem)
    assert "secret" not in place.shown
    assert place.shown.startswith("s3://parts/line")
