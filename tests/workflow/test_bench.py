"""The numbers of `blemish bench`: every engine in a process of its own, and one that fails has a row that says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from blemish.bundle.bundle import Bundle
from blemish.errors import ImageError
from blemish.runtime.peak_memory import peak_memory_mb
from blemish.workflow.bench import bench, measure_cold_start, write_check_images


@pytest.fixture(scope="module")
def images(product_folder: Path) -> list[Path]:
    return sorted((product_folder / "test").rglob("*.png"))


def test_the_numbers_are_in_order(bundle_path: Path, images: list[Path]) -> None:
    [row] = bench(bundle_path, images, engines=["onnxruntime"], threads=1, seconds=0.1)
    assert row.error == ""
    assert 0 < row.p50_ms <= row.p90_ms <= row.p99_ms
    assert row.p50_ms / 1000 < row.cold_start_seconds < 60
    assert row.num_runs >= 20
    assert row.num_files >= len(images)
    assert row.images_per_second > 0
    memory = peak_memory_mb()
    assert row.peak_memory_mb is None or memory is None or 10 < row.peak_memory_mb < 10 * memory


def test_an_engine_that_cannot_run_is_not_measured_under_its_name(bundle_path: Path, images: list[Path]) -> None:
    """`inspect` would go on with the default engine; a figure of that would be a lie."""
    [row] = bench(bundle_path, images, engines=["onnxruntime-coreml"], seconds=0.1)
    assert "CoreMLExecutionProvider" in row.error
    assert row.p50_ms == row.cold_start_seconds == 0


def test_an_unreadable_image_is_the_users_mistake_and_no_engines(bundle_path: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"x")
    with pytest.raises(ImageError, match=r"bad\.png"):
        bench(bundle_path, [bad], engines=["onnxruntime"], seconds=0.1)


def test_a_process_that_gives_no_verdict_is_no_cold_start(bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"gave no verdict.*nothing\.png"):
        measure_cold_start(bundle_path, tmp_path / "nothing.png", engine="onnxruntime", repeats=1)


def test_without_a_folder_the_bundles_own_images_are_written(bundle: Bundle, tmp_path: Path) -> None:
    paths, source = write_check_images(bundle, tmp_path)
    assert len(paths) == 2 * len(bundle.samples)
    assert cv2.imread(str(paths[0])).shape == (64, 64, 3)
    assert "kept in the bundle" in source
