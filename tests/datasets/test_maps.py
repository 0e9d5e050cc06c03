"""Maps that another tool saved are found by the data set's own tree and read without a change of their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.maps import SavedMap, _is_same_shape, check_fit, find_maps, read_map
from blemish.errors import DataError, ImageError
from blemish.schema import ImageItem

MAP = np.random.default_rng(0).normal(size=(12, 17)).astype(np.float32)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        path.write_bytes(cv2.imencode(path.suffix, values)[1].tobytes())
    return path


@pytest.mark.parametrize("name", ["map.npy", "map.tif", "map.tiff"])
def test_float_maps_keep_their_values(name: str, tmp_path: Path) -> None:
    anomaly_map = read_map(save(tmp_path / name, MAP))
    assert anomaly_map.dtype == np.float32
    np.testing.assert_array_equal(anomaly_map, MAP)


@pytest.mark.parametrize("name", ["map.png", "map.npy", "map.tif"])
def test_sixteen_bit_maps_keep_their_values(name: str, tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    np.testing.assert_array_equal(read_map(save(tmp_path / name, values)), values)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, np.bool_])
def test_npy_maps_of_any_number_type(dtype: type, tmp_path: Path) -> None:
    values = (np.abs(MAP) * 10).astype(dtype)
    np.testing.assert_array_equal(read_map(save(tmp_path / "map.npy", values)), values.astype(np.float32))


def test_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_map(save(tmp_path / "map.npy", MAP[None, :, :, None])), MAP)


def test_a_double_precision_tiff(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_map(save(tmp_path / "map.tif", MAP.astype(np.float64))), MAP)


def test_what_is_no_map_is_refused_by_name(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    text = tmp_path / "text.npy"
    text.write_text("1 2 3", encoding="utf-8")
    cut = save(tmp_path / "cut.npy", MAP)
    cut.write_bytes(cut.read_bytes()[:-40])
    empty = tmp_path / "empty.npy"
    empty.write_bytes(b"")
    gone = tmp_path / "gone.npy"
    cases = {
        objects: "save the map again",
        text: "save the map again",
        cut: "save the map again",
        empty: "save the map again",
        gone: "no such file",
        save(tmp_path / "batch.npy", np.zeros((2, 5, 5))): "a map of shape",
        save(tmp_path / "empty_axis.npy", np.zeros((0, 5))): "a map of shape",
        save(tmp_path / "words.npy", np.array(["a"])): "not an array of",
        save(tmp_path / "nan.npy", np.full((4, 4), np.nan)): "not finite",
        save(tmp_path / "inf.tif", np.full((4, 4), np.inf, np.float32)): "not finite",
        save(tmp_path / "overflow.npy", np.full((4, 4), 1e300)): "not finite",
        save(tmp_path / "coarse.png", np.zeros((4, 4), np.uint8)): "with 8 bits",
        save(tmp_path / "color.png", np.zeros((4, 4, 3), np.uint16)): "in color",
    }
    for path, reason in cases.items():
        with pytest.raises(ImageError, match=reason) as refusal:
            read_map(path)
        assert str(path) in str(refusal.value)


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "map.npy", MAP)
    path.write_bytes(path.read_bytes().replace(b"(12, 17)", b"(9999999, 9999999)"[:18]))
    with pytest.raises(ImageError):
        read_map(path)


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    root = tmp_path / "part"
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for name in ("train/good/000.png", "test/good/000.png", "test/dent/000.png", "test/dent/001.png"):
        save(root / name, image)
    return open_dataset(root)


@pytest.fixture
def maps_dir(tmp_path: Path) -> Path:
    maps_dir = tmp_path / "maps"
    save(maps_dir / "test" / "good" / "000.npy", MAP)
    save(maps_dir / "test" / "dent" / "000.tiff", MAP)
    save(maps_dir / "test" / "dent" / "001.png", np.zeros((8, 8), np.uint16))
    return maps_dir


def test_the_folder_of_maps_mirrors_the_test_tree(index: DatasetIndex, maps_dir: Path) -> None:
    maps = find_maps(maps_dir, index)
    assert [saved.item for saved in maps] == list(index.test)
    assert [saved.path.relative_to(maps_dir).as_posix() for saved in maps] == [
        "test/dent/000.tiff",
        "test/dent/001.png",
        "test/good/000.npy",
    ]
    assert [saved.anomaly_score for saved in maps] == [None, None, None]


def test_data_sets_of_other_layouts_may_mirror_their_own_tree(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for name in ("train/good/0.png", "test_public/good/0.png", "test_public/bad/0.png"):
        save(tmp_path / "can" / name, image)
    save(tmp_path / "maps" / "test_public" / "good" / "0.npy", MAP)
    save(tmp_path / "maps" / "test" / "bad" / "0.npy", MAP)
    assert len(find_maps(tmp_path / "maps", open_dataset(tmp_path / "can"))) == 2


@pytest.mark.parametrize(
    "table",
    [
        "path,score\ntest/good/000.png,0.5\ntest/dent/000.png,2\ntest/dent/001.png,3e0\n",
        "test/dent/001,3\ntest/dent/000.tiff,2\ngood/000.png,0.5\n",
        "\ufeffPath,Score\r\ntest\\good\\000.png,0.5\r\ntest\\dent\\000.png,2\r\n./test/dent/001.png,3\r\n",
    ],
)
def test_scores_are_taken_from_the_table_beside_the_maps(table: str, index: DatasetIndex, maps_dir: Path) -> None:
    (maps_dir / "scores.csv").write_text(table, encoding="utf-8", newline="")
    assert [saved.anomaly_score for saved in find_maps(maps_dir, index)] == [2.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("test/good/000.png,0.5\n", r"2 of 3 test images have no score, the first test/dent/000\.png"),
        ("test/good/000.png\n", "line 1 is not 'path,score'"),
        ("path,score\ntest/good/000.png,high\n", "line 2 is not 'path,score'"),
        ("test/good/000.png,nan\n", "not finite"),
        ("test/good/000.png,1\ngood/000.npy,2\n", "a second score"),
    ],
)
def test_a_table_of_scores_that_does_not_fit_is_refused(
    table: str, reason: str, index: DatasetIndex, maps_dir: Path
) -> None:
    (maps_dir / "scores.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        find_maps(maps_dir, index)


def test_a_table_in_another_encoding_is_refused(index: DatasetIndex, maps_dir: Path) -> None:
    (maps_dir / "scores.csv").write_bytes("größe,1".encode("latin-1"))
    with pytest.raises(DataError, match="CSV in UTF-8"):
        find_maps(maps_dir, index)


def test_missing_maps_are_counted_and_the_first_is_named(index: DatasetIndex, maps_dir: Path) -> None:
    (maps_dir / "test" / "dent" / "001.png").unlink()
    (maps_dir / "test" / "good" / "000.npy").unlink()
    with pytest.raises(DataError, match=r"2 of 3 test images have no map, the first test/dent/001 with one of \.npy"):
        find_maps(maps_dir, index)


def test_folders_that_cannot_be_judged_are_refused(index: DatasetIndex, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_maps(tmp_path / "nothing", index)
    with pytest.raises(DataError, match="no labeled test images"):
        find_maps(tmp_path, index.without([item.path for item in index.test]))


def made(root: Path, name: str, hw: tuple[int, int]) -> Path:
    return save(root / name, np.random.default_rng(1).integers(0, 256, (*hw, 3)).astype(np.uint8))


def test_dots_in_names_belong_to_the_name(tmp_path: Path) -> None:
    names = ["2026.11.0", "2026.11.1", "a.tif", "a"]
    for number, name in enumerate(names):
        made(tmp_path / "part", f"test/dent/{name}.png", (20, 20))
        save(tmp_path / "maps" / "test" / "dent" / f"{name}.npy", MAP * (number + 1))
    made(tmp_path / "part", "train/good/0.png", (20, 20))
    index = open_dataset(tmp_path / "part")
    table = tmp_path / "maps" / "scores.csv"
    for ending in ("", ".png", ".npy"):
        table.write_text(
            "".join(f"dent/{name}{ending},{number}\n" for number, name in enumerate(names)), encoding="utf-8"
        )
        scores = {saved.item.path.stem: saved.anomaly_score for saved in find_maps(tmp_path / "maps", index)}
        assert scores == {name: number for number, name in enumerate(names)}


def test_a_table_that_names_no_image_is_not_passed_over(index: DatasetIndex, maps_dir: Path) -> None:
    (maps_dir / "scores.csv").write_text("path,score\nother/000.png,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="3 of 3 test images have no score"):
        find_maps(maps_dir, index)


@pytest.mark.parametrize("ending", [".bmp", ".jpg", ".tiff"])
def test_two_images_of_one_name_never_share_a_map(ending: str, index: DatasetIndex, maps_dir: Path) -> None:
    made(index.root, f"test/dent/000{ending}", (20, 20))
    with pytest.raises(DataError, match=r"000\.tiff: it would be the map of two images, .*000.* and .*000"):
        find_maps(maps_dir, open_dataset(index.root))


def saved_maps(root: Path, hws: list[tuple[tuple[int, int], tuple[int, int]]]) -> list[SavedMap]:
    return [
        SavedMap(
            ImageItem(made(root, f"image{number}.png", image_hw), "test", 1),
            save(root / f"map{number}.npy", np.zeros(map_hw)),
        )
        for number, (image_hw, map_hw) in enumerate(hws)
    ]


@pytest.mark.parametrize(
    "hws",
    [
        [((96, 64), (96, 64)), ((64, 96), (64, 96))],
        [((96, 64), (24, 16)), ((64, 96), (8, 12)), ((97, 65), (13, 9)), ((500, 20), (63, 3))],
        [((123, 50), (64, 64)), ((122, 51), (64, 64)), ((130, 49), (64, 64))],  # stretched by the network
        [((120, 50), (64, 32)), ((90, 50), (64, 32)), ((100, 50), (64, 32)), ((60, 50), (64, 32))],
        [((96, 64), (3, 2)), ((64, 96), (2, 3))],
    ],
)
def test_maps_of_the_shape_of_their_images_or_of_one_network_fit(hws: list[Any], tmp_path: Path) -> None:
    check_fit(saved_maps(tmp_path, hws))


@pytest.mark.parametrize(
    ("hws", "number", "reason"),
    [
        ([((96, 64), (64, 96))] * 3, 3, "turn the maps"),
        ([((96, 64), (96, 64)), ((96, 64), (64, 96)), ((96, 64), (96, 64))], 1, "turn the maps"),
        ([((96, 96), (96, 96)), ((96, 96), (5, 9)), ((96, 96), (96, 96))], 1, "neither cut nor turned"),
        ([((96, 96), (50, 90))] * 3, 3, "neither cut nor turned"),
        ([((96, 64), (96, 64))] * 3 + [((64, 96), (96, 64))], 1, "turn the maps"),
    ],
)
def test_maps_that_are_turned_or_of_another_shape_are_refused_by_name(
    hws: list[Any], number: int, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"{number} of {len(hws)} maps do not fit their images, .*npy: .*; .*{reason}"):
        check_fit(saved_maps(tmp_path, hws))


@given(st.integers(40, 2000), st.integers(40, 2000), st.integers(1, 32))
def test_a_map_at_a_stride_fits_and_its_transpose_does_not(height: int, width: int, stride: int) -> None:
    map_hw = (math.ceil(height / stride), width // stride or 1)
    assert _is_same_shape(map_hw, (height, width))
    if min(map_hw) >= 16 and not 0.8 < height / width < 1.25:
        assert not _is_same_shape(map_hw[::-1], (height, width))
