"""Every usual kind of image file becomes uint8 RGB by fixed rules; everything else is refused by name.

Pillow, which this package does not use, is the independent reference.
"""

from __future__ import annotations

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.images import decode
from blemish.images.decode import as_image, read_image, read_image_hw
from blemish.images.mask import read_mask
from blemish.images.read import MIN_SIDE
from blemish.schema import MAX_PIXELS, ReadSettings

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True, "exact": True},
}
FORMATS: dict[str, dict[str, Any]] = {**LOSSLESS, "JPEG": {"quality": 95}}


def picture(height: int = 40, width: int = 56, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth color blobs, no symmetry: a turned or mirrored copy differs clearly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encode(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **{**FORMATS[kind], **options})
    return buffer.getvalue()


def reference(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB"))


def saved(folder: Path, data: bytes, name: str = "part.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in ("PNG", "BMP", "TIFF") for mode in ("L", "RGB", "1", "P")]
    + [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")],
)
def test_gray_color_palette_and_one_bit_files_give_the_colors_of_the_reference(
    kind: str, mode: str, tmp_path: Path
) -> None:
    data = encode(PIL.Image.fromarray(picture()).convert(mode), kind)
    image = read_image(saved(tmp_path, data))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    tolerance = 2 if kind == "JPEG" else 0  # decoders may round the color transform differently
    np.testing.assert_allclose(image.astype(int), reference(data), atol=tolerance)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_deflate", "tiff_adobe_deflate", "jpeg"])
def test_tiff_compressions(compression: str, tmp_path: Path) -> None:
    data = encode(PIL.Image.fromarray(picture()), "TIFF", compression=compression)
    np.testing.assert_allclose(read_image(saved(tmp_path, data)).astype(int), reference(data), atol=2)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_kinds(options: dict[str, Any], tmp_path: Path) -> None:
    data = encode(PIL.Image.fromarray(picture()), "JPEG", **options)
    np.testing.assert_allclose(read_image(saved(tmp_path, data)).astype(int), reference(data), atol=2)


@pytest.mark.parametrize("kind", sorted(LOSSLESS))
def test_transparency_is_dropped_and_the_stored_colors_stay(kind: str, tmp_path: Path) -> None:
    pixels = picture(channels=4)
    data = encode(PIL.Image.fromarray(pixels), kind)
    np.testing.assert_array_equal(read_image(saved(tmp_path, data)), pixels[..., :3])
    np.testing.assert_array_equal(as_image(pixels), pixels[..., :3])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_divided_by_257_whatever_the_picture_holds(suffix: str, channels: int, tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = np.dstack([values, values.T, values[::-1], values[:, ::-1]])[..., :channels]
    data = cv2.imencode(suffix, pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels)[1].tobytes()
    exact = (pixels.astype(np.int64) * 2 + 257) // 514  # round(value / 257) in whole numbers
    expected = np.repeat(exact, 3, axis=2) if channels == 1 else exact[..., :3]
    np.testing.assert_array_equal(read_image(saved(tmp_path, data)), expected)
    np.testing.assert_array_equal(as_image(pixels), expected)


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path) -> None:
    data = cv2.imencode(".png", np.full((32, 32), 514, np.uint16))[1].tobytes()
    assert read_image(saved(tmp_path, data)).max() == 2


def float_tiff(pixels: NDArray[np.float32]) -> bytes:
    return cv2.imencode(".tiff", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()


def test_floating_point_tiff_lies_between_zero_and_one(tmp_path: Path) -> None:
    pixels = picture().astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(saved(tmp_path, float_tiff(pixels[..., ::-1]), "part.tif")), picture())
    gray = read_image(saved(tmp_path, float_tiff(pixels[..., 0]), "gray.tif"))
    np.testing.assert_array_equal(gray[..., 1], picture()[..., 0])
    with pytest.raises(ImageError, match=r"large\.tif: floating point pixels must lie in \[0, 1\]"):
        read_image(saved(tmp_path, float_tiff(pixels * 2), "large.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_of_the_file_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    image = PIL.Image.fromarray(picture())
    exif = PIL.Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif.tobytes()}
    if kind == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    data = encode(image, kind, **options)
    path = saved(tmp_path, data)
    upright = read_image(path)
    assert upright.shape == ((40, 56, 3) if orientation < 5 else (56, 40, 3))
    np.testing.assert_allclose(upright.astype(int), reference(data), atol=2)
    assert read_image_hw(path) == upright.shape[:2]


@pytest.mark.parametrize("name", ["ein Teil.png", "größe 10 µm – ß.png", "部品 ①.png", "деталь.png"])
def test_paths_with_spaces_and_letters_of_any_language(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung Süd"
    folder.mkdir()
    data = encode(PIL.Image.fromarray(picture()), "PNG")
    np.testing.assert_array_equal(read_image(saved(folder, data, name)), picture())


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(PIL.Image.fromarray(picture()), "BMP"), "part.jpg")
    np.testing.assert_array_equal(read_image(path), picture())


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_the_size_is_read_from_the_header(kind: str, tmp_path: Path) -> None:
    assert read_image_hw(saved(tmp_path, encode(PIL.Image.fromarray(picture(33, 47)), kind))) == (33, 47)


def test_a_lossy_webp_gives_its_size(tmp_path: Path) -> None:
    data = encode(PIL.Image.fromarray(picture(33, 47)), "WEBP", lossless=False, quality=80)
    assert read_image(saved(tmp_path, data)).shape == (33, 47, 3)


def test_a_large_header_is_read_to_its_end(tmp_path: Path) -> None:
    profile = bytes(400_000)  # longer than what is read of a header first
    path = saved(tmp_path, encode(PIL.Image.fromarray(picture(33, 47)), "JPEG", icc_profile=profile))
    assert read_image_hw(path) == (33, 47)


# ---- damaged files


def with_thumbnail(image: PIL.Image.Image) -> bytes:
    """A JPEG whose header holds a whole small JPEG, as cameras write it."""
    exif = PIL.Image.Exif()
    exif[271] = "camera"
    thumbnail = encode(image.resize((16, 16)), "JPEG")
    data = encode(image, "JPEG", exif=exif.tobytes())
    segment = b"Exif\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def damaged_samples() -> dict[str, bytes]:
    image = PIL.Image.fromarray(picture())
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8))
    return {
        **{kind: encode(image, kind) for kind in FORMATS},
        "noisy JPEG": encode(noise, "JPEG", quality=90),
        "progressive JPEG": encode(image, "JPEG", progressive=True),
        "JPEG with thumbnail": with_thumbnail(image),
        "raw TIFF": encode(image, "TIFF", compression="raw"),
        "lossy WebP": encode(image, "WEBP", lossless=False),
        "OpenCV TIFF": cv2.imencode(".tiff", picture())[1].tobytes(),
        "16-bit PNG": cv2.imencode(".png", picture().astype(np.uint16) * 257)[1].tobytes(),
    }


SAMPLES = damaged_samples()


def read_or_refuse(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | None:
    try:
        return read_image(path, ReadSettings(max_pixels=max_pixels))
    except ImageError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return None


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_file_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    data = SAMPLES[name]
    whole = read_image(saved(tmp_path, data))
    for length in {0, 1, 8, 30, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 40, len(data) - 20}:
        assert read_or_refuse(saved(tmp_path, data[:length])) is None, f"cut at {length} of {len(data)}"
    for length in range(len(data) - 16, len(data)):  # the last bytes may be padding: then nothing is lost
        image = read_or_refuse(saved(tmp_path, data[:length]))
        assert image is None or np.array_equal(image, whole)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "noisy JPEG", "JPEG with thumbnail", "16-bit PNG"])
def test_a_file_whose_end_was_never_written_is_refused(name: str, tmp_path: Path) -> None:
    data = SAMPLES[name]
    half = len(data) // 2
    assert read_or_refuse(saved(tmp_path, data[:half] + bytes(len(data) - half))) is None


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_png_with_a_changed_byte_is_refused_or_unchanged(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    content = bytearray(SAMPLES["PNG"])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    image = read_or_refuse(saved(tmp_path_factory.getbasetemp(), bytes(content)))
    assert image is None or np.array_equal(image, picture())


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_damage_gives_an_image_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    content = bytearray(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(st.integers(0, 255))
    path = saved(tmp_path_factory.getbasetemp(), bytes(content))
    image = read_or_refuse(path, max_pixels=1_000_000)  # a damaged size shall not cost memory here
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3)


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0+"])
)
@settings(deadline=None, max_examples=200)
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    read_or_refuse(saved(tmp_path_factory.getbasetemp(), start + data), max_pixels=1_000_000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"good parts of Tuesday\n", "this is not a PNG, JPEG, BMP, TIFF or WebP file"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 40, "damaged PNG"),
        (b"GIF89a" + bytes(40), "this is not a PNG"),
    ],
)
def test_files_of_another_kind_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=reason) as refusal:
        read_image(saved(tmp_path, content))
    assert "part.png" in str(refusal.value)


def test_missing_files_and_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="this is a folder"):
        read_image(tmp_path)


def test_a_damaged_file_writes_nothing_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for data in SAMPLES.values():
        read_or_refuse(saved(tmp_path, data[: len(data) // 2]))
    assert capfd.readouterr().err == ""


# ---- limits


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_twenty_thousand_pixels_square_are_within_the_limit_thirty_thousand_are_not() -> None:
    assert 20_000**2 <= MAX_PIXELS < 30_000**2


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (1 << 31, 1), (4_000_000_000, 4_000_000_000)])
def test_a_huge_image_is_refused_before_it_is_decoded(
    width: int, height: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = saved(tmp_path, png_header(width, height))
    with pytest.raises(ImageError, match=f"{width} x {height} pixels; the"):
        read_image(path)
    with pytest.raises(ImageError, match=r"the limit is 500 million|cut"):
        read_mask(path)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (MIN_SIDE - 1, 200), (200, MIN_SIDE - 1)])
def test_a_tiny_image_is_refused(height: int, width: int, tmp_path: Path) -> None:
    path = saved(tmp_path, encode(PIL.Image.new("L", (width, height)), "PNG"))
    with pytest.raises(ImageError, match=rf"part\.png: {width} x {height} pixels; the smallest image is 16 x 16"):
        read_image(path)
    with pytest.raises(ImageError, match="the smallest image"):
        as_image(np.zeros((height, width), np.uint8))


def test_the_smallest_image_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, encode(PIL.Image.new("L", (MIN_SIDE, MIN_SIDE)), "PNG"))
    assert read_image(path).shape == (MIN_SIDE, MIN_SIDE, 3)


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LARGE_PIXELS", 100)
    path = saved(tmp_path, SAMPLES["PNG"])
    decode_really = cv2.imdecode
    num_now: list[int] = [0]
    most: list[int] = [0]

    def decode_slowly(*arguments: Any) -> Any:
        num_now[0] += 1
        most[0] = max(most[0], num_now[0])
        time.sleep(0.01)
        num_now[0] -= 1
        return decode_really(*arguments)

    monkeypatch.setattr(cv2, "imdecode", decode_slowly)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_image, [path] * 8))
    assert len(images) == 8
    assert most == [1]


def test_a_file_over_the_byte_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 100)
    with pytest.raises(ImageError, match="larger than 2 GB"):
        read_image(saved(tmp_path, SAMPLES["PNG"]))


# ---- arrays


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 1)])
def test_gray_arrays_are_repeated(shape: tuple[int, ...]) -> None:
    gray = np.arange(32 * 48, dtype=np.uint16).astype(np.uint8).reshape(shape)
    image = as_image(gray)
    assert image.shape == (32, 48, 3)
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], gray.reshape(32, 48))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_arrays_are_rounded_to_the_nearest_of_256_steps(dtype: type) -> None:
    array = np.linspace(0, 1, 32 * 32).astype(dtype).reshape(32, 32)
    np.testing.assert_array_equal(as_image(array)[..., 0], np.rint(array * dtype(255)))


def test_bool_arrays_are_black_and_white() -> None:
    array = np.eye(20, dtype=np.bool_)
    np.testing.assert_array_equal(as_image(array)[..., 2], np.where(array, 255, 0))


def test_arrays_with_steps_between_their_values_are_copied_into_order() -> None:
    array = picture()[::-2, ::2]
    image = as_image(array)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, array)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 64, 64), np.uint8), "move the channels to the end"),
        (np.zeros((64, 64, 2), np.uint8), "expected an array of shape"),
        (np.zeros(64, np.uint8), "expected an array of shape"),
        (np.zeros((2, 64, 64, 3), np.uint8), "expected an array of shape"),
        (np.full((64, 64), 2.0), r"must lie in \[0, 1\], found 2 to 2"),
        (np.full((64, 64), -0.1), r"must lie in \[0, 1\]"),
        (np.full((64, 64), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((64, 64), np.int64), "pixels of type int64"),
        (np.zeros((64, 64), np.complex64), "pixels of type complex64"),
        ([[0, 1], [1, 0]], "expected a NumPy array, got list"),
        ("part.png", "expected a NumPy array, got str"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        as_image(array)
