"""How an archive is cut into pieces, without a cluster: what is finished never changes how the rest is cut."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from pyarrow import fs

from blemish.bundle.bundle import Bundle
from blemish.cluster import archive, pieces
from blemish.cluster.archive import judge_piece
from blemish.cluster.pieces import Piece, part_name, plan_pieces
from blemish.cluster.place import Place, open_place, write_bytes
from blemish.cluster.table import error_row, table_bytes
from blemish.errors import DataError, EngineError, OutputError, SettingsError
from blemish.inspection.inspector import Inspector


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
